//! The entries that the classes stand for.

use plimsoll_sdk::{assets, config};

/// The dictionary.
pub struct Dictionary {
    entries: Vec<String>,
    /// The class of the blank.
    blank: usize,
}

impl Dictionary {
    /// Reads the keys `dictionary`, `blank` and `space`.
    ///
    /// # Errors
    /// If a key is missing or malformed, or the file is not a dictionary. The message names the key or the file.
    pub fn read() -> Result<Dictionary, String> {
        let name = config::get("dictionary").ok_or(
            "the configuration key `dictionary` is missing: set it to the asset with the characters of the model, one per \
             line",
        )?;
        let text = String::from_utf8(assets::read(&name)?).map_err(|error| format!("dictionary `{name}`: {error}"))?;
        let mut entries = entries(&text).map_err(|error| format!("dictionary `{name}`: {error}"))?;
        if config::parse("space", false)? {
            entries.push(" ".to_owned());
        }
        let is_last = config::choice("blank", &[("first", false), ("last", true)])?;
        let blank = if is_last { entries.len() } else { 0 };
        Ok(Dictionary { entries, blank })
    }

    /// The number of classes: the entries and the blank.
    pub fn classes(&self) -> usize {
        self.entries.len() + 1
    }

    /// The entry of a class; `None` for the blank.
    pub fn entry(&self, class: usize) -> Option<&str> {
        let index = match self.blank {
            0 => class.checked_sub(1)?,
            _ => class,
        };
        self.entries.get(index).map(String::as_str)
    }
}

/// The lines of a file. Unlike labels they are not trimmed, because an entry may be a space.
fn entries(text: &str) -> Result<Vec<String>, String> {
    let text = text.trim_start_matches('\u{feff}');
    if text.is_empty() {
        return Err("the file contains no entry".into());
    }
    let line = |(index, line): (usize, &str)| match line.is_empty() {
        false => Ok(line.to_owned()),
        true => Err(format!("line {} is empty, but each class has an entry: remove the line", index + 1)),
    };
    // `lines` removes the end of a line, also CR LF, and does not return an empty line after the last one.
    text.lines().enumerate().map(line).collect()
}
