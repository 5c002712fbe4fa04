//! What the machine can bear: which replicas fit it by the resources that they ask for.
//!
//! Input: the machine's cores and memory, what runs already, and what one replica asks for. Output:
//! how many of the wanted replicas fit, and why no more, in the words of Kubernetes.
//!
//! # Source
//!
//! kubernetes pkg/scheduler/framework/plugins/noderesources and types.go, `FitError`. Differs: there
//! is one node and no preemption, and ephemeral storage is not counted.

use std::collections::BTreeMap;

use crate::api::podspec::ResourceRequirements;

const CPU: &str = "cpu";
const MEMORY: &str = "memory";
/// Not counted: what a guest may write is bounded elsewhere.
const EPHEMERAL_STORAGE: &str = "ephemeral-storage";

/// Amounts of resources, by name: thousandths of a core, bytes, and whole devices. What is absent
/// is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources(BTreeMap<String, u64>);

/// How many replicas may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub replicas: u32,
    /// Why no more fit; absent when all do.
    pub shortage: Option<String>,
}

impl Resources {
    /// The machine's.
    #[must_use]
    pub fn of_machine(cores: u64, memory_bytes: u64) -> Self {
        let cpu = cores.saturating_mul(1000);
        let all = [(CPU.to_owned(), cpu), (MEMORY.to_owned(), memory_bytes)];
        Self(all.into())
    }

    /// What one replica asks for: its requests, and its limits where it requests nothing.
    #[must_use]
    pub fn asked(requirements: &ResourceRequirements) -> Self {
        let both = [&requirements.limits, &requirements.requests];
        let mut asked = BTreeMap::new();
        for (name, quantity) in both.into_iter().flatten().flatten() {
            let Ok(quantity) = quantity.parse() else {
                continue;
            };
            let amount = if name == CPU {
                quantity.thousandths()
            } else {
                quantity.units()
            };
            asked.insert(name.clone(), amount);
        }
        asked.remove(EPHEMERAL_STORAGE);
        asked.retain(|_, amount| *amount > 0);
        Self(asked)
    }

    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.0.is_empty()
    }

    /// Thousandths of a core.
    #[must_use]
    pub fn millicores(&self) -> u64 {
        self.get(CPU)
    }

    fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Adds what `replicas` of `one` ask for.
    pub fn add(&mut self, one: &Self, replicas: u32) {
        for (name, amount) in &one.0 {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = sum.saturating_add(amount.saturating_mul(u64::from(replicas)));
        }
    }

    /// Takes away what [`Resources::add`] added.
    pub fn remove(&mut self, one: &Self, replicas: u32) {
        for (name, amount) in &one.0 {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = sum.saturating_sub(amount.saturating_mul(u64::from(replicas)));
        }
    }
}

/// How many of `wanted` replicas, each of which asks for `one`, fit a machine with `capacity` of
/// which others have `used`.
#[must_use]
pub fn place(capacity: &Resources, used: &Resources, one: &Resources, wanted: u32) -> Placement {
    let fitting = |(name, amount): (&String, &u64)| {
        let free = capacity.get(name).saturating_sub(used.get(name));
        u32::try_from(free / (*amount).max(1)).unwrap_or(u32::MAX)
    };
    let replicas = one.0.iter().map(fitting).fold(wanted, u32::min);
    if replicas == wanted {
        let shortage = None;
        return Placement { replicas, shortage };
    }
    // In the order of the names, as Kubernetes sorts its reasons.
    let missing = one.0.iter().filter(|entry| fitting(*entry) <= replicas);
    let missing: Vec<_> = missing
        .map(|(name, _)| format!("1 Insufficient {name}"))
        .collect();
    let missing = missing.join(", ");
    Placement {
        replicas,
        shortage: Some(format!("0/1 nodes are available: {missing}.")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn asked(requirements: Value) -> Resources {
        Resources::asked(&serde_json::from_value(requirements).expect("requirements"))
    }

    struct Case {
        name: &'static str,
        /// Requirements of one replica.
        given: Value,
        wanted: u32,
        want: (u32, &'static str),
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let capacity = Resources::of_machine(2, 4 << 30);
        let mut used = Resources::default();
        used.add(
            &asked(json!({"requests": {"cpu": "500m", "memory": "1Gi"}})),
            1,
        );
        for case in [
            Case {
                name: "nothing_is_asked_for",
                given: json!({}),
                wanted: 1000,
                want: (1000, ""),
            },
            Case {
                name: "all_fit",
                given: json!({"requests": {"cpu": "500m", "memory": "1Gi"}}),
                wanted: 3,
                want: (3, ""),
            },
            Case {
                name: "one_too_many",
                given: json!({"requests": {"cpu": "0.5", "memory": "1Gi"}}),
                wanted: 4,
                want: (
                    3,
                    "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory.",
                ),
            },
            Case {
                name: "what_is_short_first_is_named",
                given: json!({"requests": {"cpu": 1, "memory": "1Mi"}}),
                wanted: 4,
                want: (1, "0/1 nodes are available: 1 Insufficient cpu."),
            },
            Case {
                name: "a_limit_is_a_request",
                given: json!({"limits": {"nvidia.com/gpu": "1", "memory": "1Mi"}}),
                wanted: 1,
                want: (0, "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."),
            },
            Case {
                name: "unless_less_is_requested",
                given: json!({"limits": {"memory": "100Gi"}, "requests": {"memory": "1Gi"}}),
                wanted: 1,
                want: (1, ""),
            },
            Case {
                name: "storage_is_not_counted",
                given: json!({"requests": {"ephemeral-storage": "100Ti"}}),
                wanted: 1,
                want: (1, ""),
            },
        ] {
            let placement = place(&capacity, &used, &asked(case.given), case.wanted);
            let got = (placement.replicas, placement.shortage.unwrap_or_default());
            assert_eq!((got.0, got.1.as_str()), case.want, "{}", case.name);
        }
    }

    #[test]
    fn what_was_added_is_taken_away() {
        let mut used = Resources::default();
        let one = asked(json!({"requests": {"cpu": "250m", "a.b/c": 2}}));
        used.add(&one, 3);
        assert_eq!((used.get(CPU), used.get("a.b/c")), (750, 6));
        used.remove(&one, 2);
        assert_eq!((used.get(CPU), used.get("a.b/c")), (250, 2));
    }
}
