//! The `serve` program.

mod api;
mod args;
mod check;
mod exit;
mod foreground;
mod pending;
mod progress;
mod report;
mod run;
mod settings;
mod signals;
mod snippet;
mod up;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use args::{Cli, Command};

/// A request makes some dozens of small objects, on several threads at once.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(Command::Completions { shell }) = cli.command {
        clap_complete::generate(shell, &mut Cli::command(), "serve", &mut std::io::stdout());
        return ExitCode::SUCCESS;
    }
    if let Some(Command::Kubeconfig(kubeconfig)) = &cli.command {
        return api::kubeconfig(kubeconfig);
    }
    start_logging();
    if let Err(error) = serve_runtime::process::raise_open_files() {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
    if let Err(error) = serve_runtime::process::reserve_open_files() {
        tracing::debug!(%error, "the table of open files grows as it is needed");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("serve-control")
        // The main thread stays as it is: it starts those that serve requests.
        .on_thread_start(serve_runtime::priority::yield_to_requests)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("serve: starting threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        match cli.command {
            Some(Command::Check(check)) => check::check(check).await,
            Some(Command::Up(up)) => up::up(up).await,
            _ => run::run(cli.run).await,
        }
    });
    // What is still blocked on a compile has no one left to wait for it.
    runtime.shutdown_background();
    code
}

/// Logs go to stderr; `SERVE_LOG` selects them as `RUST_LOG` does elsewhere.
fn start_logging() {
    let filter = EnvFilter::try_from_env("SERVE_LOG").unwrap_or_else(|_| {
        EnvFilter::new("warn,serve=info,serve_runtime=info,serve_apiserver=info,guest=info")
    });
    let format = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    tracing_subscriber::registry()
        .with(filter)
        .with(format)
        .init();
}
