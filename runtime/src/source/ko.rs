//! `ko://` images: a Go package built with the machine's own toolchain.
//!
//! Input: an import path or a directory, and where to look for it. Output: a core module that
//! exports the handler of `wasi:http`. No file of the program changes and none is written into its
//! folder: an overlay lays our Go SDK into the user's own module, under a folder that is not on
//! disk, with one more file in package main that imports it. So dependencies, `vendor/` and
//! language versions are exactly the program's own.

mod sdk;

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

/// The folder of the user's module in which the SDK appears.
const SDK_FOLDER: &str = "zz_serve_sdk";
/// The file of package main that imports it. Its name keeps it out of builds for other targets.
const IMPORT_FILE: &str = "zz_serve_sdk_wasip1.go";
/// Imported by both forms of the SDK: a program that has it exports the handler by itself.
const ENTRY_PACKAGE: &str = "/internal/entry";
/// The first Go that exports functions of a `c-shared` build for wasip1.
const MINIMUM: (u32, u32) = (1, 24);
/// What a failed build prints is cut after this many bytes.
const MAX_OUTPUT: u64 = 64 << 10;

/// What one build may cost.
#[derive(Clone, Debug)]
pub struct Limits {
    pub time: Duration,
    /// Address space of the toolchain's processes, each.
    pub memory_bytes: u64,
}

/// Why a package was not built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "Go is not installed; install Go {}.{} or newer from https://go.dev/dl and put it on the \
         PATH, or start with examples/hello.yaml, which needs no Go",
        MINIMUM.0, MINIMUM.1
    )]
    NoGo,
    #[error("Go {}.{} or newer is needed, and \"{found}\" was found", MINIMUM.0, MINIMUM.1)]
    OldGo { found: String },
    #[error("starting the Go toolchain: {0}")]
    Start(#[source] io::Error),
    #[error("there is no go.mod in \"{0}\" or above it")]
    NoModule(PathBuf),
    #[error("package \"{package}\" is named {name}, not main, so it is no program")]
    NotMain { package: String, name: String },
    /// What the toolchain said, with file and line where it names them.
    #[error("go {step} failed:\n{output}")]
    Failed { step: &'static str, output: String },
    #[error("the build took longer than {0:?} and was ended")]
    Timeout(Duration),
    #[error("keeping the build's files in \"{}\": {source}", .path.display())]
    Files { path: PathBuf, source: io::Error },
}

/// The Go programs that this host builds. `scratch` is a directory of ours.
#[derive(Clone, Debug)]
pub struct Ko {
    pub scratch: PathBuf,
    pub limits: Limits,
}

/// What the program's server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    /// HTTP/2 without TLS, as gRPC servers do; its client makes the guest 1.2 MB larger.
    H2c,
}

/// What the toolchain says of a package.
struct Package {
    import_path: String,
    folder: PathBuf,
    module_path: String,
    module_folder: PathBuf,
}

impl Ko {
    /// Builds `package`, which is an import path or starts with `.`, as seen from `directory`.
    ///
    /// # Errors
    /// As [`Error`] says.
    ///
    /// # Cancel safety
    /// Dropping the future ends the toolchain's processes.
    pub async fn build(
        &self,
        package: &str,
        directory: &Path,
        protocol: Protocol,
    ) -> Result<Vec<u8>, Error> {
        let build = self.build_unbounded(package, directory, protocol);
        tokio::time::timeout(self.limits.time, build)
            .await
            .unwrap_or(Err(Error::Timeout(self.limits.time)))
    }

    async fn build_unbounded(
        &self,
        package: &str,
        directory: &Path,
        protocol: Protocol,
    ) -> Result<Vec<u8>, Error> {
        self.check_version(directory).await?;
        let package = self.find(package, directory).await?;
        let dependencies = self.go(&package.folder, "list", ["-deps", "."]).await?;
        let has_sdk = dependencies
            .lines()
            .any(|line| line == sdk::MODULE.to_owned() + ENTRY_PACKAGE);

        let scratch = self.scratch.join(folder_name(&package));
        let keep = |source| Error::Files {
            path: scratch.clone(),
            source,
        };
        tokio::fs::create_dir_all(&scratch).await.map_err(keep)?;
        let module = scratch.join("core.wasm");
        let mut arguments: Vec<PathBuf> = [
            "-buildmode=c-shared",
            "-trimpath",
            "-buildvcs=false",
            "-ldflags=-s -w",
            "-o",
        ]
        .map(PathBuf::from)
        .into();
        arguments.push(module.clone());
        if !has_sdk {
            arguments.push("-overlay".into());
            arguments.push(
                write_overlay(&package, &scratch, protocol)
                    .await
                    .map_err(keep)?,
            );
        }
        arguments.push(".".into());
        self.go(&package.folder, "build", arguments).await?;
        tokio::fs::read(&module).await.map_err(keep)
    }

