//! Any bytes as a journal: it is refused, or it reads the same after it was written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plimsoll::deploy::journal_state::JournalState;

fuzz_target!(|bytes: &[u8]| {
    // As the host reads and writes it, with the format and the digest.
    if let Ok(state) = JournalState::parse(bytes) {
        let text = state.to_text().expect("a state can be written");
        assert_eq!(JournalState::parse(&text).expect("a written state can be read"), state);
    }
    // Without them: a change of a byte mostly makes the digest wrong.
    let Ok(state) = serde_json::from_slice::<JournalState>(bytes) else { return };
    let text = serde_json::to_vec(&state).expect("a state can be written");
    let again: JournalState = serde_json::from_slice(&text).expect("a written state can be read");
    assert_eq!(serde_json::to_vec(&again).expect("a state can be written"), text);
});
