//! The annotations that have a meaning, and the values that they may have.
//!
//! Paths are relative to the annotations; the path of a value is its key.
//!
//! # Source
//!
//! knative/serving pkg/apis/autoscaling/annotation_validation.go, metadata_validation.go,
//! v1/revision_validation.go. Differs: a number that is not finite is an invalid value.

use std::collections::BTreeMap;
use std::num::IntErrorKind;

use crate::autoscale::Config;
use crate::autoscale::annotation::{self, Names};
use crate::autoscale::spec::{
    HPA_CLASS, KPA_CLASS, PANIC_WINDOW_PERCENTAGE, STABLE_WINDOW, TARGET_MIN,
};
use crate::duration;
use crate::field_error::{FieldError, FieldErrors};
use crate::keys;
use crate::quantity::Quantity;

type Annotations = BTreeMap<String, String>;

const SECOND: i64 = 1_000_000_000;

/// What is wrong with the annotations that steer the autoscaler.
pub(super) fn autoscaling(annotations: &Annotations, config: &Config) -> FieldErrors {
    class(annotations)
        .and(scales(annotations, config))
        .and(numbers(annotations))
        .and(durations(annotations))
        .and(metric(annotations))
        .and(algorithm(annotations))
        .and(initial_scale(annotations, config))
}

/// What is wrong with the duration of a rollout.
pub(super) fn rollout_duration(annotations: &Annotations) -> FieldErrors {
    let names = &[
        keys::ROLLOUT_DURATION_ANNOTATION,
        keys::ROLLOUT_DURATION_ALIAS_ANNOTATION,
    ];
    seconds(annotations, names, "rollout-duration").into()
}

/// What is wrong with how long a revision may take to start.
pub(super) fn progress_deadline(annotations: &Annotations) -> FieldErrors {
    seconds(
        annotations,
        annotation::PROGRESS_DEADLINE,
        "progress-deadline",
    )
    .into()
}

/// What is wrong with the sizes of the queue proxy.
pub(super) fn queue_sidecar(annotations: &Annotations) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let names = &[
        keys::QUEUE_RESOURCE_PERCENTAGE_ANNOTATION,
        keys::QUEUE_RESOURCE_PERCENTAGE_ANNOTATION_OLD,
    ];
    if let Some((key, text)) = get(annotations, names) {
        let message = "Queue proxy resource percentage annotation is deprecated. Please use the \
            available annotations to explicitly set resource values per service";
        let mut own = FieldErrors::from(FieldError::new(message, [""]).as_warning());
        match finite(text) {
            None => own.add(FieldError::invalid_value(text, "")),
            Some(value) if !(0.1..=100.0).contains(&value) => {
                own.add(FieldError::out_of_bounds(value, 0.1, 100, ""));
            }
            Some(_) => {}
        }
        errors.add(own.via_key(key));
    }
    for key in keys::QUEUE_RESOURCE_ANNOTATIONS {
        if let Some(text) = annotations.get(key)
            && text.parse::<Quantity>().is_err()
        {
            let own = FieldErrors::from(FieldError::invalid_value(text, ""));
            errors.add(own.via_key(key));
        }
    }
    errors
}

/// The first of the names that is present, with its value.
fn get<'a>(
    annotations: &'a Annotations,
    names: &[&'static str],
) -> Option<(&'static str, &'a str)> {
    names
        .iter()
        .find_map(|name| Some((*name, annotations.get(*name)?.as_str())))
}

/// The spelling that is not old.
fn newest(names: Names) -> &'static str {
    names.first().copied().unwrap_or_default()
}

fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

