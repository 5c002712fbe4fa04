//! Starts `serve`, reads the events that it prints, and shows its log when a test fails.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// A debug build that compiles a guest on a busy machine needs seconds; a test that hangs ends.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A running `serve` with directories of its own.
pub struct Serve {
    child: Child,
    events: Receiver<Value>,
    log: Arc<Mutex<String>>,
    public: Option<SocketAddr>,
    local: Option<SocketAddr>,
    api: Option<SocketAddr>,
    kubeconfig: Option<PathBuf>,
    /// Removed with this.
    home: Option<TempDir>,
}

/// What a `serve` that ended left behind.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stderr: String,
}

/// A command that runs `serve` with everything it writes below `home`.
pub fn command(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_serve"));
    command
        .env_remove("SERVE_CONFIG")
        .env("XDG_CACHE_HOME", home.join("cache"))
        .env("XDG_STATE_HOME", home.join("state"))
        .env("XDG_RUNTIME_DIR", home.join("run"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs `serve` with these arguments to its end.
pub fn run(arguments: &[&str]) -> Ended {
    run_as(arguments, |_| {})
}

/// Runs `serve` with these arguments, and what `change` does to its environment, to its end.
pub fn run_as(arguments: &[&str], change: impl FnOnce(&mut Command)) -> Ended {
    let home = tempfile::tempdir().expect("a directory");
    run_with(home.path(), arguments, change)
}

/// Runs `serve` with the cache and the state of an earlier run.
pub fn run_in(home: &Path, arguments: &[&str]) -> Ended {
    run_with(home, arguments, |_| {})
}

fn run_with(home: &Path, arguments: &[&str], change: impl FnOnce(&mut Command)) -> Ended {
    let mut command = command(home);
    change(&mut command);
    let output = command.args(arguments).output().expect("serve starts");
    Ended {
        code: output.status.code(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Serve {
    /// Starts `serve MANIFEST` on free ports and waits until both listeners are there.
    pub fn start(manifest: &Path) -> Self {
        Self::start_with(manifest, &[])
    }

    pub fn start_with(manifest: &Path, arguments: &[&str]) -> Self {
        Self::start_as(manifest, |command| {
            command.args(arguments);
        })
    }

    /// Starts `serve MANIFEST` with what `change` does to its arguments and environment.
    pub fn start_as(manifest: &Path, change: impl FnOnce(&mut Command)) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let mut serve = Self::spawn(home.path(), manifest.as_os_str(), |command| {
            command.args(["--api-listen", "off"]);
            change(command);
        });
        serve.home = Some(home);
        serve
    }

    /// Starts `serve MANIFEST` with the cache and the state of an earlier run.
    pub fn start_in(home: &Path, manifest: &Path, arguments: &[&str]) -> Self {
        Self::spawn(home, manifest.as_os_str(), |command| {
            command.args(["--api-listen", "off"]).args(arguments);
        })
    }

    /// Starts `serve up` on free ports and waits until clients can reach it.
    pub fn up(arguments: &[&str]) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let mut serve = Self::spawn(home.path(), OsStr::new("up"), |command| {
            command
                .args(["--api-listen", "127.0.0.1:0"])
                .args(arguments);
        });
        serve.home = Some(home);
        let path = serve.event("kubeconfig")["path"]
            .as_str()
            .map(PathBuf::from);
        serve.kubeconfig = path;
        serve
    }

    fn spawn(home: &Path, first: &OsStr, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = command(home);
        command.arg(first).args([
            "-o",
            "json",
            "--listen",
            "127.0.0.1:0",
            "--local-listen",
            "127.0.0.1:0",
        ]);
        change(&mut command);
        let mut child = command.spawn().expect("serve starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        let (sender, events) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line)
                    .unwrap_or_else(|error| panic!("not JSON: {line}: {error}"));
                if sender.send(event).is_err() {
                    break;
                }
            }
        });
        let log = Arc::new(Mutex::new(String::new()));
        let sink = log.clone();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = sink.lock().expect("no reader panics");
                log.push_str(&line);
                log.push('\n');
            }
        });
        let mut serve = Self {
            child,
            events,
            log,
            public: None,
            local: None,
            api: None,
            kubeconfig: None,
            home: None,
        };
        while serve.public.is_none() || serve.local.is_none() {
            serve.event("listening");
        }
        serve
    }

    /// The next event of this name; others are passed over, but listeners are remembered.
    pub fn event(&mut self, name: &str) -> Value {
        self.event_within(PATIENCE, name)
    }

    /// As [`Serve::event`], for what takes long; `limit` is for each event that comes before too.
    pub fn event_within(&mut self, limit: Duration, name: &str) -> Value {
        loop {
            let event = match self.events.recv_timeout(limit) {
                Ok(event) => event,
                Err(RecvTimeoutError::Timeout) => panic!("no event \"{name}\"\n{}", self.log()),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("serve ended before event \"{name}\"\n{}", self.log())
                }
            };
            if event["event"] == "listening" {
                let address = event["address"].as_str().and_then(|text| text.parse().ok());
                match event["listener"].as_str() {
                    Some("public") => self.public = address,
                    Some("cluster-local") => self.local = address,
                    Some("api") => self.api = address,
                    other => panic!("unknown listener {other:?}"),
                }
            }
            if event["event"] == name {
                return event;
            }
        }
    }

    pub fn public(&self) -> SocketAddr {
        self.public.expect("the listener was reported")
    }

    pub fn api(&self) -> SocketAddr {
        self.api.expect("the listener was reported")
    }

    /// The file that tells clients of the API where it is.
    pub fn kubeconfig(&self) -> &Path {
        self.kubeconfig.as_deref().expect("the file was reported")
    }

    /// Where everything is that this `serve` writes.
    pub fn home(&self) -> &Path {
        self.home.as_ref().expect("a home of its own").path()
    }

    pub fn local(&self) -> SocketAddr {
        self.local.expect("the listener was reported")
    }

    /// What `serve` has written to its log so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("no writer panics").clone()
    }

    /// Reads the log from other threads.
    pub fn log_reader(&self) -> impl Fn() -> String + Send + Sync + use<> {
        let log = self.log.clone();
        move || log.lock().expect("no writer panics").clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name, as `kill` does.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(status.success(), "kill -s {name}");
    }

    /// Waits for the end of the process.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let deadline = std::time::Duration::from_secs(60);
        let status = wait_for(deadline, || {
            self.child.try_wait().expect("the child is ours")
        })
        .unwrap_or_else(|| panic!("serve did not end\n{}", self.log()));
        (status, self.log())
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the log of serve ---\n{}", self.log());
        }
    }
}

/// Asks again and again until there is an answer or the time is over.
pub fn wait_for<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    const PAUSE: Duration = Duration::from_millis(10);
    let rounds = limit.as_millis() / PAUSE.as_millis();
    for _ in 0..rounds {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        thread::park_timeout(PAUSE);
    }
    None
}
