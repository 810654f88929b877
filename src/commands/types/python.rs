//! The model as Python: TypedDicts, whose keys are those on the wire.

use super::model::{Body, Declaration, Field, Literal, Model, Object, Type};
use std::fmt::Write;

/// Names that the file uses itself.
pub const RESERVED: &[&str] = &[
    "Any",
    "Literal",
    "NotRequired",
    "TypeAlias",
    "TypedDict",
    "Union",
    "None",
    "True",
    "False",
    "WebSocketMessageMap",
    "WebSocketMessageId",
    "WebSocketMessage",
];

const HEAD: &str = "\
# Made by `websocket-manager types` from JSON Schemas; changes here will be lost.
# Python 3.11 or newer.

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypeAlias, TypedDict, Union

__all__ = [
";

/// No names of fields in a class: keywords cannot be, and types would be hidden.
const NOT_IN_A_CLASS: &[&str] = &[
    "False",
    "None",
    "True",
    "and",
    "as",
    "assert",
    "async",
    "await",
    "break",
    "class",
    "continue",
    "def",
    "del",
    "elif",
    "else",
    "except",
    "finally",
    "for",
    "from",
    "global",
    "if",
    "import",
    "in",
    "is",
    "lambda",
    "nonlocal",
    "not",
    "or",
    "pass",
    "raise",
    "return",
    "try",
    "while",
    "with",
    "yield",
    "Any",
    "Literal",
    "NotRequired",
    "TypedDict",
    "Union",
    "bool",
    "dict",
    "float",
    "int",
    "list",
    "str",
];

// Writing to a string cannot fail.
pub fn render(model: &Model) -> String {
    let mut out = HEAD.to_owned();
    let declared = model.declarations.iter().map(|declaration| &declaration.name);
    let envelopes = model.messages.iter().map(|message| &message.envelope);
    for name in declared.chain(envelopes) {
        let _ = writeln!(out, "    \"{name}\",");
    }
    out.push_str("    \"WebSocketMessage\",\n    \"WebSocketMessageId\",\n    \"WebSocketMessageMap\",\n]\n");
    let types = Types(model);
    for declaration in &model.declarations {
        types.declaration(&mut out, declaration);
    }
    for message in &model.messages {
        let (envelope, of) = (&message.envelope, &model.declarations[message.of].name);
        let id = quoted(&message.id);
        let _ = write!(
            out,
            "\n\nclass {envelope}(TypedDict):\n    MESSAGE_ID: Literal[{id}]\n    message: {of}\n"
        );
    }
    let ids: Vec<_> = model.messages.iter().map(|message| quoted(&message.id)).collect();
    let envelopes: Vec<_> = model.messages.iter().map(|message| &*message.envelope).collect();
    let _ = write!(out, "\n\nWebSocketMessageId: TypeAlias = Literal[{}]\n", ids.join(", "));
    out.push_str("\n# Any message as it stands on the wire, to be told apart by MESSAGE_ID.\n");
    let _ = writeln!(out, "WebSocketMessage: TypeAlias = Union[{}]", envelopes.join(", "));
    out.push_str("\n# The message of each MESSAGE_ID.\nWebSocketMessageMap = TypedDict(\n    \"WebSocketMessageMap\",\n    {\n");
    for message in &model.messages {
        let _ = writeln!(out, "        {}: {},", quoted(&message.id), model.declarations[message.of].name);
    }
    out.push_str("    },\n)\n");
    out
}

struct Types<'a>(&'a Model);

