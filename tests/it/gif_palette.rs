//! GIFs without a palette of their own or of the file.

use image_core::prepare;

use crate::preprocess::{bytes, settings};

/// A GIF of eight pixels, of which each has its own index. `flags` are those of the screen, and `palette` follows them.
fn gif(flags: u8, palette: &[u8], indices: [u8; 8]) -> Vec<u8> {
    let screen = [b"GIF89a".as_slice(), &[4, 0, 2, 0, flags, 0, 0]].concat();
    let frame = [b',', 0, 0, 0, 0, 4, 0, 2, 0, 0, 8];
    // All codes have nine bits: a clear code, the indices, and the end.
    let codes = [256].into_iter().chain(indices.map(u16::from)).chain([257]);
    let bits = codes.enumerate().fold(0_u128, |bits, (at, code)| bits | u128::from(code) << (9 * at));
    let data = &bits.to_le_bytes()[..(9 * 10_usize).div_ceil(8)];
    [screen.as_slice(), palette, &frame, &[data.len() as u8], data, b"\0;"].concat()
}

fn pixels(body: &[u8]) -> Vec<u8> {
    let (elements, _) = prepare(body, &settings(4, 2)).expect("a GIF");
    bytes(elements)
}

#[test]
fn the_indices_of_a_gif_without_a_palette_are_shades_of_gray() {
    let grays = [0, 40, 80, 120, 160, 200, 240, 255];
    // Pillow 13 reads such a file in mode `L`, with these values.
    assert_eq!(pixels(&gif(0x70, &[], grays)), grays.map(|gray| [gray; 3]).concat());
}

#[test]
fn a_palette_of_the_file_is_used() {
    let palette = [[10, 20, 30], [200, 100, 50]].concat();
    let indices = [0, 1, 1, 0, 1, 0, 0, 1];
    let expected = indices.map(|index| palette[3 * usize::from(index)..][..3].to_vec()).concat();
    assert_eq!(pixels(&gif(0x80, &palette, indices)), expected);
}
