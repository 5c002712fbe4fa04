//! Real clients of the Kubernetes API, built from source when they are first needed.
//!
//! A missing Go toolchain skips these tests with a loud line; under CI it fails them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::process::Serve;

/// Versions that the tests are written for.
const KUBECTL: &str = "v1.33.4";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where built clients are kept between runs.
fn cache() -> PathBuf {
    repository().join("target/test-clients")
}

/// `kubectl`; none when it cannot be built here.
pub fn kubectl() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let version = format!("-X k8s.io/component-base/version.gitVersion={KUBECTL}");
    let build = || build("kubectl", &["-ldflags", &version], ".");
    BUILT.get_or_init(build).as_deref()
}

/// `kn`; none when it cannot be built here.
pub fn kn() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || build("kn", &[], "knative.dev/client/cmd/kn");
    BUILT.get_or_init(build).as_deref()
}

fn build(name: &str, flags: &[&str], package: &str) -> Option<PathBuf> {
    let target = cache().join(name);
    if let Some(given) = std::env::var_os(format!("TEST_CLIENT_{}", name.to_uppercase())) {
        return Some(given.into());
    }
    if target.exists() {
        return Some(target);
    }
    let output = Command::new("go")
        .arg("build")
        .args(flags)
        .arg("-o")
        .arg(&target)
        .arg(package)
        .current_dir(repository().join("tests/clients").join(name))
        .env("GOFLAGS", "-mod=readonly -buildvcs=false")
        .env("GOWORK", "off")
        .output();
    let problem = match output {
        Ok(output) if output.status.success() => return Some(target),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    missing(name, &problem)
}

/// Skips a test loudly, or fails it under CI.
fn missing(name: &str, problem: &str) -> Option<PathBuf> {
    assert!(
        std::env::var_os("CI").is_none(),
        "{name} was not built: {problem}"
    );
    eprintln!("SKIPPED: {name} was not built, and this test needs it: {problem}");
    None
}

/// A Python with the client of tests/clients/python; none when it cannot be had here.
pub fn python() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    BUILT.get_or_init(virtual_environment).as_deref()
}

fn virtual_environment() -> Option<PathBuf> {
    let wanted = repository().join("tests/clients/python/requirements.txt");
    let wanted = std::fs::read_to_string(wanted).expect("the file is there");
    let home = cache().join("python");
    let python = home.join("bin/python");
    // What is written last says what was installed.
    let installed = home.join("installed.txt");
    if std::fs::read_to_string(&installed).is_ok_and(|text| text == wanted) {
        return Some(python);
    }
    let made = succeeds(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&home),
    )
    .and_then(|()| {
        let mut pip = Command::new(&python);
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]);
        succeeds(pip.args(wanted.split_whitespace()))
    });
    if let Err(problem) = made {
        return missing("python", &problem);
    }
    std::fs::write(&installed, wanted).expect("written");
    Some(python)
}

fn succeeds(command: &mut Command) -> Result<(), String> {
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            Err(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Runs a client against a host, and returns whether it succeeded and what it printed.
pub fn run(client: &Path, serve: &Serve, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(client)
        .args(arguments)
        .env("KUBECONFIG", serve.kubeconfig())
        .env("HOME", serve.home())
        .current_dir(serve.home())
        .output()
        .expect("the client starts");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// A host whose images are `hello.wat`, by path and by a name as in a registry.
pub fn host() -> Serve {
    let images = repository().join("examples");
    let config = tempfile::NamedTempFile::new().expect("a file");
    let text = format!(
        "[images]\nroots = ['{}']\nnames = {{ 'xiexianbin/knative-helloworld-go' = '{}' }}\n\
         [network]\nurl-port = \"none\"\ndomain = \"example.com\"\n",
        images.display(),
        images.join("hello.wat").display()
    );
    std::fs::write(config.path(), text).expect("written");
    Serve::up(&["--config", &config.path().display().to_string()])
}

#[track_caller]
pub fn expect(client: &Path, serve: &Serve, arguments: &[&str]) -> String {
    let (succeeded, text) = run(client, serve, arguments);
    assert!(
        succeeded,
        "{arguments:?} failed:\n{text}\n--- log ---\n{}",
        serve.log()
    );
    text
}

#[track_caller]
pub fn refuse(client: &Path, serve: &Serve, arguments: &[&str]) -> String {
    let (succeeded, text) = run(client, serve, arguments);
    assert!(!succeeded, "{arguments:?} succeeded:\n{text}");
    text
}
