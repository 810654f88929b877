//! From JSON Schemas to the model. Each schema is named by its file and the pointer into it, so that
//! a reference and the place it refers to come to the same declaration.
//!
//! What has no counterpart in a type becomes unknown, with a comment that says why; what only narrows
//! a type (a length, a pattern, a range) is left to the check at the sender.

use super::model::{Body, Declaration, Field, Literal, Message, Model, Object, Type};
use crate::{api::typed::folder::message_id, core::percent};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

pub type Documents = BTreeMap<Box<str>, Value>;

/// `reserved` are names that the language's file uses itself.
pub fn build(documents: &Documents, reserved: &[&str]) -> Model {
    let mut builder = Builder {
        documents,
        taken: reserved.iter().map(|name| (*name).to_owned()).collect(),
        declared: Vec::new(),
        places: BTreeMap::new(),
        notes: Vec::new(),
    };
    // First of all: a message's name must not depend on what another one calls its parts.
    let roots: Vec<_> =
        documents.keys().map(|file| (file, builder.reserve(file, "", &pascal(message_id(file))))).collect();
    let mut messages = Vec::new();
    for (file, of) in roots {
        builder.fill(of, file, "");
        let id = message_id(file).to_owned();
        let envelope = builder.unused(&format!("{}Envelope", pascal(&id)));
        messages.push(Message { id, of, envelope });
    }
    let mut model = Model { messages, declarations: builder.declared };
    model.break_circles();
    model
}

/// Where a schema stands.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place<'a> {
    file: &'a str,
    pointer: String,
}

struct Builder<'a> {
    documents: &'a Documents,
    taken: BTreeSet<String>,
    declared: Vec<Declaration>,
    places: BTreeMap<Place<'a>, usize>,
    /// Comments on what is being read, for whoever shows it.
    notes: Vec<String>,
}

impl<'a> Builder<'a> {
    fn reserve(&mut self, file: &'a str, pointer: &str, wanted: &str) -> usize {
        let name = self.unused(wanted);
        let place = self.declared.len();
        self.declared.push(Declaration { name, about: Vec::new(), body: Body::Alias(Type::Unknown) });
        self.places.insert(Place { file, pointer: pointer.to_owned() }, place);
        place
    }

    fn unused(&mut self, wanted: &str) -> String {
        let numbered = (2..).map(|number| format!("{wanted}{number}"));
        let name = std::iter::once(wanted.to_owned()).chain(numbered).find(|name| !self.taken.contains(name));
        let name = name.unwrap_or_else(|| wanted.to_owned());
        self.taken.insert(name.clone());
        name
    }

    fn declare(&mut self, file: &'a str, pointer: &str, wanted: &str) -> usize {
        if let Some(place) = self.places.get(&Place { file, pointer: pointer.to_owned() }) {
            return *place;
        }
        let place = self.reserve(file, pointer, wanted);
        self.fill(place, file, pointer);
        place
    }

    fn fill(&mut self, place: usize, file: &'a str, pointer: &str) {
        let outer = std::mem::take(&mut self.notes);
        let name = self.declared[place].name.clone();
        let schema = self.schema(file, pointer);
        let body = match schema.as_object().filter(|schema| is_record(schema)) {
            Some(schema) => Body::Object(self.object(schema, file, pointer, &name)),
            None => Body::Alias(self.of_itself(file, pointer, &name)),
        };
        let mut about = described(schema);
        about.extend(std::mem::replace(&mut self.notes, outer));
        self.declared[place].about = about;
        self.declared[place].body = body;
    }

