//! Routes by which clients come in: templates of paths, and what becomes of who comes by one.

use super::{Access, Format, template::Template};
use crate::core::{
    headers,
    id::ConnectionId,
    names::{self, RoomName, Topic},
    origin::Origins,
    percent,
    reason::Fault,
};

/// Paths that mean something else on this port begin so.
const TAKEN: [&str; 10] = [
    "v1",
    "health",
    "livez",
    "readyz",
    "swagger",
    "openapi.json",
    "metrics",
    "config",
    "drain",
    "favicon.ico",
];
/// gRPC's and Connect's services stand at the top, by their full names.
const TAKEN_PACKAGES: [&str; 2] = ["virtufin.", "grpc."];

/// Who may come in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    #[default]
    Open,
    Token,
    /// A service of the operator's is asked.
    Authoriser,
}

impl Auth {
    pub fn named(text: &str) -> Option<Self> {
        match text {
            "open" => Some(Auth::Open),
            "token" => Some(Auth::Token),
            "authoriser" => Some(Auth::Authoriser),
            _ => None,
        }
    }
}

/// What becomes of what a client sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Inbound {
    /// Its requests are answered when it speaks the subprotocol for that; all else is ignored.
    #[default]
    AsSpoken,
    Ignore,
    Protocol,
    Publish(Template),
    Room(Template),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(Box<str>),
    Variable,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The path's template, as it was written.
    pub path: Box<str>,
    segments: Vec<Segment>,
    /// By their places in the path.
    variables: Vec<Box<str>>,
    pub id: Option<Template>,
    /// None: those that the query names.
    pub rooms: Option<Vec<Template>>,
    pub inbound: Inbound,
    pub subprotocols: Vec<Box<str>>,
    pub format: Format,
    /// None: as everywhere.
    pub auth: Option<Auth>,
    pub origins: Option<Origins>,
}

