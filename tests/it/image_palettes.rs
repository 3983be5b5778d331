//! BMP files with colours that are not in their palette, and GIF files whose background readers do not agree on, are refused.

use image_core::{Rejected, prepare};

use crate::preprocess::{bytes, settings};

/// A BMP of 4 x 2 pixels with a palette of three colours.
fn bmp(header: u32, bits: u16, compression: u32, pixels: &[u8]) -> Vec<u8> {
    let entry = if header == 12 { 3 } else { 4 };
    let start = 14 + header + 3 * entry;
    let mut file = b"BM".to_vec();
    file.extend([start + pixels.len() as u32, 0, start, header].map(u32::to_le_bytes).concat());
    if header == 12 {
        file.extend([4, 2, 1, bits].map(u16::to_le_bytes).concat());
    } else {
        file.extend([4_u32, 2].map(u32::to_le_bytes).concat());
        file.extend([1, bits].map(u16::to_le_bytes).concat());
        file.extend([compression, pixels.len() as u32, 0, 0, 3, 0].map(u32::to_le_bytes).concat());
    }
    for level in [10, 20, 30] {
        file.extend([level; 4][..entry as usize].iter());
    }
    file.extend(pixels);
    file
}

#[test]
fn a_bmp_with_colours_beyond_its_palette_is_refused() {
    // Eight bits, four bits, and runs of both: each with a value that can be any colour.
    for colour in 0..=5_u8 {
        let rows = |a: u8, b: u8| [[0, 1, 2, a], [b, 0, 1, 2]].concat();
        let nibbles = |a: u8| vec![0x01, 0x20 | a, 0xFF, 0xFF, 0x12, 0x01, 0xFF, 0xFF];
        for (name, file) in [
            ("8 bits, first row", bmp(40, 8, 0, &rows(colour, 0))),
            ("8 bits, last row", bmp(40, 8, 0, &rows(0, colour))),
            // The decoder reads as many colours as there could be.
            ("OS/2", bmp(12, 8, 0, &[rows(colour, 0), vec![0; 800]].concat())),
            ("4 bits", bmp(40, 4, 0, &nibbles(colour))),
            ("runs of 8 bits", bmp(40, 8, 1, &[4, 1, 0, 0, 4, colour, 0, 1])),
            ("absolute, 8 bits", bmp(40, 8, 1, &[4, 1, 0, 0, 0, 4, 0, 1, colour, 2, 0, 1])),
            ("runs of 4 bits", bmp(40, 4, 2, &[4, 0x12, 0, 0, 4, 0x10 | colour, 0, 1])),
            ("absolute, 4 bits", bmp(40, 4, 2, &[4, 0x12, 0, 0, 0, 4, 0x01, colour << 4 | 2, 0, 1])),
        ] {
            match prepare(&file, &settings(4, 2)) {
                Ok((elements, _)) => {
                    assert!(colour < 3, "{name}, {colour}");
                    assert!(bytes(elements).iter().all(|level| [10, 20, 30].contains(level)), "{name}");
                }
                Err(Rejected::Broken(reason)) => {
                    assert!(colour >= 3 && reason.contains("not in its palette of 3"), "{name}, {colour}: {reason}");
                }
                Err(other) => panic!("{name}, {colour}: {other:?}"),
            }
        }
    }
}

/// A GIF with a screen of this width and one row, these transparent colours, and a frame of two pixels.
fn gif(width: u8, transparent: &[Option<u8>]) -> Vec<u8> {
    let mut file = [&b"GIF89a"[..], &[width, 0, 1, 0, 0x81, 0, 0]].concat();
    file.extend([10, 11, 12, 20, 21, 22, 30, 31, 32, 40, 41, 42]);
    for index in transparent {
        file.extend([0x21, 0xF9, 4, u8::from(index.is_some()), 0, 0, index.unwrap_or(0), 0]);
    }
    // The frame, and its codes: clear, 0, 1, end.
    file.extend([0x2C, 0, 0, 0, 0, 2, 0, 1, 0, 0, 2, 2, 0x44, 0x0A, 0, 0x3B]);
    file
}

#[test]
fn a_gif_with_two_control_extensions_is_refused_if_its_frame_does_not_cover_it() {
    let decoded = |file: &[u8], width: u32| prepare(file, &settings(width, 1)).map(|(elements, _)| bytes(elements));
    let frame = [10, 11, 12, 20, 21, 22];
    assert_eq!(decoded(&gif(2, &[Some(3), None]), 2), Ok(frame.to_vec()));
    assert_eq!(decoded(&gif(3, &[Some(3)]), 3), Ok([&frame[..], &[40, 41, 42]].concat()));
    assert_eq!(decoded(&gif(3, &[]), 3), Ok([&frame[..], &[10, 11, 12]].concat()));
    match decoded(&gif(3, &[Some(3), None]), 3) {
        Err(Rejected::Unknown(reason)) => assert!(reason.contains("control extensions"), "{reason}"),
        other => panic!("{other:?}"),
    }
}
