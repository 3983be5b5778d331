//! Any bytes as a journal: it is refused, or it reads the same after it was written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plimsoll::deploy::journal_state::JournalState;

fuzz_target!(|bytes: &[u8]| {
    let Ok(state) = serde_json::from_slice::<JournalState>(bytes) else { return };
    let text = serde_json::to_vec(&state).expect("a state can be written");
    let again: JournalState = serde_json::from_slice(&text).expect("a written state can be read");
    assert_eq!(serde_json::to_vec(&again).expect("a state can be written"), text);
});
