//! Small images whose pixels are those of Pillow (libwebp 1.6).

use super::{Memory, check_alpha, decode};
use crate::limits::{Limits, Rejected};

/// Writes bits, beginning with the lowest bit of a byte.
#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    bits: usize,
}

impl Writer {
    /// The head of an image: a signature, its size, a flag and the version.
    fn image(width: u32, height: u32) -> Self {
        let mut it = Writer::default();
        it.put(0x2F, 8).put(width - 1, 14).put(height - 1, 14).put(0, 4);
        it
    }

    fn put(&mut self, value: u32, bits: usize) -> &mut Self {
        for bit in 0..bits {
            if self.bits.is_multiple_of(8) {
                self.bytes.push(0);
            }
            self.bytes[self.bits / 8] |= ((value >> bit & 1) as u8) << (self.bits % 8);
            self.bits += 1;
        }
        self
    }

    /// A prefix code of one symbol or of two.
    fn code(&mut self, symbols: &[u32]) -> &mut Self {
        self.put(1, 1).put(symbols.len() as u32 - 1, 1).put(1, 1);
        symbols.iter().fold(self, |it, symbol| it.put(*symbol, 8))
    }
}

fn run(data: &[u8], size: (u32, u32), memory: u64) -> Result<Vec<u32>, Rejected> {
    let limits = Limits { max_pixels: 1 << 20, max_bytes: memory };
    decode(data, size, &mut Memory::new(limits, memory))
}

/// The green of all pixels of 4 x 2, of an image whose code for green has these symbols.
fn greens(symbols: &[u32]) -> Vec<u32> {
    let mut image = Writer::image(4, 2);
    // No transform, no colour cache, one group of codes; the last code is that of distances.
    image.put(0, 3).code(symbols).code(&[0]).code(&[0]).code(&[255]).code(&[0]).put(0b1001_0110, 8);
    let pixels = run(&image.bytes, (4, 2), 1 << 20).expect("valid");
    pixels.into_iter().map(|pixel| pixel >> 8 & 0xFF).collect()
}

#[test]
fn two_symbols_have_codes_in_the_order_of_their_values() {
    let expected = [10, 200, 200, 10, 200, 10, 10, 200];
    assert_eq!(greens(&[10, 200]), expected);
    assert_eq!(greens(&[200, 10]), expected);
}

#[test]
fn the_same_symbol_twice_needs_no_bits() {
    assert_eq!(greens(&[77, 77]), [77; 8]);
    let mut image = Writer::image(4, 2);
    // If the symbol needed bits, the data would end early.
    image.put(0, 3).code(&[77, 77]).code(&[0]).code(&[0]).code(&[255]).code(&[0]);
    assert_eq!(run(&image.bytes, (4, 2), 1 << 20), Ok(vec![0xFF00_4D00; 8]));
}

#[test]
fn four_bits_of_a_predictor_count() {
    let with = |predictor: u32| {
        let mut image = Writer::image(4, 4);
        // A predictor for blocks of 4 x 4, and the image of predictors without a colour cache.
        image.put(1, 1).put(0, 2).put(0, 3).put(0, 1);
        image.code(&[predictor]).code(&[0]).code(&[0]).code(&[255]).code(&[0]);
        image.put(0, 3).code(&[3, 50]).code(&[7]).code(&[9]).code(&[0]).code(&[0]).put(0x5A3C, 16);
        run(&image.bytes, (4, 4), 1 << 20).expect("valid")
    };
    for predictor in 0..16 {
        let expected = with(predictor);
        for more in [16, 32, 240] {
            assert_eq!(with(predictor + more), expected, "{predictor} and {more}");
        }
    }
    // Row 1 of predictor 1, which takes the pixel to the left, except for the first pixel.
    let colours: Vec<_> = with(17)[4..8].iter().map(|pixel| pixel & 0xFF_FFFF).collect();
    assert_eq!(colours[..2], [0x0E_3512, 0x15_671B]);
}

#[test]
fn an_entry_of_the_colour_cache_that_was_never_used_is_transparent_black_and_is_entered() {
    let data = [
        0x2F, 0x04, 0xC0, 0x00, 0x00, 0x06, 0x32, 0x61, 0x88, 0x16, 0xFA, 0x87, 0x72, 0x0A, 0x66, 0x0A, 0xD9, 0x46,
        0x80, 0xB1, 0x4D, 0x9D, 0xEE, 0x11, 0x08, 0x24, 0x96, 0x2B, 0x0E, 0x90, 0x60, 0xFF, 0x23, 0xD7, 0xE7, 0xEA,
        0xA5, 0x93, 0x73, 0xD4, 0xCF, 0x01,
    ];
    let pixels = run(&data, (5, 4), 1 << 20).expect("valid");
    let colours: Vec<_> = pixels[..8].iter().map(|pixel| pixel & 0xFF_FFFF).collect();
    assert_eq!(colours, [0x5C_16B3, 0x5C_D456, 0, 0, 0, 0x26_D4A7, 0x59_DC56, 0x26_D4A7]);
}

#[test]
fn data_that_end_early_and_codes_that_are_not_complete_are_refused() {
    let mut image = Writer::image(4, 200);
    image.put(0, 3).code(&[10, 200]).code(&[0]).code(&[0]).code(&[255]).code(&[0]);
    match run(&image.bytes, (4, 200), 1 << 20) {
        Err(Rejected::Broken(text)) => assert!(text.contains("ends before"), "{text}"),
        other => panic!("{other:?}"),
    }
    let mut image = Writer::image(4, 2);
    // Four lengths of codes for lengths, of which three are 1.
    image.put(0, 3).put(0, 1).put(0, 4).put(1, 3).put(1, 3).put(1, 3).put(0, 3).put(0, 32);
    match run(&image.bytes, (4, 2), 1 << 20) {
        Err(Rejected::Broken(text)) => assert!(text.contains("not complete"), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn alpha_that_ends_early_or_has_an_unknown_head_is_refused() {
    let mut image = Writer::image(4, 2);
    image.put(0, 3).code(&[10, 200]).code(&[0]).code(&[0]).code(&[255]).code(&[0]).put(0b1001_0110, 8);
    // The head of a lossless image has five bytes, that of alpha one.
    let mut check = |head, size| {
        let limits = Limits { max_pixels: 1 << 20, max_bytes: 1 << 20 };
        image.bytes[4] = head;
        check_alpha(&image.bytes[4..], size, &mut Memory::new(limits, 1 << 20))
    };
    assert_eq!(check(1, (4, 2)), Ok(()));
    assert_eq!(check(0b01_1101, (4, 2)), Ok(()), "a filter, and levels that were reduced");
    for wrong in [0b10_0001, 2, 3, 0b0100_0001, 0b1100_0001] {
        assert!(matches!(check(wrong, (4, 2)), Err(Rejected::Broken(_))), "{wrong:08b}");
    }
    assert!(matches!(check(1, (4, 200)), Err(Rejected::Broken(_))));
}

#[test]
fn codes_that_need_more_memory_than_is_left_are_refused() {
    let mut image = Writer::image(4, 2);
    image.put(0, 3).code(&[10, 200]).code(&[0]).code(&[0]).code(&[255]).code(&[0]).put(0, 8);
    assert!(matches!(run(&image.bytes, (4, 2), 16), Err(Rejected::TooLarge(_))));
}
