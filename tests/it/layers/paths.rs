//! The paths that a Rust file names, found without a compiler: comments and literals are blanked,
//! use trees are spread out, `self` and `super` are resolved.

use crate::harness::repo::Source;
use std::collections::BTreeSet;

#[derive(Debug, PartialEq)]
pub struct Path {
    pub line: usize,
    /// `crate::...` for this crate, otherwise the outer crate's name first.
    pub text: String,
}

/// A source text whose comments and literals are spaces; lines stay where they are.
pub struct Stripped(Vec<u8>);

impl Stripped {
    pub fn new(text: &str) -> Self {
        let mut bytes = text.as_bytes().to_vec();
        let mut at = 0;
        while at < bytes.len() {
            let end = end_of_literal(&bytes, at);
            for byte in &mut bytes[at..end] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
            at = end.max(at + 1);
        }
        Stripped(bytes)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

/// Where the comment or literal that begins at `at` ends; `at` itself when none does.
fn end_of_literal(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let word_before = at > 0 && is_word(bytes[at - 1]);
    if rest.starts_with(b"//") {
        return at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    }
    if rest.starts_with(b"/*") {
        return end_of_block(bytes, at);
    }
    if rest[0] == b'"' {
        return end_of_quoted(bytes, at + 1, b'"');
    }
    if rest[0] == b'r' && !word_before {
        let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
        if rest.get(1 + hashes) == Some(&b'"') {
            let mut close = vec![b'"'];
            close.resize(1 + hashes, b'#');
            let body = at + 2 + hashes;
            let length = bytes[body..].windows(close.len()).position(|part| part == close);
            return length.map_or(bytes.len(), |length| body + length + close.len());
        }
    }
    // 'x' and '\n' are characters, 'static is a lifetime.
    if rest[0] == b'\'' && (rest.get(1) == Some(&b'\\') || rest.get(2) == Some(&b'\'')) {
        return end_of_quoted(bytes, at + 1, b'\'');
    }
    at
}

fn end_of_block(bytes: &[u8], start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn end_of_quoted(bytes: &[u8], mut at: usize, quote: u8) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Colons,
    Open,
    Close,
    Comma,
    Star,
    Other,
}

fn tokens(source: &Stripped) -> Vec<(usize, Token)> {
    let bytes = &source.0;
    let (mut found, mut at, mut line) = (Vec::new(), 0, 1);
    while at < bytes.len() {
        let start = at;
        at += 1;
        let token = match bytes[start] {
            b'\n' => {
                line += 1;
                continue;
            }
            byte if byte.is_ascii_whitespace() => continue,
            byte if is_word(byte) => {
                while at < bytes.len() && is_word(bytes[at]) {
                    at += 1;
                }
                Token::Word(String::from_utf8_lossy(&bytes[start..at]).into_owned())
            }
            b':' if bytes.get(at) == Some(&b':') => {
                at += 1;
                Token::Colons
            }
            b'{' => Token::Open,
            b'}' => Token::Close,
            b',' => Token::Comma,
            b'*' => Token::Star,
            _ => Token::Other,
        };
        found.push((line, token));
    }
    found
}

/// Words that can stand before a path that begins with `::`, and are no part of it.
const BEFORE: &[&str] =
    &["use", "as", "in", "return", "dyn", "impl", "mut", "for", "where", "else", "match", "if"];

/// Every path of two or more parts in `file` (below `src/`).
pub fn named(file: &str, source: &Stripped) -> Vec<Path> {
    let module = module_of(file);
    let tokens = tokens(source);
    let (mut found, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let begins = matches!(&tokens[at].1, Token::Word(word) if !BEFORE.contains(&word.as_str()))
            && tokens.get(at + 1).is_some_and(|next| next.1 == Token::Colons);
        if !begins {
            at += 1;
            continue;
        }
        let mut leaves = Vec::new();
        at = tree(&tokens, at, &[], &mut leaves);
        found.extend(
            leaves.into_iter().map(|(line, parts)| Path { line, text: resolve(&module, &parts).join("::") }),
        );
    }
    found
}

/// Reads one path or use tree from `at`; gives where it ends.
fn tree(
    tokens: &[(usize, Token)],
    mut at: usize,
    prefix: &[String],
    leaves: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    let mut parts = prefix.to_vec();
    loop {
        match tokens.get(at) {
            Some((line, Token::Word(word))) => {
                parts.push(word.clone());
                at += 1;
                if tokens.get(at).map(|next| &next.1) != Some(&Token::Colons) {
                    leaves.push((*line, parts));
                    return at;
                }
                at += 1;
            }
            Some((line, Token::Star)) => {
                leaves.push((*line, parts));
                return at + 1;
            }
            Some((_, Token::Open)) => return group(tokens, at + 1, &parts, leaves),
            // A turbofish: the path ends here.
            other => {
                let line = other.map_or(0, |other| other.0);
                leaves.push((line, parts));
                return at;
            }
        }
    }
}

fn group(
    tokens: &[(usize, Token)],
    mut at: usize,
    prefix: &[String],
    leaves: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    while let Some((_, token)) = tokens.get(at) {
        match token {
            Token::Close => return at + 1,
            Token::Word(_) | Token::Open => at = tree(tokens, at, prefix, leaves),
            // `as name`, commas.
            _ => at += 1,
        }
        if let Some((_, Token::Word(word))) = tokens.get(at)
            && word == "as"
        {
            at += 2;
        }
    }
    at
}

fn module_of(file: &str) -> Vec<String> {
    let stem = file.trim_end_matches(".rs");
    let stem = stem.strip_suffix("/mod").unwrap_or(stem);
    match stem {
        "lib" | "main" => vec!["crate".to_owned()],
        _ => std::iter::once("crate").chain(stem.split('/')).map(str::to_owned).collect(),
    }
}

fn resolve(module: &[String], parts: &[String]) -> Vec<String> {
    let mut rest = parts.iter().peekable();
    let mut base: Vec<String> = Vec::new();
    while let Some(part) = rest.peek() {
        match part.as_str() {
            "self" if base.is_empty() => base = module.to_vec(),
            "self" => {}
            "super" => {
                if base.is_empty() {
                    base = module.to_vec();
                }
                base.pop();
            }
            _ => break,
        }
        rest.next();
    }
    base.extend(rest.filter(|part| *part != "self").cloned());
    base
}

/// Files that exist only for tests: declared under `#[cfg(test)]`, or below one that is.
pub fn test_files(files: &[Source]) -> BTreeSet<String> {
    let mut folders = Vec::new();
    for file in files {
        let text = Stripped::new(&file.text).text();
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).peekable();
        while let Some(line) = lines.next() {
            let only_tests = line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test");
            if let (true, Some(name)) = (only_tests, lines.peek().copied().and_then(declared)) {
                folders.push(format!("{}/{name}", folder_of(&file.path)));
            }
        }
    }
    let below = |path: &str| {
        folders.iter().any(|folder| {
            path.strip_prefix(folder.as_str()).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        })
    };
    files.iter().filter(|file| below(&file.path)).map(|file| file.path.clone()).collect()
}

fn declared(line: &str) -> Option<&str> {
    let line = line.strip_suffix(';')?;
    let (_, name) = line.split_once("mod ")?;
    Some(name.trim())
}

/// Where the modules that a file declares are.
fn folder_of(path: &str) -> String {
    let stem = path.trim_end_matches(".rs");
    let own = stem.strip_suffix("/mod").or(stem.strip_suffix("/lib")).or(stem.strip_suffix("/main"));
    own.unwrap_or(stem).to_owned()
}
