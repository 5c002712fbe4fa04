//! Exit codes, and errors that carry one.

use std::process::ExitCode;

/// Codes that scripts rely on; README.md lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    Error = 1,
    Usage = 2,
    InvalidManifest = 3,
    NotReady = 4,
    Taken = 5,
}

/// Why the program ends, with the exit code that says so.
pub struct Failed {
    code: Code,
    error: anyhow::Error,
}

impl Failed {
    /// Prints the error and its causes, and returns the code.
    pub fn report(self) -> ExitCode {
        eprintln!("serve: {:#}", self.error);
        ExitCode::from(self.code as u8)
    }
}

impl From<anyhow::Error> for Failed {
    fn from(error: anyhow::Error) -> Self {
        Self {
            code: Code::Error,
            error,
        }
    }
}

/// Gives an error a code.
pub fn with<E: Into<anyhow::Error>>(code: Code) -> impl FnOnce(E) -> Failed {
    move |error| Failed {
        code,
        error: error.into(),
    }
}
