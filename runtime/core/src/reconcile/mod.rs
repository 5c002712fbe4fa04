//! Reconcilers: from an object as it is, and what belongs to it, to what has to be written.
//!
//! ```text
//!   Service ──► Configuration ──► Revision ◄── facts of the data plane
//!      └──────► Route ──► Ingress of the data plane, routing state of Revisions, placeholders
//!   DomainMapping ──► mapping of the data plane, ClusterDomainClaim
//! ```
//!
//! Each is a function of a view, which holds all that it looks at, and the time. Invariants: it is
//! idempotent, so that the plan for a view in which the last plan has come true is empty; it never
//! waits for another one, but marks that it is behind and is called again when something of its
//! view changes.

pub mod configuration;
pub mod domain_mapping;
pub mod gc;
pub mod revision;
pub mod route;
pub mod service;

mod routing_state;

use std::time::Duration;

use crate::kind::Kind;
use crate::meta::ObjectKey;
use crate::object::Object;

/// What a reconciler wants, in the order in which it has to happen: writes, then the status.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan<S> {
    /// The status that the object should have; `None` when it stays as it is.
    pub status: Option<S>,
    /// Other objects to create, change and delete. When one of these fails, those after it and the
    /// status must not be written; the reconciler is then called again.
    pub writes: Vec<Write>,
    /// To be recorded for the object once the plan is carried out.
    pub events: Vec<Event>,
    /// When to call again if nothing of the view changes before.
    pub requeue_after: Option<Duration>,
}

impl<S> Default for Plan<S> {
    fn default() -> Self {
        Self {
            status: None,
            writes: Vec::new(),
            events: Vec::new(),
            requeue_after: None,
        }
    }
}

impl<S> Plan<S> {
    /// Whether there is nothing to do now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.status.is_none() && self.writes.is_empty() && self.events.is_empty()
    }
}

impl<S: PartialEq> Plan<S> {
    /// Sets the status, unless it is what the object has. An event tells of a change, so without
    /// any there is none.
    fn set_status(&mut self, current: &S, status: S) {
        self.status = (*current != status).then_some(status);
        if self.status.is_none() && self.writes.is_empty() {
            self.events.clear();
        }
    }
}

/// A change of an object other than the reconciled one's status.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    Create(Object),
    /// The whole object; its resourceVersion is the one that was read.
    Update(Object),
    Delete(Kind, ObjectKey),
}

/// Something worth telling a person about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub severity: EventSeverity,
    pub reason: &'static str,
    pub message: String,
}

/// `type` of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventSeverity {
    Normal,
    Warning,
}

impl EventSeverity {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

impl Event {
    #[must_use]
    pub fn normal(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: EventSeverity::Normal,
            reason,
            message: message.into(),
        }
    }

    #[must_use]
    pub fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: EventSeverity::Warning,
            reason,
            message: message.into(),
        }
    }
}
