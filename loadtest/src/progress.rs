//! A line that says how far it is: rewritten on a terminal, a new one now and then elsewhere.

use crate::clock::{self, SECOND};
use std::{
    cell::Cell,
    io::{self, IsTerminal, Write},
};

const ON_A_TERMINAL: u64 = SECOND / 5;
/// A line for each tenth of the time that passed, so that short runs say something and long ones little.
const ELSEWHERE: std::ops::RangeInclusive<u64> = SECOND..=30 * SECOND;
const WIDTH: usize = 110;

pub struct Progress {
    terminal: bool,
    last: Cell<u64>,
    begun: u64,
}

impl Default for Progress {
    fn default() -> Self {
        Progress { terminal: io::stderr().is_terminal(), last: Cell::new(0), begun: clock::now() }
    }
}

impl Progress {
    /// `say` is asked for a line only when it is time for one.
    pub fn tick(&self, say: impl FnOnce() -> String) {
        let now = clock::now();
        let seldom = ((now - self.begun) / 10).clamp(*ELSEWHERE.start(), *ELSEWHERE.end());
        let pause = if self.terminal { ON_A_TERMINAL } else { seldom };
        if now - self.last.get() < pause {
            return;
        }
        self.last.set(now);
        let line: String =
            format!("[{:4} s] {}", (now - self.begun) / SECOND, say()).chars().take(WIDTH).collect();
        if self.terminal {
            eprint!("\r{line:<WIDTH$}");
            let _ = io::stderr().flush();
        } else {
            eprintln!("{line}");
        }
    }

    /// Takes the line away, before something else is printed.
    pub fn clear(&self) {
        if self.terminal {
            eprint!("\r{:WIDTH$}\r", "");
        }
    }

    /// Something that stays.
    pub fn say(&self, text: &str) {
        let line = format!("[{:4} s] {text}", (clock::now() - self.begun) / SECOND);
        if self.terminal {
            eprintln!("\r{line:<WIDTH$}");
        } else {
            eprintln!("{line}");
        }
    }
}
