//! The terminal: a page of its own that is put away again, however the view ends.

use super::view::{Block, Line, Tone};
use rustix::termios::tcgetwinsize;
use std::io::{self, IsTerminal, Write};

/// What a window is taken to be that does not say.
const UNKNOWN: Size = Size { width: 80, height: 24 };
/// From here on blocks stand side by side.
const WIDE: usize = 132;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub width: usize,
    pub height: usize,
}

pub fn size() -> Size {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            Size { width: size.ws_col.into(), height: size.ws_row.into() }
        }
        _ => UNKNOWN,
    }
}

/// The second page of the terminal, without a cursor, until it is dropped.
pub struct Page {
    colour: bool,
}

impl Page {
    pub fn open() -> io::Result<Page> {
        write_all("\x1b[?1049h\x1b[?25l\x1b[2J")?;
        let colour = std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
        Ok(Page { colour })
    }

    /// In one write, and marked as one picture for terminals that know it: nothing flickers.
    pub fn draw(&self, lines: &[Line]) -> io::Result<()> {
        let mut text = String::from("\x1b[?2026h\x1b[H");
        for (nth, line) in lines.iter().enumerate() {
            if nth > 0 {
                text.push_str("\r\n");
            }
            text.push_str(&self.painted(line));
            text.push_str("\x1b[K");
        }
        text.push_str("\x1b[J\x1b[?2026l");
        write_all(&text)
    }

    fn painted(&self, line: &Line) -> String {
        match line.tone {
            Tone::Heading if self.colour => format!("\x1b[1m{}\x1b[0m", line.text),
            Tone::Warning if self.colour => format!("\x1b[31m{}\x1b[0m", line.text),
            _ => line.text.clone(),
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // The terminal may be gone, and then there is nothing to put back.
        let _ = write_all("\x1b[0m\x1b[?25h\x1b[?1049l");
    }
}

pub fn is_there() -> bool {
    io::stdout().is_terminal()
}

fn write_all(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Blocks below one another, or in two columns where the window is wide, cut to its size.
pub fn fit(head: Block, left: Vec<Block>, right: Vec<Block>, size: Size) -> Block {
    let mut lines = head;
    match size.width >= WIDE {
        true => lines.extend(beside(&stacked(left), &stacked(right))),
        false => lines.extend(stacked(left.into_iter().chain(right).collect())),
    }
    let hidden = lines.len().saturating_sub(size.height);
    if hidden > 0 {
        lines.truncate(size.height.saturating_sub(1));
        let text = format!("{} more lines: a larger window shows them", hidden + 1);
        lines.push(Line { text, tone: Tone::Heading });
    }
    for line in &mut lines {
        line.text = line.text.chars().take(size.width).collect();
    }
    lines
}

/// With an empty line before each.
pub fn stacked(blocks: Vec<Block>) -> Block {
    let empty = Line { text: String::new(), tone: Tone::Plain };
    let full = blocks.into_iter().filter(|block| !block.is_empty());
    full.flat_map(|block| std::iter::once(empty.clone()).chain(block)).collect()
}

/// Two columns of lines; a line of both has the more urgent tone of the two.
fn beside(left: &[Line], right: &[Line]) -> Block {
    let width = left.iter().map(|line| line.text.chars().count()).max().unwrap_or(0);
    let empty = Line { text: String::new(), tone: Tone::Plain };
    let pair = |nth: usize| {
        let (one, other) = (left.get(nth).unwrap_or(&empty), right.get(nth).unwrap_or(&empty));
        let text = format!("{:<width$}    {}", one.text, other.text);
        let tone = if one.tone == Tone::Plain { other.tone } else { one.tone };
        Line { text: text.trim_end().to_owned(), tone }
    };
    (0..left.len().max(right.len())).map(pair).collect()
}
