//! What keeps secrets and hostile text out of logs, records and error messages.
//!
//! Masking errs on the side of too much: a value that is hidden in vain costs a reader a look into
//! the configuration, one that is shown costs its owner the credential.

use crate::{core::percent, limits::LOG_TEXT_CHARS_MAX};
use std::{borrow::Cow, fmt, fmt::Write};

pub const MASK: &str = "***";
/// So far the end of a token's header is looked for.
const JWT_HEADER_BYTES_MAX: usize = 2048;

/// A value that no formatting shows. Reading it is a visible `expose()`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    pub const fn new(value: T) -> Self {
        Secret(value)
    }

    pub const fn expose(&self) -> &T {
        &self.0
    }

    pub fn into_exposed(self) -> T {
        self.0
    }
}

impl<T> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Secret(value)
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl<T> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// Text of unknown origin, made fit for one line of a log.
pub fn escape_log(text: &str) -> Cow<'_, str> {
    escape_bounded(text, LOG_TEXT_CHARS_MAX)
}

/// As `escape_log`, with at most `chars` characters of `text`; what was cut is counted.
pub fn escape_bounded(text: &str, chars: usize) -> Cow<'_, str> {
    let cut = text.char_indices().nth(chars).map_or(text.len(), |(at, _)| at);
    let kept = &text[..cut];
    if cut == text.len() && !kept.contains(needs_escape) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(kept.len() + 16);
    for c in kept.chars() {
        if needs_escape(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    if cut < text.len() {
        // Writing to a String does not fail.
        let _ = write!(out, "...(+{} bytes)", text.len() - cut);
    }
    Cow::Owned(out)
}

/// Characters that move the cursor, reorder or hide text, and thereby forge what a reader sees.
pub fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The backslash too: otherwise text could imitate an escape.
fn needs_escape(c: char) -> bool {
    c == '\\' || is_deceptive(c)
}

/// Masks what looks like a secret in a text such as an error: the userinfo of URLs, the values of
/// secret keys in queries, bearer credentials, JSON web tokens.
pub fn redact_text(text: &str) -> Cow<'_, str> {
    let mut out = String::with_capacity(text.len());
    let mut masked = false;
    let mut credential_follows = false;
    for word in text.split_inclusive(char::is_whitespace) {
        let bare = word.trim_end();
        let end = &word[bare.len()..];
        if credential_follows && !bare.is_empty() {
            out.push_str(MASK);
            masked = true;
            credential_follows = false;
        } else {
            let scheme = bare.trim_matches(|c: char| !c.is_ascii_alphanumeric());
            let ends_plainly = bare.ends_with(|c: char| c.is_ascii_alphanumeric());
            credential_follows |= ends_plainly
                && bare.len() - scheme.len() <= 2
                && ["bearer", "basic"].iter().any(|name| scheme.eq_ignore_ascii_case(name));
            masked |= mask_word(bare, &mut out);
        }
        out.push_str(end);
    }
    if masked { Cow::Owned(out) } else { Cow::Borrowed(text) }
}

fn mask_word(word: &str, out: &mut String) -> bool {
    let mut rest = word;
    let mut masked = false;
    let mut plain = String::with_capacity(word.len());
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        plain.push_str(before);
        let authority = &after[..after.find(['/', '?', '#']).unwrap_or(after.len())];
        rest = match authority.rfind('@') {
            Some(userinfo) => {
                masked = true;
                plain.push_str(MASK);
                &after[userinfo..]
            }
            None => after,
        };
    }
    plain.push_str(rest);
    mask_pairs(&plain, out) | masked
}

/// Copies `text` to `out` with the values of secret keys masked, up to the next `&`: any other
/// separator may be part of the secret. Tells whether anything was masked.
pub fn mask_pairs(text: &str, out: &mut String) -> bool {
    let mut masked = false;
    for (place, piece) in text.split('&').enumerate() {
        if place > 0 {
            out.push('&');
        }
        masked |= mask_piece(piece, out);
    }
    masked
}

