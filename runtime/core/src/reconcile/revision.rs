//! The Revision reconciler: shows what the data plane knows of a Revision.
//!
//! ```text
//!   image        start       replicas        ResourcesAvailable  ContainerHealthy
//!   Resolving    –           –               Unknown Resolving…  (as it was)
//!   Failed       –           –               (as it was)         False ContainerMissing
//!   Resolved     Pending     not reached     Unknown Deploying   Unknown Deploying
//!   Resolved     Failed      –               False, or           False ExitCode…
//!   Resolved     Started     none is ready,  (as it was)         False ExitCode…
//!                            code ended
//!   Resolved     Started     initial reached True                True
//! ```
//!
//! A Revision that has been ready stays so while its facts are Pending or Resolving, as they are
//! after this program was started again: what it showed before still holds. It also stays ready at
//! zero replicas.
//!
//! # Source
//!
//! knative/serving pkg/reconciler/revision/{revision,reconcile_resources}.go and
//! pkg/apis/serving/v1/revision_lifecycle.go. Differs: a failure ends when the facts say that the
//! Revision runs, where Knative may keep showing it.

use super::{Event, Plan};
use crate::api::{ContainerStatus, Revision, RevisionStatus};
use crate::conditions::{
    self, ACTIVE, CONTAINER_HEALTHY, Condition, ConditionStatus, Manager, RESOURCES_AVAILABLE, Set,
};
use crate::time::Timestamp;

const DEPLOYING: &str = "Deploying";

/// What the reconciler looks at.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub revision: &'a Revision,
    pub facts: &'a Facts,
    /// `logging.revision-url-template` of config-observability; empty for no URL.
    pub log_url_template: &'a str,
    /// `pod-is-always-schedulable` of config-deployment: there will be room, so a Revision that
    /// waits for it has not failed.
    pub is_always_schedulable: bool,
}

/// What the data plane has observed of a Revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    pub image: ImageFact,
    pub start: StartFact,
    /// Whether requests can be answered at once; `None` until the autoscaler has said something.
    pub active: Option<ActiveFact>,
    /// Whether the initial scale was reached once, which it need not be again.
    pub is_initialized: bool,
    /// Ready replicas; `None` when not known.
    pub actual_replicas: Option<i32>,
    /// Replicas that the autoscaler wants; `None` when not known.
    pub desired_replicas: Option<i32>,
    /// Replicas that there are, ready or not.
    pub running_replicas: u32,
    /// How often each of those was restarted by its probes.
    pub restarts: u32,
    /// How the code of a replica last ended by itself, since there are replicas.
    pub exit: Option<ExitFact>,
    /// Whether the initial scale was not reached within the progress deadline.
    pub is_late: bool,
    /// Why wanted replicas do not run: the machine has no room for them.
    pub shortage: Option<String>,
}

impl Facts {
    /// Replicas are there, none of them is ready, and the code of one has ended.
    ///
    /// Source: knative/serving pkg/reconciler/revision/reconcile_resources.go,
    /// `reconcileDeployment`.
    fn keeps_exiting(&self) -> bool {
        let is_ready = self.actual_replicas.is_some_and(|replicas| replicas > 0);
        self.exit.is_some() && self.running_replicas > 0 && !is_ready
    }

    /// What still holds of a Revision that was ready and at zero when this program ended: it can be
    /// started again when a request comes, and is to be shown as before. `None` for any other.
    #[must_use]
    pub fn asleep(revision: &Revision) -> Option<Self> {
        let status = &revision.status;
        let is_at_zero =
            status.actual_replicas.unwrap_or(0) == 0 && status.desired_replicas.unwrap_or(0) == 0;
        let active = status.conditions.iter().find(|one| one.kind == ACTIVE)?;
        let inactive = ActiveFact::inactive();
        let is_idle = active.status == inactive.status && active.reason == inactive.reason;
        let is_known = status.container_statuses.len() == revision.spec.containers.len();
        let is_asleep = is_ready(revision) && is_at_zero && is_idle && is_known;
        is_asleep.then(|| Self {
            image: ImageFact::Resolved {
                containers: status.container_statuses.clone(),
                init_containers: status.init_container_statuses.clone(),
            },
            start: StartFact::Started,
            active: Some(inactive),
            is_initialized: true,
            actual_replicas: status.actual_replicas,
            desired_replicas: status.desired_replicas,
            ..Self::default()
        })
    }
}

/// Whether the images are known by digest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ImageFact {
    #[default]
    Resolving,
    /// One for each container, in their order. A digest is empty where none is asked for.
    Resolved {
        containers: Vec<ContainerStatus>,
        init_containers: Vec<ContainerStatus>,
    },
    /// `image` as the container names it; `message` is what went wrong, such as
    /// `failed to resolve image to digest: …`.
    Failed { image: String, message: String },
}

