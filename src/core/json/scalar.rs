//! Scalars as ids and constants: what is equal, and one spelling of it for a map's key.

use super::scan::decode_escapes;
use std::borrow::Cow;

/// A JSON scalar. Equality asks for the same JSON type: `1` is not `"1"`. Numbers are equal when
/// they are the same decimal number however they are spelt (`1`, `1.0`, `10e-1`), compared
/// exactly and never as floats: a peer that rounds a number of 20 digits answers with another id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scalar<'a> {
    Str(Cow<'a, str>),
    Int(i128),
    /// A number that is no integer, or one beyond `i128`.
    Number(Decimal),
    Bool(bool),
    Null,
}

/// `0.digits * 10^exponent`, digits without zeros at either end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    digits: Box<str>,
    exponent: i64,
}

impl<'a> Scalar<'a> {
    /// From the raw bytes of a value; `None` for containers and for what is not JSON.
    pub fn parse(raw: &'a [u8]) -> Option<Self> {
        match raw.first()? {
            b'"' => parse_string(raw).map(Scalar::Str),
            b't' => (raw == b"true").then_some(Scalar::Bool(true)),
            b'f' => (raw == b"false").then_some(Scalar::Bool(false)),
            b'n' => (raw == b"null").then_some(Scalar::Null),
            _ => parse_number(raw),
        }
    }

    /// What a rule's author means by a constant: the JSON scalar it spells, else the text itself.
    pub fn from_constant(text: &'a str) -> Self {
        Scalar::parse(text.trim_ascii().as_bytes()).unwrap_or(Scalar::Str(Cow::Borrowed(text)))
    }

    pub fn is_string_or_number(&self) -> bool {
        matches!(self, Scalar::Str(_) | Scalar::Int(_) | Scalar::Number(_))
    }

    /// Appends bytes that are the same exactly for equal scalars.
    pub fn write_key(&self, key: &mut Vec<u8>) {
        match self {
            Scalar::Str(text) => {
                key.push(b's');
                key.extend_from_slice(text.as_bytes());
            }
            Scalar::Int(value) => {
                key.push(b'i');
                key.extend_from_slice(&value.to_le_bytes());
            }
            Scalar::Number(decimal) => {
                key.push(if decimal.negative { b'-' } else { b'+' });
                key.extend_from_slice(&decimal.exponent.to_le_bytes());
                key.extend_from_slice(decimal.digits.as_bytes());
            }
            Scalar::Bool(value) => key.push(if *value { b't' } else { b'f' }),
            Scalar::Null => key.push(b'0'),
        }
    }
}

fn parse_string(raw: &[u8]) -> Option<Cow<'_, str>> {
    let inner = raw.get(1..raw.len().checked_sub(1)?)?;
    if raw.len() < 2 || raw.last() != Some(&b'"') {
        return None;
    }
    match memchr::memchr2(b'\\', b'"', inner) {
        None => std::str::from_utf8(inner).ok().map(Cow::Borrowed),
        Some(_) => decode_escapes(inner).map(Cow::Owned),
    }
}

fn parse_number(raw: &[u8]) -> Option<Scalar<'static>> {
    let text = std::str::from_utf8(raw).ok()?;
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) if all_digits(fraction) => (whole, fraction),
        Some(_) => return None,
        None => (mantissa, ""),
    };
    if !all_digits(whole) || (whole.len() > 1 && whole.starts_with('0')) {
        return None;
    }
    if fraction.is_empty() && exponent.is_none() && whole.len() <= 38 {
        return text.parse().ok().map(Scalar::Int);
    }
    let exponent = exponent.map_or(Some(0), parse_exponent)?;
    Some(normal(negative, whole, fraction, exponent))
}

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn parse_exponent(text: &str) -> Option<i64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    // Far beyond what any number needs, and far from an overflow below.
    if !all_digits(unsigned) || unsigned.len() > 15 {
        return None;
    }
    text.parse().ok()
}

/// The one spelling of a number: an integer whenever it is one that fits.
fn normal(negative: bool, whole: &str, fraction: &str, exponent: i64) -> Scalar<'static> {
    let all = format!("{whole}{fraction}");
    let leading = all.len() - all.trim_start_matches('0').len();
    let digits = all.trim_matches('0');
    if digits.is_empty() {
        return Scalar::Int(0);
    }
    let exponent = whole.len() as i64 - leading as i64 + exponent;
    let zeros = exponent - digits.len() as i64;
    if zeros >= 0 && exponent <= 39 {
        let sign = if negative { "-" } else { "" };
        if let Ok(value) = format!("{sign}{digits}{}", "0".repeat(zeros as usize)).parse() {
            return Scalar::Int(value);
        }
    }
    Scalar::Number(Decimal { negative, digits: digits.into(), exponent })
}
