//! A map that is published as a whole again and again: a copy shares all that did not change.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::quality::RandomState;

/// How many parts a map is divided into. A change copies the part that it is in: with 10 000
/// entries some 40 of them, and the pointers to the parts.
const PARTS: usize = 256;

/// A map whose copies are cheap.
#[derive(Clone)]
pub struct SharedMap<K, V> {
    parts: Vec<Arc<HashMap<K, V, RandomState>>>,
    hasher: RandomState,
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self {
            parts: (0..PARTS).map(|_| Arc::default()).collect(),
            hasher: RandomState::default(),
        }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> SharedMap<K, V> {
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.parts[self.part(key)].get(key)
    }

    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let part = self.part(&key);
        Arc::make_mut(&mut self.parts[part]).insert(key, value)
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        let part = self.part(key);
        if !self.parts[part].contains_key(key) {
            return None;
        }
        Arc::make_mut(&mut self.parts[part]).remove(key)
    }

    fn part<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        usize::from(self.hasher.hash_one(key).to_le_bytes()[0]) % PARTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_what_it_had() {
        let mut map = SharedMap::default();
        for n in 0..1000 {
            assert_eq!(map.insert(n, n * 2), None);
        }
        let before = map.clone();
        assert_eq!(map.insert(7, 0), Some(14));
        assert_eq!(map.remove(&8), Some(16));
        assert_eq!(map.remove(&1001), None);
        assert_eq!((before.get(&7), before.get(&8)), (Some(&14), Some(&16)));
        assert_eq!((map.get(&7), map.get(&8)), (Some(&0), None));
        let shared = |(a, b): (&Arc<_>, &Arc<_>)| Arc::ptr_eq(a, b);
        let same = before
            .parts
            .iter()
            .zip(&map.parts)
            .filter(|(a, b)| shared((*a, *b)));
        assert!(same.count() >= PARTS - 2, "two parts changed at most");
    }
}
