//! What Kubernetes would refuse when it is asked to make a pod of the spec.
//!
//! Knative asks with a dry run of a pod; here there are no pods, so the rules for what a valid
//! Revision can still get wrong are written down.
//!
//! # Source
//!
//! kubernetes/kubernetes pkg/apis/core/validation, texts and order.

use std::collections::BTreeSet;

use super::{Container, EnvVar, EnvVarSource, PodSpec, Quantity};
use crate::api::syntax;
use crate::text::quote;

/// The name that Knative gives the pod.
const POD_NAME: &str = "dry-run-validation";

/// The answer of the server, if it would refuse.
pub(in crate::api) fn dry_run(spec: &PodSpec) -> Option<String> {
    let mut problems = Vec::new();
    let mut names = BTreeSet::new();
    for (list, containers) in [
        ("containers", &spec.containers),
        ("initContainers", &spec.init_containers),
    ] {
        for (index, container) in containers.iter().enumerate() {
            let path = format!("spec.{list}[{index}]");
            check_container(container, &path, &mut problems);
            if !names.insert(&container.name) {
                let name = quote(&container.name);
                problems.push(format!("{path}.name: Duplicate value: {name}"));
            }
        }
    }
    match problems.as_slice() {
        [] => None,
        [only] => Some(format!("Pod \"{POD_NAME}\" is invalid: {only}")),
        several => {
            let all = several.join(", ");
            Some(format!("Pod \"{POD_NAME}\" is invalid: [{all}]"))
        }
    }
}

fn check_container(container: &Container, path: &str, problems: &mut Vec<String>) {
    for problem in syntax::dns_1123_label(&container.name) {
        let name = quote(&container.name);
        problems.push(format!("{path}.name: Invalid value: {name}: {problem}"));
    }
    for (index, variable) in container.env.iter().enumerate() {
        check_variable(variable, &format!("{path}.env[{index}]"), problems);
    }
    let policy = container.image_pull_policy.as_str();
    if !matches!(policy, "" | "Always" | "IfNotPresent" | "Never") {
        problems.push(format!(
            "{path}.imagePullPolicy: Unsupported value: {}: supported values: \"Always\", \
             \"IfNotPresent\", \"Never\"",
            quote(policy)
        ));
    }
    check_resources(container, &format!("{path}.resources"), problems);
}

fn check_variable(variable: &EnvVar, path: &str, problems: &mut Vec<String>) {
    for problem in syntax::env_var_name(&variable.name) {
        let name = quote(&variable.name);
        problems.push(format!("{path}.name: Invalid value: {name}: {problem}"));
    }
    let Some(source) = &variable.value_from else {
        return;
    };
    let count = [
        source.config_map_key_ref.is_some(),
        source.secret_key_ref.is_some(),
        source.field_ref.is_some(),
        source.resource_field_ref.is_some(),
    ]
    .into_iter()
    .filter(|is_set| *is_set)
    .count();
    let path = format!("{path}.valueFrom");
    if count == 0 {
        let kinds = "`fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
        problems.push(format!(
            "{path}: Invalid value: \"\": must specify one of: {kinds}"
        ));
    } else if variable.value.is_some() {
        let problem = "may not be specified when `value` is not empty";
        problems.push(format!("{path}: Invalid value: \"\": {problem}"));
    } else if count > 1 {
        let problem = "may not have more than one field specified at a time";
        problems.push(format!("{path}: Invalid value: \"\": {problem}"));
    }
    check_keys(source, &path, problems);
}

fn check_keys(source: &EnvVarSource, path: &str, problems: &mut Vec<String>) {
    for (selector, field) in [
        (&source.config_map_key_ref, "configMapKeyRef"),
        (&source.secret_key_ref, "secretKeyRef"),
    ] {
        if selector
            .as_ref()
            .is_some_and(|selector| selector.key.is_empty())
        {
            problems.push(format!("{path}.{field}.key: Required value"));
        }
    }
}

fn check_resources(container: &Container, path: &str, problems: &mut Vec<String>) {
    let resources = &container.resources;
    for (map, field) in [
        (&resources.limits, "limits"),
        (&resources.requests, "requests"),
    ] {
        for (name, quantity) in map.iter().flatten() {
            if let Ok(amount) = quantity.parse()
                && amount.is_negative()
            {
                let amount = quote(&amount.to_string());
                let rule = "must be greater than or equal to 0";
                problems.push(format!(
                    "{path}.{field}[{name}]: Invalid value: {amount}: {rule}"
                ));
            }
        }
    }
    for (name, request) in resources.requests.iter().flatten() {
        let limit = resources
            .limits
            .as_ref()
            .and_then(|limits| limits.get(name));
        let (Ok(request), Some(Ok(limit))) = (request.parse(), limit.map(Quantity::parse)) else {
            continue;
        };
        if request > limit {
            let request = quote(&request.to_string());
            problems.push(format!(
                "{path}.requests: Invalid value: {request}: must be less than or equal to {name} \
                 limit of {limit}"
            ));
        }
    }
}
