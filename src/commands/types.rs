//! Types of the messages that a folder of schemas describes, for the programs that read and send them.

mod build;
#[cfg(test)]
mod golden;
mod model;
mod python;
mod typescript;

use super::Failure;
use crate::{
    api::typed::folder,
    config::{
        Config, EXIT_BAD_CONFIGURATION,
        cli::{Language, Types},
    },
};
use build::build;
use std::io::{self, Write};

/// Exits with 64 when there is nothing to generate from.
pub fn run(config: &Config, types: &Types) -> Result<u8, Failure> {
    let told = |problems: Vec<String>| {
        problems.iter().for_each(|problem| eprintln!("error: {problem}"));
        Ok(EXIT_BAD_CONFIGURATION)
    };
    let Some(path) = &config.schemas else {
        return told(vec!["types needs the folder of schemas: --schemas DIR".into()]);
    };
    let documents = match folder::documents(path) {
        Ok(documents) => documents,
        Err(problems) => return told(problems),
    };
    if documents.is_empty() {
        return told(vec![format!("{} holds no schema; they are called <MESSAGE_ID>.json", path.display())]);
    }
    let text = match types.language {
        Language::TypeScript => typescript::render(&build(&documents, typescript::RESERVED)),
        Language::Python => python::render(&build(&documents, python::RESERVED)),
    };
    match &types.out {
        Some(path) => std::fs::write(path, text)
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))?,
        // A reader that closes its pipe has what it wants.
        None => match io::stdout().lock().write_all(text.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
            _ => {}
        },
    }
    Ok(0)
}
