//! Where replies carry their ids: the few places that are looked at in each inbound message.

use crate::core::json::{self, Pointer, Scalar};
use std::borrow::Cow;

/// Distinct places at once on one connection: each costs a look into every inbound message.
const PLACES_MAX: usize = 8;

/// Rules that look at the same place are equal, so that they share one space of ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extractor<'a> {
    /// The pointer `/id`, by the quickest way.
    TopId,
    Member(Cow<'a, Pointer>),
    Array(usize),
}

impl<'a> Extractor<'a> {
    pub fn member(pointer: &'a Pointer) -> Self {
        if pointer.as_str() == "/id" { Extractor::TopId } else { Extractor::Member(Cow::Borrowed(pointer)) }
    }

    pub fn reply_id<'m>(&self, message: &'m [u8]) -> Option<&'m [u8]> {
        match self {
            Extractor::TopId => json::top_level(message, "id"),
            Extractor::Member(pointer) => json::pointer(message, pointer),
            Extractor::Array(position) => {
                let kind = Scalar::parse(json::array_item(message, 0)?)?;
                if kind != Scalar::Int(3) && kind != Scalar::Int(4) {
                    return None;
                }
                json::array_item(message, *position)
            }
        }
    }

    fn into_owned(self) -> Extractor<'static> {
        match self {
            Extractor::TopId => Extractor::TopId,
            Extractor::Member(pointer) => Extractor::Member(Cow::Owned(pointer.into_owned())),
            Extractor::Array(position) => Extractor::Array(position),
        }
    }
}

/// The places in use, each counted by who waits there or is remembered there.
#[derive(Debug, Default)]
pub struct Extractors {
    places: Vec<Option<(Extractor<'static>, usize)>>,
}

impl Extractors {
    /// The place this extractor has, or would get; `None` when all are taken by others.
    pub fn place_for(&self, wanted: &Extractor<'_>) -> Option<u8> {
        let same = |place: &Option<(Extractor<'static>, usize)>| {
            place.as_ref().is_some_and(|(extractor, _)| extractor == wanted)
        };
        let index = self
            .places
            .iter()
            .position(same)
            .or_else(|| self.places.iter().position(Option::is_none))
            .unwrap_or(self.places.len());
        if index < PLACES_MAX { u8::try_from(index).ok() } else { None }
    }

    /// One more user of the place that `place_for` gave.
    pub fn hold(&mut self, place: u8, extractor: Extractor<'_>) {
        let index = usize::from(place);
        if index >= self.places.len() {
            self.places.resize_with(index + 1, || None);
        }
        self.places[index].get_or_insert_with(|| (extractor.into_owned(), 0)).1 += 1;
    }

    pub fn release(&mut self, place: u8) {
        let Some(slot) = self.places.get_mut(usize::from(place)) else { return };
        match slot {
            Some((_, users)) if *users > 1 => *users -= 1,
            _ => *slot = None,
        }
    }

    pub fn in_use(&self) -> impl Iterator<Item = (u8, &Extractor<'static>)> {
        (0u8..)
            .zip(&self.places)
            .filter_map(|(place, slot)| slot.as_ref().map(|(extractor, _)| (place, extractor)))
    }
}
