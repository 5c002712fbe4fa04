//! The Go programs under test, each behind one running `serve` that its tests share.
//!
//! Building and compiling a Go program takes many seconds, so the tests of one form that run at
//! the same time use one `serve`, which ends with the last of them, and what was compiled is kept
//! for the next one in `target/tmp`. Each form has a cache of its own there: the cache directory
//! belongs to one running `serve`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use crate::client::{Client, Response};
use crate::process::Serve;

/// The first build with an empty build cache, in a debug build and beside other tests.
const BUILD_PATIENCE: Duration = Duration::from_secs(480);

/// The port that the programs are told to listen on.
pub const PORT: u16 = 8888;

/// How a Go program becomes a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The host lays its SDK beside a program that knows nothing of it.
    Unmodified,
    /// As `Unmodified`, with an HTTP/2 client for a port that is named `h2c`.
    H2c,
    /// The program calls the SDK itself.
    Sdk,
}

/// The test program of one form, running.
pub struct Guest {
    running: Arc<Running>,
}

struct Running {
    address: SocketAddr,
    serve: Mutex<Serve>,
}

/// The running program of a form; none when Go is not here.
///
/// It has three Services of one image, so that a test that looks at one instance has it for itself.
pub fn get(form: Form) -> Option<Guest> {
    static RUNNING: [Mutex<Weak<Running>>; 3] = [const { Mutex::new(Weak::new()) }; 3];
    let build_cache = build_cache()?;
    let mut running = lock(&RUNNING[form as usize]);
    if let Some(running) = running.upgrade() {
        return Some(Guest { running });
    }
    let started = Arc::new(Running::start(form, build_cache));
    *running = Arc::downgrade(&started);
    Some(Guest { running: started })
}

/// Where the toolchain keeps what it built; none when Go is not here.
pub fn build_cache() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let output = Command::new("go").args(["env", "GOCACHE"]).output().ok()?;
        let path = String::from_utf8(output.stdout).expect("a path in UTF-8");
        Some(path.trim().into())
    });
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI must have Go");
        eprintln!("SKIPPED: Go is not installed");
    }
    found.as_deref()
}

/// Starts `serve` on a manifest with a cache of this name that outlives it.
pub fn start(manifest: &Path, cache: &str, build_cache: &Path) -> Serve {
    let cache = kept(cache).join("cache");
    let mut serve = Serve::start_as(manifest, |command| {
        command
            .env("XDG_CACHE_HOME", cache)
            .env("GOCACHE", build_cache);
    });
    serve.event_within(BUILD_PATIENCE, "ready");
    serve
}

impl Running {
    fn start(form: Form, build_cache: &Path) -> Self {
        let name = format!("{form:?}").to_lowercase();
        let module = kept(&name).join("module");
        write_module(form, &module);
        let services = ["testguest", "counted", "loaded"].map(|name| service(name, form));
        write(&module.join("service.yaml"), &services.concat());
        let mut serve = start(&module.join("service.yaml"), &name, build_cache);
        for _ in 1..services.len() {
            serve.event("ready");
        }
        Self {
            address: serve.public(),
            serve: Mutex::new(serve),
        }
    }
}

impl Guest {
    pub fn connect(&self) -> Client {
        Client::connect(self.running.address)
    }

    pub fn get(&self, path: &str) -> Response {
        self.get_of("testguest", path)
    }

    /// Asks one of the other Services.
    pub fn get_of(&self, service: &str, path: &str) -> Response {
        let mut client = self.connect();
        client.send(head("GET", service, path, "").as_bytes());
        client.response()
    }

    /// What `serve` has written to its log so far.
    pub fn log(&self) -> String {
        lock(&self.running.serve).log()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // The last one's `serve` shows its log by itself.
        if std::thread::panicking() && Arc::strong_count(&self.running) > 1 {
            eprintln!("--- the log of serve ---\n{}", self.log());
        }
    }
}

/// The head of a request to a Service; `fields` are whole lines.
pub fn head(method: &str, service: &str, path: &str, fields: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: {service}.default.localhost\r\n{fields}\r\n")
}

fn service(name: &str, form: Form) -> String {
    let port = if form == Form::H2c { "h2c" } else { "http1" };
    format!(
        "---\n\
         apiVersion: serving.knative.dev/v1\n\
         kind: Service\n\
         metadata:\n  name: {name}\n\
         spec:\n  template:\n    spec:\n      containers:\n      - image: ko://example.com/testguest\n        \
         ports:\n        - name: {port}\n          containerPort: {PORT}\n"
    )
}

/// Makes a module of the test program's sources, as a user would have it.
fn write_module(form: Form, module: &Path) {
    let sdk = repository().join("guest-sdk/go");
    let source = |name: &str| {
        fs::read_to_string(sdk.join("internal/testguest").join(name)).expect("a source file")
    };
    let mut go_mod = "module example.com/testguest\n\ngo 1.24\n".to_owned();
    let listen = if form == Form::Sdk {
        let name = "github.com/serve-wasm/serve/guest-sdk/go";
        go_mod += &format!(
            "\nrequire {name} v0.0.0\n\nreplace {name} => {}\n",
            sdk.display()
        );
        source("listen_sdk.go")
    } else {
        source("listen_std.go")
    };
    let (constraint, listen) = listen.split_once('\n').expect("lines");
    assert!(constraint.starts_with("//go:build "), "{constraint}");
    write(&module.join("go.mod"), &go_mod);
    write(&module.join("main.go"), &source("main.go"));
    write(&module.join("listen.go"), listen);
}

/// Writes a file, unless it is so already.
fn write(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|found| found == text) {
        return;
    }
    fs::create_dir_all(path.parent().expect("in a folder")).expect("made");
    fs::write(path, text).expect("written");
}

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A directory that outlives the test.
fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("go").join(name)
}

/// A test that failed leaves nothing half done behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
