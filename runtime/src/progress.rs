//! What takes long enough for a person to wonder: builds, compilations, starts.

use tokio::sync::broadcast;

/// Steps that are kept for a reader that is slow; older ones are lost to it.
const KEPT: usize = 256;

/// A step on the way from a manifest to an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A program is built from source.
    Build,
    /// A core module is made a component.
    Componentize,
    /// A component becomes machine code, or is found compiled.
    Compile,
    /// The first instance starts.
    Start,
}

/// A step begins or ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub step: Step,
    /// The package, image or revision that it is about.
    pub subject: String,
    /// Whether the step is over, well or not.
    pub is_over: bool,
}

/// Tells whoever listens. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reporter(broadcast::Sender<Progress>);

impl Default for Reporter {
    fn default() -> Self {
        Self(broadcast::Sender::new(KEPT))
    }
}

impl Reporter {
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Progress> {
        self.0.subscribe()
    }

    /// A step begins; it is over when the result is dropped.
    #[must_use]
    pub fn begin(&self, step: Step, subject: impl Into<String>) -> Running {
        let progress = Progress {
            step,
            subject: subject.into(),
            is_over: false,
        };
        // It fails when nobody listens, which is fine.
        let _ = self.0.send(progress.clone());
        Running {
            reporter: self.clone(),
            progress,
        }
    }
}

/// A step that runs.
#[derive(Debug)]
pub struct Running {
    reporter: Reporter,
    progress: Progress,
}

impl Drop for Running {
    fn drop(&mut self) {
        let over = Progress {
            is_over: true,
            ..self.progress.clone()
        };
        let _ = self.reporter.0.send(over);
    }
}
