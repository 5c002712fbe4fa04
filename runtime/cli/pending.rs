//! Services whose state is to be told once it is decided.
//!
//! Input: keys, and the store's events. Output: one key after the other, as they are decided. Only
//! what an event is about is looked at, so that ten thousand Services cost ten thousand looks.

use std::collections::BTreeSet;
use std::fmt;

use serve_core::api::Service;
use serve_core::conditions::{Condition, ConditionStatus, READY};
use serve_core::kind::Kind;
use serve_core::meta::ObjectKey;
use serve_core::object::Object;
use serve_runtime::control::store::Store;

/// Keys that nobody was told of yet.
#[derive(Debug, Default)]
pub struct Pending {
    keys: BTreeSet<ObjectKey>,
    /// Those that may have been decided since the last look.
    touched: BTreeSet<ObjectKey>,
    /// The version up to which events were seen.
    seen: u64,
}

impl Pending {
    pub fn extend(&mut self, keys: &[ObjectKey]) {
        self.keys.extend(keys.iter().cloned());
        self.touched.extend(keys.iter().cloned());
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Takes out one that is decided, or that is no longer there; waits for it.
    ///
    /// # Cancel safety
    /// None is lost.
    pub async fn next_settled(&mut self, store: &Store) -> ObjectKey {
        let mut head = store.head();
        loop {
            head.borrow_and_update();
            self.follow(store);
            while let Some(key) = self.touched.pop_first() {
                let object = store.get(Kind::Service, &key);
                let is_decided = object.is_none_or(|object| settled(&object).is_some());
                if is_decided && self.keys.remove(&key) {
                    return key;
                }
            }
            if head.changed().await.is_err() {
                // The store is gone, and with it all that could be decided.
                std::future::pending::<()>().await;
            }
        }
    }

    fn follow(&mut self, store: &Store) {
        let Ok(events) = store.events_after(self.seen) else {
            // Too far behind: all of them may have changed.
            self.seen = store.revision();
            self.touched.clone_from(&self.keys);
            return;
        };
        for event in events {
            self.seen = event.revision;
            let key = event.object.key();
            if event.object.kind() == Kind::Service && self.keys.contains(&key) {
                self.touched.insert(key);
            }
        }
    }
}

impl fmt::Display for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<String> = self.keys.iter().map(ToString::to_string).collect();
        f.write_str(&keys.join(", "))
    }
}

/// A Service whose Ready condition speaks of its current generation and is decided.
pub fn settled(object: &Object) -> Option<(&Service, &Condition)> {
    let Object::Service(service) = object else {
        return None;
    };
    if service.status.observed_generation != Some(service.metadata.generation) {
        return None;
    }
    let condition = service.status.conditions.iter().find(|c| c.kind == READY)?;
    (condition.status != ConditionStatus::Unknown).then_some((service, condition))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serve_core::api::ServiceStatus;
    use serve_runtime::clock::Clock;
    use serve_runtime::control::store::Status;

    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("default", name)
    }

    fn create(store: &Store, name: &str) {
        let mut service = Service::default();
        service.metadata.name = name.into();
        service.metadata.namespace = "default".into();
        store.create(service.into()).expect("it is new");
    }

    fn decide(store: &Store, name: &str) {
        let status = ServiceStatus {
            observed_generation: Some(1),
            conditions: vec![Condition {
                kind: READY.into(),
                status: ConditionStatus::False,
                ..Condition::default()
            }],
            ..ServiceStatus::default()
        };
        store
            .write_status(&key(name), "", Status::Service(status))
            .expect("it is there");
    }

    async fn next(pending: &mut Pending, store: &Store) -> Option<String> {
        let next = pending.next_settled(store);
        let key = tokio::time::timeout(Duration::from_secs(1), next).await;
        key.ok().map(|key| key.name)
    }

    #[tokio::test(start_paused = true)]
    async fn each_one_is_told_once_whether_decided_before_or_after() {
        let store = Store::in_memory(Clock::default());
        for name in ["before", "after", "never", "not-asked-for"] {
            create(&store, name);
        }
        decide(&store, "before");
        let mut pending = Pending::default();
        pending.extend(&[key("before"), key("after"), key("never"), key("gone")]);
        assert_eq!(next(&mut pending, &store).await.as_deref(), Some("before"));
        assert_eq!(next(&mut pending, &store).await.as_deref(), Some("gone"));
        assert_eq!(next(&mut pending, &store).await, None);
        decide(&store, "not-asked-for");
        decide(&store, "after");
        assert_eq!(next(&mut pending, &store).await.as_deref(), Some("after"));
        assert_eq!(next(&mut pending, &store).await, None);
        assert_eq!(pending.to_string(), "default/never");
        store
            .delete(Kind::Service, &key("never"), None)
            .expect("there");
        assert_eq!(next(&mut pending, &store).await.as_deref(), Some("never"));
        assert!(pending.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn events_that_are_no_longer_kept_are_made_up_for() {
        let store = Store::in_memory(Clock::default());
        create(&store, "h1");
        let mut pending = Pending::default();
        pending.extend(&[key("h1")]);
        assert_eq!(next(&mut pending, &store).await, None);
        decide(&store, "h1");
        // More than the log keeps.
        for n in 0..20_000 {
            create(&store, &format!("other-{n}"));
        }
        assert_eq!(next(&mut pending, &store).await.as_deref(), Some("h1"));
    }
}
