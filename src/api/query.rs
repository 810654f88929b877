//! Query strings: every key known, every value checked.

use crate::{core::reason::Fault, limits, proto::TagFilter};
use url::form_urlencoded;

#[cfg(test)]
mod tests;

/// Keys of tag filters are `tag.` and the tag's own key.
pub const TAG_PREFIX: &str = "tag.";

/// Pairs in their order; keys in proto spelling.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// `known` in proto spelling; `tag.` stands for every tag filter.
    pub fn parse(raw: Option<&str>, known: &[&str]) -> Result<Self, Fault> {
        let mut pairs = Vec::new();
        for (key, value) in form_urlencoded::parse(raw.unwrap_or_default().as_bytes()) {
            if pairs.len() == limits::QUERY_PAIRS_MAX {
                return Err(Fault::invalid("query", "has too many keys"));
            }
            let key = if key.starts_with(TAG_PREFIX) { key.into_owned() } else { snake(&key) };
            // What a percent escape that is not UTF-8 decodes to.
            if key.contains('\u{fffd}') || value.contains('\u{fffd}') {
                return Err(Fault::invalid(key, "is not UTF-8"));
            }
            let name = if key.starts_with(TAG_PREFIX) { TAG_PREFIX } else { &key };
            if !known.contains(&name) {
                let known = known.join(", ");
                let known = if known.is_empty() { "none".into() } else { known };
                return Err(Fault::invalid(key, format!("unknown query parameter; known here: {known}")));
            }
            pairs.push((key, value.into_owned()));
        }
        Ok(Query(pairs))
    }

    /// The one value of `key`; given twice it is an error.
    pub fn one(&self, key: &'static str) -> Result<Option<&str>, Fault> {
        let mut values = self.many(key);
        let first = values.next();
        match values.next() {
            None => Ok(first),
            Some(_) => Err(Fault::invalid(key, "is given more than once")),
        }
    }

    pub fn many<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |pair| pair.0 == key).map(|pair| pair.1.as_str())
    }

    pub fn text(&self, key: &'static str) -> Result<String, Fault> {
        Ok(self.one(key)?.unwrap_or_default().to_owned())
    }

    pub fn number<T: std::str::FromStr + Default>(&self, key: &'static str) -> Result<T, Fault> {
        let Some(text) = self.one(key)? else { return Ok(T::default()) };
        text.parse().map_err(|_| Fault::invalid(key, "must be a whole number within its type's range"))
    }

    /// A flag without a value is true.
    pub fn flag(&self, key: &'static str) -> Result<bool, Fault> {
        match self.one(key)? {
            None | Some("false" | "0") => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some(_) => Err(Fault::invalid(key, "must be true or false")),
        }
    }

    /// An enum's value by its name, whole or without `prefix`, in any case, or by its number.
    pub fn choice<E: TryFrom<i32>>(
        key: &'static str,
        text: &str,
        prefix: &str,
        by_name: fn(&str) -> Option<E>,
    ) -> Result<E, Fault> {
        let upper = text.to_ascii_uppercase();
        let by_number = || text.parse().ok().and_then(|number: i32| E::try_from(number).ok());
        by_name(&upper)
            .or_else(|| by_name(&format!("{prefix}{upper}")))
            .or_else(by_number)
            .ok_or_else(|| Fault::invalid(key, "is neither a name nor a number of this set"))
    }

    pub fn tags(&self) -> Vec<TagFilter> {
        let filter = |(key, value): &(String, String)| {
            let key = key.strip_prefix(TAG_PREFIX)?.to_owned();
            Some(TagFilter { key, value: value.clone() })
        };
        self.0.iter().filter_map(filter).collect()
    }
}

/// `pageSize` and `page_size` are both `page_size`.
pub fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for character in name.chars() {
        if character.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}
