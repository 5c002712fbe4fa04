//! Questions of a client about itself: who it is, and what it may do.
//!
//! There is one user, who may do everything, so the answers are the same whatever is asked.
//!
//! # Source
//!
//! kubernetes/api authorization/v1 and authentication/v1.

use serde_json::{Value, json};

use crate::auth::{GROUPS, USER};

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Review {
    /// `kubectl auth can-i VERB RESOURCE`.
    Access,
    /// `kubectl auth can-i --list`.
    Rules,
    /// `kubectl auth whoami`.
    Identity,
}

impl Review {
    /// The question that is asked at a path.
    #[must_use]
    pub fn find(group: &str, version: &str, resource: &str) -> Option<Self> {
        match (group, version, resource) {
            ("authorization.k8s.io", "v1", "selfsubjectaccessreviews") => Some(Self::Access),
            ("authorization.k8s.io", "v1", "selfsubjectrulesreviews") => Some(Self::Rules),
            ("authentication.k8s.io", "v1", "selfsubjectreviews") => Some(Self::Identity),
            _ => None,
        }
    }

    /// The answer.
    #[must_use]
    pub fn answer(self) -> Value {
        let (api_version, kind, status) = match self {
            Self::Access => (
                "authorization.k8s.io/v1",
                "SelfSubjectAccessReview",
                json!({"allowed": true}),
            ),
            Self::Rules => (
                "authorization.k8s.io/v1",
                "SelfSubjectRulesReview",
                json!({
                    "incomplete": false,
                    "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
                    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
                }),
            ),
            Self::Identity => (
                "authentication.k8s.io/v1",
                "SelfSubjectReview",
                json!({"userInfo": {"username": USER, "groups": GROUPS}}),
            ),
        };
        json!({
            "kind": kind,
            "apiVersion": api_version,
            "metadata": {"creationTimestamp": null},
            "spec": {},
            "status": status,
        })
    }
}
