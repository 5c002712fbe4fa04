//! JSON patch, with bounds on what a patch may cost.
//!
//! # Source
//!
//! RFC 6902 and RFC 6901. As in Kubernetes, `remove` of what is not there fails.

use serde_json::Value;

use crate::codec;
use crate::status::Status;

/// As many operations as Kubernetes takes.
const MAX_OPERATIONS: usize = 10_000;
/// How much `copy` operations may add to an object, in bytes of JSON.
const MAX_COPIED: usize = 3 << 20;
/// How deep a patch may nest an object: as deep as one may be. Without a bound, short paths are enough
/// to make one that nobody can walk, if only to drop it.
const MAX_DEPTH: usize = codec::MAX_DEPTH;
/// How many values may be looked at for that; a patch that moves large parts again and again is
/// refused beyond.
const MAX_WALKED: usize = 10 << 20;

/// What the operations of a patch may still take.
struct Budget {
    copied: usize,
    walked: usize,
}

/// One operation.
#[derive(Clone, Debug)]
pub enum Operation {
    Add(Pointer, Value),
    Remove(Pointer),
    Replace(Pointer, Value),
    Move(Pointer, Pointer),
    Copy(Pointer, Pointer),
    Test(Pointer, Value),
}

/// A JSON pointer: the steps from the root.
pub type Pointer = Vec<String>;

/// Reads a patch.
///
/// # Errors
/// 400 for what is none, 413 for too many operations.
pub fn parse(patch: Value) -> Result<Vec<Operation>, Status> {
    let Value::Array(operations) = patch else {
        return Err(Status::bad_request(
            "error decoding patch: a list of operations is expected",
        ));
    };
    if operations.len() > MAX_OPERATIONS {
        return Err(Status::new(
            413,
            "RequestEntityTooLarge",
            format!(
                "Request entity too large: The allowed maximum operations in a JSON patch is \
                 {MAX_OPERATIONS}, got {}",
                operations.len()
            ),
        ));
    }
    operations.into_iter().map(operation).collect()
}

fn operation(mut operation: Value) -> Result<Operation, Status> {
    let wrong = |problem: String| Status::bad_request(format!("error decoding patch: {problem}"));
    let path = pointer(&operation, "path").map_err(wrong)?;
    let value = operation
        .get_mut("value")
        .map(Value::take)
        .ok_or("value is missing".to_owned());
    let from = || pointer(&operation, "from").map_err(wrong);
    Ok(match operation["op"].as_str().unwrap_or_default() {
        "add" => Operation::Add(path, value.map_err(wrong)?),
        "remove" => Operation::Remove(path),
        "replace" => Operation::Replace(path, value.map_err(wrong)?),
        "move" => Operation::Move(from()?, path),
        "copy" => Operation::Copy(from()?, path),
        // A test for null may leave the value out.
        "test" => Operation::Test(path, value.unwrap_or_default()),
        other => return Err(wrong(format!("unexpected kind: {other}"))),
    })
}

fn pointer(operation: &Value, member: &str) -> Result<Pointer, String> {
    let text = operation[member]
        .as_str()
        .ok_or_else(|| format!("{member} is missing"))?;
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let steps = text
        .strip_prefix('/')
        .ok_or_else(|| format!("{member} \"{text}\" does not begin with /"))?;
    Ok(steps
        .split('/')
        .map(|step| step.replace("~1", "/").replace("~0", "~"))
        .collect())
}

/// Applies all operations or fails.
///
/// # Errors
/// 422 for the first that does not fit the object.
pub fn apply(target: &mut Value, operations: &[Operation]) -> Result<(), Status> {
    let mut budget = Budget {
        copied: MAX_COPIED,
        walked: MAX_WALKED,
    };
    for operation in operations {
        one(target, operation, &mut budget).map_err(|problem| Status::patch_failed(&problem))?;
    }
    Ok(())
}

