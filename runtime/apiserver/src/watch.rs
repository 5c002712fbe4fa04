//! Watching: every event after a version, once and in order, as long as the client listens.
//!
//! ```text
//! no version, "0" or sendInitialEvents ─► what there is, as ADDED ─► bookmark ─┐
//! a version ─────────────────────────────────────────────────────────────────┴► events ─► end
//! ```
//!
//! Nothing is buffered for a client that reads slowly: the log of the store is the buffer, and a
//! client that falls behind it is told that its version expired.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use serve_core::keys;
use serve_core::kind::Kind;
use serve_core::object::Object;
use serve_runtime::clock::Clock;
use serve_runtime::control::store::{Change, Event, Store};
use serve_runtime::tasks::Stop;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};

use crate::codec::Form;
use crate::read;
use crate::request::{Objects, Query};
use crate::selector::Selector;
use crate::status::Status;
use crate::table::{self, Include};

/// How often a quiet client is told the newest version.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// How long a watch lasts whose client does not say: a random time from here to twice as long.
const MIN_DURATION: u64 = 1800;

/// Which events a watch shows.
struct Filter {
    kind: Kind,
    namespace: Option<String>,
    selector: Selector,
}

/// What is next to be told.
enum Item {
    Event(Told, Arc<Object>),
    Bookmark { ends_initial: bool },
    Expired(Status),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Added,
    Modified,
    Deleted,
}

/// One watch. [`Watch::next`] gives its lines.
pub struct Watch {
    store: Store,
    clock: Clock,
    filter: Filter,
    form: Form,
    include: Include,
    with_columns: bool,
    pending: VecDeque<Item>,
    seen: u64,
    head: tokio::sync::watch::Receiver<u64>,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    stop: Stop,
    is_over: bool,
    /// Counts this watch among those that run.
    _permit: OwnedSemaphorePermit,
}

/// What a watch needs of its server.
pub struct Context {
    pub store: Store,
    pub clock: Clock,
    pub stop: Stop,
    pub permit: OwnedSemaphorePermit,
}

impl Watch {
    /// Starts a watch of a collection, or of one object of it.
    ///
    /// # Errors
    /// 400 for a selector or a version that cannot be read.
    pub fn start(
        context: Context,
        objects: &Objects,
        query: &Query,
        form: Form,
    ) -> Result<Self, Status> {
        let mut selector =
            Selector::parse(objects.kind, &query.label_selector, &query.field_selector)?;
        if let Some(name) = &objects.name {
            selector = selector.named(name);
        }
        let seconds = query
            .timeout_seconds
            .filter(|seconds| *seconds > 0)
            .unwrap_or_else(|| fastrand::u64(MIN_DURATION..2 * MIN_DURATION));
        let now = Instant::now();
        // Far beyond this a sum with the clock's time would overflow.
        let duration = Duration::from_secs(seconds.min(7 * 24 * 3600));
        let mut watch = Self {
            head: context.store.head(),
            store: context.store,
            clock: context.clock,
            filter: Filter {
                kind: objects.kind,
                namespace: objects.namespace.clone(),
                selector,
            },
            form,
            include: Include::parse(&query.include_object),
            with_columns: true,
            pending: VecDeque::new(),
            seen: 0,
            bookmarks: query.allow_watch_bookmarks,
            next_bookmark: now + BOOKMARK_INTERVAL,
            deadline: now + duration,
            stop: context.stop,
            is_over: false,
            _permit: context.permit,
        };
        watch.begin(query)?;
        Ok(watch)
    }

    fn begin(&mut self, query: &Query) -> Result<(), Status> {
        let asked = read::version(&query.resource_version)?.filter(|version| *version > 0);
        match asked {
            Some(version) if !query.send_initial_events => {
                self.seen = version;
                let current = self.store.revision();
                if version > current {
                    // A version of another life of this host: the client has to look again.
                    let message = format!("too old resource version: {version} ({current})");
                    self.pending
                        .push_back(Item::Expired(Status::expired(message)));
                }
            }
            _ => {
                let namespace = self.filter.namespace.as_deref();
                let (objects, revision) = self.store.list(self.filter.kind, namespace);
                let shown = objects
                    .into_iter()
                    .filter(|object| self.filter.selector.matches(object));
                self.pending
                    .extend(shown.map(|object| Item::Event(Told::Added, object)));
                self.seen = revision;
                if query.send_initial_events {
                    self.pending
                        .push_back(Item::Bookmark { ends_initial: true });
                }
            }
        }
        Ok(())
    }