    /// The folders and files that a build of `package` reads, but for the toolchain's own and
    /// those of modules from elsewhere, which do not change.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn sources(&self, package: &str, directory: &Path) -> Result<Vec<PathBuf>, Error> {
        let package = self.find(package, directory).await?;
        let format = "{{if not .Standard}}{{$dir := .Dir}}{{with .Module}}{{if not .Version}}\
                      {{$dir}}\n{{end}}{{end}}{{range .EmbedFiles}}{{$dir}}/{{.}}\n{{end}}{{end}}";
        let listed = self
            .go(&package.folder, "list", ["-e", "-deps", "-f", format, "."])
            .await?;
        let mut paths: Vec<PathBuf> = listed
            .lines()
            .filter(|line| !line.is_empty())
            .map(PathBuf::from)
            .collect();
        paths.extend(["go.mod", "go.sum"].map(|name| package.module_folder.join(name)));
        Ok(paths)
    }

    async fn check_version(&self, directory: &Path) -> Result<(), Error> {
        let found = self.go(directory, "env", ["GOVERSION"]).await?;
        let found = found.trim();
        let mut numbers = found
            .trim_start_matches("go")
            .split(|c: char| !c.is_ascii_digit())
            .map(|number| number.parse().unwrap_or(0));
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if version < MINIMUM {
            return Err(Error::OldGo {
                found: found.to_owned(),
            });
        }
        Ok(())
    }

    async fn find(&self, package: &str, directory: &Path) -> Result<Package, Error> {
        let (folder, name) = if package.starts_with('.') {
            (directory.join(package), ".")
        } else {
            (module_folder(directory)?, package)
        };
        // Outside a module the template would fail with a text that helps nobody.
        module_folder(&folder)?;
        let format =
            "{{.Name}}\n{{.ImportPath}}\n{{.Dir}}\n{{with .Module}}{{.Path}}\n{{.Dir}}{{end}}";
        let listed = self.go(&folder, "list", ["-f", format, name]).await?;
        let mut lines = listed.lines();
        let mut next = || lines.next().unwrap_or_default().to_owned();
        let (main, import_path, folder) = (next(), next(), next());
        let (module_path, module_dir) = (next(), next());
        if main != "main" {
            return Err(Error::NotMain {
                package: import_path,
                name: main,
            });
        }
        if module_dir.is_empty() {
            return Err(Error::NoModule(folder.into()));
        }
        Ok(Package {
            import_path,
            folder: folder.into(),
            module_path,
            module_folder: module_dir.into(),
        })
    }

    /// Runs one command of the toolchain and returns what it printed.
    async fn go<A: AsRef<OsStr>>(
        &self,
        directory: &Path,
        step: &'static str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<String, Error> {
        let output = run(self.command(directory, step, arguments)).await?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let mut text = String::from_utf8_lossy(&output.stderr)
            .trim_end()
            .to_owned();
        if text.contains("no required module provides package") {
            text.push_str("\n(a go.work file is not read: the module must build on its own)");
        }
        if text.is_empty() {
            text = format!("it ended with {}", output.status);
        }
        Err(Error::Failed { step, output: text })
    }

    fn command<A: AsRef<OsStr>>(
        &self,
        directory: &Path,
        step: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Command {
        // The shell sets the limit, which its children have too, and becomes the toolchain. Where
        // the system has no such limit the build runs without.
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                "ulimit -v \"$1\" 2>/dev/null; shift; exec go \"$@\"",
                "sh",
            ])
            .arg((self.limits.memory_bytes >> 10).to_string())
            .arg(step)
            .args(arguments)
            .current_dir(directory)
            .envs([
                ("GOOS", "wasip1"),
                ("GOARCH", "wasm"),
                ("GOTOOLCHAIN", "local"),
                ("GOWORK", "off"),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// Runs a command in a process group of its own, which ends with this future.
async fn run(mut command: Command) -> Result<Output, Error> {
    #[cfg(unix)]
    command.process_group(0);
    let mut group = Group(command.kill_on_drop(true).spawn().map_err(Error::Start)?);
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let out = group.0.stdout.take().expect("stdout is piped");
    let err = group.0.stderr.take().expect("stderr is piped");
    // Reading on after the bound keeps the toolchain from blocking on a full pipe.
    let mut err = err.take(MAX_OUTPUT);
    let mut out = out;
    let read = async {
        tokio::try_join!(out.read_to_end(&mut stdout), async {
            let kept = err.read_to_end(&mut stderr).await?;
            tokio::io::copy(&mut err.get_mut(), &mut tokio::io::sink()).await?;
            Ok(kept)
        })
    };
    read.await.map_err(Error::Start)?;
    let status = group.0.wait().await.map_err(Error::Start)?;
    // The shell's own words for a command that is not on the PATH.
    if status.code() == Some(127) {
        return Err(Error::NoGo);
    }
    Ok(Output {
        status,
        stdout,
        stderr,
    })
}

/// A child and all that it started.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // Compilers are children of the toolchain; ending it alone would leave them at work.
        #[cfg(unix)]
        if let Some(id) = self.0.id()
            && let Some(group) = i32::try_from(id)
                .ok()
                .and_then(rustix::process::Pid::from_raw)
        {
            // It fails when all of them have ended by themselves.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

/// The folder of the nearest go.mod in or above a directory.
fn module_folder(directory: &Path) -> Result<PathBuf, Error> {
    let absolute = std::path::absolute(directory).map_err(|source| Error::Files {
        path: directory.to_owned(),
        source,
    })?;
    absolute
        .ancestors()
        .find(|folder| folder.join("go.mod").is_file())
        .map(Path::to_owned)
        .ok_or(Error::NoModule(absolute))
}

/// Where the files of a package's build are kept: one folder a package, so that the build cache
/// sees the same names again.
fn folder_name(package: &Package) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(package.folder.as_os_str().as_encoded_bytes());
    let name = package.import_path.rsplit('/').next().unwrap_or_default();
    format!("{name}-{:016x}", u64::from_be_bytes(first_eight(&digest)))
}

fn first_eight(bytes: &[u8]) -> [u8; 8] {
    let mut first = [0; 8];
    for (to, from) in first.iter_mut().zip(bytes) {
        *to = *from;
    }
    first
}

/// Writes the SDK's files and the overlay that lays them into the user's module.
async fn write_overlay(
    package: &Package,
    scratch: &Path,
    protocol: Protocol,
) -> io::Result<PathBuf> {
    let mut replace = Map::new();
    let mut lay = async |at: PathBuf, text: String| {
        let file = scratch.join(format!("{}.go", replace.len()));
        tokio::fs::write(&file, text).await?;
        replace.insert(
            at.to_string_lossy().into_owned(),
            json!(file.to_string_lossy()),
        );
        io::Result::Ok(())
    };
    let inside = format!("{}/{SDK_FOLDER}/", package.module_path);
    for (name, text) in sdk::FILES {
        let text = text.replace(&format!("{}/", sdk::MODULE), &inside);
        lay(package.module_folder.join(SDK_FOLDER).join(name), text).await?;
    }
    let imported = match protocol {
        Protocol::Http1 => "unmodified",
        Protocol::H2c => "unmodified/h2c",
    };
    let import = format!("package main\n\nimport _ \"{inside}{imported}\"\n");
    lay(package.folder.join(IMPORT_FILE), import).await?;
    let overlay = scratch.join("overlay.json");
    tokio::fs::write(
        &overlay,
        Value::from(Map::from_iter([(
            "Replace".to_owned(),
            Value::Object(replace),
        )]))
        .to_string(),
    )
    .await?;
    Ok(overlay)
}

#[cfg(test)]
mod tests;