fn one(target: &mut Value, operation: &Operation, budget: &mut Budget) -> Result<(), String> {
    match operation {
        Operation::Add(path, value) => {
            budget.place(path, value)?;
            add(target, path, value.clone())
        }
        Operation::Remove(path) => remove(target, path).map(drop),
        Operation::Replace(path, value) => {
            budget.place(path, value)?;
            *at(target, path)? = value.clone();
            Ok(())
        }
        Operation::Move(from, path) => {
            if path.len() > from.len() && path.starts_with(from) {
                return Err(format!("{} cannot move into itself", shown(from)));
            }
            budget.place(path, at(target, from)?)?;
            let value = remove(target, from)?;
            add(target, path, value)
        }
        Operation::Copy(from, path) => {
            let value = at(target, from)?;
            budget.place(path, value)?;
            let left = budget.copied.checked_sub(value.to_string().len());
            budget.copied = left.ok_or("the patch copies too much")?;
            let value = value.clone();
            add(target, path, value)
        }
        Operation::Test(path, want) => {
            let found = at(target, path).map_or(Value::Null, |value| value.clone());
            if found == *want {
                Ok(())
            } else {
                Err(format!("testing value {} failed", shown(path)))
            }
        }
    }
}

impl Budget {
    /// That the object is not too deep with `value` at `path`.
    fn place(&mut self, path: &[String], value: &Value) -> Result<(), String> {
        let levels = MAX_DEPTH.checked_sub(path.len());
        let fits = levels.is_some_and(|levels| !codec::is_deeper(value, levels, &mut self.walked));
        if self.walked == 0 {
            return Err("the patch moves too much".to_owned());
        }
        if !fits {
            return Err(format!(
                "{}: the object would be nested more than {MAX_DEPTH} levels deep",
                shown(path)
            ));
        }
        Ok(())
    }
}

fn at<'a>(target: &'a mut Value, path: &[String]) -> Result<&'a mut Value, String> {
    path.iter()
        .try_fold(target, |value, step| match value {
            Value::Object(members) => members.get_mut(step),
            Value::Array(items) => items.get_mut(index(step)?),
            _ => None,
        })
        .ok_or_else(|| missing(path))
}

fn add(target: &mut Value, path: &[String], value: Value) -> Result<(), String> {
    let Some((last, parent)) = path.split_last() else {
        *target = value;
        return Ok(());
    };
    match at(target, parent)? {
        Value::Object(members) => {
            members.insert(last.clone(), value);
            Ok(())
        }
        Value::Array(items) if last == "-" => {
            items.push(value);
            Ok(())
        }
        Value::Array(items) => {
            let index = index(last).filter(|index| *index <= items.len());
            items.insert(index.ok_or_else(|| missing(path))?, value);
            Ok(())
        }
        _ => Err(missing(path)),
    }
}

fn remove(target: &mut Value, path: &[String]) -> Result<Value, String> {
    let Some((last, parent)) = path.split_last() else {
        return Ok(target.take());
    };
    match at(target, parent)? {
        Value::Object(members) => members.remove(last),
        Value::Array(items) => index(last)
            .filter(|index| *index < items.len())
            .map(|index| items.remove(index)),
        _ => None,
    }
    .ok_or_else(|| missing(path))
}

/// Digits without a leading zero.
fn index(step: &str) -> Option<usize> {
    let is_canonical = step == "0" || !step.starts_with(['0', '+']);
    is_canonical.then(|| step.parse().ok()).flatten()
}

fn missing(path: &[String]) -> String {
    format!("{}: missing path", shown(path))
}