fn seconds(annotations: &Annotations, names: &[&'static str], short: &str) -> Option<FieldError> {
    let (key, text) = get(annotations, names).filter(|(_, text)| !text.is_empty())?;
    let Ok(nanos) = duration::parse_nanos(text) else {
        return Some(FieldError::invalid_value(text, key));
    };
    if nanos % SECOND != 0 {
        let message = format!("{short}={text} is not at second precision");
        return Some(FieldError::new(message, [key]));
    }
    (nanos < 0).then(|| FieldError::new(format!("{short}={text} must be positive"), [key]))
}

fn class(annotations: &Annotations) -> FieldErrors {
    let Some((key, class)) = get(annotations, annotation::CLASS) else {
        return FieldErrors::none();
    };
    // Classes of other domains belong to autoscalers that we know nothing of.
    let ours = class.ends_with(".knative.dev");
    (ours && class != KPA_CLASS && class != HPA_CLASS)
        .then(|| FieldError::invalid_value(class, key))
        .into()
}

fn algorithm(annotations: &Annotations) -> FieldErrors {
    let is_kpa = get(annotations, annotation::CLASS).is_some_and(|(_, class)| class == KPA_CLASS);
    let names = annotation::METRIC_AGGREGATION_ALGORITHM;
    let Some((key, name)) = get(annotations, names).filter(|_| is_kpa) else {
        return FieldErrors::none();
    };
    let known = ["", "linear", "weighted-exponential", "weightedExponential"];
    (!known.contains(&name))
        .then(|| FieldError::invalid_value(name, key))
        .into()
}

fn metric(annotations: &Annotations) -> FieldErrors {
    let Some((key, metric)) = get(annotations, annotation::METRIC) else {
        return FieldErrors::none();
    };
    let class = get(annotations, annotation::CLASS).map_or(KPA_CLASS, |(_, class)| class);
    let known = match class {
        KPA_CLASS => matches!(metric, "concurrency" | "rps"),
        HPA_CLASS => !metric.is_empty(),
        _ => true,
    };
    (!known)
        .then(|| FieldError::invalid_value(metric, key))
        .into()
}

/// A number of replicas; 0 when it is absent or wrong, and then what is wrong.
fn scale(annotations: &Annotations, names: Names) -> (i32, Option<FieldError>) {
    let Some((key, text)) = get(annotations, names) else {
        return (0, None);
    };
    let out_of_bounds = || FieldError::out_of_bounds(text, 0, i32::MAX, key);
    match text.parse::<i32>() {
        Ok(scale) if scale >= 0 => (scale, None),
        Ok(_) => (0, Some(out_of_bounds())),
        Err(error) => match error.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => (0, Some(out_of_bounds())),
            _ => (0, Some(FieldError::invalid_value(text, key))),
        },
    }
}

fn scales(annotations: &Annotations, config: &Config) -> FieldErrors {
    let (min, min_error) = scale(annotations, annotation::MIN_SCALE);
    let (max, max_error) = scale(annotations, annotation::MAX_SCALE);
    let mut errors = FieldErrors::from(min_error).and(max_error);
    if max != 0 && max < min {
        let message = format!("max-scale={max} is less than min-scale={min}");
        let keys = [annotation::MAX_SCALE, annotation::MIN_SCALE].map(newest);
        errors.add(FieldError::new(message, keys));
    }
    if let Some((key, _)) = get(annotations, annotation::MAX_SCALE) {
        errors.add(max_scale_limit(max, config.max_scale_limit, key));
    }
    errors.and(activation_scale(annotations, min, max))
}

fn max_scale_limit(max: i32, limit: u32, key: &str) -> Option<FieldError> {
    if limit == 0 {
        None
    } else if max == 0 {
        let message = format!("max-scale=0 (unlimited), must be less than {limit}");
        Some(FieldError::new(message, [key]))
    } else {
        (i64::from(max) > i64::from(limit)).then(|| FieldError::out_of_bounds(max, 1, limit, key))
    }
}

