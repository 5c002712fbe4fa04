//! The load generators and `wasmtime`: finding them, running them, reading what they print.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::Context;
use crate::stats::percentile;

/// The version that `serve` is built with.
const WASMTIME: &str = "48.0.8";

/// What a load generator saw.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    pub requests: u64,
    pub per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// Answers other than 2xx and 3xx, and connections that broke.
    pub failed: u64,
}

/// What to ask, and how.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    pub address: SocketAddr,
    pub host: &'a str,
    pub connections: usize,
    pub seconds: u64,
}

/// HTTP/1.1, by `wrk`.
pub fn wrk(load: Load<'_>) -> Result<Seen> {
    let threads = if load.connections < 64 { 1 } else { 2 };
    let output = Command::new("wrk")
        .arg(format!("-t{threads}"))
        .arg(format!("-c{}", load.connections))
        .arg(format!("-d{}s", load.seconds))
        .args(["--latency", "--timeout", "10s"])
        .args(["-H", &format!("Host: {}", load.host)])
        .arg(format!("http://{}/", load.address))
        .output()
        .context("running wrk; install it, for example with `apt-get install wrk`")?;
    let text = String::from_utf8_lossy(&output.stdout);
    read_wrk(&text).with_context(|| text.clone().into_owned())
}

fn read_wrk(text: &str) -> Result<Seen> {
    let after = |name: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
        line.map(str::trim)
    };
    let latency = |name: &str| {
        let value = after(name).with_context(|| format!("no {name}"))?;
        microseconds(value)
    };
    let requests = text
        .lines()
        .find_map(|line| line.split_once(" requests in "))
        .context("no number of requests")?;
    let broken: u64 = after("Socket errors:").map_or(0, |line| {
        let numbers = line.split(|c: char| !c.is_ascii_digit());
        numbers.filter_map(|n| n.parse::<u64>().ok()).sum()
    });
    let refused: u64 = after("Non-2xx or 3xx responses:").map_or(Ok(0), str::parse)?;
    Ok(Seen {
        requests: requests.0.trim().parse()?,
        per_second: after("Requests/sec:").context("no rate")?.parse()?,
        p50_us: latency("50%")?,
        p99_us: latency("99%")?,
        failed: broken + refused,
    })
}

/// Streams of one HTTP/2 connection.
pub const STREAMS: usize = 4;

/// HTTP/2 with prior knowledge, by `h2load`.
pub fn h2load(load: Load<'_>, directory: &Path) -> Result<Seen> {
    let log = directory.join("h2load.log");
    // h2load appends.
    if log.exists() {
        std::fs::remove_file(&log)?;
    }
    let output = Command::new("h2load")
        .arg(format!("-c{}", load.connections))
        .arg(format!("-m{STREAMS}"))
        .arg(format!("-D{}", load.seconds))
        .arg(format!("--connect-to={}", load.address))
        .arg(format!("--log-file={}", log.display()))
        .arg(format!("http://{}/", load.host))
        .output()
        .context("running h2load; install it, for example with `apt-get install nghttp2-client`")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "h2load: {text}");
    let log = std::fs::read_to_string(&log)?;
    read_h2load(&text, &log).with_context(|| text.clone().into_owned())
}

/// `log` has a line for each request: when it began, its status, and how long it took in µs.
fn read_h2load(text: &str, log: &str) -> Result<Seen> {
    let rate = text
        .lines()
        .find_map(|line| line.strip_prefix("finished in ")?.split(", ").nth(1))
        .and_then(|rate| rate.strip_suffix(" req/s"))
        .context("no rate")?;
    let counts = text
        .lines()
        .find_map(|line| line.strip_prefix("requests: "))
        .context("no number of requests")?;
    let count = |name: &str| -> u64 {
        let field = counts
            .split(", ")
            .find_map(|field| field.strip_suffix(name));
        field.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
    };
    let fields = log.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let (mut times, mut refused) = (Vec::new(), 0);
    for field in fields {
        let [_, status, time, ..] = field[..] else {
            bail!("a line of the log has other fields: {field:?}");
        };
        times.push(time.parse()?);
        refused += u64::from(!status.starts_with('2'));
    }
    Ok(Seen {
        requests: times.len() as u64,
        per_second: rate.parse()?,
        p50_us: percentile(&times, 50.0),
        p99_us: percentile(&times, 99.0),
        failed: refused.max(count("failed")),
    })
}

