//! TIFF files whose tags contradict their data are refused. TGA files are named.

use image_core::{Rejected, prepare};

use crate::preprocess::{bytes, settings};

const SHORT: u16 = 3;
const LONG: u16 = 4;

/// A tag: its number, its type and its values.
type Tag = (u16, u16, Vec<u32>);

/// A TIFF in little-endian order with these tags, and its strips.
fn tiff(tags: &[Tag], strips: &[Vec<u8>]) -> Vec<u8> {
    let mut file = b"II*\0\0\0\0\0".to_vec();
    let mut offsets = Vec::new();
    for strip in strips {
        offsets.push(file.len() as u32);
        file.extend(strip);
    }
    let lengths = strips.iter().map(|strip| strip.len() as u32).collect();
    let mut tags = [tags, &[(273, LONG, offsets), (279, LONG, lengths)]].concat();
    tags.sort_by_key(|tag| tag.0);
    let mut entries = Vec::new();
    for (number, kind, values) in &tags {
        let data: Vec<u8> =
            values.iter().flat_map(|value| value.to_le_bytes()[..if *kind == LONG { 4 } else { 2 }].to_vec()).collect();
        entries.extend([number.to_le_bytes(), kind.to_le_bytes()].concat());
        entries.extend((values.len() as u32).to_le_bytes());
        if data.len() <= 4 {
            entries.extend([data.clone(), vec![0; 4 - data.len()]].concat());
        } else {
            entries.extend((file.len() as u32).to_le_bytes());
            file.extend(data);
        }
    }
    let directory = file.len() as u32;
    file[4..8].copy_from_slice(&directory.to_le_bytes());
    file.extend((tags.len() as u16).to_le_bytes());
    file.extend(entries);
    file.extend([0; 4]);
    file
}

/// The tags of an image with samples of 8 bits.
fn tags(size: (u32, u32), samples: u32, photometric: u32, compression: u32, rows: u32, more: &[Tag]) -> Vec<Tag> {
    let mut tags = vec![
        (256, LONG, vec![size.0]),
        (257, LONG, vec![size.1]),
        (258, SHORT, vec![8; samples as usize]),
        (259, SHORT, vec![compression]),
        (262, SHORT, vec![photometric]),
        (277, SHORT, vec![samples]),
        (278, LONG, vec![rows]),
    ];
    tags.extend_from_slice(more);
    tags
}

fn decoded(file: &[u8], size: (u32, u32)) -> Result<Vec<u8>, String> {
    match prepare(file, &settings(size.0, size.1)) {
        Ok((elements, _)) => Ok(bytes(elements)),
        Err(Rejected::Broken(reason)) => Err(reason),
        Err(other) => panic!("{other:?}"),
    }
}

fn compressed(data: &[u8], compression: u32) -> Vec<u8> {
    use std::io::Write;
    match compression {
        1 => data.to_vec(),
        8 => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(data).expect("written");
            encoder.finish().expect("finished")
        }
        // PackBits: runs of up to 128 bytes as they are.
        _ => data.chunks(128).flat_map(|run| [vec![run.len() as u8 - 1], run.to_vec()].concat()).collect(),
    }
}

#[test]
fn ycbcr_without_subsampling_is_read_only_if_its_strips_have_the_length_of_the_default() {
    let data =
        |length: usize, seed: usize| -> Vec<u8> { (0..length).map(|at| ((at + seed) * 37 % 211) as u8).collect() };
    for compression in [1, 8, 32_773] {
        for (width, height, rows) in [(6_u32, 4_u32, 4_u32), (7, 5, 2), (6, 8, 2), (5, 3, 8)] {
            let size = (width, height);
            let strips = |across: u32, down: u32, padded: bool| -> Vec<Vec<u8>> {
                let strip = |first: u32| {
                    let lines = if padded { rows.min(height) } else { rows.min(height - first) };
                    let units = width.div_ceil(across) * lines.div_ceil(down);
                    compressed(&data((units * (across * down + 2)) as usize, first as usize), compression)
                };
                (0..height).step_by(rows as usize).map(strip).collect()
            };
            let file = |more: &[Tag], strips: &[Vec<u8>]| tiff(&tags(size, 3, 6, compression, rows, more), strips);
            let stated = |across, down| [(530, SHORT, vec![across, down])];
            let case = format!("{compression}, {width} x {height}, {rows} rows");
            let expected = decoded(&file(&stated(2, 2), &strips(2, 2, false)), size).expect("valid");
            for padded in [false, true] {
                assert_eq!(decoded(&file(&[], &strips(2, 2, padded)), size), Ok(expected.clone()), "{case}, {padded}");
            }
            decoded(&file(&stated(1, 1), &strips(1, 1, false)), size).expect("valid");
            let reason = decoded(&file(&[], &strips(1, 1, false)), size).expect_err(&case);
            assert!(reason.contains("YCbCrSubSampling"), "{case}: {reason}");
        }
    }
}

