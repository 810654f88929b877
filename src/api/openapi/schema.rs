//! JSON schemas of the proto's messages, with the bounds that the contract gives them.

use super::descriptor::{DescriptorProto, EnumProto, FieldProto, FileProto, FileSet};
use crate::{limits, proto};
use prost::Message;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const PACKAGE: &str = ".virtufin.";
/// Its methods go by their names alone, those of others with their service before them.
const SERVICE: &str = "WebSocketManager";
/// Where comments stand in a file's source info: messages, enums, services; fields, methods.
const MESSAGES: i32 = 4;
const ENUMS: i32 = 5;
const SERVICES: i32 = 6;
const MEMBERS: i32 = 2;

#[derive(Clone, Default)]
pub struct Method {
    pub about: String,
    pub input: String,
    pub output: String,
}

/// Schemas are added as routes ask for them.
pub struct Schemas {
    messages: BTreeMap<String, DescriptorProto>,
    enums: BTreeMap<String, EnumProto>,
    methods: BTreeMap<String, Method>,
    comments: BTreeMap<String, String>,
    made: Map<String, Value>,
}

impl Schemas {
    pub fn load() -> Self {
        // Ours, made by the build: a test reads it. A default would only make the document poorer.
        let files = FileSet::decode(proto::DESCRIPTOR).unwrap_or_default();
        let mut schemas = Schemas {
            messages: BTreeMap::new(),
            enums: BTreeMap::new(),
            methods: BTreeMap::new(),
            comments: BTreeMap::new(),
            made: Map::new(),
        };
        for file in files.file.into_iter().filter(|file| file.package == "virtufin") {
            schemas.take(file);
        }
        schemas.made.insert("Status".into(), status());
        schemas.made.insert("Health".into(), health());
        schemas
    }

    fn take(&mut self, file: FileProto) {
        self.comments.extend(comments(&file));
        for service in file.service {
            for method in service.method {
                let about = self.comment(&format!("{}.{}", service.name, method.name));
                let [input, output] =
                    [&method.input_type, &method.output_type].map(|name| short(name).to_owned());
                let name = match service.name.as_str() {
                    SERVICE => method.name,
                    other => format!("{other}.{}", method.name),
                };
                self.methods.insert(name, Method { about, input, output });
            }
        }
        self.messages.extend(file.message_type.into_iter().map(|message| (message.name.clone(), message)));
        self.enums.extend(file.enum_type.into_iter().map(|set| (set.name.clone(), set)));
    }

    pub fn into_components(self) -> Value {
        Value::Object(self.made)
    }

    pub fn method(&self, rpc: &str) -> Method {
        self.methods.get(rpc).cloned().unwrap_or_default()
    }

    /// The schema of a body: what stands in the path is not in it.
    pub fn request(&mut self, message: &str, in_path: &[&str]) -> String {
        if in_path.is_empty() {
            return self.add(message);
        }
        let name = format!("{}Body", message.trim_end_matches("Request"));
        if !self.made.contains_key(&name) {
            let mut schema = self.object(message);
            if let Some(properties) = schema["properties"].as_object_mut() {
                // The one room of a path stands for the list of the request.
                let given =
                    |name: &str| in_path.contains(&name) || (name == "rooms" && in_path.contains(&"room"));
                properties.retain(|name, _| !given(name));
            }
            self.made.insert(name.clone(), schema);
        }
        name
    }

    pub fn response(&mut self, message: &str) -> String {
        self.add(message)
    }

    /// An enum's value: a name or a number.
    pub fn choice(&self, name: &str) -> Value {
        let values = self.enums.get(name).map(|set| set.value.as_slice()).unwrap_or_default();
        let names: Vec<_> = values.iter().map(|value| value.name.as_str()).collect();
        let numbers: Vec<_> = values.iter().map(|value| value.number).collect();
        let mut about = self.comment(name);
        for value in values {
            let comment = self.comment(&format!("{name}.{}", value.name));
            if !comment.is_empty() {
                about.push_str(&format!("\n{}: {comment}", value.name));
            }
        }
        let mut schema = json!({"anyOf": [
            {"type": "string", "enum": names}, {"type": "integer", "enum": numbers},
        ]});
        describe(&mut schema, about.trim());
        schema
    }

    fn comment(&self, place: &str) -> String {
        self.comments.get(place).cloned().unwrap_or_default()
    }

    fn add(&mut self, message: &str) -> String {
        if !self.made.contains_key(message) {
            // First the name: messages may hold themselves.
            self.made.insert(message.into(), json!({}));
            let schema = self.object(message);
            self.made.insert(message.into(), schema);
        }
        message.to_owned()
    }