    fn schema(&self, file: &str, pointer: &str) -> &'a Value {
        // A place that is asked for was found before.
        self.documents.get(file).and_then(|document| document.pointer(pointer)).unwrap_or(&Value::Null)
    }

    fn unknown(&mut self, why: impl Into<String>) -> Type {
        // It may quote the schema.
        self.notes.push(why.into().chars().filter(|c| !c.is_control()).collect());
        Type::Unknown
    }

    /// What stands at a place; an object gets a declaration of its own.
    fn of(&mut self, file: &'a str, pointer: &str, wanted: &str) -> Type {
        match self.schema(file, pointer).as_object() {
            Some(schema) if is_record(schema) => Type::Named(self.declare(file, pointer, wanted)),
            _ => self.of_itself(file, pointer, wanted),
        }
    }

    fn of_itself(&mut self, file: &'a str, pointer: &str, wanted: &str) -> Type {
        let schema = match self.schema(file, pointer) {
            Value::Object(schema) => schema,
            Value::Bool(false) => return self.unknown("Nothing is valid here."),
            _ => return Type::Unknown,
        };
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            return self.reference(file, target);
        }
        if let Some(value) = schema.get("const") {
            return self.literals(std::slice::from_ref(value));
        }
        if let Some(Value::Array(values)) = schema.get("enum") {
            return self.literals(values);
        }
        for keyword in ["oneOf", "anyOf"] {
            if let Some(Value::Array(members)) = schema.get(keyword) {
                return self.members(file, pointer, keyword, members, wanted);
            }
        }
        if let Some(Value::Array(members)) = schema.get("allOf") {
            return match members.len() {
                1 => self.of(file, &format!("{pointer}/allOf/0"), wanted),
                _ => self.unknown("allOf has no counterpart here."),
            };
        }
        match schema.get("type") {
            Some(Value::String(kind)) => self.typed(schema, kind, file, pointer, wanted),
            Some(Value::Array(kinds)) => {
                let kinds = kinds.iter().filter_map(Value::as_str);
                let all: Vec<_> = kinds.map(|kind| self.typed(schema, kind, file, pointer, wanted)).collect();
                Type::union(all)
            }
            _ if has_any(schema, &["additionalProperties", "patternProperties"]) => {
                self.typed(schema, "object", file, pointer, wanted)
            }
            _ if has_any(schema, &["items", "prefixItems"]) => {
                self.typed(schema, "array", file, pointer, wanted)
            }
            _ if has_any(schema, &["not", "if", "$dynamicRef", "$recursiveRef"]) => {
                self.unknown("Only the schema can say what is valid here.")
            }
            _ => Type::Unknown,
        }
    }

    fn typed(
        &mut self,
        schema: &Map<String, Value>,
        kind: &str,
        file: &'a str,
        pointer: &str,
        wanted: &str,
    ) -> Type {
        match kind {
            "string" => Type::Text,
            "integer" => Type::Integer,
            "number" => Type::Number,
            "boolean" => Type::Boolean,
            "null" => Type::Null,
            // Beside other types; alone it was declared already.
            "object" if has_fields(schema) => {
                let name = self.unused(wanted);
                let body = Body::Object(self.object(schema, file, pointer, &name));
                self.declared.push(Declaration { name, about: Vec::new(), body });
                Type::Named(self.declared.len() - 1)
            }
            "object" => self.map(schema, file, pointer, wanted),
            "array" => match schema.get("items") {
                Some(Value::Array(_)) => self.tuple(),
                _ if schema.contains_key("prefixItems") => self.tuple(),
                Some(_) => {
                    let item = self.of(file, &format!("{pointer}/items"), &format!("{wanted}Item"));
                    Type::List(Box::new(item))
                }
                None => Type::List(Box::new(Type::Unknown)),
            },
            other => self.unknown(format!("'{other}' is no type of JSON Schema.")),
        }
    }

    fn tuple(&mut self) -> Type {
        self.notes.push("A list whose items differ by place.".into());
        Type::List(Box::new(Type::Unknown))
    }

    fn map(&mut self, schema: &Map<String, Value>, file: &'a str, pointer: &str, wanted: &str) -> Type {
        let patterns = schema.get("patternProperties").and_then(Value::as_object).filter(|it| !it.is_empty());
        let values = match (patterns, schema.get("additionalProperties")) {
            (Some(_), _) => self.unknown("Values differ by the pattern of their keys."),
            (None, Some(Value::Object(_))) => {
                self.of(file, &format!("{pointer}/additionalProperties"), &format!("{wanted}Value"))
            }
            _ => Type::Unknown,
        };
        Type::Map(Box::new(values))
    }

    fn object(&mut self, schema: &Map<String, Value>, file: &'a str, pointer: &str, name: &str) -> Object {
        let required: Vec<&str> = match schema.get("required") {
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        for keyword in ["oneOf", "anyOf", "allOf"].iter().filter(|keyword| schema.contains_key(**keyword)) {
            self.notes.push(format!("The schema's {keyword} says more than this type."));
        }
        let mut fields = Vec::new();
        let none = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
        for (key, property) in properties {
            let outer = std::mem::take(&mut self.notes);
            let of = self.of(
                file,
                &format!("{pointer}/properties/{}", escaped(key)),
                &format!("{name}{}", pascal(key)),
            );
            let mut about = match &of {
                // It has its comment where it is declared.
                Type::Named(_) if property.get("$ref").is_none() => Vec::new(),
                _ => described(property),
            };
            about.extend(std::mem::replace(&mut self.notes, outer));
            fields.push(Field { name: key.clone(), required: required.contains(&&**key), of, about });
        }
        for key in required.iter().filter(|key| !properties.contains_key(**key)) {
            let name = (*key).to_owned();
            fields.push(Field { name, required: true, of: Type::Unknown, about: Vec::new() });
        }
        let open = schema.contains_key("patternProperties")
            || schema.get("additionalProperties").is_some_and(|more| *more != Value::Bool(false));
        Object { fields, open }
    }

    fn members(
        &mut self,
        file: &'a str,
        pointer: &str,
        keyword: &str,
        members: &[Value],
        wanted: &str,
    ) -> Type {
        let all: Vec<_> = members
            .iter()
            .enumerate()
            .map(|(at, member)| {
                let title = member.get("title").and_then(Value::as_str).map(pascal);
                let name = format!("{wanted}{}", title.unwrap_or_else(|| (at + 1).to_string()));
                self.of(file, &format!("{pointer}/{keyword}/{at}"), &name)
            })
            .collect();
        Type::union(all)
    }

    fn literals(&mut self, values: &[Value]) -> Type {
        let literal = |value: &Value| match value {
            Value::Null => Some(Type::Null),
            Value::Bool(flag) => Some(Type::Literal(Literal::Boolean(*flag))),
            Value::String(text) => Some(Type::Literal(Literal::Text(text.clone()))),
            Value::Number(number) if number.is_f64() => {
                Some(Type::Literal(Literal::Number(number.to_string())))
            }
            Value::Number(number) => Some(Type::Literal(Literal::Integer(number.to_string()))),
            Value::Array(_) | Value::Object(_) => None,
        };
        match values.iter().map(literal).collect::<Option<Vec<_>>>() {
            Some(literals) => Type::union(literals),
            None => self.unknown("One of fixed lists or objects."),
        }
    }

    fn reference(&mut self, file: &'a str, target: &str) -> Type {
        let (document, fragment) = target.split_once('#').unwrap_or((target, ""));
        let document = document.strip_prefix("./").unwrap_or(document);
        let found = match document {
            "" => Some(file),
            other => self.documents.get_key_value(other).map(|(name, _)| &**name),
        };
        let pointer =
            percent::strict(fragment, false).filter(|pointer| pointer.is_empty() || pointer.starts_with('/'));
        let there = |file: &&str, pointer: &String| {
            self.documents.get(*file).is_some_and(|document| document.pointer(pointer).is_some())
        };
        match found.zip(pointer).filter(|(file, pointer)| there(file, pointer)) {
            Some((file, pointer)) => {
                let last = pointer.rsplit('/').next().filter(|_| !pointer.is_empty()).map(pascal);
                let wanted = format!("{}{}", pascal(message_id(file)), last.unwrap_or_default());
                Type::Named(self.declare(file, &pointer, &wanted))
            }
            None => self.unknown(format!("Refers to {target}, which is not followed here.")),
        }
    }
}