#[test]
fn samples_that_no_tag_explains_are_refused() {
    let size = (5, 4);
    let file = |photometric, samples: u32, extra: &[u32]| {
        let data = (0..20 * samples).map(|at| (at * 11 % 251) as u8).collect();
        let extra = if extra.is_empty() { vec![] } else { vec![(338, SHORT, extra.to_vec())] };
        tiff(&tags(size, samples, photometric, 1, 4, &extra), &[data])
    };
    for (photometric, samples, extra) in [
        (0, 2, &[0][..]),
        (1, 2, &[2]),
        (1, 3, &[0, 0]),
        (2, 3, &[]),
        (2, 4, &[]),
        (2, 4, &[2]),
        (2, 5, &[0, 0]),
        (5, 5, &[0]),
    ] {
        decoded(&file(photometric, samples, extra), size)
            .unwrap_or_else(|reason| panic!("{photometric}, {samples}: {reason}"));
    }
    for (photometric, samples, extra) in [
        (0, 2, &[][..]),
        (1, 2, &[]),
        (0, 3, &[]),
        (1, 3, &[]),
        (1, 3, &[2]),
        (1, 4, &[0, 0]),
        (2, 5, &[]),
        (2, 5, &[0]),
        (5, 5, &[]),
    ] {
        let reason = decoded(&file(photometric, samples, extra), size).expect_err("refused");
        assert!(reason.contains("ExtraSamples"), "{photometric}, {samples}: {reason}");
    }
}

fn unknown(file: &[u8], size: (u32, u32)) -> String {
    match prepare(file, &settings(size.0, size.1)) {
        Err(Rejected::Unknown(reason)) => reason,
        other => panic!("{:?}", other.map(|_| "decoded")),
    }
}

/// A row of pixels whose colours are multiplied by alpha.
fn multiplied(bits: u32, format: u32, planes: u32, count: u32, data: Vec<u8>) -> Vec<u8> {
    let mut tags = tags((count, 1), 4, 2, 1, 1, &[(338, SHORT, vec![1]), (339, SHORT, vec![format; 4])]);
    tags.push((284, SHORT, vec![planes]));
    tags.iter_mut().filter(|tag| tag.0 == 258).for_each(|tag| tag.2 = vec![bits; 4]);
    let strips = if planes == 1 { vec![data] } else { data.chunks(data.len() / 4).map(<[u8]>::to_vec).collect() };
    tiff(&tags, &strips)
}