fn activation_scale(annotations: &Annotations, min: i32, max: i32) -> Option<FieldError> {
    let (key, text) = get(annotations, annotation::ACTIVATION_SCALE)?;
    let Ok(scale) = text.parse::<i32>() else {
        return Some(FieldError::invalid_value(text, key));
    };
    let message = if min > scale {
        format!("min-scale={min} is greater than activation-scale={scale}")
    } else if max != 0 && max < scale {
        format!("max-scale={max} is less than activation-scale={scale}")
    } else if scale < 2 {
        format!("activation-scale={scale} must be greater than 1")
    } else {
        return None;
    };
    Some(FieldError::new(message, [key]))
}

fn initial_scale(annotations: &Annotations, config: &Config) -> FieldErrors {
    let Some((key, text)) = get(annotations, annotation::INITIAL_SCALE) else {
        return FieldErrors::none();
    };
    // Upstream says the rule in the path.
    let path = match text.parse::<i64>() {
        Err(_) => key.to_owned(),
        Ok(scale) if scale < 0 => format!("{key} must be greater than 0"),
        Ok(0) if !config.allow_zero_initial_scale => format!("{key}=0 not allowed by cluster"),
        Ok(_) => return FieldErrors::none(),
    };
    FieldError::invalid_value(text, &path).into()
}

fn numbers(annotations: &Annotations) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let (panic_min, panic_max) = PANIC_WINDOW_PERCENTAGE.into_inner();
    for (names, min, max) in [
        (annotation::PANIC_WINDOW_PERCENTAGE, panic_min, panic_max),
        (annotation::PANIC_THRESHOLD_PERCENTAGE, 110.0, 1000.0),
        (annotation::TARGET_UTILIZATION_PERCENTAGE, 1.0, 100.0),
    ] {
        if let Some((key, text)) = get(annotations, names) {
            match finite(text) {
                None => errors.add(FieldError::invalid_value(text, key)),
                Some(value) if !(min..=max).contains(&value) => {
                    errors.add(FieldError::out_of_bounds(text, min, max, key));
                }
                Some(_) => {}
            }
        }
    }
    if let Some((key, text)) = get(annotations, annotation::TARGET) {
        match finite(text) {
            None => errors.add(FieldError::invalid_value(text, key)),
            Some(value) if value < TARGET_MIN => {
                let message = format!("target {text} should be at least {TARGET_MIN}");
                errors.add(FieldError::new(message, [key]));
            }
            Some(_) => {}
        }
    }
    if let Some((key, text)) = get(annotations, annotation::TARGET_BURST_CAPACITY) {
        let valid = finite(text).is_some_and(|value| value >= 0.0 || value == -1.0);
        errors.add((!valid).then(|| FieldError::invalid_value(text, key)));
    }
    errors
}

fn durations(annotations: &Annotations) -> FieldErrors {
    let (window_min, window_max) = STABLE_WINDOW.into_inner();
    let nanos = |length: std::time::Duration| i64::try_from(length.as_nanos()).unwrap_or(i64::MAX);
    let (window_min, window_max) = (nanos(window_min), nanos(window_max));
    let mut errors = FieldErrors::none();
    for (names, min, whole_seconds) in [
        (annotation::WINDOW, window_min, true),
        (annotation::SCALE_DOWN_DELAY, 0, true),
        (annotation::SCALE_TO_ZERO_POD_RETENTION_PERIOD, 0, false),
    ] {
        let Some((key, text)) = get(annotations, names) else {
            continue;
        };
        match duration::parse_nanos(text) {
            Err(_) => errors.add(FieldError::invalid_value(text, key)),
            Ok(value) if !(min..=window_max).contains(&value) => {
                let (min, max) = (
                    duration::format_nanos(min),
                    duration::format_nanos(window_max),
                );
                errors.add(FieldError::out_of_bounds(text, min, max, key));
            }
            Ok(value) if whole_seconds && value % SECOND != 0 => {
                let message = "must be specified with at most second precision";
                errors.add(FieldError::new(message, [key]));
            }
            Ok(_) => {}
        }
    }
    errors
}

#[cfg(test)]
mod tests;
