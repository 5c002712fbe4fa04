//! The Kubernetes API of this process, and the file that tells clients where it is.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use serve_apiserver::kubeconfig::{self, Entry};
use serve_apiserver::{Credentials, Host, Limits};
use serve_runtime::Runtime;
use serve_runtime::config::{Config, Listen};
use serve_runtime::private;
use tokio::net::TcpListener;

use crate::args;
use crate::exit::{self, Code, Failed};
use crate::report::{Event, Reporter};
use crate::run::{self, Flags};

/// The file that is read when nothing else is said.
const FILE: &str = "kubeconfig";

/// The kubeconfig file of this process, which goes with it.
pub struct Kubeconfig {
    path: PathBuf,
    text: String,
}

impl Drop for Kubeconfig {
    fn drop(&mut self) {
        // Another process may have taken the name over.
        if fs::read_to_string(&self.path).is_ok_and(|text| text == self.text) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Serves the API, unless it is off, and tells where. Port and credentials outlive a restart.
pub async fn start(
    runtime: &Runtime,
    flags: Flags<'_>,
    config: &Config,
    credentials: &Path,
    reporter: Reporter,
) -> Result<Option<Kubeconfig>, Failed> {
    let is_default =
        flags.api_listen.is_none() && config.api.listen == Config::default().api.listen;
    let bound = bind(config.api.listen, is_default).await;
    let Some(listener) = bound.map_err(exit::with(Code::Taken))? else {
        return Ok(None);
    };
    let address = listener
        .local_addr()
        .context("asking for the address of the API")?;
    let credentials = Credentials::open(credentials, address).context("preparing the API")?;
    let entry = Entry {
        server: kubeconfig::server(address),
        ca: credentials.ca.clone(),
        token: credentials.token.as_str().to_owned(),
    };
    let kubeconfig = write(&entry, address)?;
    let limits = Limits {
        body_bytes: usize::try_from(config.api.max_body_bytes.0).unwrap_or(usize::MAX),
        connections: config.api.max_connections,
        watches: config.api.max_watches,
        ..Limits::default()
    };
    let tasks = runtime.tasks();
    let host = Host::of(runtime);
    tasks.spawn(serve_apiserver::serve(
        host,
        credentials,
        limits,
        listener,
        tasks.clone(),
    ));
    reporter.report(&Event::Listening {
        listener: "api",
        address,
    });
    reporter.report(&Event::Kubeconfig {
        path: &kubeconfig.path,
    });
    Ok(Some(kubeconfig))
}

/// Binds the listener. A default port that is taken is replaced by the next free one.
async fn bind(address: Listen, is_default: bool) -> anyhow::Result<Option<TcpListener>> {
    const TRIES: u16 = 20;
    let Listen::At(mut address) = address else {
        return Ok(None);
    };
    for _ in 0..TRIES {
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(Some(listener)),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && is_default => {
                address.set_port(address.port().saturating_add(1));
            }
            Err(error) => {
                return Err(error).with_context(|| format!("listening on {address} for the API"));
            }
        }
    }
    bail!("no free port was found near {address}; choose one with --api-listen")
}

/// Writes the file; under a name of its own when that of a running host is there.
fn write(entry: &Entry, address: SocketAddr) -> anyhow::Result<Kubeconfig> {
    let directory = runtime_directory()?;
    private::directory(&directory)
        .with_context(|| format!("using directory \"{}\"", directory.display()))?;
    let mut path = directory.join(FILE);
    if read(&path).is_some_and(|other| other.server != entry.server && is_served(&other)) {
        path = directory.join(format!("{FILE}-{}", address.port()));
    }
    let text = entry.file();
    private::write(&path, text.as_bytes())
        .with_context(|| format!("writing \"{}\"", path.display()))?;
    Ok(Kubeconfig { path, text })
}

fn read(path: &Path) -> Option<Entry> {
    Entry::parse(&fs::read_to_string(path).ok()?)
}

/// Whether somebody listens there.
fn is_served(entry: &Entry) -> bool {
    let address = entry.server.strip_prefix("https://").map(str::parse);
    let Some(Ok(address)) = address else {
        return false;
    };
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

/// Where what outlives a process is kept.
pub fn state_directory() -> anyhow::Result<PathBuf> {
    run::user_directory("XDG_STATE_HOME", ".local/state")
        .context("no state directory: set XDG_STATE_HOME or HOME")
}

/// Where what goes with a process is kept: never a directory that others can write.
fn runtime_directory() -> anyhow::Result<PathBuf> {
    let given = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    match given.filter(|path| path.is_absolute()) {
        Some(root) => Ok(root.join("serve")),
        None => Ok(state_directory()?.join("run")),
    }
}

/// `serve kubeconfig`.
pub fn kubeconfig(args: &args::Kubeconfig) -> ExitCode {
    match try_kubeconfig(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::with::<anyhow::Error>(Code::Error)(error).report(),
    }
}

fn try_kubeconfig(args: &args::Kubeconfig) -> anyhow::Result<()> {
    if args.remove {
        let path = users_file()?;
        kubeconfig::remove(&path)?;
        println!(
            "removed context \"{}\" from {}",
            kubeconfig::NAME,
            path.display()
        );
        return Ok(());
    }
    let path = runtime_directory()?.join(FILE);
    let entry = read(&path).with_context(|| {
        format!(
            "no running host: \"{}\" is not there; start one with `serve up`",
            path.display()
        )
    })?;
    if args.merge {
        let path = users_file()?;
        kubeconfig::merge(&path, &entry)?;
        println!(
            "added context \"{name}\" to {}; use it with: kubectl config use-context {name}",
            path.display(),
            name = kubeconfig::NAME
        );
    } else {
        print!("{}", entry.file());
    }
    Ok(())
}

/// The file that `kubectl config` would change.
fn users_file() -> anyhow::Result<PathBuf> {
    let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let first = std::env::split_paths(&listed).find(|path| !path.as_os_str().is_empty());
    first
        .or_else(|| Some(std::env::home_dir()?.join(".kube/config")))
        .context("no kubeconfig file: set KUBECONFIG or HOME")
}
