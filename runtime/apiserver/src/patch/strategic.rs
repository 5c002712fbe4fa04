//! Strategic merge patch, for the core kinds.
//!
//! ConfigMaps, Secrets and Namespaces are maps of texts but for two lists: `ownerReferences` are
//! merged by `uid`, `finalizers` as a set. Directives are honoured at any depth.
//!
//! # Source
//!
//! kubernetes/apimachinery pkg/util/strategicpatch; the merge keys of meta/v1 and core/v1.

use serde_json::{Map, Value};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList/";
const ELEMENT_ORDER: &str = "$setElementOrder/";

pub fn apply(target: &mut Value, patch: &Value) {
    let (Value::Object(members), Value::Object(patch)) = (&mut *target, patch) else {
        *target = without_directives(patch);
        return;
    };
    match patch.get(DIRECTIVE).and_then(Value::as_str) {
        Some("delete") => {
            members.clear();
            return;
        }
        Some("replace") => members.clear(),
        _ => {}
    }
    if let Some(kept) = patch.get(RETAIN_KEYS).and_then(Value::as_array) {
        members.retain(|key, _| kept.iter().any(|name| name == key));
    }
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix(DELETE_FROM_LIST) {
            remove_items(members, list, value);
        } else if key == DIRECTIVE || key == RETAIN_KEYS || key.starts_with(ELEMENT_ORDER) {
            // Done, or of no meaning where the lists have no order.
        } else if value.is_null() {
            members.remove(key);
        } else if let (Some(Value::Array(items)), Value::Array(new)) = (members.get_mut(key), value)
        {
            merge_list(key, items, new);
        } else {
            apply(members.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// A value of a patch as it is where there was nothing to patch.
fn without_directives(value: &Value) -> Value {
    let Value::Object(members) = value else {
        return value.clone();
    };
    let kept = members
        .iter()
        .filter(|(key, value)| !key.starts_with('$') && !value.is_null());
    Value::Object(
        kept.map(|(key, value)| (key.clone(), without_directives(value)))
            .collect(),
    )
}

fn remove_items(members: &mut Map<String, Value>, list: &str, values: &Value) {
    let gone = values.as_array().map(Vec::as_slice).unwrap_or_default();
    if let Some(Value::Array(items)) = members.get_mut(list) {
        items.retain(|item| !gone.contains(item));
    }
}

fn merge_list(key: &str, items: &mut Vec<Value>, new: &[Value]) {
    match key {
        "finalizers" => {
            for item in new {
                if !items.contains(item) {
                    items.push(item.clone());
                }
            }
        }
        "ownerReferences" => {
            for item in new {
                let same = |other: &Value| other["uid"] == item["uid"];
                if item[DIRECTIVE] == "delete" {
                    items.retain(|other| !same(other));
                } else if let Some(known) = items.iter_mut().find(|other| same(other)) {
                    apply(known, item);
                } else {
                    items.push(without_directives(item));
                }
            }
        }
        _ => *items = new.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn maps_merge_lists_merge_by_their_key_and_directives_are_honoured() {
        for (mut target, patch, want) in [
            (
                json!({"data": {"a": "1", "b": "2"}}),
                json!({"data": {"a": "3", "b": null}}),
                json!({"data": {"a": "3"}}),
            ),
            (
                json!({"data": {"a": "1"}}),
                json!({"data": {"$patch": "replace", "c": "1"}}),
                json!({"data": {"c": "1"}}),
            ),
            (
                json!({"metadata": {"finalizers": ["a", "b"]}}),
                json!({"metadata": {"finalizers": ["c"], "$deleteFromPrimitiveList/finalizers": ["a"],
                    "$setElementOrder/finalizers": ["b", "c"]}}),
                json!({"metadata": {"finalizers": ["b", "c"]}}),
            ),
            (
                json!({"metadata": {"ownerReferences": [{"uid": "1", "name": "x"}]}}),
                json!({"metadata": {"ownerReferences": [{"uid": "1", "name": "y"}, {"uid": "2"}]}}),
                json!({"metadata": {"ownerReferences": [{"uid": "1", "name": "y"}, {"uid": "2"}]}}),
            ),
            (
                json!({"metadata": {"ownerReferences": [{"uid": "1"}]}}),
                json!({"metadata": {"ownerReferences": [{"uid": "1", "$patch": "delete"}]}}),
                json!({"metadata": {"ownerReferences": []}}),
            ),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"$retainKeys": ["d"], "d": "e"}}),
                json!({"a": {"d": "e"}}),
            ),
            (
                json!({}),
                json!({"a": {"b": null, "c": "d"}}),
                json!({"a": {"c": "d"}}),
            ),
        ] {
            apply(&mut target, &patch);
            assert_eq!(target, want);
        }
    }
}
