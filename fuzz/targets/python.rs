//! A linear memory with a small Python interpreter, some of whose words are changed. Checks that reading the objects and
//! what holds them ends. The input is a list of changes: the number of a word (two bytes), and its value (four bytes).
#![no_main]

mod random;

use std::sync::LazyLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use plimsoll_leak::fuzzing::{python_example, read_python};
use random::Random;

const CHANGE: usize = 6;

static EXAMPLE: LazyLock<Vec<u8>> = LazyLock::new(python_example);
/// The words of the example that are not zero, by number and value.
static WORDS: LazyLock<Vec<(u16, u32)>> = LazyLock::new(|| {
    let words = EXAMPLE.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().expect("four bytes")));
    (0..).zip(words).filter(|(_, word)| *word != 0).collect()
});

fuzz_target!(|input: &[u8]| {
    let mut memory = EXAMPLE.clone();
    for change in input.chunks_exact(CHANGE) {
        let at = 4 * usize::from(u16::from_le_bytes([change[0], change[1]]));
        if let Some(word) = memory.get_mut(at..at + 4) {
            word.copy_from_slice(&change[2..]);
        }
    }
    let held = read_python(&memory);
    assert!(!input.is_empty() || held > Some(10), "{held:?} objects of the example are held");
});

// One change in four changes any bytes; the others replace words by the values of other words.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed % 4 == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let mut random = Random::new(seed);
    let mut any = || WORDS[random.below(WORDS.len())];
    let ((near, value), (_, other)) = (any(), any());
    let number = near.wrapping_add([0, 0, 0, 1, 2, 3, 4, u16::MAX][random.below(8)]);
    let value = match random.below(8) {
        0..4 => other,
        4 => value.wrapping_add([4, 8, 16, 4_u32.wrapping_neg(), 8_u32.wrapping_neg()][random.below(5)]),
        5 => value ^ 1 << random.below(32),
        6 => [0, 1, 2, 255, 1 << 16, 1 << 24, u32::MAX, 1 << 31][random.below(8)],
        _ => random.below(1 << 12) as u32,
    };
    let count = size / CHANGE;
    let is_new = count == 0 || (random.below(2) == 0 && (count + 1) * CHANGE <= max_size);
    let index = if is_new { count } else { random.below(count) };
    if (index + 1) * CHANGE > max_size {
        return fuzzer_mutate(data, size, max_size);
    }
    let at = index * CHANGE;
    data[at..at + 2].copy_from_slice(&number.to_le_bytes());
    data[at + 2..at + CHANGE].copy_from_slice(&value.to_le_bytes());
    (count + usize::from(is_new)) * CHANGE
});