impl Types<'_> {
    fn declaration(&self, out: &mut String, declaration: &Declaration) {
        let Declaration { name, about, body } = declaration;
        out.push_str("\n\n");
        match body {
            // In quotes: it may refer to what comes later.
            Body::Alias(of) => {
                comment(out, "", about);
                let _ = writeln!(out, "{name}: TypeAlias = {}", quoted(&self.text(of)));
            }
            Body::Object(object) if object.fields.iter().all(|field| may_be_in_a_class(field, self.0)) => {
                self.class(out, name, about, object);
            }
            Body::Object(object) => self.call(out, name, about, object),
        }
    }

    fn class(&self, out: &mut String, name: &str, about: &[String], object: &Object) {
        let _ = writeln!(out, "class {name}(TypedDict):");
        comment(out, "    ", about);
        for field in &object.fields {
            comment(out, "    ", &field.about);
            let _ = writeln!(out, "    {}: {}", field.name, self.field(field));
        }
        further(out, "    ", object);
        if object.fields.is_empty() {
            out.push_str("    pass\n");
        }
    }

    fn call(&self, out: &mut String, name: &str, about: &[String], object: &Object) {
        comment(out, "", about);
        let _ = writeln!(out, "{name} = TypedDict(\n    \"{name}\",\n    {{");
        for field in &object.fields {
            comment(out, "        ", &field.about);
            let _ = writeln!(out, "        {}: {},", quoted(&field.name), quoted(&self.field(field)));
        }
        further(out, "        ", object);
        out.push_str("    },\n)\n");
    }

    fn field(&self, field: &Field) -> String {
        let text = self.text(&field.of);
        if field.required { text } else { format!("NotRequired[{text}]") }
    }

    fn text(&self, of: &Type) -> String {
        match of {
            Type::Unknown => "Any".into(),
            Type::Text => "str".into(),
            Type::Integer => "int".into(),
            // A literal may be no fraction.
            Type::Number | Type::Literal(Literal::Number(_)) => "float".into(),
            Type::Boolean => "bool".into(),
            Type::Null => "None".into(),
            Type::Literal(literal) => format!("Literal[{}]", constant(literal)),
            Type::List(item) => format!("list[{}]", self.text(item)),
            Type::Map(value) => format!("dict[str, {}]", self.text(value)),
            Type::Union(members) => self.union(members),
            Type::Named(place) => self.0.declarations[*place].name.clone(),
        }
    }

    /// All literals in one, where the first of them stands.
    fn union(&self, members: &[Type]) -> String {
        let (mut texts, mut constants, mut at) = (Vec::new(), Vec::new(), None);
        for member in members {
            match member {
                Type::Literal(literal) if !matches!(literal, Literal::Number(_)) => {
                    at.get_or_insert(texts.len());
                    constants.push(constant(literal));
                }
                other => texts.push(self.text(other)),
            }
        }
        if let Some(at) = at {
            texts.insert(at, format!("Literal[{}]", constants.join(", ")));
        }
        texts.dedup();
        match &*texts {
            [only] => only.clone(),
            texts => format!("Union[{}]", texts.join(", ")),
        }
    }
}

fn constant(literal: &Literal) -> String {
    match literal {
        Literal::Text(text) => quoted(text),
        Literal::Integer(number) | Literal::Number(number) => number.clone(),
        Literal::Boolean(true) => "True".into(),
        Literal::Boolean(false) => "False".into(),
    }
}

fn further(out: &mut String, indent: &str, object: &Object) {
    if object.open {
        comment(out, indent, &["There may be further keys.".into()]);
    }
}

fn comment(out: &mut String, indent: &str, lines: &[String]) {
    for line in lines {
        let _ = writeln!(out, "{indent}# {line}");
    }
}

/// A string of JSON is one of Python, but for the characters that JSON leaves and Python would break
/// a line at: there are none in a string literal.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn may_be_in_a_class(field: &Field, model: &Model) -> bool {
    let name = &field.name;
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(letter)
        && name.chars().all(|c| letter(c) || c.is_ascii_digit())
        // Two underscores in front would be mangled.
        && !name.starts_with("__")
        && !NOT_IN_A_CLASS.contains(&&**name)
        && !model.declarations.iter().any(|declaration| declaration.name == *name)
}
