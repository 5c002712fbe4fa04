//! What a Route's targets mean: which Revisions get how much, or why that cannot be said.
//!
//! Input: the Route's spec, and the Configurations and Revisions it may name. Output: an
//! [`Assignment`], or the [`TargetError`] to show as condition AllTrafficAssigned.
//!
//! # Source
//!
//! knative/serving pkg/reconciler/route/traffic/{traffic,errors}.go.

use std::collections::BTreeMap;

use super::Target;
use super::rollout::{ConfigurationRollout, Rollout};
use crate::api::{Configuration, Revision, Route, TrafficTarget};
use crate::conditions::{self, ConditionStatus};
use crate::keys;
use crate::meta::ObjectKey;

/// All targets of a Route, each a Revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// In the order of the spec, for `status.traffic`. Entries with the same tag, Revision and
    /// `latest` are one, with the sum of their percents.
    pub flat: Vec<Assigned>,
    /// Those that share a host, by tag; the empty tag is the main host, which shares out all.
    /// Entries with the same Revision are one, and a single one has 100 percent.
    pub by_tag: BTreeMap<String, Vec<Assigned>>,
}

/// A target that is a Revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assigned {
    /// Empty when the target has none.
    pub tag: String,
    pub revision_name: String,
    /// The Configuration that made the Revision; empty when it is not known.
    pub configuration_name: String,
    /// Whether the target follows the Configuration's latest ready Revision.
    pub latest: bool,
    /// 0 to 100 in a valid Route.
    pub percent: u8,
}

/// Why the targets of a Route cannot be assigned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("Configuration \"{0}\" referenced in traffic not found.")]
    ConfigurationMissing(String),
    #[error("Revision \"{0}\" referenced in traffic not found.")]
    RevisionMissing(String),
    #[error("Configuration \"{0}\" is waiting for a Revision to become ready.")]
    ConfigurationNotReady(String),
    #[error("Configuration \"{0}\" does not have any ready Revision.")]
    ConfigurationFailed(String),
    #[error("Revision \"{0}\" is not yet ready.")]
    RevisionNotReady(String),
    #[error("Revision \"{0}\" failed to become ready.")]
    RevisionFailed(String),
    #[error("Revision \"{revision}\" belongs to Service \"{owner}\", not Service \"{service}\".")]
    RevisionOfAnother {
        revision: String,
        owner: String,
        service: String,
    },
    #[error("Revision \"{revision}\" does not belong to Service \"{service}\".")]
    RevisionOfNone { revision: String, service: String },
}

impl TargetError {
    /// Whether waiting will not help.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        !matches!(
            self,
            Self::ConfigurationNotReady(_) | Self::RevisionNotReady(_)
        )
    }

    /// The reason of the condition.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ConfigurationMissing(_) => "ConfigurationMissing",
            Self::RevisionMissing(_)
            | Self::ConfigurationNotReady(_)
            | Self::ConfigurationFailed(_)
            | Self::RevisionNotReady(_)
            | Self::RevisionFailed(_) => "RevisionMissing",
            Self::RevisionOfAnother { .. } | Self::RevisionOfNone { .. } => "RevisionNotOwned",
        }
    }
}

/// The objects that a Route may name, all of its namespace.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    pub configurations: &'a [&'a Configuration],
    pub revisions: &'a [&'a Revision],
}

/// Assigns the targets of `route`.
///
/// # Errors
///
/// The last failure among the targets; without a failure the first one to wait for.
pub fn build(route: &Route, candidates: Candidates<'_>) -> Result<Assignment, TargetError> {
    let mut assignment = Assignment::default();
    let mut error: Option<TargetError> = None;
    for target in &route.spec.traffic {
        match candidates.assign(route, target) {
            Ok(assigned) => assignment.add(&assigned),
            Err(worse) if error.is_none() || worse.is_failure() => error = Some(worse),
            Err(_) => {}
        }
    }
    if let Some(error) = error {
        return Err(error);
    }
    for targets in assignment.by_tag.values_mut() {
        if let [single] = targets.as_mut_slice() {
            single.percent = 100;
        }
    }
    Ok(assignment)
}