    fn object(&mut self, name: &str) -> Value {
        let Some(message) = self.messages.get(name).cloned() else { return json!({"type": "object"}) };
        let mut properties = Map::new();
        for field in &message.field {
            let mut schema = self.field(&message, field);
            if let Some(bounds) = bounds(name, &field.name) {
                merge(&mut schema, bounds);
            }
            let about = self.comment(&format!("{name}.{}", field.name));
            // Beside a reference nothing counts.
            if schema.get("$ref").is_none() {
                describe(&mut schema, &about);
            }
            properties.insert(field.json_name.clone(), schema);
        }
        let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
        let one_of = |field: &FieldProto| field.oneof_index.is_some() && field.proto3_optional != Some(true);
        if !message.field.is_empty() && message.field.iter().all(one_of) {
            schema["maxProperties"] = json!(1);
        }
        describe(&mut schema, &self.comment(name));
        schema
    }

    fn field(&mut self, message: &DescriptorProto, field: &FieldProto) -> Value {
        if let Some(entry) = map_entry(message, field) {
            let value = entry.field.iter().find(|member| member.number == 2).cloned().unwrap_or_default();
            let value = self.single(&value);
            return json!({"type": "object", "additionalProperties": value});
        }
        let one = self.single(field);
        if field.label == LABEL_REPEATED { json!({"type": "array", "items": one}) } else { one }
    }

    fn single(&mut self, field: &FieldProto) -> Value {
        match field.r#type {
            1 | 2 => {
                json!({"anyOf": [{"type": "number"}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}]})
            }
            3 | 16 | 18 => integer("int64", None),
            4 | 6 => integer("uint64", Some(0)),
            5 | 15 | 17 => integer("int32", None),
            7 | 13 => integer("uint32", Some(0)),
            8 => json!({"type": "boolean"}),
            12 => json!({"type": "string", "format": "byte"}),
            14 => self.choice(short(&field.type_name)),
            11 => match field.type_name.as_str() {
                ".google.protobuf.Timestamp" => json!({"type": "string", "format": "date-time"}),
                ".google.protobuf.FieldMask" => json!({"type": "string"}),
                name => {
                    let name = self.add(short(name));
                    json!({"$ref": format!("#/components/schemas/{name}")})
                }
            },
            _ => json!({"type": "string"}),
        }
    }
}

/// The value of a path's part.
pub fn path_value(name: &str) -> Value {
    match name {
        "id" => {
            json!({"type": "string", "pattern": ID_PATTERN, "minLength": 1, "maxLength": limits::ID_CHARS_MAX})
        }
        "room" => room_name(),
        "user" => json!({"type": "string", "minLength": 1, "maxLength": limits::USER_BYTES_MAX}),
        _ => json!({"type": "string", "minLength": 1, "maxLength": limits::TAG_KEY_CHARS_MAX}),
    }
}

/// The bound is one of bytes, which a schema cannot say.
fn room_name() -> Value {
    json!({"type": "string", "pattern": ROOM_PATTERN, "minLength": 1, "maxLength": limits::ROOM_NAME_BYTES_MAX})
}

const ID_PATTERN: &str = "^[A-Za-z0-9._~-]{1,128}$";
const ROOM_PATTERN: &str = r"^[^\u0000-\u001f\u007f-\u009f,]+$";
const LABEL_REPEATED: i32 = 3;

/// Numbers in JSON, or in strings as proto3 writes the long ones.
fn integer(format: &str, least: Option<i64>) -> Value {
    let pattern = if least.is_some() { "^[0-9]+$" } else { "^-?[0-9]+$" };
    let mut number = json!({"type": "integer", "format": format});
    if let Some(least) = least {
        number["minimum"] = json!(least);
    }
    json!({"anyOf": [number, {"type": "string", "pattern": pattern}]})
}

