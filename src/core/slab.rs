//! Places with generations: a key of an old tenant never reaches the new one.

use crate::core::id::Place;

pub struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    len: usize,
}

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { slots: Vec::new(), free: Vec::new(), len: 0 }
    }
}

impl<T> Slab<T> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the next value will stand: lets a value know its own place from its birth.
    pub fn next_place(&self) -> Place {
        match self.free.last() {
            Some(&index) => Place { index, generation: self.slots[index as usize].generation },
            None => Place { index: self.slots.len() as u32, generation: 0 },
        }
    }

    pub fn insert(&mut self, value: T) -> Place {
        let place = self.next_place();
        if self.free.pop().is_some() {
            self.slots[place.index as usize].value = Some(value);
        } else {
            self.slots.push(Slot { generation: 0, value: Some(value) });
        }
        self.len += 1;
        place
    }

    pub fn get(&self, place: Place) -> Option<&T> {
        let slot = self.slots.get(place.index as usize)?;
        if slot.generation == place.generation { slot.value.as_ref() } else { None }
    }

    pub fn get_mut(&mut self, place: Place) -> Option<&mut T> {
        let slot = self.slots.get_mut(place.index as usize)?;
        if slot.generation == place.generation { slot.value.as_mut() } else { None }
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Place, &mut T)> {
        self.slots.iter_mut().enumerate().filter_map(|(index, slot)| {
            let place = Place { index: index as u32, generation: slot.generation };
            slot.value.as_mut().map(|value| (place, value))
        })
    }

    pub fn remove(&mut self, place: Place) -> Option<T> {
        let slot = self.slots.get_mut(place.index as usize)?;
        if slot.generation != place.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(place.index);
        self.len -= 1;
        Some(value)
    }

    /// In order of place: the same on every run.
    pub fn iter(&self) -> impl Iterator<Item = (Place, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            slot.value
                .as_ref()
                .map(|value| (Place { index: index as u32, generation: slot.generation }, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_key_never_reaches_a_new_tenant() {
        let mut slab = Slab::default();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(second.index, first.index);
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(Place::unpack(second.pack())), Some(&"second"));
        assert_eq!((slab.len(), slab.iter().count()), (1, 1));
    }
}