/// Whether the code has been started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StartFact {
    #[default]
    Pending,
    /// Code was started, and is ready or was.
    Started,
    /// No replica could be started, or none stays up. `ExitCode…` and `ContainerMissing` are the
    /// code's own failures, each other reason is a lack of resources.
    Failed { reason: String, message: String },
}

/// Code that ended by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExitFact {
    pub code: i32,
    /// Its last output.
    pub message: String,
}

impl ExitFact {
    fn reason(&self) -> String {
        format!("ExitCode{}", self.code)
    }

    fn told(&self) -> String {
        let message = match self.message.as_str() {
            "" if self.code == 0 => "container exited with no error",
            message => message,
        };
        format!("Container failed with: {message}")
    }
}

impl StartFact {
    /// The code ended by itself with exit code `code`. `message` is its last output.
    #[must_use]
    pub fn exited(code: i32, message: &str) -> Self {
        let message = message.to_owned();
        let exit = ExitFact { code, message };
        Self::Failed {
            reason: exit.reason(),
            message: exit.told(),
        }
    }
}

/// The Ready condition of the Revision's PodAutoscaler.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActiveFact {
    pub status: ConditionStatus,
    pub reason: String,
    pub message: String,
}

impl ActiveFact {
    /// There are enough ready replicas.
    #[must_use]
    pub fn active() -> Self {
        Self {
            status: ConditionStatus::True,
            ..Self::default()
        }
    }

    /// Replicas are being started for waiting requests, or for the first time.
    #[must_use]
    pub fn activating() -> Self {
        Self {
            status: ConditionStatus::Unknown,
            reason: "Queued".to_owned(),
            message: "Requests to the target are being buffered as resources are provisioned."
                .to_owned(),
        }
    }

    /// There are no replicas, since there are no requests.
    #[must_use]
    pub fn inactive() -> Self {
        Self {
            status: ConditionStatus::False,
            reason: "NoTraffic".to_owned(),
            message: "The target is not receiving traffic.".to_owned(),
        }
    }

    /// No replica became ready before the progress deadline.
    #[must_use]
    pub fn timed_out() -> Self {
        Self {
            status: ConditionStatus::False,
            reason: TIMED_OUT.to_owned(),
            message: "The target could not be activated.".to_owned(),
        }
    }
}

const TIMED_OUT: &str = "TimedOut";

/// Plans for a Revision that exists; one that is being deleted needs nothing.
#[must_use]
pub fn revision(view: &View<'_>, now: Timestamp) -> Plan<RevisionStatus> {
    let mut plan = Plan::default();
    let metadata = &view.revision.metadata;
    if metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let before = &view.revision.status;
    let new_generation = !conditions::is_observed(metadata, before.observed_generation);
    let was_ready = is_ready_by(view.revision, before);

    let mut status = before.clone();
    status.log_url = view
        .log_url_template
        .replace("${REVISION_UID}", &metadata.uid);
    let mut conditions = Manager::begin(Set::REVISION, &before.conditions, new_generation);
    if resolve(view, &mut status, &mut conditions) {
        show_start(view, was_ready, &mut conditions);
        show_scale(view.facts, was_ready, &mut status, &mut conditions);
    }
    status.conditions = conditions.finish(now);
    status.observed_generation = Some(metadata.generation);
    if !was_ready && is_ready_by(view.revision, &status) {
        let message = "Revision becomes ready upon all resources being ready";
        plan.events.push(Event::normal("RevisionReady", message));
    }
    plan.set_status(before, status);
    plan
}

/// Whether a Revision is ready, as it is now.
#[must_use]
pub fn is_ready(revision: &Revision) -> bool {
    revision.metadata.deletion_timestamp.is_none() && is_ready_by(revision, &revision.status)
}

/// Whether a change of a Revision is one of its status that only its replicas go by: neither its
/// Configuration, nor Routes, nor what shows it read more of a status than readiness and images.
#[must_use]
pub fn is_only_scaled(before: &Revision, after: &Revision) -> bool {
    fn read(status: &RevisionStatus) -> impl PartialEq + '_ {
        (
            status.observed_generation,
            conditions::find(&status.conditions, conditions::READY),
            &status.container_statuses,
            &status.init_container_statuses,
        )
    }
    let (old, new) = (&before.metadata, &after.metadata);
    read(&before.status) == read(&after.status)
        && old.uid == new.uid
        && old.generation == new.generation
        && old.labels == new.labels
        && old.annotations == new.annotations
        && old.owner_references == new.owner_references
        && old.finalizers == new.finalizers
        && old.deletion_timestamp == new.deletion_timestamp
}

