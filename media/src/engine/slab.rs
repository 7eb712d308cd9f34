//! Where the engine's objects live: found by a small key without hashing, and never mistaken for one another.

use std::marker::PhantomData;

/// Names an object of a [`Slab`]. A key of a removed object finds nothing, whatever took its place.
pub(crate) struct Key<T> {
    index: u32,
    generation: u32,
    of: PhantomData<fn() -> T>,
}

// Derives would ask the same of `T`.
impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Key<T> {}

impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.index, self.generation) == (other.index, other.generation)
    }
}

impl<T> Eq for Key<T> {}

impl<T> std::fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}v{}", self.index, self.generation)
    }
}

#[cfg(test)]
impl<T> Key<T> {
    /// The same key for another kind of object.
    pub(crate) fn cast<U>(self) -> Key<U> {
        Key {
            index: self.index,
            generation: self.generation,
            of: PhantomData,
        }
    }
}

/// Objects in a vector whose free places are used again.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// All of them, in no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().filter_map(|entry| entry.value.as_ref())
    }

    /// The keys of all of them.
    pub(crate) fn keys(&self) -> Vec<Key<T>> {
        let there = (0..).zip(&self.entries).filter(|(_, entry)| entry.value.is_some());
        there
            .map(|(index, entry)| Key {
                index,
                generation: entry.generation,
                of: PhantomData,
            })
            .collect()
    }

    /// Adds an object, which may know its own key.
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(Key<T>) -> T) -> Key<T> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry {
                generation: 0,
                value: None,
            });
            self.entries.len() as u32 - 1
        });
        let entry = &mut self.entries[index as usize];
        let key = Key {
            index,
            generation: entry.generation,
            of: PhantomData,
        };
        entry.value = Some(make(key));
        key
    }

    pub(crate) fn get(&self, key: Key<T>) -> Option<&T> {
        let entry = self.entries.get(key.index as usize)?;
        if entry.generation == key.generation {
            entry.value.as_ref()
        } else {
            None
        }
    }

    pub(crate) fn get_mut(&mut self, key: Key<T>) -> Option<&mut T> {
        let entry = self.entries.get_mut(key.index as usize)?;
        if entry.generation == key.generation {
            entry.value.as_mut()
        } else {
            None
        }
    }

    pub(crate) fn remove(&mut self, key: Key<T>) -> Option<T> {
        let entry = self.entries.get_mut(key.index as usize)?;
        if entry.generation != key.generation {
            return None;
        }
        let value = entry.value.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_finds_its_object_and_no_other() {
        let mut slab = Slab::default();
        let a = slab.insert_with(|_| "a");
        let b = slab.insert_with(|_| "b");
        assert_eq!((slab.get(a), slab.get(b), slab.len()), (Some(&"a"), Some(&"b"), 2));
        assert_eq!((slab.remove(a), slab.remove(a)), (Some("a"), None));
        let c = slab.insert_with(|_| "c");
        assert_eq!((slab.get(a), slab.get(c), slab.len()), (None, Some(&"c"), 2));
        assert_eq!(slab.get_mut(a), None);
    }
}
