//! `serve MANIFEST…`: sets a host up, runs manifests in the foreground, and ends it in order.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use serve_runtime::config::{Config, Listen};
use serve_runtime::control::snapshot::{self, Snapshot};
use serve_runtime::image::Digest;
use serve_runtime::source::files::{self, Scan};
use serve_runtime::{Listener, Runtime};
use tokio::task::{JoinError, JoinHandle};

use crate::api;
use crate::args::{self, Run};
use crate::exit::{self, Code, Failed};
use crate::foreground::{self, Foreground, Request};
use crate::progress;
use crate::report::{Event, Reporter};
use crate::settings;
use crate::signals::Signals;
use crate::snippet;

/// Runs until a signal, and returns the exit code.
pub async fn run(args: Run) -> ExitCode {
    let reporter = Reporter::new(args.output);
    match try_run(args, reporter).await {
        Ok(()) => {
            reporter.report(&Event::Stopped);
            ExitCode::SUCCESS
        }
        Err(failed) => failed.report(),
    }
}

async fn try_run(args: Run, reporter: Reporter) -> Result<(), Failed> {
    let flags = Flags {
        listen: args.listen.as_ref(),
        local_listen: args.local_listen.as_ref(),
        api_listen: args.api_listen.as_ref(),
    };
    let config = config(&args.settings, flags).map_err(exit::with(Code::Usage))?;
    // Before anything is started or bound: most mistakes are in the files.
    // Reading thousands of objects takes long, and what an earlier run left is served meanwhile.
    let (found, name) = (files::find(&args.manifests), args.name.clone());
    let is_large = found.is_large();
    let scan = tokio::task::spawn_blocking(move || found.read(name.as_deref()));
    let scan = if is_large {
        Reading::InBackground(scan)
    } else {
        Reading::Done(checked(scan.await)?)
    };

    let snapshot = snapshot(state_file(&args.manifests)?)?;
    if args.fresh {
        snapshot.clear().map_err(anyhow::Error::from)?;
    }
    let runtime = Runtime::builder()
        .config(config.clone())
        .cache_directory(cache_directory(&config)?)
        .state(snapshot)
        .build()
        .map_err(anyhow::Error::from)?;
    let public = listen(&runtime, flags, &config, reporter)
        .await
        .map_err(exit::with(Code::Taken))?;
    let scan = match scan {
        Reading::Done(scan) => scan,
        Reading::InBackground(scan) => checked(scan.await)?,
    };
    runtime.restored().await.map_err(anyhow::Error::from)?;
    let credentials = api::state_directory()?.join("api");
    let _kubeconfig = api::start(&runtime, flags, &config, &credentials, reporter).await?;
    let progress = tokio::spawn(progress::show(runtime.progress()));
    let mut signals = Signals::new().context("listening for signals")?;
    let request = Request {
        paths: args.manifests,
        name: args.name,
        allow_build: args.allow_build,
    };
    let run = Foreground::new(
        &runtime,
        request,
        reporter,
        public,
        config.run.ready_timeout,
    );
    let failed = tokio::select! {
        error = run.run(scan) => Some(error),
        () = signals.stop() => None,
    };
    progress.abort();
    tokio::select! {
        () = runtime.shutdown(config.shutdown.grace.0) => {}
        // A second signal means that waiting is no longer wanted.
        () = signals.stop() => {
            return Err(anyhow::anyhow!("stopped before running requests ended").into());
        }
    }
    match failed {
        None => Ok(()),
        Some(error) => {
            let code = match error {
                foreground::Error::Manifests(_) => Code::InvalidManifest,
                foreground::Error::NotReady(_) | foreground::Error::TooLate(..) => Code::NotReady,
                foreground::Error::Watch(_) => Code::Error,
            };
            Err(exit::with(code)(error))
        }
    }
}

/// The manifests, as far as they are read.
enum Reading {
    Done(Scan),
    InBackground(JoinHandle<Scan>),
}

/// What was read, if nothing is wrong with it.
fn checked(scan: Result<Scan, JoinError>) -> Result<Scan, Failed> {
    let scan = scan.context("reading the manifests")?;
    let wrong = scan
        .files
        .iter()
        .filter_map(|file| file.documents.as_ref().err());
    let wrong: Vec<_> = wrong.flatten().cloned().collect();
    if wrong.is_empty() {
        return Ok(scan);
    }
    snippet::print(&wrong);
    let wrong = foreground::Error::Manifests(wrong.len());
    Err(exit::with(Code::InvalidManifest)(wrong))
}

