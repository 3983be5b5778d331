//! The lines of the journal file: a state, and the changes since then.
//!
//! The first line is a whole state with its format and digest ([`JournalState::to_text`]). Each further line is a change: a
//! digest, a space, and JSON with the records that are new, changed or removed. The digest is that of the digest of the line
//! before, a space and the JSON. So a line that was changed, removed or moved is found.
//!
//! A process that is killed while it appends a line leaves a part of it, without the end of the line. No change of such a
//! line was confirmed, so it is dropped. So is a last line with a hole of zeros, of which a machine that stopped has written
//! only some pages. Everything else that does not have its digest is damage.

use std::collections::BTreeMap;

use plimsoll_runtime::identity::digest;
use serde::{Deserialize, Serialize};

use super::folder_look::KnownFolders;
use super::journal_state::{InvalidState, JournalState, PluginRecord};

/// The content of a journal file.
#[derive(Debug)]
pub struct JournalLog {
    /// The state after the last change.
    pub state: JournalState,
    /// How many bytes at the end are a part of a line, and were dropped.
    pub dropped: usize,
}

/// What one line changes.
#[derive(Deserialize)]
struct Change {
    /// The records by plugin; `None` if a plugin has none any more.
    #[serde(default)]
    plugins: BTreeMap<String, Option<PluginRecord>>,
    #[serde(default)]
    folders: Option<KnownFolders>,
}

/// As [`Change`], to be written.
#[derive(Serialize)]
struct NewChange<'a> {
    plugins: BTreeMap<&'a str, Option<&'a PluginRecord>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    folders: Option<&'a KnownFolders>,
}

impl JournalLog {
    /// Reads the content of a file.
    ///
    /// # Errors
    /// If it is not a journal, has a later format, or is damaged.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidState> {
        // One state, also of an earlier version of this program, which wrote it in many lines.
        let whole = JournalState::parse_with_digest(bytes);
        let end = bytes.iter().position(|byte| *byte == b'\n').map(|end| end + 1);
        let may_have_changes = matches!(whole, Err(InvalidState::Json(_)));
        let Some(end) = end.filter(|_| may_have_changes) else {
            return whole.map(|(state, _)| Self { state, dropped: 0 });
        };
        let (mut state, before) = match JournalState::parse_with_digest(&bytes[..end]) {
            Ok((state, before)) => (state, before.ok_or(InvalidState::Damaged)?),
            // The first line is no state, so the error of the whole file says more.
            Err(InvalidState::Json(_)) => return whole.map(|(state, _)| Self { state, dropped: 0 }),
            Err(error) => return Err(error),
        };
        let (mut before, mut rest, mut dropped) = (before, &bytes[end..], 0);
        for number in 2.. {
            if rest.is_empty() {
                break;
            }
            let end = rest.iter().position(|byte| *byte == b'\n');
            let (line, after) = end.map_or((rest, &[][..]), |end| (&rest[..end], &rest[end + 1..]));
            match verified(line, &before) {
                Some(json) => {
                    serde_json::from_slice::<Change>(json)?.apply(&mut state);
                    before = line_digest(&before, json);
                }
                // Of a complete line only its end may be damaged.
                None if end.is_none() && verified(&line[..line.len() - 1], &before).is_none() => dropped = line.len(),
                // The last pages of a line can reach the disk before the others.
                None if after.is_empty() && has_hole(line) => dropped = line.len() + usize::from(end.is_some()),
                None => return Err(InvalidState::DamagedLine { number }),
            }
            rest = after;
        }
        Ok(Self { state, dropped })
    }
}

impl Change {
    fn apply(self, state: &mut JournalState) {
        for (name, record) in self.plugins {
            match record {
                Some(record) => drop(state.plugins.insert(name, record)),
                None => drop(state.plugins.remove(&name)),
            }
        }
        if let Some(folders) = self.folders {
            state.folders = folders;
        }
    }
}

/// The line with the change from one state to another, and its digest; `None` if they are equal. `before` is the digest of
/// the line before.
///
/// # Errors
/// If a path is not UTF-8.
pub fn change_line(
    from: &JournalState,
    to: &JournalState,
    before: &str,
) -> Result<Option<(Vec<u8>, String)>, serde_json::Error> {
    let new = to.plugins.iter().filter(|(name, record)| from.plugins.get(*name) != Some(record));
    let gone = from.plugins.keys().filter(|name| !to.plugins.contains_key(*name));
    let mut plugins: BTreeMap<&str, Option<&PluginRecord>> = gone.map(|name| (name.as_str(), None)).collect();
    plugins.extend(new.map(|(name, record)| (name.as_str(), Some(record))));
    let folders = (from.folders != to.folders).then_some(&to.folders);
    if plugins.is_empty() && folders.is_none() {
        return Ok(None);
    }
    let json = serde_json::to_vec(&NewChange { plugins, folders })?;
    let digest = line_digest(before, &json);
    Ok(Some(([digest.as_bytes(), b" ", &json, b"\n"].concat(), digest)))
}

/// Returns true if a line has a hole: zeros, which JSON never has, instead of bytes that were not written when the machine
/// stopped. No damage of single bits looks like this.
fn has_hole(line: &[u8]) -> bool {
    const SMALLEST: usize = 512;
    line.split(|byte| *byte != 0).any(|zeros| zeros.len() >= SMALLEST)
}