fn has_any(schema: &Map<String, Value>, keywords: &[&str]) -> bool {
    keywords.iter().any(|keyword| schema.contains_key(*keyword))
}

fn has_fields(schema: &Map<String, Value>) -> bool {
    let some = |keyword: &str| match schema.get(keyword) {
        Some(Value::Object(members)) => !members.is_empty(),
        Some(Value::Array(members)) => !members.is_empty(),
        _ => false,
    };
    some("properties") || some("required") || schema.get("additionalProperties") == Some(&Value::Bool(false))
}

/// An object with fields of its own and nothing else.
fn is_record(schema: &Map<String, Value>) -> bool {
    let kind = schema.get("type");
    let object = kind.is_none() || kind.and_then(Value::as_str) == Some("object");
    object && has_fields(schema) && !has_any(schema, &["$ref", "const", "enum"])
}

/// Title and description, as lines.
fn described(schema: &Value) -> Vec<String> {
    let texts = ["title", "description"].iter().filter_map(|key| schema.get(key).and_then(Value::as_str));
    let lines = texts.flat_map(str::lines);
    let plain = |line: &str| line.chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned();
    lines.map(plain).filter(|line| !line.is_empty()).collect()
}

fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// `chat.message` is `ChatMessage`: a name in every language.
fn pascal(text: &str) -> String {
    let mut name = String::new();
    for word in text.split(|c: char| !c.is_ascii_alphanumeric()) {
        let mut letters = word.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    match name.chars().next() {
        None => "Type".into(),
        Some(first) if first.is_ascii_digit() => format!("T{name}"),
        Some(_) => name,
    }
}
