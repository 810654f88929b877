//! The model as TypeScript.

use super::model::{Body, Declaration, Field, Literal, Model, Object, Type};
use std::fmt::Write;

/// Names that the file uses itself.
pub const RESERVED: &[&str] =
    &["WebSocketMessageMap", "WebSocketMessageId", "WebSocketMessage", "AnyWebSocketMessage"];

const HEAD: &str = "// Made by `websocket-manager types` from JSON Schemas; changes here will be lost.\n";

const TAIL: &str = "
export type WebSocketMessageId = keyof WebSocketMessageMap;

/** A message as it stands on the wire. */
export interface WebSocketMessage<K extends WebSocketMessageId> {
  MESSAGE_ID: K;
  message: WebSocketMessageMap[K];
}

/** Any of them, to be told apart by MESSAGE_ID. */
export type AnyWebSocketMessage = { [K in WebSocketMessageId]: WebSocketMessage<K> }[WebSocketMessageId];
";

// Writing to a string cannot fail.
pub fn render(model: &Model) -> String {
    let mut out = HEAD.to_owned();
    let types = Types(model);
    for declaration in &model.declarations {
        out.push('\n');
        comment(&mut out, "", &declaration.about);
        types.declaration(&mut out, declaration);
    }
    out.push_str("\n/** The message of each MESSAGE_ID. */\nexport type WebSocketMessageMap = {\n");
    for message in &model.messages {
        let _ = writeln!(out, "  {}: {};", quoted(&message.id), model.declarations[message.of].name);
    }
    out.push_str("};\n");
    out.push_str(TAIL);
    out
}

struct Types<'a>(&'a Model);

impl Types<'_> {
    fn declaration(&self, out: &mut String, declaration: &Declaration) {
        let name = &declaration.name;
        match &declaration.body {
            Body::Alias(of) => {
                let _ = writeln!(out, "export type {name} = {};", self.text(of));
            }
            Body::Object(Object { fields, open }) => {
                let _ = writeln!(out, "export interface {name} {{");
                fields.iter().for_each(|field| self.field(out, field));
                if *open {
                    out.push_str("  [key: string]: unknown;\n");
                }
                out.push_str("}\n");
            }
        }
    }

    fn field(&self, out: &mut String, field: &Field) {
        comment(out, "  ", &field.about);
        let key = if is_identifier(&field.name) { field.name.clone() } else { quoted(&field.name) };
        let optional = if field.required { "" } else { "?" };
        let _ = writeln!(out, "  {key}{optional}: {};", self.text(&field.of));
    }

    fn text(&self, of: &Type) -> String {
        match of {
            Type::Unknown => "unknown".into(),
            Type::Text => "string".into(),
            Type::Integer | Type::Number => "number".into(),
            Type::Boolean => "boolean".into(),
            Type::Null => "null".into(),
            Type::Literal(Literal::Text(text)) => quoted(text),
            Type::Literal(Literal::Integer(number) | Literal::Number(number)) => number.clone(),
            Type::Literal(Literal::Boolean(flag)) => flag.to_string(),
            Type::List(item) => match **item {
                Type::Union(_) => format!("({})[]", self.text(item)),
                _ => format!("{}[]", self.text(item)),
            },
            // Not Record: that may not refer to what it stands in.
            Type::Map(value) => format!("{{ [key: string]: {} }}", self.text(value)),
            Type::Union(members) => {
                let mut texts: Vec<_> = members.iter().map(|member| self.text(member)).collect();
                texts.dedup();
                texts.join(" | ")
            }
            Type::Named(place) => self.0.declarations[*place].name.clone(),
        }
    }
}

fn comment(out: &mut String, indent: &str, lines: &[String]) {
    let lines: Vec<_> = lines.iter().map(|line| line.replace("*/", "*\\/")).collect();
    let _ = match &*lines {
        [] => Ok(()),
        [line] => writeln!(out, "{indent}/** {line} */"),
        lines => {
            let inner: String = lines.iter().map(|line| format!("{indent} * {line}\n")).collect();
            writeln!(out, "{indent}/**\n{inner}{indent} */")
        }
    };
}

/// A string of JSON is one of JavaScript.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn is_identifier(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_' || c == '$';
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit())
}