fn mask_piece(piece: &str, out: &mut String) -> bool {
    let mut first = true;
    for (at, _) in piece.match_indices('=') {
        let (before, value) = (&piece[..at], &piece[at + 1..]);
        let key = &before[before.trim_end_matches(is_key_char).len()..];
        // Only once, so that the work stays in proportion to the text.
        let nested = std::mem::take(&mut first) && hides_secret(value);
        if is_secret_key(key) || looks_like_jwt(value) || nested {
            out.push_str(before);
            out.push('=');
            out.push_str(MASK);
            return value != MASK;
        }
    }
    if first && hides_secret(piece) {
        out.push_str(MASK);
        return true;
    }
    mask_jwts(piece, out)
}

fn mask_jwts(text: &str, out: &mut String) -> bool {
    let mut copied = 0;
    let mut masked = false;
    for (at, _) in text.match_indices("eyJ") {
        let fresh = at >= copied && !text[..at].ends_with(is_key_char);
        if fresh && looks_like_jwt(&text[at..]) {
            let run = text[at..].find(|c| !is_key_char(c)).unwrap_or(text.len() - at);
            out.push_str(&text[copied..at]);
            out.push_str(MASK);
            copied = at + run;
            masked = true;
        }
    }
    out.push_str(&text[copied..]);
    masked
}

fn is_key_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '%' | '+' | '$' | '[' | ']')
}

/// `{"` in base64 begins a JSON web token's header, which a dot ends.
fn looks_like_jwt(text: &str) -> bool {
    let header = &text.as_bytes()[..text.len().min(JWT_HEADER_BYTES_MAX)];
    text.starts_with("eyJ") && text.len() >= 20 && memchr::memchr(b'.', header).is_some()
}

/// A URL or a list of pairs, percent-encoded inside a value, with a secret in it.
fn hides_secret(value: &str) -> bool {
    if !value.contains('%') {
        return false;
    }
    let decoded = percent::lenient(value);
    let text = String::from_utf8_lossy(&decoded);
    let pair = text.match_indices('=').any(|(at, _)| {
        let before = &text[..at];
        is_secret_key(&before[before.trim_end_matches(is_key_char).len()..])
    });
    pair || text
        .split_once("://")
        .is_some_and(|(_, rest)| rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())].contains('@'))
}

/// Parts that make a key secret wherever they stand in it.
const SECRET_PARTS: [&str; 12] = [
    "token",
    "secret",
    "signature",
    "passw",
    "passphrase",
    "credential",
    "auth",
    "jwt",
    "session",
    "bearer",
    "cookie",
    "key",
];
/// Words too short or too common to be looked for inside others.
const SECRET_WORDS: [&str; 16] = [
    "sig", "sign", "signed", "pass", "pwd", "pw", "passcode", "pin", "otp", "code", "hmac", "sid", "psk",
    "cred", "creds", "ticket",
];

/// Whether the value of this query key is to be hidden, in any case and spelling: `apiKey`,
/// `X-Amz-Signature`, `access%5Ftoken`.
pub fn is_secret_key(key: &str) -> bool {
    let decoded = percent::lenient(key);
    let mut squashed = String::with_capacity(decoded.len());
    let mut word = String::new();
    let mut after_lower = false;
    let mut secret_word = false;
    let is_word = |word: &str| SECRET_WORDS.contains(&word);
    for &byte in decoded.iter() {
        let camel_hump = after_lower && byte.is_ascii_uppercase();
        if camel_hump || !byte.is_ascii_alphanumeric() {
            secret_word |= is_word(&word);
            word.clear();
        }
        if byte.is_ascii_alphanumeric() {
            let lower = char::from(byte.to_ascii_lowercase());
            squashed.push(lower);
            word.push(lower);
        }
        after_lower = byte.is_ascii_lowercase() || byte.is_ascii_digit();
    }
    secret_word
        || is_word(&word)
        || is_word(&squashed)
        || SECRET_PARTS.iter().any(|part| squashed.contains(part))
}

#[cfg(test)]
mod tests;
