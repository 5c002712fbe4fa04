//! `GET pods/NAME/log`: what a replica wrote, as text, and with `follow` what it writes next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serve_core::keys;
use serve_core::kind::Kind;
use serve_core::meta::ObjectKey;
use serve_core::object::Object;
use serve_core::resources::derived::QUEUE_PROXY;
use serve_core::time::Timestamp;
use serve_runtime::control::store::Store;
use serve_runtime::logs::{Line, Log};
use serve_runtime::tasks::Stop;
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::Host;
use crate::read;
use crate::request::{decoded, is_true, number};
use crate::status::Status;

/// What of a log is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Query {
    container: String,
    follow: bool,
    previous: bool,
    timestamps: bool,
    since_seconds: Option<u64>,
    since_time: Option<Timestamp>,
    tail_lines: Option<usize>,
    limit_bytes: Option<usize>,
}

fn query(text: &str) -> Result<Query, Status> {
    let mut query = Query::default();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (decoded(key), decoded(value).into_owned());
        match &*key {
            "container" => query.container = value,
            "follow" => query.follow = is_true(&value),
            "previous" => query.previous = is_true(&value),
            "timestamps" => query.timestamps = is_true(&value),
            "sinceSeconds" => query.since_seconds = number(&key, &value)?,
            "sinceTime" => {
                let time = value.parse().map_err(|_| {
                    Status::bad_request(format!("{key}: \"{value}\" is no RFC 3339 time"))
                })?;
                query.since_time = Some(time);
            }
            "tailLines" => query.tail_lines = number(&key, &value)?,
            "limitBytes" => query.limit_bytes = number(&key, &value)?,
            _ => {}
        }
    }
    Ok(query)
}

/// A log that is being read. [`Reading::next`] gives its pieces.
pub struct Reading {
    log: Option<Arc<Log>>,
    head: Option<watch::Receiver<u64>>,
    store: Store,
    changes: watch::Receiver<u64>,
    pod: ObjectKey,
    uid: String,
    replica: String,
    /// In which of its runs the replica wrote what is asked for.
    run: Option<u32>,
    query: Query,
    since: Option<Timestamp>,
    seen: u64,
    is_first: bool,
    is_over: bool,
    left: usize,
    stop: Stop,
    /// Counts this reader among those that listen.
    _permit: OwnedSemaphorePermit,
}

impl Reading {
    /// Begins to read the log of a pod.
    ///
    /// # Errors
    /// 404 without such a pod; 400 for a container that it does not have, one that has no earlier
    /// run or has not begun, and for parameters that cannot be read.
    pub fn start(
        host: &Host,
        pod: &ObjectKey,
        text: &str,
        stop: Stop,
        permit: OwnedSemaphorePermit,
    ) -> Result<Self, Status> {
        let query = query(text)?;
        let object = read::get(&host.store, Kind::Pod, pod)?;
        let restarts = container(&object, &query)?;
        let meta = object.metadata();
        let revision = meta.label(keys::REVISION_LABEL).unwrap_or_default();
        let log = host.logs.get(&ObjectKey::new(&pod.namespace, revision));
        // The queue's log is that of requests, which nobody writes.
        let log = log.filter(|_| query.container != QUEUE_PROXY);
        let now = host.clock.now();
        let since = query.since_seconds.map(|seconds| {
            let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
            Timestamp::from_unix_seconds(now.unix_seconds().saturating_sub(seconds))
        });
        Ok(Self {
            head: log.as_ref().map(|log| log.head()),
            log,
            changes: host.store.head(),
            store: host.store.clone(),
            pod: pod.clone(),
            uid: meta.uid.clone(),
            replica: meta.name.rsplit('-').next().unwrap_or_default().to_owned(),
            run: if query.previous {
                restarts.checked_sub(1)
            } else {
                Some(restarts)
            },
            since: since.or(query.since_time),
            seen: 0,
            is_first: true,
            is_over: false,
            left: query.limit_bytes.unwrap_or(usize::MAX),
            query,
            stop,
            _permit: permit,
        })
    }