/// What the contract says of a field beyond its type.
fn bounds(message: &str, field: &str) -> Option<Value> {
    let tags = || json!({"maxProperties": limits::TAGS_MAX, "additionalProperties": {"type": "string", "maxLength": limits::TAG_VALUE_CHARS_MAX}});
    Some(match (message, field) {
        ("ConnectRequest", "connection_id") => {
            json!({"pattern": "^$|^[A-Za-z0-9._-][A-Za-z0-9._~-]{0,127}$"})
        }
        ("ConnectRequest", "url") => json!({"maxLength": limits::URL_BYTES_MAX}),
        ("ConnectRequest" | "SetTagsRequest", "tags") => tags(),
        ("ConnectRequest", "headers") => json!({"maxProperties": limits::HEADERS_MAX}),
        ("ConnectRequest", "subprotocols") => json!({"maxItems": limits::SUBPROTOCOLS_MAX}),
        ("RoomSendRequest", "rooms") => json!({"maxItems": limits::ROOMS_PER_SEND_MAX, "items": room_name()}),
        ("ConnectRequest", "rooms") => {
            json!({"maxItems": limits::ROOMS_PER_CONNECTION_MAX, "items": room_name()})
        }
        ("RoomSendRequest" | "BroadcastRequest" | "SendToUserRequest", "message_id") => {
            json!({"maxLength": limits::MESSAGE_ID_BYTES_MAX})
        }
        ("SetTagRequest", "value") => json!({"maxLength": limits::TAG_VALUE_CHARS_MAX}),
        ("StartPublishRequest" | "PublishOptions", "topic") => json!({"maxLength": limits::TOPIC_BYTES_MAX}),
        ("SendBatchRequest", "requests") => json!({"maxItems": limits::BATCH_REQUESTS_MAX}),
        ("SendRequest" | "SendRawRequest", "id") => json!({"maxLength": limits::ID_CHARS_MAX}),
        ("SendRequest", "timeout_ms") => millis(limits::SEND_TIMEOUT_MAX.as_millis()),
        ("ConnectRequest", "connect_timeout_ms") => millis(limits::CONNECT_TIMEOUT_MAX.as_millis()),
        _ => return None,
    })
}

fn millis(most: u128) -> Value {
    let number = json!({"type": "integer", "format": "int32", "minimum": 0, "maximum": most as u64});
    json!({"anyOf": [number, {"type": "string", "pattern": "^[0-9]+$"}]})
}

fn merge(schema: &mut Value, more: Value) {
    if let (Some(schema), Value::Object(more)) = (schema.as_object_mut(), more) {
        schema.extend(more);
    }
}

fn describe(schema: &mut Value, about: &str) {
    if !about.is_empty() {
        schema["description"] = json!(about);
    }
}

fn status() -> Value {
    json!({
        "type": "object",
        "description": "google.rpc.Status",
        "required": ["code", "message", "details"],
        "properties": {
            "code": {"type": "integer", "format": "int32", "description": "gRPC's number."},
            "message": {"type": "string", "description": "Begins with the field at fault, when there is one."},
            "details": {"type": "array", "items": {
                "type": "object", "required": ["@type"], "properties": {"@type": {"type": "string"}},
            }},
        },
    })
}

fn health() -> Value {
    json!({
        "type": "object",
        "required": ["status"],
        "properties": {
            "status": {"type": "string"}, "version": {"type": "string"}, "reason": {"type": "string"},
        },
    })
}

fn short(name: &str) -> &str {
    name.strip_prefix(PACKAGE).unwrap_or(name)
}

fn map_entry<'a>(message: &'a DescriptorProto, field: &FieldProto) -> Option<&'a DescriptorProto> {
    let entry = field.type_name.rsplit('.').next()?;
    let is_map = |nested: &&DescriptorProto| {
        nested.name == entry && nested.options.as_ref().is_some_and(|options| options.map_entry)
    };
    message.nested_type.iter().find(is_map)
}

/// Leading comments by `Message`, `Message.field`, `Enum.VALUE`, `Service.Method`.
fn comments(file: &FileProto) -> BTreeMap<String, String> {
    let mut comments = BTreeMap::new();
    for location in file.source.iter().flat_map(|source| &source.location) {
        let text = location.leading_comments.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        if let (false, Some(place)) = (text.trim().is_empty(), place(file, &location.path)) {
            comments.insert(place, text.trim().to_owned());
        }
    }
    comments
}

fn place(file: &FileProto, path: &[i32]) -> Option<String> {
    let index = |position: usize| path.get(position).and_then(|index| usize::try_from(*index).ok());
    let (first, kind) = (index(1)?, *path.first()?);
    let (outer, members): (&str, Vec<&str>) = match kind {
        MESSAGES => {
            let message = file.message_type.get(first)?;
            (&message.name, message.field.iter().map(|field| field.name.as_str()).collect())
        }
        ENUMS => {
            let set = file.enum_type.get(first)?;
            (&set.name, set.value.iter().map(|value| value.name.as_str()).collect())
        }
        SERVICES => {
            let service = file.service.get(first)?;
            (&service.name, service.method.iter().map(|method| method.name.as_str()).collect())
        }
        _ => return None,
    };
    match path.len() {
        2 => Some(outer.to_owned()),
        4 if path[2] == MEMBERS => Some(format!("{outer}.{}", members.get(index(3)?)?)),
        _ => None,
    }
}
