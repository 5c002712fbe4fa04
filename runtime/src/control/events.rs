//! Writes down what happened to objects, as Event objects.
//!
//! What is told again raises the count of its Event; Events end an hour after they were last told,
//! and the oldest give way when there are too many.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use serve_core::kind::Kind;
use serve_core::meta::ObjectKey;
use serve_core::reconcile::Event;
use serve_core::resources::event::{About, LIFETIME, make_event, repeat_event};
use serve_core::time::Timestamp;

use super::store::Store;

/// The most Events that are kept; a line each of the log of a host that does much.
const MOST: usize = 2000;

/// What is told again when it is the same.
type Same = (String, &'static str, String);

#[derive(Debug)]
struct Known {
    key: ObjectKey,
    /// How often it is in [`Recorder::told`].
    times: usize,
}

/// The Events of a store. One task owns it.
#[derive(Debug, Default)]
pub struct Recorder {
    known: HashMap<Same, Known>,
    /// What was told, the longest ago first; one that was told again is in it more than once.
    told: VecDeque<(Timestamp, Same)>,
}

impl Recorder {
    /// Tells an event of an object. Returns the key of its Event.
    pub fn tell(
        &mut self,
        store: &Store,
        about: &About,
        event: &Event,
        now: Timestamp,
    ) -> Option<ObjectKey> {
        self.expire(store, now);
        let same = (about.uid.clone(), event.reason, event.message.clone());
        let known = self.known.get(&same);
        let known = known.and_then(|known| store.get(Kind::Event, &known.key));
        let written = match known {
            Some(before) => store.update(repeat_event(&before, now)),
            None => store.create(make_event(about, event, now)),
        };
        // An event that cannot be written is one line less for a person; nothing depends on it.
        let key = written.ok()?.key();
        let known = self.known.entry(same.clone()).or_insert_with(|| Known {
            key: key.clone(),
            times: 0,
        });
        known.key.clone_from(&key);
        known.times += 1;
        self.told.push_back((now, same));
        while self.told.len() > MOST {
            self.forget_oldest(store);
        }
        Some(key)
    }

    /// Removes the Events whose time is over.
    pub fn expire(&mut self, store: &Store, now: Timestamp) {
        while let Some((at, _)) = self.told.front()
            && now.since(*at) >= LIFETIME
        {
            self.forget_oldest(store);
        }
    }

    fn forget_oldest(&mut self, store: &Store) {
        let Some((_, same)) = self.told.pop_front() else {
            return;
        };
        let Entry::Occupied(mut known) = self.known.entry(same) else {
            return;
        };
        known.get_mut().times -= 1;
        if known.get().times == 0 {
            // One that is gone went with its namespace.
            let _ = store.delete(Kind::Event, &known.remove().key, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use serve_core::meta::ObjectMeta;

    use super::*;
    use crate::clock::Clock;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(seconds)
    }

    fn about(name: &str) -> About {
        let meta = ObjectMeta {
            name: name.into(),
            namespace: "default".into(),
            uid: format!("uid of {name}"),
            ..ObjectMeta::default()
        };
        About::of(Kind::Service, &meta)
    }

    /// Each Event as `object reason count first last`.
    fn events(store: &Store) -> Vec<String> {
        let all = store.list(Kind::Event, None).0;
        let mut shown: Vec<_> = all
            .iter()
            .map(|event| {
                let event = event.to_value();
                format!(
                    "{} {} {} {} {}",
                    event["involvedObject"]["name"].as_str().unwrap_or_default(),
                    event["reason"].as_str().unwrap_or_default(),
                    event["count"],
                    event["firstTimestamp"].as_str().unwrap_or_default(),
                    event["lastTimestamp"].as_str().unwrap_or_default(),
                )
            })
            .collect();
        shown.sort();
        shown
    }

    #[test]
    fn the_same_event_is_counted_and_ends_an_hour_after_the_last() {
        let (store, mut recorder) = (Store::in_memory(Clock::default()), Recorder::default());
        let created = Event::normal("Created", "Created Route \"h1\"");
        recorder.tell(&store, &about("h1"), &created, at(0));
        recorder.tell(&store, &about("h1"), &created, at(60));
        recorder.tell(&store, &about("h2"), &created, at(61));
        assert_eq!(
            events(&store),
            [
                "h1 Created 2 1970-01-01T00:00:00Z 1970-01-01T00:01:00Z",
                "h2 Created 1 1970-01-01T00:01:01Z 1970-01-01T00:01:01Z",
            ]
        );
        recorder.expire(&store, at(3600));
        assert_eq!(events(&store).len(), 2, "it was told again since");
        recorder.expire(&store, at(3660));
        assert_eq!(events(&store).len(), 1);
        recorder.expire(&store, at(3661));
        assert_eq!(events(&store).len(), 0);
        recorder.tell(&store, &about("h1"), &created, at(4000));
        assert_eq!(
            events(&store)[0],
            "h1 Created 1 1970-01-01T01:06:40Z 1970-01-01T01:06:40Z"
        );
    }

    #[test]
    fn events_are_bounded() {
        let (store, mut recorder) = (Store::in_memory(Clock::default()), Recorder::default());
        for n in 0..MOST + 5 {
            let event = Event::warning("InternalError", n.to_string());
            recorder.tell(
                &store,
                &about("h1"),
                &event,
                Timestamp::from_unix_nanos(n as i64),
            );
        }
        assert_eq!(store.list(Kind::Event, None).0.len(), MOST);
        assert_eq!(recorder.known.len(), MOST);
    }
}
