//! Guests in other languages, from `bench/guests`, each built with its language's own tools. What
//! they need is downloaded below `target/bench`; a tool that is missing is named.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::Context;

/// A language, and how its guest is built.
pub struct Language {
    pub name: &'static str,
    /// Of its sources in `bench/guests`.
    directory: &'static str,
    build: fn(&Build<'_>) -> Result<()>,
}

pub const RUST: Language = Language {
    name: "Rust",
    directory: "rust",
    build: rust,
};
const JS: Language = Language {
    name: "JS",
    directory: "js",
    build: js,
};
const PYTHON: Language = Language {
    name: "Python",
    directory: "python",
    build: python,
};
pub const LANGUAGES: [Language; 3] = [RUST, JS, PYTHON];

struct Build<'a> {
    context: &'a Context,
    sources: PathBuf,
    /// Where to put what the build needs.
    work: PathBuf,
    output: PathBuf,
}

impl Language {
    /// The component of the language's sample, which answers as hello does; built once.
    pub fn sample(&self, context: &Context) -> Result<PathBuf> {
        let build = Build {
            context,
            sources: context.root.join("bench/guests").join(self.directory),
            work: context.directory.join(self.directory),
            output: context
                .directory
                .join("guests")
                .join(self.directory)
                .with_extension("wasm"),
        };
        fs::create_dir_all(&build.work)?;
        fs::create_dir_all(context.directory.join("guests"))?;
        if !is_current(&build.output, &build.sources)? {
            eprintln!("building the guest in {}", self.name);
            (self.build)(&build)?;
        }
        Ok(build.output)
    }
}

/// Whether `output` is newer than all that is in `sources`.
fn is_current(output: &Path, sources: &Path) -> Result<bool> {
    let Ok(built) = fs::metadata(output).and_then(|found| found.modified()) else {
        return Ok(false);
    };
    for entry in fs::read_dir(sources)? {
        let path = entry?.path();
        let newer = if path.is_dir() {
            !is_current(output, &path)?
        } else {
            fs::metadata(&path)?.modified()? > built
        };
        if newer {
            return Ok(false);
        }
    }
    Ok(true)
}

fn rust(build: &Build<'_>) -> Result<()> {
    const TARGET: &str = "wasm32-wasip2";
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--release", "--locked", "--quiet"])
        .args(["--target", TARGET])
        .arg("--manifest-path")
        .arg(build.sources.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&build.work);
    run(
        &mut cargo,
        "`rustup target add wasm32-wasip2` adds the target",
    )?;
    let built = build.work.join(TARGET).join("release/helloworld-rust.wasm");
    fs::copy(built, &build.output)?;
    Ok(())
}

fn js(build: &Build<'_>) -> Result<()> {
    for file in ["package.json", "build.mjs", "hello.js"] {
        fs::copy(build.sources.join(file), build.work.join(file))?;
    }
    let wit = js_wit(&wit(build.context)?)?;
    fs::write(build.work.join("guest.wit"), wit)?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--no-audit", "--no-fund"])
        .current_dir(&build.work);
    run(&mut npm, "it comes with Node.js")?;
    let mut node = Command::new("node");
    node.args(["build.mjs", "hello.js", "guest.wit"])
        .arg(&build.output)
        .current_dir(&build.work);
    run(&mut node, "it is Node.js")
}

fn python(build: &Build<'_>) -> Result<()> {
    fs::write(build.work.join("guest.wit"), wit(build.context)?)?;
    // Python leaves its byte code beside what it imports: that may not be the repository.
    let modules = build.work.join("modules");
    fs::create_dir_all(&modules)?;
    fs::copy(build.sources.join("app.py"), modules.join("app.py"))?;
    let environment = build.work.join("venv");
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(&environment);
    run(&mut venv, "it is CPython with its module venv")?;
    let mut pip = Command::new(environment.join("bin/pip"));
    pip.args(["install", "--quiet", "-r"])
        .arg(build.sources.join("requirements.txt"));
    run(&mut pip, "it comes with CPython")?;
    let mut componentize = Command::new(environment.join("bin/componentize-py"));
    componentize
        .arg("-d")
        .arg(build.work.join("guest.wit"))
        .args(["-w", "guest", "componentize", "-p"])
        .arg(&modules)
        .args(["app", "-o"])
        .arg(&build.output);
    run(&mut componentize, "requirements.txt names it")
}

/// The same interfaces in the version that the tool for JS knows, with a world that leaves out those
/// that it brings by itself.
fn js_wit(wit: &str) -> Result<String> {
    const WORLD: &str = "world guest {\n  import wasi:cli/environment@0.2.12;\n  \
        include wasi:http/imports@0.2.12;\n  export wasi:http/incoming-handler@0.2.12;\n}\n";
    let (packages, _) = wit.split_once("world guest").context("no world guest")?;
    Ok(format!("{packages}{WORLD}").replace("0.2.12", "0.2.10"))
}

/// The interfaces that a guest may use, as `serve` itself has them.
fn wit(context: &Context) -> Result<String> {
    let path = context.root.join("runtime/src/image/wit/p2.wit");
    fs::read_to_string(&path).with_context(|| format!("reading \"{}\"", path.display()))
}

fn run(command: &mut Command, hint: &str) -> Result<()> {
    let name = command.get_program().display().to_string();
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => bail!("running {name}: {error}; {hint}"),
    };
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.trim().lines().last().unwrap_or_default();
    ensure!(output.status.success(), "{name}: {last}; {hint}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn the_wit_for_js_has_one_version_and_one_world_guest() {
        let whole = include_str!("../../runtime/src/image/wit/p2.wit");
        let wit = js_wit(whole).expect("it has the world");
        assert!(whole.contains("0.2.12") && !wit.contains("0.2.12"));
        assert_eq!(wit.matches("world guest").count(), 1);
        assert_eq!(wit.matches('{').count(), wit.matches('}').count());
        assert!(js_wit("world other {}").is_err());
    }

    #[test]
    fn a_guest_is_built_again_when_a_source_is_newer() {
        let directory = std::env::temp_dir().join(format!("serve-bench-{}", std::process::id()));
        let sources = directory.join("sources");
        fs::create_dir_all(sources.join("src")).expect("it can be made");
        let (output, source) = (directory.join("out.wasm"), sources.join("src/main.rs"));
        let set = |path: &Path, seconds: u64| {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            let file = fs::File::create(path).expect("it can be made");
            file.set_modified(time).expect("it can be set");
        };
        set(&source, 10);
        let missing = is_current(&output, &sources).expect("it can be read");
        set(&output, 20);
        let newer = is_current(&output, &sources).expect("it can be read");
        set(&source, 30);
        let older = is_current(&output, &sources).expect("it can be read");
        fs::remove_dir_all(&directory).expect("it can be removed");
        assert_eq!((missing, newer, older), (false, true, false));
    }

    #[test]
    fn a_missing_tool_is_named() {
        let mut command = Command::new("no-such-tool-of-serve-bench");
        let error = run(&mut command, "it comes with nothing").expect_err("it is missing");
        let text = error.to_string();
        assert!(text.contains("no-such-tool-of-serve-bench"), "{text}");
        assert!(text.contains("it comes with nothing"), "{text}");
    }
}