impl Route {
    /// `/chat/ws/{room} key=value ...`; the error says what is wrong and the way out.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let mut route = Route::of_path(words.next().unwrap_or_default())?;
        let mut seen: Vec<&str> = Vec::new();
        for word in words {
            let (key, value) = word.split_once('=').filter(|(_, value)| !value.is_empty()).ok_or_else(|| {
                format!("'{word}' is not key=value; keys are id, rooms, messages, subprotocols, format, auth, origin")
            })?;
            if seen.contains(&key) {
                return Err(format!("{key} is given twice; give it once"));
            }
            seen.push(key);
            route.set(key, value)?;
        }
        if route.rooms.is_none() && route.variables.iter().any(|name| &**name == "room") {
            route.rooms = Some(vec![Template::parse("{room}")?]);
        }
        Ok(route)
    }

    fn of_path(path: &str) -> Result<Self, String> {
        let inner = path.strip_prefix('/').ok_or("must begin with a path such as /chat/ws/{room}")?;
        let (mut segments, mut variables) = (Vec::new(), Vec::<Box<str>>::new());
        for segment in inner.split('/') {
            let named = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            segments.push(match named {
                Some(name) => {
                    variables.push(variable(name, &variables)?);
                    Segment::Variable
                }
                None => Segment::Literal(literal(segment)?),
            });
        }
        if let Some(Segment::Literal(first)) = segments.first()
            && (TAKEN.contains(&&**first) || TAKEN_PACKAGES.iter().any(|package| first.starts_with(package)))
        {
            return Err(format!("its path begins with /{first}, which is taken; begin it otherwise"));
        }
        Ok(Route {
            path: path.into(),
            segments,
            variables,
            id: None,
            rooms: None,
            inbound: Inbound::default(),
            subprotocols: Vec::new(),
            format: Format::default(),
            auth: None,
            origins: None,
        })
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "id" => {
                self.id = Some(self.checked("id", value, |text| {
                    ConnectionId::parse_chosen(text).map(drop).map_err(|why| why.to_string())
                })?)
            }
            "rooms" => {
                let rooms = value.split(',').map(|room| self.room("rooms", room));
                self.rooms = Some(rooms.collect::<Result<_, _>>()?);
            }
            "messages" => self.inbound = self.inbound(value)?,
            "subprotocols" => {
                let list: Vec<_> = value.split(',').collect();
                headers::validate_subprotocols(&list).map_err(|fault| fault.to_string())?;
                self.subprotocols = list.into_iter().map(Into::into).collect();
            }
            "format" => {
                self.format = match value {
                    "verbatim" => Format::Verbatim,
                    "binary" => Format::Binary,
                    _ => return Err("format must be verbatim or binary".into()),
                }
            }
            "auth" => {
                let auth = Auth::named(value).ok_or("auth must be open, token or authoriser")?;
                self.auth = Some(auth);
            }
            "origin" => {
                let list: Vec<_> = value.split(',').collect();
                let origins = Origins::of(&list).map_err(|bad| {
                    format!("origin '{bad}' is none; give scheme://host[:port], such as https://app.example.com, or *")
                })?;
                self.origins = Some(origins);
            }
            _ => {
                return Err(format!(
                    "{key} is not known; keys are id, rooms, messages, subprotocols, format, auth, origin"
                ));
            }
        }
        Ok(())
    }

    fn inbound(&self, value: &str) -> Result<Inbound, String> {
        Ok(match value.split_once(':') {
            None if value == "ignore" => Inbound::Ignore,
            None if value == "protocol" => Inbound::Protocol,
            Some(("publish", topic)) => Inbound::Publish(self.checked("messages", topic, |text| {
                Topic::parse("topic", text).map(drop).map_err(|fault| fault.message.into_owned())
            })?),
            Some(("room", room)) => Inbound::Room(self.room("messages", room)?),
            _ => return Err("messages must be ignore, protocol, publish:TOPIC or room:NAME".into()),
        })
    }

    fn room(&self, key: &str, text: &str) -> Result<Template, String> {
        self.checked(key, text, |text| {
            RoomName::parse("room", text).map(drop).map_err(|fault| fault.message.into_owned())
        })
    }

    /// A template that can be what it is for: tried with a harmless value in each variable.
    fn checked(
        &self,
        key: &str,
        text: &str,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Result<Template, String> {
        let template = Template::parse(text).map_err(|why| format!("{key}: '{text}' {why}"))?;
        let known = |name: &str| self.variables.iter().any(|known| **known == *name);
        let tried = template
            .fill(|name| known(name).then_some("x".into()))
            .map_err(|name| format!("{key}: {{{name}}} is no variable of the path; write it there, too"))?;
        check(&tried).map_err(|why| format!("{key}: '{text}': {why}"))?;
        Ok(template)
    }

    /// Variables mean the same wherever they are called differently.
    pub fn same_path(&self, other: &Route) -> bool {
        self.segments == other.segments
    }

    fn fits(&self, path: &[&str]) -> bool {
        self.segments.len() == path.len()
            && self.segments.iter().zip(path).all(|(segment, given)| match segment {
                Segment::Literal(text) => percent::strict(given, false).is_some_and(|given| *given == **text),
                Segment::Variable => true,
            })
    }

    /// Among those that fit, the one with a literal where the other has a variable.
    fn rank(&self) -> Vec<bool> {
        self.segments.iter().map(|segment| *segment == Segment::Variable).collect()
    }

    /// The field that a fault of this template is put down to.
    fn blame(&self, template: &Template) -> Box<str> {
        template.places().next().unwrap_or("path").into()
    }
}

fn variable(name: &str, others: &[Box<str>]) -> Result<Box<str>, String> {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let fits = begins && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !fits {
        return Err(format!("'{{{name}}}' is no variable; name it with letters, digits and _"));
    }
    names::validate_tag_key("variable", name).map_err(|fault| fault.to_string())?;
    if others.iter().any(|other| **other == *name) {
        return Err(format!("the variable {{{name}}} stands twice in its path; give each its own name"));
    }
    Ok(name.into())
}

fn literal(segment: &str) -> Result<Box<str>, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$'()*+:@".contains(&b);
    if segment.is_empty() {
        return Err("its path has an empty part; write it without // and without / at the end".into());
    }
    if matches!(segment, "." | "..") || !segment.bytes().all(plain) {
        return Err(format!(
            "'{segment}' cannot be a part of its path; a part is a word or one {{variable}} as a whole"
        ));
    }
    Ok(segment.into())
}

/// All routes: those that were given, and the built-in ones that they leave.
#[derive(Clone, Debug)]
pub struct Routes(Vec<Route>);

