//! What the data plane has seen of each Revision, on its way to the controller.

use std::sync::Arc;

use serve_core::api::ContainerStatus;
use serve_core::meta::ObjectKey;
use tokio::sync::mpsc::UnboundedSender;

use crate::autoscaler::Scale;
use crate::revision::Revision;
use crate::revision::launch;

/// News of one Revision.
pub struct Fact {
    pub key: ObjectKey,
    /// Of the Revision that it is about; a later one may have the same name.
    pub uid: String,
    pub what: What,
    /// Where more news of it go.
    pub sender: UnboundedSender<Fact>,
}

pub enum What {
    /// The images name these components.
    Resolved(Vec<ContainerStatus>),
    /// Its first instance runs.
    Started(Arc<Revision>),
    /// A request came to it at zero, where nothing of it had been loaded.
    Woken(Arc<Revision>),
    Failed(launch::Error),
    Scaled(Scale),
    /// The requests of replicas that leave are done.
    Drained,
}

/// Reports the facts of one Revision. Cheap to clone.
#[derive(Clone)]
pub struct Reporter {
    pub key: ObjectKey,
    pub uid: String,
    pub sender: UnboundedSender<Fact>,
}

impl Reporter {
    pub fn report(&self, what: What) {
        // Nobody listens any more only when the host ends.
        let sender = self.sender.clone();
        let _ = self.sender.send(Fact {
            key: self.key.clone(),
            uid: self.uid.clone(),
            what,
            sender,
        });
    }
}
