//! A line at the end of a terminal that says how far long work is. It is rewritten, and other lines are written above it.
//!
//! The line ends with a line feed, as all lines of the log do; to rewrite it, the cursor goes back to it first.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// One line up, to its beginning, and clears it.
const BACK: &str = "\x1b[1A\r\x1b[K";
/// A longer line would be wrapped on a narrow terminal, and then it could not be rewritten.
const WIDTH: usize = 78;

/// The line that is shown.
#[derive(Debug)]
pub(super) struct StatusLine {
    text: Mutex<String>,
    /// True if `text` is not empty. Without a status, a line of the log costs no lock.
    is_shown: AtomicBool,
}

impl StatusLine {
    pub(super) const fn new() -> Self {
        Self { text: Mutex::new(String::new()), is_shown: AtomicBool::new(false) }
    }

    /// Replaces the line; without text it is removed. `write` writes bytes to the terminal.
    pub(super) fn replace(&self, text: &str, write: impl FnOnce(&[u8])) {
        let mut shown = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = if shown.is_empty() { String::new() } else { BACK.to_owned() };
        shown.clear();
        if !text.is_empty() {
            shown.extend(text.chars().filter(|c| !c.is_control()).take(WIDTH));
            shown.push('\n');
            bytes.push_str(&shown);
        }
        self.is_shown.store(!shown.is_empty(), Relaxed);
        if !bytes.is_empty() {
            write(bytes.as_bytes());
        }
    }

    /// Writes lines above the status.
    pub(super) fn above(&self, lines: &[u8], write: impl FnOnce(&[u8])) {
        if !self.is_shown.load(Relaxed) {
            return write(lines);
        }
        let shown = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        match shown.is_empty() {
            true => write(lines),
            false => write(&[BACK.as_bytes(), lines, shown.as_bytes()].concat()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_rewritten_and_other_lines_are_above_it() {
        let (status, mut written) = (StatusLine::new(), Vec::new());
        let mut write = |bytes: &[u8]| written.extend_from_slice(bytes);
        status.above(b"first\n", &mut write);
        status.replace("1 of 2", &mut write);
        status.above(b"second\n", &mut write);
        status.replace("2 of\n2", &mut write);
        status.replace("", &mut write);
        status.replace("", &mut write);
        status.above(b"third\n", &mut write);
        let expected = format!("first\n1 of 2\n{BACK}second\n1 of 2\n{BACK}2 of2\n{BACK}third\n");
        assert_eq!(String::from_utf8_lossy(&written), expected);
    }

    #[test]
    fn a_status_is_never_longer_than_a_line() {
        let (status, mut written) = (StatusLine::new(), Vec::new());
        status.replace(&"x".repeat(500), |bytes| written.extend_from_slice(bytes));
        assert_eq!(written.len(), WIDTH + 1);
    }
}
