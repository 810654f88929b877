//! Texts with places in braces (`user-{id}`), and paths with variables (`/chat/{room}/message`).

#[cfg(test)]
mod tests;

use std::borrow::Cow;

/// Segments of one path, and so its variables.
const SEGMENTS_MAX: usize = 16;
const VARIABLE_CHARS_MAX: usize = 32;

/// A text with places. Braces have no other meaning and cannot be escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Box<[Part]>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Place(Box<str>),
}

impl Template {
    /// The error says what is wrong, to follow the field's name.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty".into());
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            let inner = from.strip_prefix('{').ok_or("has a '}' without its '{'")?;
            let (place, after) = inner.split_once('}').ok_or("has a '{' without its '}'")?;
            if place.is_empty() || place.contains('{') {
                return Err("has braces with no name between them".into());
            }
            parts.push(Part::Place(place.into()));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Ok(Template(parts.into()))
    }

    pub fn places(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Place(name) => Some(&**name),
        })
    }

    /// It does not say the same for everybody.
    pub fn varies(&self) -> bool {
        self.places().next().is_some()
    }

    /// The error is the place for which there is no value.
    pub fn fill<'a, 'v>(
        &'a self,
        mut value: impl FnMut(&'a str) -> Option<Cow<'v, str>>,
    ) -> Result<String, &'a str> {
        let mut filled = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Place(name) => filled.push_str(&value(name).ok_or(&**name)?),
            }
        }
        Ok(filled)
    }
}

/// A path whose segments are fixed or variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(Box<[Segment]>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Fixed(Box<str>),
    Variable(Box<str>),
}

impl Path {
    /// The error says what is wrong, to follow the path.
    pub fn parse(text: &str) -> Result<Self, String> {
        let inner = text.strip_prefix('/').ok_or("must begin with '/'")?;
        let mut segments = Vec::new();
        for segment in inner.split('/') {
            segments.push(Segment::parse(segment)?);
        }
        if segments.len() > SEGMENTS_MAX {
            return Err(format!("has more than {SEGMENTS_MAX} segments"));
        }
        let path = Path(segments.into());
        let names: Vec<_> = path.variables().collect();
        match names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
            Some((_, name)) => Err(format!("names the variable {{{name}}} twice")),
            None => Ok(path),
        }
    }

    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|segment| match segment {
            Segment::Fixed(_) => None,
            Segment::Variable(name) => Some(&**name),
        })
    }

    /// The first segment, when it is fixed.
    pub fn first(&self) -> Option<&str> {
        match self.0.first()? {
            Segment::Fixed(text) => Some(text),
            Segment::Variable(_) => None,
        }
    }

    /// Both take the same requests, whatever their variables are called.
    pub fn is_shaped_as(&self, other: &Path) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().zip(&other.0).all(|pair| match pair {
                (Segment::Fixed(one), Segment::Fixed(two)) => one == two,
                (Segment::Variable(_), Segment::Variable(_)) => true,
                _ => false,
            })
    }

    /// The variables' values as they stand in the request's path, still encoded; None when it is
    /// another path. A variable is never empty.
    pub fn matches<'a>(&self, path: &'a str) -> Option<Vec<(&str, &'a str)>> {
        let mut given = path.strip_prefix('/')?.split('/');
        let mut values = Vec::new();
        for segment in &self.0 {
            let text = given.next()?;
            match segment {
                Segment::Fixed(fixed) if **fixed == *text => {}
                Segment::Variable(name) if !text.is_empty() => values.push((&**name, text)),
                _ => return None,
            }
        }
        given.next().is_none().then_some(values)
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(inner) = text.strip_prefix('{') {
            let name = inner.strip_suffix('}').ok_or("has a variable that is no whole segment")?;
            let sound = name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.len() <= VARIABLE_CHARS_MAX
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            return match sound {
                true => Ok(Segment::Variable(name.into())),
                false => Err(format!(
                    "has a variable whose name is not 1 to {VARIABLE_CHARS_MAX} small letters, digits and _"
                )),
            };
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b':');
        if text.is_empty() || matches!(text, "." | "..") || !text.bytes().all(plain) {
            return Err("has a segment that is not made of letters, digits and - . _ ~ :".into());
        }
        Ok(Segment::Fixed(text.into()))
    }
}