    /// The next line; none at the end of the watch.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(item) = self.pending.pop_front() {
                return Some(self.line(&item));
            }
            if self.is_over {
                return None;
            }
            self.head.borrow_and_update();
            self.read_events();
            if !self.pending.is_empty() {
                continue;
            }
            tokio::select! {
                changed = self.head.changed() => self.is_over = changed.is_err(),
                () = self.stop.stopped() => self.is_over = true,
                () = sleep_until(self.deadline) => {
                    self.is_over = true;
                    self.bookmark();
                }
                () = sleep_until(self.next_bookmark), if self.bookmarks => self.bookmark(),
            }
        }
    }

    fn bookmark(&mut self) {
        self.next_bookmark = Instant::now() + BOOKMARK_INTERVAL;
        if self.bookmarks {
            self.pending.push_back(Item::Bookmark {
                ends_initial: false,
            });
        }
    }

    fn read_events(&mut self) {
        match self.store.events_after(self.seen) {
            Ok(events) => {
                for event in events {
                    self.seen = event.revision;
                    self.pending.extend(self.filter.translate(&event));
                }
            }
            Err(gone) => self.pending.push_back(Item::Expired(gone.into())),
        }
    }

    fn line(&mut self, item: &Item) -> Bytes {
        let (told, object) = match item {
            Item::Event(told, object) => {
                let told = match told {
                    Told::Added => "ADDED",
                    Told::Modified => "MODIFIED",
                    Told::Deleted => "DELETED",
                };
                (told, self.shown(object))
            }
            Item::Bookmark { ends_initial } => ("BOOKMARK", self.mark(*ends_initial)),
            Item::Expired(status) => {
                self.is_over = true;
                self.pending.clear();
                ("ERROR", status.to_value())
            }
        };
        let mut line = json!({"type": told, "object": object}).to_string();
        line.push('\n');
        line.into()
    }

    fn shown(&mut self, object: &Object) -> Value {
        match self.form {
            Form::Plain => object.to_value(),
            Form::Metadata => table::metadata_only(&object.to_value()),
            Form::Table => {
                let metadata = json!({"resourceVersion": object.metadata().resource_version});
                self.table([object], metadata)
            }
        }
    }

    fn table<'a>(&mut self, rows: impl IntoIterator<Item = &'a Object>, metadata: Value) -> Value {
        let with_columns = std::mem::replace(&mut self.with_columns, false);
        let (kind, now) = (self.filter.kind, self.clock.now());
        table::table(kind, rows, metadata, self.include, with_columns, now)
    }

    fn mark(&mut self, ends_initial: bool) -> Value {
        let mut metadata = json!({"resourceVersion": self.seen.to_string()});
        if self.form == Form::Table {
            return self.table([], metadata);
        }
        metadata["creationTimestamp"] = Value::Null;
        if ends_initial {
            metadata["annotations"] = json!({keys::INITIAL_EVENTS_END_ANNOTATION: "true"});
        }
        let (api_version, kind) = match self.form {
            Form::Metadata => ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadata"),
            _ => (
                self.filter.kind.api_version(),
                self.filter.kind.names().kind,
            ),
        };
        json!({"kind": kind, "apiVersion": api_version, "metadata": metadata})
    }
}

impl Filter {
    /// What an event is for one who sees only some of the objects.
    fn translate(&self, event: &Event) -> Option<Item> {
        let object = &event.object;
        let is_here = object.kind() == self.kind
            && self
                .namespace
                .as_ref()
                .is_none_or(|namespace| *namespace == object.metadata().namespace);
        if !is_here {
            return None;
        }
        let was_seen = event
            .previous
            .as_ref()
            .is_some_and(|previous| self.selector.matches(previous));
        let is_seen = event.change != Change::Deleted && self.selector.matches(object);
        let told = match (was_seen, is_seen) {
            (false, false) => return None,
            (false, true) => Told::Added,
            (true, true) => Told::Modified,
            (true, false) => Told::Deleted,
        };
        Some(Item::Event(told, object.clone()))
    }
}

#[cfg(test)]
mod tests;
