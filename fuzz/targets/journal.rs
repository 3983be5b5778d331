//! Any bytes as a journal: it is refused, or it reads the same after it was written again, also with a change appended and
//! cut off anywhere.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plimsoll::deploy::journal_log::{JournalLog, change_line};
use plimsoll::deploy::journal_state::JournalState;

fuzz_target!(|bytes: &[u8]| {
    // As the host reads and writes it, with the format, the digest and the changes.
    if let Ok(JournalLog { state, .. }) = JournalLog::parse(bytes) {
        check(&state, bytes.len());
    }
    // Without them: a change of a byte mostly makes a digest wrong.
    let Ok(state) = serde_json::from_slice::<JournalState>(bytes) else { return };
    let text = serde_json::to_vec(&state).expect("a state can be written");
    let again: JournalState = serde_json::from_slice(&text).expect("a written state can be read");
    assert_eq!(serde_json::to_vec(&again).expect("a state can be written"), text);
    check(&state, bytes.len());
});

/// Writes a state, then changes to no plugin and back to it, and cuts the last change off.
fn check(state: &JournalState, cut: usize) {
    let parsed = |file: &[u8]| JournalLog::parse(file).expect("a written journal can be read");
    let empty = JournalState::default();
    let (mut file, digest) = state.to_text_with_digest().expect("a state can be written");
    assert_eq!(parsed(&file).state, *state);
    let Some((line, digest)) = change_line(state, &empty, &digest).expect("a state can be written") else { return };
    file.extend(line);
    assert_eq!(parsed(&file).state, empty);
    let (line, _) = change_line(&empty, state, &digest).expect("a state can be written").expect("they differ");
    let cut = cut % line.len();
    file.extend(&line[..cut]);
    let read = parsed(&file);
    let expected = if cut + 1 == line.len() { (state, 0) } else { (&empty, cut) };
    assert_eq!((&read.state, read.dropped), expected);
    file.extend(&line[cut..]);
    assert_eq!(parsed(&file).state, *state);
}
