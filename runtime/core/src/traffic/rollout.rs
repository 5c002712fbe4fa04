//! Gradual rollout: a new revision takes over the requests of its configuration in steps.
//!
//! Input: the traffic that a route asks for, and the rollout that its ingress remembers in an
//! annotation. Output: the traffic of now, to be used and remembered, and when the next step is.
//!
//! ```text
//!   a new revision is ready              the ingress has it: observe_ready
//!        │                                     │
//!        ▼   1 %                               ▼   step_size every step_duration
//!   ─────●─────────────────────────────────────●───────●───────●───────●─► 100 %: done
//!        start_time                                                next_step_time
//! ```
//!
//! Only targets with `latestRevision` take part; they have a configuration. For each, the
//! revisions are ordered from oldest to newest and their percents add up to its percent.
//!
//! # Source
//!
//! knative/serving pkg/reconciler/route/traffic/rollout.go, the JSON field names included.
//! Differs: an annotation with a percent that is not 0 to 100 is refused; a tag that is new with
//! several configurations keeps all of them; a configuration that gets no requests is never kept.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The rollouts of one route, ordered by tag, then by name of the configuration.
///
/// This is the content of annotation `networking.internal.knative.dev/rollout`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// One for each pair of tag and configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub configurations: Vec<ConfigurationRollout>,
}

/// The rollout of one configuration under one tag.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigurationRollout {
    /// The name of the configuration.
    pub configuration_name: String,
    /// The tag; empty for the main host.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tag: String,
    /// The part of the requests that the configuration gets, which its revisions share.
    pub percent: u8,
    /// From oldest to newest. More than one while a rollout goes on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub revisions: Vec<RevisionRollout>,
    /// When and how far to go on.
    pub step_params: StepParams,
}

/// The part of one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RevisionRollout {
    /// The name of the revision.
    pub revision_name: String,
    /// The part of all requests, not of those for the configuration.
    pub percent: u8,
}

/// Timing and size of the steps. Fields are 0 while they are not known, and when nothing goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StepParams {
    /// When the rollout began, in nanoseconds since 1970.
    #[serde(rename = "starttime", skip_serializing_if = "is_zero")]
    pub start_time_nanos: i64,
    /// When the next step is, in nanoseconds since 1970.
    #[serde(rename = "nextStepTime", skip_serializing_if = "is_zero")]
    pub next_step_time_nanos: i64,
    /// The time between two steps, in nanoseconds.
    #[serde(rename = "stepDuration", skip_serializing_if = "is_zero")]
    pub step_duration_nanos: i64,
    /// The percent that moves with one step.
    #[serde(rename = "stepSize", skip_serializing_if = "is_zero_percent")]
    pub step_size_percent: u8,
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

fn is_zero_percent(value: &u8) -> bool {
    *value == 0
}

/// The result of [`Rollout::step`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stepped {
    /// The traffic of now, to be remembered for the next call.
    pub rollout: Rollout,
    /// When to call again; `None` when no step is planned.
    pub next: Option<Timestamp>,
}

impl ConfigurationRollout {
    /// What a route asks for: all of `percent` to the latest ready revision of a configuration.
    #[must_use]
    pub fn goal(tag: &str, configuration_name: &str, percent: u8, revision_name: &str) -> Self {
        Self {
            configuration_name: configuration_name.to_owned(),
            tag: tag.to_owned(),
            percent,
            revisions: vec![RevisionRollout {
                revision_name: revision_name.to_owned(),
                percent,
            }],
            step_params: StepParams::default(),
        }
    }

    /// Whether one revision has all requests of the configuration.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.revisions.len() < 2
    }
}

impl Rollout {
    /// What a route asks for, made from one goal for each target with `latestRevision`.
    #[must_use]
    pub fn from_goals(goals: impl IntoIterator<Item = ConfigurationRollout>) -> Self {
        let mut configurations: Vec<_> = goals.into_iter().collect();
        configurations.sort_by(|a, b| key(a).cmp(&key(b)));
        Self { configurations }
    }

    /// Reads the annotation; `None` when it is not a rollout or its percents do not add up. Then
    /// it is as if absent.
    #[must_use]
    pub fn from_annotation(text: &str) -> Option<Self> {
        let rollout: Self = serde_json::from_str(text).ok()?;
        rollout.adds_up().then_some(rollout)
    }

    /// Writes the annotation.
    #[must_use]
    pub fn to_annotation(&self) -> String {
        serde_json::to_string(self).expect("strings and integers are JSON")
    }