#[test]
fn colours_of_more_than_8_bits_are_divided_by_alpha_before_they_are_rounded() {
    let colours = [[0.8, 0.3, 0.1], [1.0, 0.5, 0.0], [0.25, 0.75, 0.6]];
    let alphas = [0.002, 0.01, 0.05, 0.4, 1.0];
    let pixels: Vec<[f64; 4]> =
        alphas.iter().flat_map(|a| colours.map(|[red, green, blue]| [red * a, green * a, blue * a, *a])).collect();
    let (size, count) = ((pixels.len() as u32, 1), pixels.len() as u32);
    let short: Vec<u16> = pixels.iter().flatten().map(|value| (value * 65535.0).round() as u16).collect();
    let float: Vec<u8> = pixels.iter().flatten().flat_map(|value| (*value as f32).to_le_bytes()).collect();
    let bytes: Vec<u8> = short.iter().flat_map(|value| value.to_le_bytes()).collect();
    for (name, file) in
        [("16 bits", multiplied(16, 1, 1, count, bytes.clone())), ("floats", multiplied(32, 3, 1, count, float))]
    {
        let ours = decoded(&file, size).expect("valid");
        for (at, (ours, pixel)) in ours.as_chunks::<3>().0.iter().zip(&pixels).enumerate() {
            let expected = colours[at % 3].map(|value| (value * 255.0_f64).round() as i32);
            let exact = if pixel[3] * 65535.0 > 200.0 { 1 } else { 2 };
            assert!(
                ours.iter().zip(expected).all(|(ours, expected)| (i32::from(*ours) - expected).abs() <= exact),
                "{name}, alpha {}: {ours:?}, not {expected:?}",
                pixel[3]
            );
        }
    }
    let reason = unknown(&multiplied(16, 1, 2, count, bytes), size);
    assert!(reason.contains("multiplied by alpha") && reason.contains("planes"), "{reason}");
}

#[test]
fn transparent_pixels_whose_colour_is_multiplied_by_alpha_are_black() {
    let file = multiplied(8, 1, 1, 3, vec![200, 100, 50, 0, 100, 50, 25, 128, 200, 100, 50, 255]);
    assert_eq!(decoded(&file, (3, 1)), Ok(vec![0, 0, 0, 199, 99, 49, 200, 100, 50]));
    let wide: Vec<u8> = [51_400_u16, 25_700, 12_850, 0].iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(decoded(&multiplied(16, 1, 1, 1, wide), (1, 1)), Ok(vec![0; 3]));
}

#[test]
fn alpha_that_is_not_the_first_additional_sample_is_refused() {
    let file = tiff(&tags((2, 2), 5, 2, 1, 2, &[(338, SHORT, vec![0, 1])]), &[vec![9; 20]]);
    assert!(unknown(&file, (2, 2)).contains("not the first additional sample"));
}

/// The header of the image is enough: it is refused before its data are read.
#[test]
fn a_subsampled_jpeg_that_is_declared_as_rgb_is_refused() {
    for factors in [0x22, 0x21] {
        let frame = [0xFF, 0xC0, 0, 17, 8, 0, 16, 0, 32, 3, 1, factors, 0, 2, 0x11, 0, 3, 0x11, 0];
        let scan = [0xFF, 0xDA, 0, 12, 3, 1, 0, 2, 0, 3, 0, 0, 63, 0, 0xFF, 0xD9];
        let strip = [&[0xFF, 0xD8][..], &frame, &scan].concat();
        let reason = unknown(&tiff(&tags((32, 16), 3, 2, 7, 16, &[]), &[strip]), (32, 16));
        assert!(reason.contains("subsampling"), "{reason}");
    }
}

#[test]
fn tga_and_cursors_are_named() {
    let tga = |map: u8, kind: u8, bits: u8| {
        let mut file = vec![0, map, kind, 0, 0, if map == 1 { 2 } else { 0 }, 0, if map == 1 { 24 } else { 0 }];
        file.extend([0, 0, 0, 0, 61, 0, 47, 0, bits, 0x20]);
        file.extend(vec![7; 3 * 61 * 47]);
        file
    };
    let cursor = |kind: u8| [vec![0, 0, kind, 0, 1, 0, 16, 16, 0, 0, 1, 0, 1, 0], vec![9; 300]].concat();
    for (file, name) in [
        (tga(0, 2, 24), "TGA images"),
        (tga(0, 2, 32), "TGA images"),
        (tga(0, 3, 8), "TGA images"),
        (tga(0, 10, 24), "TGA images"),
        (tga(1, 1, 8), "TGA images"),
        (tga(1, 9, 8), "TGA images"),
        (cursor(2), "cursors (CUR)"),
        (cursor(1), "icons (ICO)"),
    ] {
        match prepare(&file, &settings(8, 8)) {
            Err(Rejected::Unknown(reason)) => assert!(reason.starts_with(&format!("{name} are not")), "{reason}"),
            other => panic!("{name}: {:?}", other.err()),
        }
    }
}