/// `/ws/{room}`, and `/ws` with its rooms in the query.
pub const BUILT_IN: [&str; 2] = ["/ws/{room}", "/ws"];

impl Default for Routes {
    fn default() -> Self {
        Routes::new(Vec::new())
    }
}

impl Routes {
    pub fn new(mut routes: Vec<Route>) -> Self {
        for text in BUILT_IN {
            if let Ok(route) = Route::parse(text)
                && !routes.iter().any(|given| given.same_path(&route))
            {
                routes.push(route);
            }
        }
        routes.sort_by_key(Route::rank);
        Routes(routes)
    }

    /// `path` as it stands in the request line, without the query.
    pub fn find<'a>(&'a self, path: &str) -> Option<Found<'a>> {
        let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let route = self.0.iter().find(|route| route.fits(&parts))?;
        let variables = route.segments.iter().zip(parts);
        let values = variables.filter(|(segment, _)| **segment == Segment::Variable);
        Some(Found { route, raw: values.map(|(_, value)| value.to_owned()).collect() })
    }

    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.iter()
    }
}

/// A route that a path fits, and what stands in its variables' places.
#[derive(Clone, Debug)]
pub struct Found<'a> {
    pub route: &'a Route,
    raw: Vec<String>,
}

impl<'a> Found<'a> {
    pub fn decoded(&self) -> Result<Filled<'a>, Fault> {
        let mut values = Vec::with_capacity(self.raw.len());
        for (name, raw) in self.route.variables.iter().zip(&self.raw) {
            let bad = |why: &'static str| Fault::invalid(name.to_string(), why);
            let value = percent::strict(raw, false).ok_or_else(|| bad("is not percent-encoded UTF-8"))?;
            if value.is_empty() {
                return Err(bad("must not be empty in the URL's path"));
            }
            if value.contains(char::is_control) {
                return Err(bad("must not hold control characters"));
            }
            names::validate_tag_value("path", &value)
                .map_err(|fault| Fault::invalid(name.to_string(), fault.message))?;
            values.push(value);
        }
        Ok(Filled { route: self.route, values })
    }
}

/// A route with the values of its variables.
#[derive(Clone, Debug)]
pub struct Filled<'a> {
    pub route: &'a Route,
    values: Vec<String>,
}

impl Filled<'_> {
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.route.variables.iter().zip(&self.values).map(|(name, value)| (&**name, value.as_str()))
    }

    pub fn id(&self) -> Result<Option<ConnectionId>, Fault> {
        let Some(template) = &self.route.id else { return Ok(None) };
        let id = ConnectionId::parse_chosen(&self.text(template));
        id.map(Some).map_err(|why| Fault::invalid(self.route.blame(template).into_string(), why.to_string()))
    }

    /// None: the query names them. With each, whether the URL has a say in its name.
    pub fn rooms(&self) -> Result<Option<Vec<(RoomName, bool)>>, Fault> {
        let Some(templates) = &self.route.rooms else { return Ok(None) };
        let mut rooms: Vec<(RoomName, bool)> = Vec::with_capacity(templates.len());
        for template in templates {
            let room = self.room(template)?;
            // Two templates may come to the same for one client.
            if !rooms.iter().any(|(known, _)| *known == room) {
                rooms.push((room, template.varies()));
            }
        }
        Ok(Some(rooms))
    }

    pub fn room(&self, template: &Template) -> Result<RoomName, Fault> {
        let named = RoomName::parse("room", &self.text(template));
        named.map_err(|fault| self.blamed(template, fault))
    }

    pub fn topic(&self, template: &Template) -> Result<Topic, Fault> {
        let named = Topic::parse("topic", &self.text(template));
        named.map_err(|fault| self.blamed(template, fault))
    }

    /// Each place has a value: it was looked for in the path when the route was read.
    fn text(&self, template: &Template) -> String {
        let value =
            |name: &str| self.variables().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        template.fill(value).unwrap_or_default()
    }

    fn blamed(&self, template: &Template, fault: Fault) -> Fault {
        Fault::invalid(self.route.blame(template).into_string(), fault.message)
    }
}

/// Whether `rooms` of a credential allow this one.
pub fn allows(rooms: &[Box<str>], room: &RoomName) -> bool {
    Access::Only(rooms.into()).allows(room)
}

#[cfg(test)]
mod tests;