    /// Whether every configuration's requests go to one revision.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.configurations
            .iter()
            .all(ConfigurationRollout::is_done)
    }

    /// The rollouts under `tag`, by name of the configuration.
    pub fn by_tag<'a>(&'a self, tag: &'a str) -> impl Iterator<Item = &'a ConfigurationRollout> {
        self.configurations
            .iter()
            .filter(move |configuration| configuration.tag == tag)
    }

    /// The ingress became ready with the first percent: plans the steps of the rollouts that began
    /// since, such that they end `duration` after they began.
    ///
    /// The time that the ingress took for the first percent, in whole seconds and at least one, is
    /// the shortest time between steps.
    pub fn observe_ready(&mut self, now: Timestamp, duration: Duration) {
        for configuration in &mut self.configurations {
            let params = configuration.step_params;
            if params.step_duration_nanos == 0 && params.start_time_nanos > 0 {
                configuration.plan_steps(now, duration);
            }
        }
    }

    /// The traffic at `now`, from what is asked for (`self`) and what was before.
    ///
    /// Without a rollout duration a route does not call this, and uses what is asked for.
    #[must_use]
    pub fn step(self, previous: Option<Self>, now: Timestamp) -> Stepped {
        let previous = previous.unwrap_or_default();
        if previous.configurations.is_empty() {
            return Stepped {
                rollout: self,
                next: None,
            };
        }
        let mut before: BTreeMap<_, _> = previous
            .configurations
            .into_iter()
            .map(|configuration| (owned_key(&configuration), configuration))
            .collect();
        let stepped = self
            .configurations
            .into_iter()
            .filter(|goal| goal.percent > 0)
            .map(|goal| match before.remove(&owned_key(&goal)) {
                // One percent cannot be divided: it moves at once.
                Some(previous) if goal.percent > 1 => goal.step(previous, now),
                _ => goal,
            });
        let rollout = Self::from_goals(stepped);
        let next = rollout
            .configurations
            .iter()
            .map(|configuration| configuration.step_params.next_step_time_nanos)
            .filter(|nanos| *nanos > 0)
            .min();
        Stepped {
            rollout,
            next: next.map(Timestamp::from_unix_nanos),
        }
    }

    fn adds_up(&self) -> bool {
        self.configurations.iter().all(|configuration| {
            let revisions = configuration.revisions.iter();
            let sum: u32 = revisions.map(|revision| u32::from(revision.percent)).sum();
            configuration.percent <= 100
                && configuration.step_params.step_size_percent <= configuration.percent
                && sum == u32::from(configuration.percent)
        })
    }
}

fn key(configuration: &ConfigurationRollout) -> (&str, &str) {
    (&configuration.tag, &configuration.configuration_name)
}

fn owned_key(configuration: &ConfigurationRollout) -> (String, String) {
    let (tag, name) = key(configuration);
    (tag.to_owned(), name.to_owned())
}

impl ConfigurationRollout {
    /// From `previous` towards this goal, which names one revision.
    fn step(self, mut previous: Self, now: Timestamp) -> Self {
        previous.adjust_percent(self.percent);
        let Some(goal) = self.revisions.first() else {
            return self;
        };
        match previous.revisions.last() {
            None => self,
            Some(newest) if newest.revision_name != goal.revision_name => {
                previous.begin(&goal.revision_name, now);
                previous
            }
            Some(_) if previous.is_done() => self,
            Some(_) => {
                previous.go_on(now);
                previous
            }
        }
    }

    /// Changes the percent of the configuration. More goes to the newest revision, less is taken
    /// from the oldest ones.
    fn adjust_percent(&mut self, percent: u8) {
        if let Some(newest) = self.revisions.last_mut() {
            let more = percent.saturating_sub(self.percent);
            newest.percent = newest.percent.saturating_add(more);
        }
        let mut less = self.percent.saturating_sub(percent);
        self.revisions.retain_mut(|revision| {
            let taken = revision.percent.min(less);
            let emptied = taken > 0 && taken == revision.percent;
            revision.percent -= taken;
            less -= taken;
            !emptied
        });
        self.percent = percent;
    }

    /// Gives one percent to a new revision, taken from the newest one before that has any.
    fn begin(&mut self, revision_name: &str, now: Timestamp) {
        let giver = self.revisions.iter_mut().rev().find(|r| r.percent > 0);
        if let Some(giver) = giver {
            giver.percent -= 1;
        }
        self.revisions.retain(|revision| revision.percent > 0);
        self.revisions.push(RevisionRollout {
            revision_name: revision_name.to_owned(),
            percent: 1,
        });
        self.step_params = StepParams {
            start_time_nanos: now.unix_nanos(),
            ..StepParams::default()
        };
    }

    /// Moves one step to the newest revision when it is time, starting with those that came just
    /// before it.
    fn go_on(&mut self, now: Timestamp) {
        let params = self.step_params;
        if params.step_size_percent == 0 || now.unix_nanos() < params.next_step_time_nanos {
            return;
        }
        let Some(mut newest) = self.revisions.pop() else {
            return;
        };
        let mut remaining = params.step_size_percent;
        while let Some(older) = self.revisions.last_mut() {
            if older.percent > remaining {
                older.percent -= remaining;
                break;
            }
            remaining -= older.percent;
            self.revisions.pop();
        }
        // The step may be larger than what is left, also because the percent shrank meanwhile.
        newest.percent = newest
            .percent
            .saturating_add(params.step_size_percent)
            .min(self.percent);
        self.revisions.push(newest);
        self.step_params = if self.is_done() {
            StepParams::default()
        } else {
            let next = now.unix_nanos().saturating_add(params.step_duration_nanos);
            StepParams {
                next_step_time_nanos: next,
                ..params
            }
        };
    }

    fn plan_steps(&mut self, now: Timestamp, duration: Duration) {
        let started = Timestamp::from_unix_nanos(self.step_params.start_time_nanos);
        let shortest = now.since(started).as_secs_f64().ceil().max(1.0);
        let left = (duration.as_secs_f64() - shortest).max(1.0);
        // The first percent is there already.
        let percent = f64::from(self.percent.saturating_sub(1)).max(1.0);
        let steps = (left / shortest).max(1.0).min(percent);
        let step_nanos = left / steps * 1e9;
        self.step_params = StepParams {
            step_duration_nanos: step_nanos as i64,
            // Rounded, not down: 1.9 as 1 would take twice the time.
            step_size_percent: (percent / steps).round() as u8,
            // The sum is taken in floating point, as Knative does; both agree to the last bit.
            next_step_time_nanos: (now.unix_nanos() as f64 + step_nanos) as i64,
            ..self.step_params
        };
    }
}

#[cfg(test)]
mod tests;
