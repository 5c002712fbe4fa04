//! The machine's resources and who has which of them.
//!
//! Input: how many replicas each revision wants. Output: how many it may run. The decisions are
//! `serve_core::node`'s. One owner for all revisions; each has a [`Share`], whose drop gives back
//! what it had.

use std::sync::{Arc, Mutex, PoisonError};

use serve_core::node::{Placement, Resources, place};

/// The machine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Node {
    capacity: Arc<Resources>,
    used: Arc<Mutex<Resources>>,
}

impl Node {
    /// A machine with these resources.
    #[must_use]
    pub fn new(capacity: Resources) -> Self {
        Self {
            capacity: Arc::new(capacity),
            used: Arc::default(),
        }
    }

    /// This machine.
    #[must_use]
    pub fn of_machine() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        // Where it cannot be read nothing is refused for want of it.
        let memory = std::fs::read_to_string("/proc/meminfo")
            .ok()
            .and_then(|text| total_memory(&text));
        Self::new(Resources::of_machine(cores, memory.unwrap_or(u64::MAX)))
    }

    /// Why not even one replica that asks for `one` fits the machine when nothing else runs.
    #[must_use]
    pub fn never_fits(&self, one: &Resources) -> Option<String> {
        place(&self.capacity, &Resources::default(), one, 1).shortage
    }

    /// The share of a revision each of whose replicas asks for `one`.
    #[must_use]
    pub fn share(&self, one: Resources) -> Share {
        Share {
            node: self.clone(),
            one,
            replicas: 0,
        }
    }
}

/// `MemTotal` of `/proc/meminfo` in bytes.
fn total_memory(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// What one revision has of the machine.
#[derive(Debug)]
pub struct Share {
    node: Node,
    one: Resources,
    replicas: u32,
}

impl Share {
    /// Whether its replicas take nothing that others could want.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.one.is_nothing()
    }

    /// Gives back what the share has and takes what so many replicas need, as far as it is there.
    pub fn resize(&mut self, wanted: u32) -> Placement {
        let mut used = self
            .node
            .used
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        used.remove(&self.one, self.replicas);
        let placement = place(&self.node.capacity, &used, &self.one, wanted);
        self.replicas = placement.replicas;
        used.add(&self.one, self.replicas);
        placement
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.resize(0);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(requests: serde_json::Value) -> Resources {
        let requirements = serde_json::from_value(json!({"requests": requests}));
        Resources::asked(&requirements.expect("requirements"))
    }

    #[test]
    fn shares_take_from_each_other_and_give_back() {
        let node = Node::new(Resources::of_machine(2, 1 << 30));
        let mut first = node.share(asked(json!({"cpu": "500m"})));
        let mut second = node.share(asked(json!({"cpu": 1})));
        assert_eq!(first.resize(3).replicas, 3);
        assert_eq!(second.resize(1).replicas, 0);
        assert_eq!(first.resize(2).replicas, 2);
        assert_eq!(second.resize(1).replicas, 1);
        assert_eq!(first.resize(5).replicas, 2);
        drop(second);
        assert_eq!(first.resize(5).replicas, 4);
    }

    #[test]
    fn memory_is_read_as_linux_writes_it() {
        let text = "MemTotal:       24597508 kB\nMemFree:  1 kB\n";
        assert_eq!(total_memory(text), Some(24_597_508 << 10));
        assert_eq!(total_memory("MemFree: 1 kB\n"), None);
    }
}
