//! One message as one line that a terminal may be shown: a message is somebody else's text, and
//! must not move the cursor, change colours or hide what stands beside it.

use crate::{
    core::time::Wall,
    proto::{Gap, ReceivedMessage, received_message::Body},
    wire::event::rfc3339,
};
use std::fmt::Write;

#[cfg(test)]
mod tests;

#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// Columns; None: nothing is cut.
    pub width: Option<usize>,
    pub colour: bool,
}

/// Bytes of a binary message that are shown, where nothing is cut.
const BYTES_SHOWN: usize = 64;
const DIM: &str = "\x1b[2m";
const YELLOW: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";

/// `12:34:56.789Z demo-ticker 1700000000000/42 the text`
pub fn line(message: &ReceivedMessage, style: Style) -> String {
    let mut head = format!("{} ", time(message));
    if !message.id.is_empty() {
        head.push_str(&escaped(&message.id));
        let _ = write!(head, " {}/{} ", message.epoch, message.seq);
    }
    for (said, mark) in [(message.reply, "(reply) "), (message.possible_duplicate, "(possible duplicate) ")] {
        head.push_str(if said { mark } else { "" });
    }
    let (text, marked) = match &message.body {
        Some(Body::Text(text)) => (escaped(text), false),
        Some(Body::Data(data)) => (bytes(data), false),
        Some(Body::Gap(found)) => (gap(found), true),
        Some(Body::End(end)) => {
            (format!("=== end: epoch {} ended with {} ===", end.epoch, end.last_seq), true)
        }
        None => (String::from("(empty)"), false),
    };
    let whole = match style.width {
        None => format!("{head}{text}"),
        Some(width) => cut(&format!("{head}{text}"), width),
    };
    match (style.colour, marked) {
        (false, _) => whole,
        (true, true) => format!("{YELLOW}{whole}{PLAIN}"),
        (true, false) => {
            // The head alone is dimmed, also where the cut fell into it.
            let at = if whole.starts_with(&head) { head.len() } else { whole.len() };
            format!("{DIM}{}{PLAIN}{}", &whole[..at], &whole[at..])
        }
    }
}

fn time(message: &ReceivedMessage) -> String {
    let nanos = message.timestamp.as_ref().and_then(|it| {
        let seconds = u64::try_from(it.seconds).ok()?.checked_mul(1_000_000_000)?;
        seconds.checked_add(u64::try_from(it.nanos).ok()?)
    });
    let text = nanos.map(|nanos| rfc3339(Wall::from_unix_nanos(nanos)));
    match text.as_deref().and_then(|text| text.get(11..23)) {
        Some(time) => format!("{time}Z"),
        None => String::from("--:--:--.---Z"),
    }
}

fn gap(gap: &Gap) -> String {
    let from = match gap.from_seq {
        Some(seq) => format!("after {}/{seq}", gap.from_epoch),
        None => String::from("after the last one here"),
    };
    let to = match gap.to_epoch {
        0 => String::from("nothing follows"),
        epoch => format!("goes on with {epoch}/{}", gap.to_seq),
    };
    let count = gap.count.map(|count| format!(", {count} lost")).unwrap_or_default();
    format!("=== gap: {}{count}; {from}, {to} ===", escaped(&gap.cause))
}

fn bytes(data: &[u8]) -> String {
    let mut text = format!("({} bytes)", data.len());
    for byte in data.iter().take(BYTES_SHOWN) {
        let _ = write!(text, " {byte:02x}");
    }
    text.push_str(if data.len() > BYTES_SHOWN { " …" } else { "" });
    text
}

/// Controls of both halves of Latin-1, line and paragraph separators, and what turns the writing
/// direction around.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let hidden = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || hidden => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// At most `width` columns, the last of them an ellipsis where something was left out.
fn cut(text: &str, width: usize) -> String {
    let mut used = 0;
    // Where the text ends when the ellipsis must still find room.
    let mut end = 0;
    for (at, c) in text.char_indices() {
        used += columns(c);
        if used > width {
            return format!("{}…", &text[..end]).chars().take(width).collect();
        }
        if used < width {
            end = at + c.len_utf8();
        }
    }
    text.to_owned()
}

/// Close enough: what is wider than it looks here only wraps.
fn columns(c: char) -> usize {
    match u32::from(c) {
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}
