//! Tests: variants are valid inputs of the same length, and decoders make something else of each.

use std::collections::HashSet;
use std::io::Read as _;

use super::*;
use plimsoll_runtime::tensor::TensorType;

fn sample(feed: Feed) -> Sample {
    Sample { name: String::new(), folder: String::new(), size: 0, parameters: Vec::new(), content_type: None, feed }
}

fn body_of(sample: &Sample) -> Vec<u8> {
    match &sample.feed {
        Feed::Body(body) => body.clone(),
        _ => panic!("a body"),
    }
}

/// The bodies of the variants by the change with an index.
fn variants(body: &[u8], index: usize) -> Vec<Vec<u8>> {
    let sample = sample(Feed::Body(body.to_vec()));
    let change = candidates(&sample).swap_remove(index);
    let all: Vec<_> = (0..100).map(|number| body_of(&change.change(&sample, number))).collect();
    assert!(all.iter().all(|one| one.len() == all[0].len()));
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len(), "all differ");
    all
}

/// The pixels of a PNG with their filters.
fn pixels(png: &[u8]) -> Vec<u8> {
    let (mut at, mut data) = (8, Vec::new());
    while at < png.len() {
        let length = u32::from_be_bytes(png[at..at + 4].try_into().expect("four bytes")) as usize;
        let mut crc = flate2::Crc::new();
        crc.update(&png[at + 4..at + 8 + length]);
        assert_eq!(png[at + 8 + length..at + 12 + length], crc.sum().to_be_bytes());
        if png[at + 4..at + 8] == *b"IDAT" {
            data.extend(&png[at + 8..at + 8 + length]);
        }
        at += 12 + length;
    }
    let mut pixels = Vec::new();
    flate2::read::ZlibDecoder::new(&data[..]).read_to_end(&mut pixels).expect("zlib, with its checksum");
    pixels
}

#[test]
fn the_last_rows_of_a_png_change() {
    let png = include_bytes!("../../../../tests/data/digits/0.png");
    let before = pixels(png);
    let all: Vec<_> = variants(png, 0).iter().map(|variant| pixels(variant)).collect();
    assert_eq!(all[0], before, "the first one is the image itself");
    for changed in &all {
        // 64 rows of 64 grey pixels, each with its filter.
        assert_eq!(changed[..56 * 65], before[..56 * 65]);
        assert!((56..64).all(|row| changed[row * 65] == before[row * 65]), "filters");
    }
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
}

#[test]
fn a_png_that_is_cut_anywhere_does_not_change() {
    let png = include_bytes!("../../../../tests/data/digits/0.png");
    let end = png.windows(4).position(|name| name == b"IEND").expect("the last chunk") - 4;
    for length in 0..end {
        assert_eq!(png::chunk(&png[..length]), None, "{length} bytes");
    }
    assert!(png::chunk(png).is_some());
}

#[test]
fn the_colours_of_a_palette_change() {
    let mut png = [0x89, b'P', b'N', b'G', 13, 10, 26, 10].to_vec();
    for (name, data) in [(b"IHDR", &[0, 0, 0, 1, 0, 0, 0, 1, 8, 3, 0, 0, 0][..]), (b"PLTE", &[1, 2, 3])] {
        let mut crc = flate2::Crc::new();
        crc.update(name);
        crc.update(data);
        png.extend([&(data.len() as u32).to_be_bytes()[..], name, data, &crc.sum().to_be_bytes()].concat());
    }
    let changed = &variants(&png, 0)[1];
    assert_eq!(changed.len(), png.len());
    assert_eq!((&changed[..41], changed[41..44] == png[41..44]), (&png[..41], false));
}

#[test]
fn the_tables_of_a_jpeg_change() {
    let jpeg = include_bytes!("../../../../tests/data/digits/7.jpg");
    let table = jpeg.windows(2).position(|marker| marker == [0xFF, 0xDB]).expect("a table") + 5;
    for variant in variants(jpeg, 0) {
        let differs = |at: &usize| variant[*at] != jpeg[*at];
        assert!(
            (0..jpeg.len()).filter(differs).all(|at| (table..table + FREQUENCIES).contains(&at) && variant[at] > 0)
        );
    }
}

