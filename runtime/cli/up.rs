//! `serve up`: a host whose objects come through the Kubernetes API.

use std::process::ExitCode;

use anyhow::Context;
use serve_runtime::Runtime;
use serve_runtime::config::Listen;

use crate::api;
use crate::args::Up;
use crate::exit::{self, Code, Failed};
use crate::report::{Event, Reporter};
use crate::run::{self, Flags};
use crate::signals::Signals;

/// Runs until a signal, and returns the exit code.
pub async fn up(args: Up) -> ExitCode {
    let reporter = Reporter::new(args.output);
    match try_up(&args, reporter).await {
        Ok(()) => {
            reporter.report(&Event::Stopped);
            ExitCode::SUCCESS
        }
        Err(failed) => failed.report(),
    }
}

async fn try_up(args: &Up, reporter: Reporter) -> Result<(), Failed> {
    let flags = Flags {
        listen: args.listen.as_ref(),
        local_listen: args.local_listen.as_ref(),
        api_listen: args.api_listen.as_ref(),
    };
    let config = run::config(&args.settings, flags).map_err(exit::with(Code::Usage))?;
    if config.api.listen == Listen::Off {
        let error = anyhow::anyhow!("`serve up` without the API has nothing to serve");
        return Err(exit::with(Code::Usage)(error));
    }
    let data = match &args.data_dir {
        Some(data) => data.clone(),
        None => api::state_directory()?.join("host"),
    };
    let snapshot = run::snapshot(data.join("objects.json"))?;
    let runtime = Runtime::builder()
        .config(config.clone())
        .cache_directory(run::cache_directory(&config)?)
        .state(snapshot)
        .build()
        .map_err(anyhow::Error::from)?;
    run::listen(&runtime, flags, &config, reporter)
        .await
        .map_err(exit::with(Code::Taken))?;
    runtime.restored().await.map_err(anyhow::Error::from)?;
    let _kubeconfig = api::start(&runtime, flags, &config, &data.join("api"), reporter).await?;
    tracing::warn!(
        "objects reach the disk a moment after they are acknowledged: a crash loses the last ones"
    );
    let mut signals = Signals::new().context("listening for signals")?;
    signals.stop().await;
    tokio::select! {
        () = runtime.shutdown(config.shutdown.grace.0) => Ok(()),
        // A second signal means that waiting is no longer wanted.
        () = signals.stop() => {
            Err(anyhow::anyhow!("stopped before running requests ended").into())
        }
    }
}