fn is_ready_by(revision: &Revision, status: &RevisionStatus) -> bool {
    let observed = status.observed_generation;
    conditions::settled(&revision.metadata, observed, &status.conditions)
        == Some(ConditionStatus::True)
}

/// Shows the images; `false` when there is nothing to run yet.
fn resolve(view: &View<'_>, status: &mut RevisionStatus, conditions: &mut Manager) -> bool {
    let spec = &view.revision.spec;
    let is_known = !spec.containers.is_empty()
        && status.container_statuses.len() == spec.containers.len()
        && status.init_container_statuses.len() == spec.init_containers.len();
    match &view.facts.image {
        ImageFact::Failed { image, message } => {
            let message = format!("Unable to fetch image \"{image}\": {message}");
            conditions.mark_false(CONTAINER_HEALTHY, "ContainerMissing", &message);
            return false;
        }
        // Once known a digest stays, whatever the tag means meanwhile.
        _ if is_known => {}
        ImageFact::Resolving => {
            conditions.mark_unknown(RESOURCES_AVAILABLE, "ResolvingDigests", "");
            return false;
        }
        ImageFact::Resolved {
            containers,
            init_containers,
        } => {
            status.container_statuses.clone_from(containers);
            status.init_container_statuses.clone_from(init_containers);
        }
    }
    true
}

fn show_start(view: &View<'_>, was_ready: bool, conditions: &mut Manager) {
    let facts = view.facts;
    let lacks_room = facts.shortage.is_some() && facts.running_replicas == 0;
    match &facts.start {
        StartFact::Failed { reason, message } => {
            let is_of_code = reason.starts_with("ExitCode") || reason == "ContainerMissing";
            let (failed, other) = if is_of_code {
                (CONTAINER_HEALTHY, RESOURCES_AVAILABLE)
            } else {
                (RESOURCES_AVAILABLE, CONTAINER_HEALTHY)
            };
            // What failed before, or was being resolved, is not what is wrong now.
            if conditions.status(other) != ConditionStatus::True {
                conditions.mark_unknown(other, DEPLOYING, "");
            }
            conditions.mark_false(failed, reason, message);
        }
        StartFact::Started if lacks_room && !view.is_always_schedulable => {
            let message = facts.shortage.as_deref().unwrap_or_default();
            conditions.mark_false(RESOURCES_AVAILABLE, "Unschedulable", message);
        }
        StartFact::Started if facts.keeps_exiting() => {
            let exit = facts.exit.clone().unwrap_or_default();
            if conditions.status(RESOURCES_AVAILABLE) != ConditionStatus::True {
                conditions.mark_unknown(RESOURCES_AVAILABLE, DEPLOYING, "");
            }
            conditions.mark_false(CONTAINER_HEALTHY, &exit.reason(), &exit.told());
        }
        StartFact::Started if facts.is_initialized => {
            conditions.mark_true(RESOURCES_AVAILABLE);
            conditions.mark_true(CONTAINER_HEALTHY);
        }
        StartFact::Pending | StartFact::Started if was_ready => {}
        StartFact::Pending | StartFact::Started => {
            conditions.mark_unknown(RESOURCES_AVAILABLE, DEPLOYING, "");
            conditions.mark_unknown(CONTAINER_HEALTHY, DEPLOYING, "");
        }
    }
}

fn show_scale(
    facts: &Facts,
    was_ready: bool,
    status: &mut RevisionStatus,
    conditions: &mut Manager,
) {
    let known = |replicas: Option<i32>| replicas.filter(|replicas| *replicas >= 0);
    status.actual_replicas = known(facts.actual_replicas);
    status.desired_replicas = known(facts.desired_replicas);
    let Some(active) = &facts.active else {
        if !was_ready {
            conditions.mark_unknown(ACTIVE, DEPLOYING, "");
        }
        return;
    };
    let failed = [RESOURCES_AVAILABLE, CONTAINER_HEALTHY]
        .iter()
        .any(|kind| conditions.status(kind) == ConditionStatus::False);
    // Given up before the initial scale was reached, or about to be. Without requests it would be
    // idle only.
    let timed_out = active.status == ConditionStatus::False && active.reason == TIMED_OUT;
    let gave_up = timed_out || facts.is_late;
    if gave_up && !facts.is_initialized && !was_ready && !failed {
        let message = "Initial scale was never achieved";
        conditions.mark_false(RESOURCES_AVAILABLE, "ProgressDeadlineExceeded", message);
    }
    conditions.copy(
        ACTIVE,
        &Condition {
            status: active.status,
            reason: active.reason.clone(),
            message: active.message.clone(),
            ..Condition::default()
        },
    );
}

#[cfg(test)]
mod tests;