/// The flags that say where to listen.
#[derive(Clone, Copy)]
pub struct Flags<'a> {
    pub listen: Option<&'a String>,
    pub local_listen: Option<&'a String>,
    pub api_listen: Option<&'a String>,
}

/// The settings of this process, with what the flags say.
pub fn config(settings: &args::Settings, flags: Flags<'_>) -> anyhow::Result<Config> {
    let mut settings = settings.clone();
    for (key, flag) in [
        ("ingress.listen", flags.listen),
        ("ingress.local-listen", flags.local_listen),
        ("api.listen", flags.api_listen),
    ] {
        settings
            .set
            .extend(flag.iter().map(|value| format!("{key}={value}")));
    }
    settings::of_process(&settings)
}

/// Where components and compiled code are kept: as set, else below the user's cache directory.
pub fn cache_directory(config: &Config) -> anyhow::Result<PathBuf> {
    if !config.engine.cache_dir.as_os_str().is_empty() {
        return Ok(config.engine.cache_dir.clone());
    }
    user_directory("XDG_CACHE_HOME", ".cache")
        .context("no cache directory: set XDG_CACHE_HOME, HOME or engine.cache-dir")
}

/// `serve` below the directory that a variable of the XDG base directory specification names, else
/// below its default in the home directory.
pub fn user_directory(variable: &str, default: &str) -> Option<PathBuf> {
    let path = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let root = path(variable).or_else(|| Some(path("HOME")?.join(default)))?;
    Some(root.join("serve"))
}

/// Takes the file of objects at `path`.
pub fn snapshot(path: PathBuf) -> Result<Snapshot, Failed> {
    Snapshot::open(path).map_err(|error| match error {
        snapshot::Error::Taken(_) => exit::with(Code::Taken)(error),
        other => exit::with(Code::Error)(other),
    })
}

/// Where a run of these manifests keeps its objects: one file for each set of paths.
fn state_file(manifests: &[PathBuf]) -> anyhow::Result<PathBuf> {
    let root = api::state_directory()?;
    let mut paths = manifests
        .iter()
        .map(std::path::absolute)
        .collect::<Result<Vec<_>, _>>()
        .context("finding the manifests")?;
    paths.sort();
    let names: Vec<u8> = paths
        .iter()
        .flat_map(|path| [path.as_os_str().as_encoded_bytes(), b"\0"].concat())
        .collect();
    Ok(root
        .join("runs")
        .join(format!("{}.json", Digest::of(&names).hex())))
}

/// Binds both listeners and tells where. Returns the public one's address.
pub async fn listen(
    runtime: &Runtime,
    flags: Flags<'_>,
    config: &Config,
    reporter: Reporter,
) -> anyhow::Result<Option<SocketAddr>> {
    let (ingress, default) = (&config.ingress, Config::default().ingress);
    let is_default = flags.listen.is_none() && ingress.listen == default.listen;
    let public = bind(runtime, Listener::Public, ingress.listen, is_default).await?;
    let is_default = flags.local_listen.is_none() && ingress.local_listen == default.local_listen;
    let local = bind(
        runtime,
        Listener::ClusterLocal,
        ingress.local_listen,
        is_default,
    )
    .await?;
    for (listener, address) in [("public", public), ("cluster-local", local)] {
        if let Some(address) = address {
            reporter.report(&Event::Listening { listener, address });
        }
    }
    Ok(public)
}

/// Binds a listener. A default port that is taken is replaced by the next free one.
async fn bind(
    runtime: &Runtime,
    listener: Listener,
    address: Listen,
    is_default: bool,
) -> anyhow::Result<Option<SocketAddr>> {
    const TRIES: u16 = 20;
    let Listen::At(mut address) = address else {
        return Ok(None);
    };
    for _ in 0..TRIES {
        match runtime.listen(listener, address).await {
            Ok(bound) => return Ok(Some(bound)),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && is_default => {
                address.set_port(address.port().saturating_add(1));
            }
            Err(error) => {
                return Err(error).with_context(|| format!("listening on {address}"));
            }
        }
    }
    anyhow::bail!("no free port was found near {address}; choose one with --listen")
}
