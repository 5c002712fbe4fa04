//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Runs Knative Services as WebAssembly components on this machine.
#[derive(Debug, Parser)]
#[command(
    name = "serve",
    version,
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,

    #[command(flatten)]
    pub run: Run,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a host that serves the Kubernetes API, for `kubectl` and `kn`, until it is stopped.
    Up(Up),
    /// Tell `kubectl` and `kn` where a running host is.
    Kubeconfig(Kubeconfig),
    /// Say what is wrong with manifests and components, without running them.
    Check(Check),
    /// Print a completion script for a shell.
    Completions { shell: clap_complete::Shell },
}

/// Run manifests in the foreground, until Ctrl-C.
#[derive(Debug, Args)]
pub struct Run {
    /// What to run: manifests (YAML or JSON), folders of them, or bare components (.wasm, .wat).
    #[arg(value_name = "PATH", required = true)]
    pub manifests: Vec<PathBuf>,

    /// Serve public hosts at this address; port 0 picks a free one [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,

    /// Serve cluster-local hosts at this address, or `off` [default: 127.0.0.1:8081].
    #[arg(long, value_name = "ADDR|off")]
    pub local_listen: Option<String>,

    /// Serve the Kubernetes API at this address, or `off` [default: 127.0.0.1:6443].
    #[arg(long, value_name = "ADDR|off")]
    pub api_listen: Option<String>,

    /// Name the Service of a bare component [default: made from the file's name].
    #[arg(long)]
    pub name: Option<String>,

    /// Build `ko://` images of manifests in folders too, not only of those named here.
    #[arg(long)]
    pub allow_build: bool,

    /// Forget the revisions of earlier runs of the same manifests.
    #[arg(long)]
    pub fresh: bool,

    #[command(flatten)]
    pub settings: Settings,

    /// How to print what happens.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct Up {
    /// Keep what must outlive the process here [default: serve/host in the user's state directory].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Serve public hosts at this address; port 0 picks a free one [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,

    /// Serve cluster-local hosts at this address, or `off` [default: 127.0.0.1:8081].
    #[arg(long, value_name = "ADDR|off")]
    pub local_listen: Option<String>,

    /// Serve the Kubernetes API at this address [default: 127.0.0.1:6443].
    #[arg(long, value_name = "ADDR|off")]
    pub api_listen: Option<String>,

    #[command(flatten)]
    pub settings: Settings,

    /// How to print what happens.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct Kubeconfig {
    /// Add a context `serve` to the user's file: the first of $KUBECONFIG, else ~/.kube/config.
    #[arg(long)]
    pub merge: bool,

    /// Print a whole file on stdout. This is the default.
    #[arg(long)]
    pub print: bool,

    /// Take the context `serve` out of the user's file again.
    #[arg(long)]
    pub remove: bool,
}

#[derive(Debug, Args)]
pub struct Check {
    /// What to check: manifests, folders of them, or bare components.
    #[arg(value_name = "PATH", required = true)]
    pub manifests: Vec<PathBuf>,

    /// Build `ko://` images of manifests in folders too, not only of those named here.
    #[arg(long)]
    pub allow_build: bool,

    #[command(flatten)]
    pub settings: Settings,
}

/// Where settings come from, besides the environment.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// Read settings from this TOML file.
    #[arg(long, value_name = "FILE", env = "SERVE_CONFIG")]
    pub config: Option<PathBuf>,

    /// Set one setting, as in `--set ingress.max-connections=100`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}
