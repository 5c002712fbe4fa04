//! Security contexts.

use serde_json::Value;

use super::super::{Capabilities, Container, PodSpec, SecurityContext};
use super::disallowed;
use crate::field_error::{FieldError, FieldErrors};
use crate::settings::{SecurePodDefaults, Settings};

/// Members of a pod's security context that are allowed with their feature.
const POD_FIELDS: [&str; 6] = [
    "runAsUser",
    "runAsGroup",
    "runAsNonRoot",
    "fsGroup",
    "supplementalGroups",
    "seccompProfile",
];

/// The security context of the whole pod.
pub(super) fn pod(spec: &PodSpec, settings: &Settings) -> FieldErrors {
    let Some(context) = &spec.security_context else {
        return FieldErrors::none();
    };
    let Some(members) = context.as_object() else {
        return FieldErrors::none();
    };
    let off = settings.features.security_context.is_disabled();
    let secure = settings.features.secure_pod_defaults != SecurePodDefaults::Disabled;
    // With the secure defaults, a pod may say that it does not want them.
    let opts_out = |name: &str, value: &Value| match name {
        "runAsNonRoot" => *value == Value::Bool(false),
        "seccompProfile" => true,
        _ => false,
    };
    let allowed = |name: &str, value: &Value| {
        (!off && POD_FIELDS.contains(&name)) || (secure && opts_out(name, value))
    };
    let refused = members
        .iter()
        .map(|(name, value)| (!allowed(name, value), name.as_str()));
    let mut errors = FieldErrors::from(disallowed(refused));
    for name in ["runAsUser", "runAsGroup", "fsGroup"] {
        errors.add(id(members.get(name).and_then(Value::as_i64), name));
    }
    let groups = members.get("supplementalGroups").and_then(Value::as_array);
    for (index, group) in groups.into_iter().flatten().enumerate() {
        let own = FieldErrors::from(id(group.as_i64(), ""));
        errors.add(own.via_field_index("supplementalGroups", index));
    }
    errors
}

/// The security context of one container.
pub(super) fn container(context: &SecurityContext, settings: &Settings) -> FieldErrors {
    let mut errors = FieldErrors::from(disallowed([
        (context.privileged == Some(true), "privileged"),
        (context.app_armor_profile.is_some(), "appArmorProfile"),
        (context.proc_mount.is_some(), "procMount"),
        (context.se_linux_options.is_some(), "seLinuxOptions"),
        (context.windows_options.is_some(), "windowsOptions"),
    ]));
    if let Some(own) = &context.capabilities {
        errors.add(capabilities(own, settings).via_field("capabilities"));
    }
    errors
        .and(id(context.run_as_user, "runAsUser"))
        .and(id(context.run_as_group, "runAsGroup"))
}

fn capabilities(own: &Capabilities, settings: &Settings) -> FieldErrors {
    let secure = settings.features.secure_pod_defaults != SecurePodDefaults::Disabled;
    let allowed = !settings.features.add_capabilities.is_disabled()
        || (secure && own.add.iter().all(|name| name == "NET_BIND_SERVICE"));
    disallowed([(!own.add.is_empty() && !allowed, "add")]).into()
}

fn id(value: Option<i64>, path: &str) -> Option<FieldError> {
    let value = value.filter(|value| !(0..=i64::from(i32::MAX)).contains(value))?;
    Some(FieldError::out_of_bounds(value, 0, i32::MAX, path))
}

/// What is less safe than it could be because it is not said.
pub(super) fn warnings(spec: &PodSpec, container: &Container) -> FieldErrors {
    let none = SecurityContext::default();
    let own = container.security_context.as_deref().unwrap_or(&none);
    let pod = spec.security_context.as_deref().unwrap_or(&Value::Null);
    let mut unsaid = Vec::new();
    if pod["runAsNonRoot"].is_null() && own.run_as_non_root.is_none() {
        unsaid.push("runAsNonRoot");
    }
    if own.allow_privilege_escalation.is_none() {
        unsaid.push("allowPrivilegeEscalation");
    }
    let has_type = |profile: &Value| {
        profile["type"]
            .as_str()
            .is_some_and(|kind| !kind.is_empty())
    };
    let pod_profile = &pod["seccompProfile"];
    match &own.seccomp_profile {
        None if pod_profile.is_null() => unsaid.push("seccompProfile"),
        profile => {
            if !profile.as_deref().is_some_and(has_type) && !has_type(pod_profile) {
                unsaid.push("seccompProfile.type");
            }
        }
    }
    let mut errors = FieldErrors::none();
    match &own.capabilities {
        None => unsaid.push("capabilities"),
        Some(capabilities) => match capabilities.drop.first().map(String::as_str) {
            None => unsaid.push("capabilities.drop"),
            Some("all") => {
                let error = FieldError::invalid_value("all", "capabilities.drop");
                errors.add(error.with_details("Must be spelled as 'ALL'").as_warning());
            }
            Some(_) => {}
        },
    }
    if !unsaid.is_empty() {
        let message = "Kubernetes default value is insecure, Knative may default this to secure \
            in a future release";
        errors.add(FieldError::new(message, unsaid).as_warning());
    }
    errors
}
