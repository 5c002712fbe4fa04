//! What a run prints on stdout: lines for people, or one JSON object a line for programs.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serve_runtime::source::manifest::Diagnostic;

use crate::args::Output;

/// Something that a user of a run wants to know.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event<'a> {
    Listening {
        listener: &'a str,
        address: SocketAddr,
    },
    /// Where `kubectl` and `kn` read how to reach the API.
    Kubeconfig {
        path: &'a Path,
    },
    Ready(Settled<'a>),
    /// A Service is ready again after its file changed.
    Reloaded(Settled<'a>),
    /// An object's file no longer has it.
    Deleted {
        kind: &'a str,
        namespace: &'a str,
        name: &'a str,
    },
    /// A file that was right before no longer is; what it made stays.
    Invalid {
        #[serde(flatten, serialize_with = "parts")]
        diagnostic: &'a Diagnostic,
    },
    Failed {
        namespace: &'a str,
        name: &'a str,
        revision: &'a str,
        reason: &'a str,
        message: &'a str,
    },
    Stopped,
}

/// A Service that is ready.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Settled<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub revision: &'a str,
    pub url: &'a str,
    /// Where the URL's host is served, for `curl --resolve`.
    pub address: Option<SocketAddr>,
}

/// A Service is ready.
pub fn ready(settled: Settled<'_>) -> Event<'_> {
    Event::Ready(settled)
}

/// A Service is ready again.
pub fn reloaded(settled: Settled<'_>) -> Event<'_> {
    Event::Reloaded(settled)
}

/// The line for people under `diagnostic`, and what it is made of.
fn parts<S: Serializer>(diagnostic: &Diagnostic, serializer: S) -> Result<S::Ok, S::Error> {
    let Diagnostic {
        path,
        line,
        column,
        field,
        message,
        ..
    } = diagnostic;
    let mut map = serializer.serialize_map(Some(6))?;
    map.serialize_entry("diagnostic", &diagnostic.to_string())?;
    map.serialize_entry("path", path)?;
    map.serialize_entry("line", line)?;
    map.serialize_entry("column", column)?;
    map.serialize_entry("field", field)?;
    map.serialize_entry("message", message)?;
    map.end()
}

/// Prints events in the form that was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Reporter {
    output: Output,
}

impl Reporter {
    pub fn new(output: Output) -> Self {
        Self { output }
    }

    pub fn report(self, event: &Event<'_>) {
        let text = match self.output {
            Output::Json => match serde_json::to_string(event) {
                Ok(line) => line,
                Err(error) => {
                    tracing::error!(%error, "an event was not printed");
                    return;
                }
            },
            Output::Text => lines(event),
        };
        let mut stdout = std::io::stdout().lock();
        // A reader that went away is no reason to stop serving.
        let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    }
}

fn lines(event: &Event<'_>) -> String {
    match event {
        Event::Listening { listener, address } => format!("listening on {address} ({listener})"),
        Event::Kubeconfig { path } => format!("export KUBECONFIG={}", path.display()),
        Event::Ready(settled) => {
            let Settled {
                name,
                revision,
                url,
                ..
            } = settled;
            let mut text = format!("{name} is ready at {url} ({revision})");
            if let Some((host, port)) = host_and_port(url)
                && let Some(address) = settled.address
            {
                let ip = reachable(address);
                text.push_str(&format!("\n  curl --resolve {host}:{port}:{ip} {url}"));
            }
            text
        }
        Event::Reloaded(settled) => format!("{} is reloaded ({})", settled.name, settled.revision),
        Event::Deleted { kind, name, .. } => format!("{kind} {name} is deleted"),
        Event::Invalid { diagnostic } => format!("not reloaded: {diagnostic}"),
        Event::Failed {
            name,
            revision,
            reason,
            message,
            ..
        } => {
            let revision = if revision.is_empty() {
                String::new()
            } else {
                format!(" ({revision})")
            };
            format!("{name} is not ready{revision}: {reason}: {message}")
        }
        Event::Stopped => "stopped".to_owned(),
    }
}

/// Host and port of an `http` URL without a path.
fn host_and_port(url: &str) -> Option<(&str, u16)> {
    let rest = url.strip_prefix("http://")?;
    match rest.rsplit_once(':') {
        Some((host, port)) => Some((host, port.parse().ok()?)),
        None => Some((rest, 80)),
    }
}

/// The address to connect to for a listener: one bound to all addresses is reached by loopback.
fn reachable(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => "127.0.0.1".to_owned(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => "[::1]".to_owned(),
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ready_service_is_printed_with_a_line_that_can_be_pasted() {
        let event = Event::Ready(Settled {
            namespace: "default",
            name: "hello",
            revision: "hello-00001",
            url: "http://hello.default.localhost:8080",
            address: Some(SocketAddr::from(([127, 0, 0, 1], 8080))),
        });
        assert_eq!(
            lines(&event),
            "hello is ready at http://hello.default.localhost:8080 (hello-00001)\n  \
             curl --resolve hello.default.localhost:8080:127.0.0.1 \
             http://hello.default.localhost:8080"
        );
    }

    #[test]
    fn a_listener_on_all_addresses_is_reached_by_loopback() {
        assert_eq!(reachable(SocketAddr::from(([0, 0, 0, 0], 1))), "127.0.0.1");
        assert_eq!(reachable(SocketAddr::from(([0; 16], 1))), "[::1]");
        assert_eq!(reachable(SocketAddr::from(([10, 0, 0, 1], 1))), "10.0.0.1");
    }
}
