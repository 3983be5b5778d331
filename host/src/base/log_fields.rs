//! Writes the fields of a log line for humans. No text of a caller or a plugin can begin a line, look like a field, or
//! control the terminal.
//!
//! A text is written as it is if it cannot be mistaken for anything else. Otherwise it is written in quotes, with escapes
//! (`\n`, `\u{1b}`). The JSON format does that for every text.

use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// The name of the field that `tracing` gives the message of an event.
const MESSAGE: &str = "message";

/// Writes the fields of an event.
#[derive(Debug, Clone, Copy)]
pub(super) struct SafeFields;

impl<'writer> FormatFields<'writer> for SafeFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = FieldWriter { writer, is_first: true, text: String::new(), result: Ok(()) };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct FieldWriter<'writer> {
    writer: Writer<'writer>,
    is_first: bool,
    /// The value that is being written.
    text: String,
    result: fmt::Result,
}

impl Visit for FieldWriter<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == MESSAGE {
            return self.record_debug(field, &format_args!("{value}"));
        }
        self.result = self.result.and_then(|()| {
            self.begin(field.name())?;
            write!(self.writer, "{value:?}")
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.result = self.result.and_then(|()| {
            self.text.clear();
            write!(self.text, "{value:?}")?;
            self.begin(field.name())?;
            let is_plain = match field.name() {
                MESSAGE => is_plain_message(&self.text),
                _ => is_plain_value(&self.text),
            };
            if is_plain { self.writer.write_str(&self.text) } else { write!(self.writer, "{:?}", self.text) }
        });
    }
}

impl FieldWriter<'_> {
    /// Writes what comes before the value of a field.
    fn begin(&mut self, name: &str) -> fmt::Result {
        if !std::mem::take(&mut self.is_first) {
            self.writer.write_char(' ')?;
        }
        match name {
            MESSAGE => Ok(()),
            _ if self.writer.has_ansi_escapes() => write!(self.writer, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m"),
            _ => write!(self.writer, "{name}="),
        }
    }
}

/// Returns true if a text can be the value of a field without quotes.
fn is_plain_value(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'=' | b'\\'))
}

/// Returns true if a text can be a message without quotes: it has no line feeds or escapes, and no `name=value`.
fn is_plain_message(text: &str) -> bool {
    // Escaped after another letter, because a combining character is escaped only at the start of a text.
    let is_printable = |letter: char| {
        letter == ' '
            || letter.is_ascii_graphic()
            || (!letter.is_ascii() && String::from_iter(['x', letter]).escape_debug().nth(1) == Some(letter))
    };
    text.chars().all(|letter| !matches!(letter, '"' | '=') && is_printable(letter))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .fmt_fields(SafeFields)
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = lines.0.lock().expect("no panic").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn plain_texts_stay_as_they_are() {
        let line = logged(|| {
            tracing::info!(target: "t", request = %"a-b.1", caller = "acme", bytes = 5, "näive – text: `it's` (1/2)");
        });
        assert_eq!(line, " INFO t: näive – text: `it's` (1/2) request=a-b.1 caller=\"acme\" bytes=5\n");
    }

    #[test]
    fn texts_from_elsewhere_cannot_forge_lines_or_fields() {
        for text in [
            "x\n2026-11-27T00:00:00Z  INFO plimsoll::audit: change by=token",
            "x\r\n INFO plimsoll::audit: change",
            "x outcome=ok",
            "x\" outcome=\"ok",
            "\u{1b}[2K\u{1b}[1A",
            "\u{9b}2K",
            "\u{202e}ko",
            "\u{2028} INFO t",
        ] {
            let line = logged(|| tracing::info!(target: "t", shown = %text, quoted = text, "{text}"));
            let quoted = format!("{text:?}");
            assert_eq!(line, format!(" INFO t: {quoted} shown={quoted} quoted={quoted}\n"));
        }
    }
}
