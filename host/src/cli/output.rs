//! What the commands print. A reader that closes the pipe early (`plimsoll inspect FILE | head -1`) ends the output, not
//! the command: it ends silently, with its usual exit code.

use std::borrow::Cow;
use std::fmt::Arguments;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::OnceLock;

use super::error::Error;

/// Why nothing more is printed.
static FAILED: OnceLock<io::Error> = OnceLock::new();

/// Prints a line to stdout, as `println!` does, but does not panic if that is not possible.
macro_rules! out {
    () => { $crate::cli::output::line(format_args!("")) };
    ($($text:tt)+) => { $crate::cli::output::line(format_args!($($text)+)) };
}
pub(in crate::cli) use out;

/// Prints a line to stdout.
pub(in crate::cli) fn line(text: Arguments<'_>) {
    write(format!("{text}\n").as_bytes());
}

/// Writes bytes to stdout.
pub(in crate::cli) fn write(bytes: &[u8]) {
    if FAILED.get().is_none() {
        note(io::stdout().lock().write_all(bytes));
    }
}

fn note(written: io::Result<()>) {
    if let Err(error) = written {
        let _ = FAILED.set(error);
    }
}

/// A path as a word of a shell, for commands that are printed: in single quotes if it has characters with a meaning.
pub(in crate::cli) fn shell_word(path: &Path) -> Cow<'_, str> {
    let text = match path.to_string_lossy() {
        option if option.starts_with('-') => format!("./{option}").into(),
        text => text,
    };
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:@%,=".contains(c);
    match text.chars().all(is_plain) && !text.is_empty() {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")).into(),
    }
}

/// Writes the buffered output. Returns the exit code of a command that ended with `code`.
pub(super) fn finish(code: ExitCode) -> ExitCode {
    note(io::stdout().lock().flush());
    match FAILED.get() {
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Error::Failed(format!("stdout cannot be written: {error}")).report()
        }
        _ => code,
    }
}