impl Candidates<'_> {
    fn configuration(&self, name: &str) -> Result<&Configuration, TargetError> {
        let mut all = self.configurations.iter().copied();
        all.find(|configuration| configuration.metadata.name == name)
            .ok_or_else(|| TargetError::ConfigurationMissing(name.to_owned()))
    }

    fn revision(&self, name: &str) -> Result<&Revision, TargetError> {
        let mut all = self.revisions.iter().copied();
        all.find(|revision| revision.metadata.name == name)
            .ok_or_else(|| TargetError::RevisionMissing(name.to_owned()))
    }

    fn assign(&self, route: &Route, target: &TrafficTarget) -> Result<Assigned, TargetError> {
        let (revision_name, configuration_name) = if target.revision_name.is_empty() {
            self.latest_of(&target.configuration_name)?
        } else {
            self.named(route, &target.revision_name)?
        };
        let percent = target.percent.unwrap_or_default().clamp(0, 100);
        Ok(Assigned {
            tag: target.tag.clone(),
            revision_name,
            configuration_name,
            latest: target.latest_revision.unwrap_or_default(),
            percent: u8::try_from(percent).unwrap_or_default(),
        })
    }

    fn latest_of(&self, name: &str) -> Result<(String, String), TargetError> {
        let configuration = self.configuration(name)?;
        let latest = &configuration.status.latest_ready_revision_name;
        if latest.is_empty() {
            let ready = conditions::status_of(&configuration.status.conditions, conditions::READY);
            return Err(if ready == ConditionStatus::False {
                TargetError::ConfigurationFailed(name.to_owned())
            } else {
                TargetError::ConfigurationNotReady(name.to_owned())
            });
        }
        let revision = self.revision(latest)?;
        Ok((revision.metadata.name.clone(), name.to_owned()))
    }

    fn named(&self, route: &Route, name: &str) -> Result<(String, String), TargetError> {
        let revision = self.revision(name)?;
        check_owner(route, revision)?;
        let status = &revision.status;
        let settled = conditions::settled(
            &revision.metadata,
            status.observed_generation,
            &status.conditions,
        );
        if settled != Some(ConditionStatus::True) {
            let ready = conditions::status_of(&status.conditions, conditions::READY);
            return Err(if ready == ConditionStatus::False {
                TargetError::RevisionFailed(name.to_owned())
            } else {
                TargetError::RevisionNotReady(name.to_owned())
            });
        }
        let configuration = match revision.metadata.label(keys::CONFIGURATION_LABEL) {
            Some(configuration) => self.configuration(configuration)?.metadata.name.clone(),
            None => String::new(),
        };
        Ok((name.to_owned(), configuration))
    }
}

/// The Route of a Service may only name that Service's Revisions.
///
/// # Source
///
/// knative/serving#16294.
fn check_owner(route: &Route, revision: &Revision) -> Result<(), TargetError> {
    let service = route
        .metadata
        .label(keys::SERVICE_LABEL)
        .unwrap_or_default();
    let owner = revision
        .metadata
        .label(keys::SERVICE_LABEL)
        .unwrap_or_default();
    let (service, revision) = (service.to_owned(), revision.metadata.name.clone());
    if service.is_empty() || service == owner {
        Ok(())
    } else if owner.is_empty() {
        Err(TargetError::RevisionOfNone { revision, service })
    } else {
        let owner = owner.to_owned();
        Err(TargetError::RevisionOfAnother {
            revision,
            owner,
            service,
        })
    }
}

impl Assignment {
    fn add(&mut self, target: &Assigned) {
        merge(&mut self.flat, target, |a, b| {
            a.tag == b.tag && a.revision_name == b.revision_name && a.latest == b.latest
        });
        let same_revision = |a: &Assigned, b: &Assigned| a.revision_name == b.revision_name;
        merge(
            self.by_tag.entry(String::new()).or_default(),
            target,
            same_revision,
        );
        if !target.tag.is_empty() {
            let of_tag = self.by_tag.entry(target.tag.clone()).or_default();
            merge(of_tag, target, same_revision);
        }
    }
}

impl Assignment {
    /// The rollout of what the Route asks for, with all of each Configuration's requests going to
    /// its latest Revision.
    #[must_use]
    pub fn goal(&self) -> Rollout {
        let all = self.by_tag.iter();
        let following = all.flat_map(|(tag, targets)| {
            let latest = targets.iter().filter(|t| t.latest && t.percent > 0);
            latest.map(move |t| {
                ConfigurationRollout::goal(tag, &t.configuration_name, t.percent, &t.revision_name)
            })
        });
        Rollout::from_goals(following)
    }

    /// The Revisions that get requests on the hosts of `tag`, with what a `rollout` in progress
    /// leaves to earlier ones. None has 0 percent, and none is there twice.
    #[must_use]
    pub fn shares(&self, namespace: &str, tag: &str, rollout: &Rollout) -> Vec<Target> {
        let mut shares: Vec<Target> = Vec::new();
        for target in self.by_tag.get(tag).into_iter().flatten() {
            for (name, percent) in target.revisions(tag, rollout) {
                let known = shares.iter_mut().find(|share| share.revision.name == name);
                match known {
                    _ if percent == 0 => {}
                    Some(share) => share.percent = share.percent.saturating_add(percent).min(100),
                    None => shares.push(Target {
                        revision: ObjectKey::new(namespace, name),
                        percent,
                    }),
                }
            }
        }
        shares
    }
}

impl Assigned {
    /// The Revisions that stand for this target on the hosts of `tag`, from oldest to newest.
    pub(crate) fn revisions<'a>(
        &'a self,
        tag: &'a str,
        rollout: &'a Rollout,
    ) -> Vec<(&'a str, u8)> {
        let mut of_tag = rollout.by_tag(tag);
        let stepping = of_tag.find(|configuration| {
            self.latest
                && self.percent > 0
                && configuration.configuration_name == self.configuration_name
                && !configuration.is_done()
        });
        match stepping {
            None => vec![(&self.revision_name, self.percent)],
            Some(stepping) => {
                let revisions = stepping.revisions.iter();
                revisions
                    .map(|r| (r.revision_name.as_str(), r.percent))
                    .collect()
            }
        }
    }
}

fn merge(
    targets: &mut Vec<Assigned>,
    target: &Assigned,
    same: impl Fn(&Assigned, &Assigned) -> bool,
) {
    match targets.iter_mut().find(|known| same(known, target)) {
        Some(known) => known.percent = known.percent.saturating_add(target.percent).min(100),
        None => targets.push(target.clone()),
    }
}

#[cfg(test)]
mod tests;
