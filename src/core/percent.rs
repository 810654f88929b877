//! Percent-encoding, undone once.

use std::borrow::Cow;

/// None when an escape is broken or the whole is not UTF-8. `plus`: a plus is a space, as
/// forms write it.
pub fn strict(text: &str, plus: bool) -> Option<String> {
    let bytes = text.as_bytes();
    let hex = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                out.push((hex(at + 1)? * 16 + hex(at + 2)?) as u8);
                at += 2;
            }
            b'+' if plus => out.push(b' '),
            byte => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8(out).ok()
}

/// Leaves what is not a well-formed escape as it stands.
pub fn lenient(text: &str) -> Cow<'_, [u8]> {
    let bytes = text.as_bytes();
    if !bytes.contains(&b'%') {
        return Cow::Borrowed(bytes);
    }
    let hex = |at: usize| bytes.get(at).and_then(|&b| char::from(b).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_undone_once_and_strictly() {
        assert_eq!(strict("a%2Fb%20c", false), Some("a/b c".into()));
        assert_eq!(strict("%25%32%46", false), Some("%2F".into()));
        assert_eq!(strict("a+b", false), Some("a+b".into()));
        assert_eq!(strict("a+b", true), Some("a b".into()));
        assert_eq!(strict("%C3%A9", false), Some("é".into()));
        for broken in ["%", "%4", "%zz", "%+1", "%FF"] {
            assert_eq!(strict(broken, false), None, "{broken}");
        }
    }

    #[test]
    fn what_is_no_escape_stays_when_nothing_may_be_refused() {
        assert_eq!(*lenient("a%2fb%zz%4"), *b"a/b%zz%4");
        assert_eq!(*lenient("%FF"), *b"\xff");
    }
}