/// A time as `wrk` prints it.
fn microseconds(text: &str) -> Result<f64> {
    let split = text
        .find(|c: char| c.is_ascii_alphabetic())
        .with_context(|| format!("\"{text}\" has no unit"))?;
    let (value, unit) = text.split_at(split);
    let factor = match unit {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 6e7,
        _ => bail!("\"{text}\" has no unit of time"),
    };
    Ok(value.parse::<f64>()? * factor)
}

/// Builds `serve` where it is not there yet, in the profile of this program.
pub fn build_serve(context: &Context) -> Result<()> {
    if context.serve.is_file() {
        return Ok(());
    }
    let path = context.serve.display();
    ensure!(
        context.arguments.serve.is_none(),
        "--serve \"{path}\": there is no such file"
    );
    eprintln!("building serve");
    let mut command = Command::new("cargo");
    command.args(["build", "--package", "serve"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let status = command
        .current_dir(&context.root)
        .status()
        .context("running cargo build")?;
    ensure!(status.success(), "cargo build: {status}");
    ensure!(
        context.serve.is_file(),
        "cargo built no \"{path}\"; name the program with --serve"
    );
    Ok(())
}

/// Finds `wasmtime` of the version that `serve` is built with, or builds it.
pub fn find_wasmtime(context: &Context) -> Result<PathBuf> {
    let built = context.directory.join("bin/wasmtime");
    let named = context.arguments.wasmtime.clone();
    let candidates = [named, Some("wasmtime".into()), Some(built.clone())];
    for candidate in candidates.into_iter().flatten() {
        match version(&candidate) {
            Ok(found) if found.contains(WASMTIME) => return Ok(candidate),
            found if context.arguments.wasmtime.is_some() => {
                let path = candidate.display();
                bail!("--wasmtime \"{path}\": {found:?}; expected {WASMTIME}")
            }
            _ => {}
        }
    }
    eprintln!("building wasmtime-cli {WASMTIME}, which takes some minutes");
    let status = Command::new("cargo")
        .args(["install", "wasmtime-cli", "--locked", "--version", WASMTIME])
        .arg("--root")
        .arg(&context.directory)
        .status()
        .context("running cargo install")?;
    ensure!(status.success(), "cargo install wasmtime-cli: {status}");
    Ok(built)
}

fn version(program: &Path) -> Result<String> {
    let output = Command::new(program).arg("--version").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_wrk_is_read() {
        let text = "Running 1s test @ http://127.0.0.1:1/\n  2 threads and 64 connections\n  \
            Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Latency     1.08ms    1.53ms  25.48ms   91.85%\n  \
            Latency Distribution\n     50%  523.00us\n     75%    1.10ms\n     90%    2.49ms\n     99%    7.53ms\n  \
            169346 requests in 1.10s, 20.67MB read\n  Socket errors: connect 0, read 1, write 2, timeout 0\n  \
            Non-2xx or 3xx responses: 4\nRequests/sec: 153983.06\nTransfer/sec:     18.79MB\n";
        let want = Seen {
            requests: 169_346,
            per_second: 153_983.06,
            p50_us: 523.0,
            p99_us: 7530.0,
            failed: 7,
        };
        assert_eq!(read_wrk(text).expect("it is whole"), want);
        assert!(read_wrk("").is_err());
    }

    #[test]
    fn the_output_of_h2load_is_read() {
        let text = "starting benchmark...\n\nfinished in 2.00s, 2.50 req/s, 1.95MB/s\n\
            requests: 5 total, 5 started, 4 done, 4 succeeded, 1 failed, 0 errored, 0 timeout\n";
        let log = "1\t200\t100\n2\t200\t300\n3\t503\t200\n";
        let want = Seen {
            requests: 3,
            per_second: 2.5,
            p50_us: 200.0,
            p99_us: 300.0,
            failed: 1,
        };
        assert_eq!(read_h2load(text, log).expect("it is whole"), want);
        assert!(read_h2load(text, "1\t200\n").is_err());
    }
}
