//! Any bytes as the symbol of a function. Checks that the readable form is short, however long the name is that the symbol
//! stands for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plimsoll_leak::symbols::demangle;

fuzz_target!(|bytes: &[u8]| {
    let name = demangle(&String::from_utf8_lossy(bytes));
    // 1,000 bytes, each escaped.
    assert!(name.len() <= 8_000, "{} bytes", name.len());
});