fn shown(path: &[String]) -> String {
    let mut text = String::new();
    for step in path {
        text.push('/');
        text.push_str(&step.replace('~', "~0").replace('/', "~1"));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(mut target: Value, patch: Value) -> Result<Value, u16> {
        let operations = parse(patch).map_err(|status| status.code)?;
        apply(&mut target, &operations).map_err(|status| status.code)?;
        Ok(target)
    }

    #[test]
    fn operations_do_what_the_rfc_says() {
        let of =
            |op: &str, path: &str, value: Value| json!([{"op": op, "path": path, "value": value}]);
        for (target, patch, want) in [
            (json!({}), of("add", "/a", json!(1)), Ok(json!({"a": 1}))),
            (
                json!([1, 3]),
                of("add", "/1", json!(2)),
                Ok(json!([1, 2, 3])),
            ),
            (json!([1]), of("add", "/-", json!(2)), Ok(json!([1, 2]))),
            (json!([1]), of("add", "/3", json!(2)), Err(422)),
            (json!([1, 2]), of("replace", "/01", json!(2)), Err(422)),
            (json!({}), of("replace", "/a", json!(1)), Err(422)),
            (json!({"a": 1}), of("remove", "/a", json!(0)), Ok(json!({}))),
            (json!({}), of("remove", "/a", json!(0)), Err(422)),
            (
                json!({"a/b~": 1}),
                of("replace", "/a~1b~0", json!(2)),
                Ok(json!({"a/b~": 2})),
            ),
            (
                json!({"a": 1}),
                of("test", "/a", json!(1)),
                Ok(json!({"a": 1})),
            ),
            (json!({"a": 1}), of("test", "/a", json!(2)), Err(422)),
            (
                json!({"a": {"b": 1}}),
                json!([{"op": "move", "from": "/a/b", "path": "/c"}]),
                Ok(json!({"a": {}, "c": 1})),
            ),
            (
                json!({"a": {"b": 1}}),
                json!([{"op": "move", "from": "/a", "path": "/a/b"}]),
                Err(422),
            ),
            (
                json!({"a": 1}),
                json!([{"op": "copy", "from": "/a", "path": "/b"}]),
                Ok(json!({"a": 1, "b": 1})),
            ),
            (json!({}), json!({}), Err(400)),
            (json!({}), json!([{"op": "eat", "path": ""}]), Err(400)),
            (
                json!({}),
                json!([{"op": "add", "path": "a", "value": 1}]),
                Err(400),
            ),
            (json!({}), json!([{"op": "add", "path": "/a"}]), Err(400)),
        ] {
            assert_eq!(patched(target, patch.clone()), want, "{patch}");
        }
    }

    /// Each round puts what there was below something new, with paths that stay short. Nobody who
    /// walks such an object, if only to drop it, has stack enough.
    #[test]
    fn a_patch_cannot_nest_an_object_without_bound() {
        let deep = (0..50).fold(json!(null), |inner, _| json!({ "a": inner }));
        let to = format!("/y{}", "/a".repeat(50));
        let round = [
            json!({"op": "add", "path": "/y", "value": deep}),
            json!({"op": "move", "from": "/x", "path": to}),
            json!({"op": "move", "from": "/y", "path": "/x"}),
        ];
        let once = Value::Array(round.to_vec());
        assert!(patched(json!({"x": 1}), once).is_ok());
        let often = Value::Array(round.iter().cycle().take(9_999).cloned().collect());
        assert!(patched(json!({"x": 1}), often) == Err(422));
        let grow = json!({"op": "copy", "from": "", "path": "/x"});
        let grow = Value::Array(vec![grow; MAX_DEPTH]);
        assert!(patched(json!({"x": 1}), grow) == Err(422));
        let replace = json!([{"op": "replace", "path": to, "value": deep}]);
        assert!(patched(json!({ "y": deep }), replace) == Err(422));
    }

    #[test]
    fn a_patch_cannot_grow_an_object_without_bound() {
        let double = json!({"op": "copy", "from": "", "path": "/-"});
        let patch = Value::Array(vec![double; 64]);
        assert!(patched(json!(["x".repeat(100)]), patch) == Err(422));
        let many = Value::Array(vec![
            json!({"op": "remove", "path": "/a"});
            MAX_OPERATIONS + 1
        ]);
        assert_eq!(patched(json!({}), many), Err(413));
    }
}
