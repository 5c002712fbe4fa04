//! Which objects others look at, so that these are reconciled when one of them changes.

use std::collections::{BTreeSet, HashMap};

use serve_core::meta::ObjectKey;

use super::store::Id;

/// What each object of one kind looks at, both ways.
#[derive(Default)]
pub struct Readers {
    readers: HashMap<Id, BTreeSet<ObjectKey>>,
    reads: HashMap<ObjectKey, BTreeSet<Id>>,
}

impl Readers {
    /// Those that look at this object.
    pub fn of(&self, id: &Id) -> Vec<ObjectKey> {
        let readers = self.readers.get(id);
        readers.into_iter().flatten().cloned().collect()
    }

    /// Notes what one looks at from now on.
    pub fn set(&mut self, reader: &ObjectKey, reads: BTreeSet<Id>) {
        let before = self.reads.remove(reader).unwrap_or_default();
        for id in before.difference(&reads) {
            self.remove(id, reader);
        }
        for id in reads.difference(&before) {
            let readers = self.readers.entry(id.clone()).or_default();
            readers.insert(reader.clone());
        }
        if !reads.is_empty() {
            self.reads.insert(reader.clone(), reads);
        }
    }

    pub fn forget(&mut self, reader: &ObjectKey) {
        self.set(reader, BTreeSet::new());
    }

    fn remove(&mut self, id: &Id, reader: &ObjectKey) {
        if let Some(readers) = self.readers.get_mut(id) {
            readers.remove(reader);
            if readers.is_empty() {
                self.readers.remove(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serve_core::kind::Kind;

    use super::*;

    #[test]
    fn readers_are_those_of_the_last_note() {
        let id = |name: &str| (Kind::Revision, ObjectKey::new("ns", name));
        let (a, b) = (ObjectKey::new("ns", "a"), ObjectKey::new("ns", "b"));
        let mut readers = Readers::default();
        readers.set(&a, BTreeSet::from([id("1"), id("2")]));
        readers.set(&b, BTreeSet::from([id("2")]));
        assert_eq!(readers.of(&id("2")), [a.clone(), b.clone()]);
        readers.set(&a, BTreeSet::from([id("3")]));
        assert_eq!(readers.of(&id("1")), []);
        assert_eq!(readers.of(&id("2")), std::slice::from_ref(&b));
        assert_eq!(readers.of(&id("3")), std::slice::from_ref(&a));
        readers.forget(&a);
        readers.forget(&b);
        assert!(readers.readers.is_empty() && readers.reads.is_empty());
    }
}