/// The JSON of a line that has its digest.
fn verified<'a>(line: &'a [u8], before: &str) -> Option<&'a [u8]> {
    let (found, json) = line.split_at_checked(64)?;
    let json = json.strip_prefix(b" ")?;
    (found == line_digest(before, json).as_bytes()).then_some(json)
}

fn line_digest(before: &str, json: &[u8]) -> String {
    digest(&[before.as_bytes(), b" ", json].concat())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn state(plugins: &[(&str, &str)]) -> JournalState {
        let record =
            |withdrawn: &str| PluginRecord { withdrawn: vec![withdrawn.to_owned()], ..PluginRecord::default() };
        let plugins = plugins.iter().map(|(name, withdrawn)| ((*name).to_owned(), record(withdrawn))).collect();
        JournalState { plugins, ..JournalState::default() }
    }

    /// States in the order in which they are written: records are added, changed and removed.
    fn states() -> Vec<JournalState> {
        let mut states = vec![
            JournalState::default(),
            state(&[("stamp", "a")]),
            state(&[("stamp", "a"), ("other \n\"", "b")]),
            state(&[("stamp", "c"), ("other \n\"", "b")]),
            state(&[("stamp", "c")]),
        ];
        let folders = [(PathBuf::from("/plugins"), (u64::MAX, 7))].into();
        states.push(JournalState { folders, ..state(&[("stamp", "c"), ("third", "d")]) });
        states
    }

    /// The file after all states, and its length after each of them.
    fn written(states: &[JournalState]) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut digest) = states[0].to_text_with_digest().expect("written");
        let mut lengths = vec![bytes.len()];
        for pair in states.windows(2) {
            let (line, next) = change_line(&pair[0], &pair[1], &digest).expect("written").expect("a change");
            bytes.extend(line);
            digest = next;
            lengths.push(bytes.len());
        }
        (bytes, lengths)
    }

    #[test]
    fn a_journal_that_is_cut_off_anywhere_has_the_state_of_its_last_complete_line() {
        let states = states();
        let (bytes, lengths) = written(&states);
        for end in 0..=bytes.len() {
            let read = JournalLog::parse(&bytes[..end]);
            // Without the end of the line, a line is complete, too.
            let complete = lengths.iter().filter(|length| **length - 1 <= end).count();
            match complete.checked_sub(1) {
                None => assert!(read.is_err(), "cut off after {end} bytes: {read:?}"),
                Some(last) => {
                    let read = read.expect("a journal");
                    assert_eq!(read.state, states[last], "cut off after {end} bytes");
                    assert_eq!(read.dropped, end.saturating_sub(lengths[last]), "cut off after {end} bytes");
                }
            }
        }
    }

    #[test]
    fn no_damage_of_one_byte_is_misread() {
        let states = states();
        let (bytes, lengths) = written(&states);
        let last = states.last().expect("states");
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                // White space may change into other white space in the first line.
                if let Ok(read) = JournalLog::parse(&damaged) {
                    assert_eq!(read.state, *last, "byte {at}, bit {bit}");
                    assert!(at < lengths[0], "byte {at}, bit {bit}");
                }
            }
        }
    }

    #[test]
    fn lines_that_are_missing_repeated_or_moved_are_damage() {
        let (bytes, lengths) = written(&states());
        let ends = [&[0], lengths.as_slice()].concat();
        let lines: Vec<_> = ends.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect();
        let file = |order: &[usize]| order.iter().flat_map(|line| lines[*line].iter().copied()).collect::<Vec<_>>();
        for order in [&[0, 2, 3, 4][..], &[0, 1, 1, 2], &[0, 2, 1, 3], &[1, 2, 3], &[0, 1, 2, 0], &[0, 0]] {
            assert!(JournalLog::parse(&file(order)).is_err(), "{order:?}");
        }
        assert_eq!(JournalLog::parse(&file(&[0, 1, 2])).expect("a journal").state, states()[2]);
        // A part of a line that is not the last one, and a state without a digest that changes follow.
        let part = [lines[0], &lines[1][..90], b"\n", lines[2]].concat();
        assert!(matches!(JournalLog::parse(&part), Err(InvalidState::DamagedLine { number: 2 })));
        let bare = [b"{\"plugins\":{}}\n", lines[1]].concat();
        assert!(matches!(JournalLog::parse(&bare), Err(InvalidState::Damaged)));
        // Some file systems leave zeros where a write was cut off by a loss of power.
        let zeros = [lines[0], lines[1], &[0; 100]].concat();
        let read = JournalLog::parse(&zeros).expect("a journal");
        assert_eq!((read.state, read.dropped), (states()[1].clone(), 100));
        // Others write the page with the end of the line before the one in front of it.
        let hole = |after: &[u8]| [lines[0], lines[1], &lines[2][..70], &[0; 600], b"\"}}\n", after].concat();
        let read = JournalLog::parse(&hole(b"")).expect("a journal");
        assert_eq!((read.state, read.dropped), (states()[1].clone(), 70 + 600 + 4));
        assert!(matches!(JournalLog::parse(&hole(lines[3])), Err(InvalidState::DamagedLine { number: 3 })));
    }

    #[test]
    fn an_equal_state_is_no_change() {
        let state = &states()[3];
        assert!(change_line(state, state, "before").expect("written").is_none());
    }
}
