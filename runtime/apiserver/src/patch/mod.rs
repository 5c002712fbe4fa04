//! Patches: a change of an object, given as a document.

mod json_patch;
mod merge;
mod strategic;

use serde_json::Value;
use serve_core::kind::Kind;

use crate::codec;
use crate::resources;
use crate::status::Status;

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
/// Named in the answer for custom resources as a cluster names it.
const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// A patch that was read.
#[derive(Clone, Debug)]
pub enum Patch {
    Json(Vec<json_patch::Operation>),
    Merge(Value),
    Strategic(Value),
}

impl Patch {
    /// Reads the body of a PATCH.
    ///
    /// # Errors
    /// 415 for a kind of patch that this kind of object does not take, 400 for what cannot be read.
    pub fn parse(kind: Kind, content_type: &str, body: &[u8]) -> Result<Self, Status> {
        let is_core = resources::is_core(kind);
        match codec::media_type(content_type) {
            JSON_PATCH => json_patch::parse(codec::json(body)?).map(Self::Json),
            MERGE_PATCH => document(body).map(Self::Merge),
            STRATEGIC_PATCH if is_core => document(body).map(Self::Strategic),
            APPLY_PATCH => Err(Status::unsupported_media_type(if is_core {
                &[JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH]
            } else {
                &[JSON_PATCH, MERGE_PATCH]
            })),
            _ if is_core => Err(Status::unsupported_media_type(&[
                JSON_PATCH,
                MERGE_PATCH,
                STRATEGIC_PATCH,
            ])),
            _ => Err(Status::unsupported_media_type(&[
                JSON_PATCH,
                MERGE_PATCH,
                APPLY_PATCH,
            ])),
        }
    }

    /// Changes an object.
    ///
    /// # Errors
    /// 422 for a patch that does not fit the object.
    pub fn apply(&self, object: &mut Value) -> Result<(), Status> {
        match self {
            Self::Json(operations) => json_patch::apply(object, operations),
            Self::Merge(patch) => {
                merge::apply(object, patch);
                Ok(())
            }
            Self::Strategic(patch) => {
                strategic::apply(object, patch);
                Ok(())
            }
        }
    }
}

fn document(body: &[u8]) -> Result<Value, Status> {
    let patch = codec::json(body)?;
    if patch.is_object() {
        Ok(patch)
    } else {
        Err(Status::bad_request(
            "the patch is not an object: a merge patch has members",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn custom_resources_take_no_strategic_patch() {
        let status = Patch::parse(Kind::Service, STRATEGIC_PATCH, b"{}").expect_err("415");
        assert_eq!(status.code, 415);
        assert_eq!(
            status.message,
            "the body of the request was in an unknown format - accepted media types include: \
             application/json-patch+json, application/merge-patch+json, \
             application/apply-patch+yaml"
        );
        assert!(Patch::parse(Kind::ConfigMap, STRATEGIC_PATCH, b"{}").is_ok());
        let status = Patch::parse(Kind::Service, APPLY_PATCH, b"{}").expect_err("415");
        assert_eq!(status.code, 415);
        let status = Patch::parse(Kind::Service, MERGE_PATCH, b"[]").expect_err("400");
        assert_eq!(status.code, 400);
    }
}
