//! The servers that are measured: started fresh, on a free port, ended with their handle.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::Context;
use crate::client::Client;
use crate::machine;

/// How long a server may take until it listens or a Service is ready: a compilation of thousands of
/// components is part of it.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long it may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(60);

/// A running server.
pub struct Peer {
    child: Child,
    pub address: SocketAddr,
    lines: Receiver<String>,
}

impl Peer {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks until the host answers with 200; returns the body.
    pub fn wait_for(&self, host: &str, end: Instant) -> Result<Vec<u8>> {
        loop {
            let answer = Client::connect(self.address).and_then(|mut c| c.get(host, "/"));
            match answer {
                Ok(response) if response.status == 200 => return Ok(response.body),
                _ if Instant::now() > end => bail!("\"{host}\": no answer with 200: {answer:?}"),
                _ => std::thread::sleep(Duration::from_micros(500)),
            }
        }
    }

    /// The next event of `serve` with this name.
    pub fn event(&self, name: &str, end: Instant) -> Result<Value> {
        loop {
            let line = self
                .lines
                .recv_timeout(end.saturating_duration_since(Instant::now()))
                .with_context(|| format!("waiting for event \"{name}\""))?;
            let event: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
            match event["event"].as_str() {
                Some(found) if found == name => return Ok(event),
                Some("failed" | "invalid") => bail!("{line}"),
                _ => {}
            }
        }
    }

    /// Waits until the work that follows a start is done: until it takes less than a hundredth of a
    /// core for some seconds.
    pub fn rest(&self) -> Result<()> {
        const LOOK: Duration = Duration::from_secs(3);
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let before = machine::cpu_time(self.pid());
            std::thread::sleep(LOOK);
            if machine::cpu_time(self.pid()).saturating_sub(before) < LOOK / 100 {
                return Ok(());
            }
        }
        bail!("it does not come to rest")
    }

    /// Waits until so many Services are ready.
    pub fn ready(&self, count: usize) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        for _ in 0..count {
            self.event("ready", end)?;
        }
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let end = Instant::now() + GRACE;
        while Instant::now() < end {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `serve PATH…`, with its cache, state and log below a directory.
pub struct Serve<'a> {
    pub context: &'a Context,
    /// Below `target/bench`; a later run goes on with what is compiled there.
    pub home: &'a str,
    pub manifest: &'a Path,
    /// Where it listens; 0 is any.
    pub port: u16,
    pub arguments: Vec<String>,
}

impl Serve<'_> {
    /// Starts it, and waits until it listens.
    pub fn start(&self) -> Result<Peer> {
        let home = self.context.directory.join(self.home);
        std::fs::create_dir_all(&home)?;
        let log = File::create(home.join("serve.log"))?;
        let mut command = Command::new(&self.context.serve);
        command
            .arg(self.manifest)
            .args(["-o", "json", "--listen"])
            .arg(format!("127.0.0.1:{}", self.port))
            .args(["--local-listen", "off", "--api-listen", "off"])
            // What is measured is optimised code, from the first request on.
            .args(["--set", "engine.baseline=false"])
            .args(&self.arguments)
            .env_remove("SERVE_CONFIG")
            .env("XDG_CACHE_HOME", home.join("cache"))
            .env("XDG_STATE_HOME", home.join("state"))
            .env("XDG_RUNTIME_DIR", home.join("run"))
            .stderr(log);
        let address = |line: &str| {
            let event: Value = serde_json::from_str(line).ok()?;
            let is_public = event["event"] == "listening" && event["listener"] == "public";
            is_public.then(|| event["address"].as_str()?.parse().ok())?
        };
        start(command, From::Stdout, address)
            .with_context(|| format!("see {}", home.join("serve.log").display()))
    }
}

/// `wasmtime serve` of one component.
pub fn wasmtime(program: &Path, component: &Path, arguments: &[&str]) -> Result<Peer> {
    let mut command = Command::new(program);
    command
        .args(["serve", "-Scli", "--addr", "127.0.0.1:0"])
        .args(arguments)
        .arg(component);
    let address = |line: &str| {
        let (_, rest) = line.split_once("http://")?;
        rest.trim_end_matches('/').parse().ok()
    };
    start(command, From::Stderr, address)
}

/// The plain hyper server: this program again.
pub fn plain_hyper() -> Result<Peer> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("plain-hyper");
    start(command, From::Stdout, |line| line.parse().ok())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Stdout,
    Stderr,
}

/// Starts a server and reads its lines until one says where it listens.
fn start(
    mut command: Command,
    from: From,
    address: impl Fn(&str) -> Option<SocketAddr>,
) -> Result<Peer> {
    command.stdin(Stdio::null());
    match from {
        From::Stdout => command.stdout(Stdio::piped()),
        From::Stderr => command.stdout(Stdio::null()).stderr(Stdio::piped()),
    };
    let program = PathBuf::from(command.get_program());
    let mut child = command
        .spawn()
        .with_context(|| format!("starting \"{}\"", program.display()))?;
    let (sender, lines) = channel();
    let output: Box<dyn std::io::Read + Send> = match from {
        From::Stdout => Box::new(child.stdout.take().context("stdout is piped")?),
        From::Stderr => Box::new(child.stderr.take().context("stderr is piped")?),
    };
    // Ends with the process. Nobody may listen any more: the lines are read all the same, so that
    // the process does not wait for a reader.
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let mut peer = Peer {
        child,
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        lines,
    };
    let end = Instant::now() + PATIENCE;
    loop {
        let wait = end.saturating_duration_since(Instant::now());
        let line = peer
            .lines
            .recv_timeout(wait)
            .with_context(|| format!("\"{}\" does not listen", program.display()))?;
        if let Some(address) = address(&line) {
            peer.address = address;
            return Ok(peer);
        }
    }
}
