//! The resources of the API: which groups, versions and verbs there are.

use serve_core::kind::{Kind, Names};

/// What can be done with a resource, in the order in which discovery lists it.
pub const VERBS: [&str; 8] = [
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "create",
    "update",
    "watch",
];

/// What can be done with the status of a resource.
pub const STATUS_VERBS: [&str; 3] = ["get", "patch", "update"];

/// A group in one version; the core group has no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupVersion {
    pub group: &'static str,
    pub version: &'static str,
}

/// All of them, the preferred version of a group first.
pub const GROUP_VERSIONS: [GroupVersion; 4] = [
    GroupVersion {
        group: "",
        version: "v1",
    },
    GroupVersion {
        group: "serving.knative.dev",
        version: "v1",
    },
    GroupVersion {
        group: "serving.knative.dev",
        version: "v1beta1",
    },
    GroupVersion {
        group: "networking.internal.knative.dev",
        version: "v1alpha1",
    },
];

impl GroupVersion {
    /// The kinds of this group and version.
    pub fn kinds(self) -> impl Iterator<Item = Kind> {
        Kind::ALL
            .into_iter()
            .filter(move |kind| Self::of(kind.names()) == self)
    }

    fn of(names: Names) -> Self {
        Self {
            group: names.group,
            version: names.version,
        }
    }

    /// `group/version`, or the version alone.
    #[must_use]
    pub fn text(self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Where its resources are, without the first slash: `apis/serving.knative.dev/v1`.
    #[must_use]
    pub fn path(self) -> String {
        if self.group.is_empty() {
            format!("api/{}", self.version)
        } else {
            format!("apis/{}/{}", self.group, self.version)
        }
    }

    #[must_use]
    pub fn find(group: &str, version: &str) -> Option<Self> {
        GROUP_VERSIONS
            .into_iter()
            .find(|gv| gv.group == group && gv.version == version)
    }
}

/// The kind whose resource has this plural.
#[must_use]
pub fn find(gv: GroupVersion, plural: &str) -> Option<Kind> {
    gv.kinds().find(|kind| kind.names().plural == plural)
}

/// Whether a kind is one of Kubernetes' own and not a custom resource.
#[must_use]
pub fn is_core(kind: Kind) -> bool {
    kind.names().group.is_empty()
}

/// Whether a kind has a `/status` of its own. Nothing is said in that of a claim.
#[must_use]
pub fn has_status(kind: Kind) -> bool {
    !is_core(kind) && kind != Kind::ClusterDomainClaim
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_in_one_group_and_version() {
        for kind in Kind::ALL {
            let homes = GROUP_VERSIONS
                .into_iter()
                .filter(|gv| find(*gv, kind.names().plural) == Some(kind));
            assert_eq!(homes.count(), 1, "{kind:?}");
        }
    }
}
