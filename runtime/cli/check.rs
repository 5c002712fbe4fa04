//! `serve check`: says what is wrong with manifests and components without running them.

use std::process::ExitCode;

use serve_runtime::Runtime;
use serve_runtime::source::files;
use serve_runtime::source::resolve::Origin;

use crate::args::Check;
use crate::exit::{self, Code, Failed};
use crate::foreground::diagnostics;
use crate::run::cache_directory;
use crate::{settings, snippet};

/// Checks everything that the user named and prints all that is wrong.
pub async fn check(args: Check) -> ExitCode {
    match try_check(&args).await {
        Ok(code) => code,
        Err(failed) => failed.report(),
    }
}

async fn try_check(args: &Check) -> Result<ExitCode, Failed> {
    let config = settings::of_process(&args.settings).map_err(exit::with(Code::Usage))?;
    let runtime = Runtime::builder()
        .cache_directory(cache_directory(&config)?)
        .config(config)
        .build()
        .map_err(anyhow::Error::from)?;
    let (mut checked, mut wrong) = (0, Vec::new());
    for file in files::scan(&args.manifests, None).files {
        match file.documents {
            Err(diagnostics) => wrong.extend(diagnostics),
            Ok(documents) => {
                for document in documents {
                    let may_build = file.is_named || args.allow_build;
                    let origin = Origin {
                        directory: document.directory(),
                        may_build,
                    };
                    match runtime.check(document.object.clone(), origin).await {
                        Ok(warnings) => {
                            for warning in warnings {
                                snippet::warn(&document.diagnostic("", warning));
                            }
                            checked += 1;
                        }
                        Err(error) => wrong.extend(diagnostics(&document, &error)),
                    }
                }
            }
        }
    }
    snippet::print(&wrong);
    if !wrong.is_empty() {
        return Ok(ExitCode::from(Code::InvalidManifest as u8));
    }
    let objects = if checked == 1 {
        "object is"
    } else {
        "objects are"
    };
    println!("{checked} {objects} valid");
    Ok(ExitCode::SUCCESS)
}