    /// The next lines; none at the end. The first piece may be empty.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.is_over || self.left == 0 {
                return None;
            }
            if let Some(head) = &mut self.head {
                head.borrow_and_update();
            }
            self.changes.borrow_and_update();
            let is_there = self.pod_is_there();
            let text = self.take();
            self.is_over = !self.query.follow || !is_there;
            if !text.is_empty() {
                return Some(text.into());
            }
            if self.is_over {
                return None;
            }
            tokio::select! {
                () = self.stop.stopped() => self.is_over = true,
                changed = self.changes.changed() => self.is_over = changed.is_err(),
                () = changed(self.head.as_mut()) => {}
            }
        }
    }

    /// Whether the pod that was asked for is still there.
    fn pod_is_there(&self) -> bool {
        let pod = self.store.get(Kind::Pod, &self.pod);
        pod.is_some_and(|pod| pod.metadata().uid == self.uid)
    }

    fn take(&mut self) -> String {
        let Some(log) = &self.log else {
            return String::new();
        };
        let (lines, last) = log.after(self.seen, &self.replica);
        self.seen = last;
        let mut lines: VecDeque<Line> = lines.into();
        // One that follows goes on through restarts.
        let follows = self.query.follow && !self.is_first;
        lines.retain(|line| follows || Some(line.writer.run) == self.run);
        if std::mem::replace(&mut self.is_first, false) {
            if let Some(since) = self.since {
                lines.retain(|line| line.time >= since);
            }
            let more = lines
                .len()
                .saturating_sub(self.query.tail_lines.unwrap_or(usize::MAX));
            lines.drain(..more);
        }
        let mut text = String::new();
        for line in lines {
            if self.query.timestamps {
                text.push_str(&line.time.to_string());
                text.push(' ');
            }
            text.push_str(&line.text);
            text.push('\n');
        }
        if text.len() > self.left {
            let end = (0..=self.left)
                .rev()
                .find(|end| text.is_char_boundary(*end));
            text.truncate(end.unwrap_or(0));
            self.left = text.len();
        }
        self.left -= text.len();
        text
    }
}

/// Waits for a line, for ever where there is no log. A guest that writes much is read in pieces.
async fn changed(head: Option<&mut watch::Receiver<u64>>) {
    const PIECE: Duration = Duration::from_millis(10);
    match head {
        Some(head) => match head.changed().await {
            Ok(()) => tokio::time::sleep(PIECE).await,
            // The revision is gone; so is its pod, or soon.
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

/// How often the container that is asked for was started again.
fn container(pod: &Object, query: &Query) -> Result<u32, Status> {
    let value = pod.to_value();
    let name = &pod.metadata().name;
    let named = |list: &serde_json::Value, name: &str| {
        let mut all = list.as_array().into_iter().flatten();
        all.find(|one| one["name"] == name).cloned()
    };
    let asked = match query.container.as_str() {
        // The first one is the user's.
        "" => value["spec"]["containers"][0]["name"]
            .as_str()
            .unwrap_or_default(),
        asked => asked,
    };
    if named(&value["spec"]["containers"], asked).is_none() {
        let problem = format!("container {asked} is not valid for pod {name}");
        return Err(Status::bad_request(problem));
    }
    let status = named(&value["status"]["containerStatuses"], asked).unwrap_or_default();
    let restarts = status["restartCount"].as_u64().unwrap_or(0);
    if query.previous && restarts == 0 {
        let problem =
            format!("previous terminated container \"{asked}\" in pod \"{name}\" not found");
        return Err(Status::bad_request(problem));
    }
    if let Some(reason) = status["state"]["waiting"]["reason"].as_str() {
        let because = match status["state"]["waiting"]["message"].as_str() {
            None => reason.to_owned(),
            Some(message) => format!("{reason}: {message}"),
        };
        let problem =
            format!("container \"{asked}\" in pod \"{name}\" is waiting to start: {because}");
        return Err(Status::bad_request(problem));
    }
    Ok(u32::try_from(restarts).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
