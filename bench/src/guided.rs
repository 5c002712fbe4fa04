//! A profile-guided build: `serve` compiled with counters in it, run under load, and compiled again
//! with what was counted. A request is many small functions in 30 MB of code; where the compiler
//! knows which of them run, it lays these together and the rest aside, and the core's caches hold
//! more of them.
//!
//! Output is `target/guided/dist/serve` and `serve-bench`.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::tools::{self, Load};
use crate::{Context, cold, guests, herd, load};

/// A program with counters compiles Go, JS and Python several times as slowly.
const STARTUP: Duration = Duration::from_secs(600);
const CONNECTIONS: usize = 16;

/// Builds it, in twice the time that the profile `dist` takes and some minutes for the load.
pub fn build(mut context: Context) -> Result<()> {
    let rustc = |arguments: &[&str]| {
        let mut command = Command::new("rustc");
        output(command.args(arguments).current_dir(&context.root))
    };
    let (version, sysroot) = (rustc(&["-vV"])?, rustc(&["--print", "sysroot"])?);
    let profdata = find_profdata(&Compiler::read(&version)?, Path::new(sysroot.trim()))?;
    let target = context.root.join("target/guided");
    let counts = target.join("counts");
    let flag = format!("-Cprofile-generate={}", counts.display());
    cargo(&context, &target, &flag, &["serve"])?;
    context.serve = target.join("counting-serve");
    // What is not counted in a tenth of it is not worth much.
    context.arguments.quick = true;
    // Nobody is to take the program with counters for the one that is made.
    let built = target.join("dist/serve");
    std::fs::rename(&built, &context.serve)
        .with_context(|| format!("moving \"{}\"", built.display()))?;
    // Programs that the build itself ran have counters, too.
    if counts.exists() {
        std::fs::remove_dir_all(&counts)
            .with_context(|| format!("removing \"{}\"", counts.display()))?;
    }
    train(&context)?;
    let profile = merge(&profdata, &counts, &target)?;
    let flag = format!("-Cprofile-use={}", profile.display());
    cargo(&context, &target, &flag, &["serve", "serve-bench"])?;
    for program in ["serve", "serve-bench"] {
        println!("{}", target.join("dist").join(program).display());
    }
    Ok(())
}

fn cargo(context: &Context, target: &Path, flag: &str, packages: &[&str]) -> Result<()> {
    let mut command = Command::new("cargo");
    command.args(["build", "--locked", "--profile", "dist", "--target-dir"]);
    command.arg(target);
    for package in packages {
        command.args(["--package", package]);
    }
    let status = command
        .current_dir(&context.root)
        // Unlike RUSTFLAGS it may have blanks, as a path has.
        .env("CARGO_ENCODED_RUSTFLAGS", flag)
        .status()
        .context("running cargo build")?;
    ensure!(status.success(), "cargo build with {flag}: {status}");
    Ok(())
}

/// What the profile is of: requests to each guest, fresh and reused, by both protocols; first
/// requests, and many at once.
fn train(context: &Context) -> Result<()> {
    let hello = guests::text(context, "hello")?;
    let (others, notes) = guests::samples(context, vec![]);
    for note in notes {
        eprintln!("{note}");
    }
    for isolation in ["request", "revision"] {
        for (_, component) in &others {
            requests(context, component, isolation)?;
        }
        requests(context, &hello, isolation)?;
    }
    cold::run(context)?;
    herd::run(context)?;
    Ok(())
}

fn requests(context: &Context, component: &Path, isolation: &str) -> Result<()> {
    let (peer, host) = load::serve(context, "guided", component, isolation)?;
    peer.wait_for(&host, Instant::now() + STARTUP)?;
    let load = Load {
        address: peer.address,
        host: &host,
        connections: CONNECTIONS,
        seconds: context.arguments.seconds,
    };
    for seen in [tools::wrk(load)?, tools::h2load(load, &context.directory)?] {
        eprintln!(
            "{}, isolation {isolation}: {:.0}/s",
            component.display(),
            seen.per_second
        );
        // Some are under way when the load ends; a profile of failures would be one of other code.
        ensure!(
            seen.failed < seen.requests / 2,
            "\"{}\": {} of {} requests failed",
            component.display(),
            seen.failed,
            seen.requests
        );
    }
    Ok(())
}

/// Makes one profile of all counts. Its name is that of its content: cargo builds anew for other
/// flags, and does not look into files that they name.
fn merge(profdata: &Path, counts: &Path, target: &Path) -> Result<PathBuf> {
    let merged = target.join("merged.profdata");
    let status = Command::new(profdata)
        .arg("merge")
        .arg("-o")
        .arg(&merged)
        .arg(counts)
        .status()
        .with_context(|| format!("running \"{}\"", profdata.display()))?;
    ensure!(status.success(), "llvm-profdata: {status}");
    let mut hasher = DefaultHasher::new();
    let content =
        std::fs::read(&merged).with_context(|| format!("reading \"{}\"", merged.display()))?;
    content.hash(&mut hasher);
    let profile = target.join(format!("serve-{:016x}.profdata", hasher.finish()));
    std::fs::rename(&merged, &profile)
        .with_context(|| format!("moving \"{}\"", merged.display()))?;
    Ok(profile)
}

/// What of `rustc -vV` says which `llvm-profdata` reads its counts.
#[derive(Debug, PartialEq)]
struct Compiler<'a> {
    host: &'a str,
    llvm: &'a str,
}

impl<'a> Compiler<'a> {
    fn read(version: &'a str) -> Result<Self> {
        let field = |name: &str| {
            let found = version.lines().find_map(|line| line.strip_prefix(name));
            found.with_context(|| format!("\"{name}\" is not in what rustc -vV says: {version}"))
        };
        let llvm = field("LLVM version: ")?;
        Ok(Self {
            host: field("host: ")?,
            llvm: llvm.split('.').next().unwrap_or(llvm),
        })
    }
}

/// That of rustup, or a system's of the same major version.
fn find_profdata(compiler: &Compiler<'_>, sysroot: &Path) -> Result<PathBuf> {
    let of_rustup = sysroot
        .join("lib/rustlib")
        .join(compiler.host)
        .join("bin/llvm-profdata");
    let llvm = compiler.llvm;
    let candidates = [of_rustup, format!("llvm-profdata-{llvm}").into()];
    let works = |path: &PathBuf| output(Command::new(path).arg("--version")).is_ok();
    candidates.into_iter().find(works).with_context(|| {
        format!(
            "no llvm-profdata of LLVM {llvm}; `rustup component add llvm-tools` brings it, or a \
             package llvm-{llvm}"
        )
    })
}

fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("running {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_rustc_names_its_llvm() {
        let version = "rustc 1.95.0 (5 2026-04-14)\nbinary: rustc\nhost: x86_64-unknown-linux-gnu\n\
            release: 1.95.0\nLLVM version: 22.1.2\n";
        let want = Compiler {
            host: "x86_64-unknown-linux-gnu",
            llvm: "22",
        };
        assert_eq!(Compiler::read(version).expect("it is whole"), want);
        assert!(Compiler::read("rustc 1.95.0\n").is_err());
    }
}
