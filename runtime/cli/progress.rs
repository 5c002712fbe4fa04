//! Shows builds, compilations and starts: bars on a terminal, plain lines elsewhere, both on stderr.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serve_runtime::progress::{Progress, Step};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until};

/// A step that is over sooner is not worth a line.
const WORTH_A_LINE: Duration = Duration::from_millis(300);

/// Shows progress until the runtime is gone.
pub async fn show(progress: Receiver<Progress>) {
    if std::io::stderr().is_terminal() {
        bars(progress).await;
    } else {
        lines(progress).await;
    }
}

fn words(progress: &Progress) -> String {
    let verb = match progress.step {
        Step::Build => "building",
        Step::Componentize => "making a component of",
        Step::Compile => "compiling",
        Step::Start => "starting",
    };
    format!("{verb} {}", progress.subject)
}

async fn bars(mut progress: Receiver<Progress>) {
    let all = MultiProgress::new();
    let mut running = HashMap::<String, ProgressBar>::new();
    loop {
        let Some(progress) = next(&mut progress).await else {
            return;
        };
        let words = words(&progress);
        if progress.is_over {
            if let Some(bar) = running.remove(&words) {
                bar.finish_and_clear();
            }
        } else {
            let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
            let bar = all.add(ProgressBar::new_spinner().with_message(words.clone()));
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(100));
            running.insert(words, bar);
        }
    }
}

async fn lines(mut progress: Receiver<Progress>) {
    // In the order of their beginning, which is that of their lines.
    let mut waiting = Vec::<(Instant, String)>::new();
    loop {
        let due = waiting.first().map(|(at, _)| *at);
        let timer = async {
            match due {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            progress = next(&mut progress) => {
                let Some(progress) = progress else { return };
                let words = words(&progress);
                if progress.is_over {
                    waiting.retain(|(_, other)| *other != words);
                } else {
                    waiting.push((Instant::now() + WORTH_A_LINE, words));
                }
            }
            () = timer => eprintln!("{} …", waiting.remove(0).1),
        }
    }
}

/// The next step; none when the runtime is gone.
async fn next(progress: &mut Receiver<Progress>) -> Option<Progress> {
    loop {
        match progress.recv().await {
            Ok(progress) => return Some(progress),
            // Some were lost to a slow terminal: the later ones still count.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}
