//! Where a container has its volumes.

use std::collections::BTreeSet;

use super::super::{Container, Volume, VolumeMount};
use super::{Context, disallowed};
use crate::field_error::{FieldError, FieldErrors};
use crate::settings::Features;
use crate::text::quote;

const RESERVED_PATHS: [&str; 3] = ["/", "/dev", "/dev/log"];

pub(super) fn check(container: &Container, context: Context<'_>) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let mut seen = BTreeSet::new();
    for (index, mount) in container.volume_mounts.iter().enumerate() {
        let volume = context.volumes.get(mount.name.as_str()).copied();
        let mut own = propagation(mount, &context.settings.features);
        own.add(disallowed([
            (mount.sub_path_expr.is_some(), "subPathExpr"),
            (mount.recursive_read_only.is_some(), "recursiveReadOnly"),
        ]));
        if volume.is_none() {
            own.add(FieldError::new(
                "volumeMount has no matching volume",
                ["name"],
            ));
        }
        let path = clean(&mount.mount_path);
        own.add(mount_path(&mount.mount_path, &path, &seen));
        seen.insert(path);
        own.add(read_only(mount, volume));
        errors.add(own.via_index(index));
    }
    errors
}

fn propagation(mount: &VolumeMount, features: &Features) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let Some(mode) = &mount.mount_propagation else {
        return errors;
    };
    let flag = features.volumes_mount_propagation;
    if flag.is_disabled() {
        errors.add(FieldError::disallowed(["mountPropagation"]));
    }
    if !flag.is_enabled() {
        errors.add(FieldError::general(format!(
            "Volume Mount Propagation support is disabled, but found volume mount {} with mount \
             propagation",
            mount.name
        )));
    } else if !matches!(mode.as_str(), "None" | "HostToContainer") {
        let message = "mount propagation should be set to None or HostToContainer";
        errors.add(FieldError::new(message, ["mountPropagation"]));
    }
    errors
}

fn mount_path(path: &str, clean: &str, seen: &BTreeSet<String>) -> Option<FieldError> {
    if path.is_empty() {
        Some(FieldError::missing("mountPath"))
    } else if RESERVED_PATHS.contains(&clean) {
        let message = format!("mountPath {} is a reserved path", quote(clean));
        Some(FieldError::new(message, ["mountPath"]))
    } else if !path.starts_with('/') {
        Some(FieldError::invalid_value(path, "mountPath"))
    } else if seen.contains(clean) {
        let problem = format!("{} must be unique", quote(path));
        Some(FieldError::invalid_value(problem, "mountPath"))
    } else {
        None
    }
}

fn read_only(mount: &VolumeMount, volume: Option<&Volume>) -> Option<FieldError> {
    if mount.read_only == Some(true) {
        return None;
    }
    let claim = volume.and_then(|volume| volume.persistent_volume_claim.as_ref());
    let writable = |volume: &Volume| volume.empty_dir.is_some() || volume.ephemeral.is_some();
    if claim.is_some_and(|claim| claim.read_only == Some(true)) {
        let message = "volume is readOnly but volume mount is not";
        Some(FieldError::new(message, ["readOnly"]))
    } else if claim.is_none() && !volume.is_some_and(writable) {
        let message = "volume mount should be readOnly for this type of volume";
        Some(FieldError::new(message, ["readOnly"]))
    } else {
        None
    }
}

/// The shortest path that means the same, by its text alone.
///
/// Source: Go's `path.Clean`.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn paths_are_shortened_as_in_go() {
        for (given, want) in [
            ("/", "/"),
            ("//", "/"),
            ("/a/../", "/"),
            ("/../dev/", "/dev"),
            ("/a//b/./c/..", "/a/b"),
            ("a/../..", ".."),
            ("../a", "../a"),
            ("", "."),
        ] {
            assert_eq!(clean(given), want, "{given}");
        }
    }
}