#[test]
fn text_stays_text_and_has_many_variants() {
    let body = br#"{"width": 641, "height": 480, "scale": [0.25, 3]}"#;
    for variant in variants(body, 0) {
        let value: serde_json::Value = serde_json::from_slice(&variant).expect("JSON");
        assert_eq!(value["width"].as_f64().map(f64::trunc), Some(641.0));
    }
    for variant in variants(b"these are words", 0) {
        assert!(std::str::from_utf8(&variant).expect("text").split(' ').count() == 3);
    }
    // The names of fields stay, and so do words that are no text.
    for variant in variants(br#"{"mode": "a word", "is_full": true, "n\"ame": null, "pages": 12345}"#, 0) {
        let value: serde_json::Value = serde_json::from_slice(&variant).expect("JSON");
        assert_eq!((&value["is_full"], &value["n\"ame"]), (&true.into(), &serde_json::Value::Null));
        assert_eq!((value["mode"].as_str().map(str::len), value["pages"].is_u64()), (Some(6), true));
    }
    for body in ["7", "0", "hi", "{\"id\":1}", "[true, 2]", "a", "{\"a\":\"b\"}"] {
        let all = of_body(body.as_bytes());
        assert!(all[0].has_many(), "{body}: {all:?}");
        assert_eq!(variants(body.as_bytes(), 0).len(), 100, "{body}");
    }
    assert!(of_body(b"").is_empty() && of_body(&[0xFF]).is_empty());
}

/// Numbers that are a multiple of something apart, as those of the calls of one input are, change all places.
#[test]
fn contents_differ_until_all_are_used() {
    let sample = sample(Feed::Body(b"page 7".to_vec()));
    let nine = Content::Chosen(vec![(5, (b'1'..=b'9').collect())]);
    assert_eq!((nine.count(), nine.has_many()), (9, false));
    let used = |numbers: &mut dyn Iterator<Item = u32>| {
        numbers.map(|number| body_of(&nine.change(&sample, number))).collect::<HashSet<_>>().len()
    };
    assert_eq!(used(&mut (100..109)), 9);
    let all = candidates(&sample);
    let few = all.iter().position(|content| !content.has_many()).expect("digits");
    assert!(all[few..].iter().all(|content| !content.has_many()), "{all:?}");
}

#[test]
fn the_colours_of_single_frames_of_a_gif_change() {
    let table = [1, 2, 3, 4, 5, 6];
    let mut gif = b"GIF89a\x01\0\x01\0\x80\0\0".to_vec();
    gif.extend(table);
    gif.extend(b"\x21\xF9\x04\0\0\0\0\0");
    for _ in 0..2 {
        gif.extend(b"\x2C\0\0\0\0\x01\0\x01\0\x80");
        gif.extend(table);
        gif.extend(b"\x02\x02\x44\x01\0");
    }
    gif.push(0x3B);
    let changed = &variants(&gif, 0)[1];
    let places: Vec<usize> = (0..gif.len()).filter(|&at| changed[at] != gif[at]).collect();
    let expected: Vec<usize> = [13..19, 37..43, 58..64].into_iter().flatten().collect();
    assert_eq!(places, expected);
}

#[test]
fn files_that_are_cut_are_changed_elsewhere() {
    let png = include_bytes!("../../../../tests/data/digits/0.png");
    let jpeg = include_bytes!("../../../../tests/data/digits/7.jpg");
    for body in [&png[..40], &png[..700], &jpeg[..40], &jpeg[..3], b"GIF89a"] {
        let changes = of_body(body);
        let sample = sample(Feed::Body(body.to_vec()));
        changes.iter().for_each(|change| drop(change.change(&sample, u32::MAX)));
    }
}

#[test]
fn tensors_change_in_their_lowest_bits() {
    let tensor = Tensor::new(vec![100], TensorType::Fp32, vec![0; 400]);
    let sample = sample(Feed::Inputs(vec![("a".into(), tensor)]));
    let [change] = &candidates(&sample)[..] else { panic!("one change") };
    let changed = change.change(&sample, 0b101);
    let Feed::Inputs(tensors) = &changed.feed else { panic!("tensors") };
    assert_eq!(tensors[0].1.data.iter().map(|byte| usize::from(*byte)).sum::<usize>(), 2);
    assert_eq!(tensors[0].1.data[..36].iter().position(|byte| *byte == 1), Some(0));
    // Of few elements more bits change.
    let tensor = Tensor::new(vec![2], TensorType::U8, vec![0; 2]);
    let sample = self::sample(Feed::Inputs(vec![("a".into(), tensor)]));
    assert_eq!(candidates(&sample)[0].count(), 1 << 16);
}
