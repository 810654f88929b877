//! One schema, compiled. References reach the files of its folder and nothing else: the crate is built
//! without its own ways to files and networks.

use crate::limits;
use jsonschema::{PatternOptions, Retrieve, Uri, Validator};
use serde_json::Value;
use std::{collections::BTreeMap, error::Error, sync::Arc};

/// Every file of the folder as its last good version, by file name.
pub type Documents = BTreeMap<Box<str>, Arc<Value>>;

/// Where the files stand for one another's references. The scheme is nobody's.
const BASE: &str = "schemas:///";

pub struct Schema(Validator);

impl Schema {
    /// `file` is one of the documents.
    pub fn compile(file: &str, document: &Value, documents: &Arc<Documents>) -> Result<Self, String> {
        // Patterns in linear time: messages come from anybody. Look-around is refused by name.
        let patterns = PatternOptions::regex().size_limit(limits::SCHEMA_PATTERN_BYTES_MAX);
        jsonschema::options()
            .with_base_uri(format!("{BASE}{file}"))
            .with_retriever(Neighbours(documents.clone()))
            .with_pattern_options(patterns)
            .build(document)
            .map(Schema)
            .map_err(|error| match error.instance_path().as_str() {
                "" => short(&error.to_string()),
                path => short(&format!("{path}: {error}")),
            })
    }

    /// The first thing that is wrong: a JSON pointer into the message, and what is wrong there.
    pub fn check(&self, message: &Value) -> Result<(), (String, String)> {
        self.0.validate(message).map_err(|error| {
            // A sender's values stay out of logs.
            (short(error.instance_path().as_str()), short(&error.masked_with("the value").to_string()))
        })
    }
}

fn short(text: &str) -> String {
    text.chars().take(limits::LOG_TEXT_CHARS_MAX).collect()
}

struct Neighbours(Arc<Documents>);

impl Retrieve for Neighbours {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn Error + Send + Sync>> {
        let uri = uri.as_str();
        let by_name = uri.strip_prefix(BASE).and_then(|name| self.0.get(name));
        let by_id =
            || self.0.values().find(|document| document.get("$id").and_then(Value::as_str) == Some(uri));
        match by_name.or_else(by_id) {
            Some(document) => Ok((**document).clone()),
            None => {
                Err(format!("'{uri}' is no file of this folder, and nothing else can be referred to").into())
            }
        }
    }
}
