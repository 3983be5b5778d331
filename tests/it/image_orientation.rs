//! Images whose orientation is stored in unusual ways are turned as Pillow turns them.
//!
//! `tests/conformance/images/orientations.py` measures Pillow and writes the table; its head explains it.

use image_core::{Elements, prepare};

use crate::preprocess::settings;

const TABLE: &str = include_str!("../data/orientations.tsv");
/// XMP with another orientation than that of the blocks.
const XMP: &[u8] = br#"<x:xmpmeta><rdf:Description tiff:Orientation="3"/></x:xmpmeta>"#;

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).expect("a digit") as u8;
    hex.as_bytes().as_chunks::<2>().0.iter().map(|[high, low]| digit(*high) << 4 | digit(*low)).collect()
}

/// The files into which blocks of metadata are inserted.
struct Bases {
    jpeg: Vec<u8>,
    png: Vec<u8>,
    webp: Vec<u8>,
}

fn bases() -> Bases {
    let base = |name: &str| {
        let line = TABLE.lines().find_map(|line| line.strip_prefix("base\t")?.strip_prefix(name)?.strip_prefix('\t'));
        bytes(line.expect("present"))
    };
    Bases { jpeg: base("jpeg"), png: base("png"), webp: base("webp") }
}

impl Bases {
    fn jpeg(&self, block: &[u8]) -> Vec<u8> {
        let mut file = self.jpeg[..2].to_vec();
        for (prefix, content) in [(&b"Exif\0\0"[..], block), (b"http://ns.adobe.com/xap/1.0/\0", XMP)] {
            let length = (prefix.len() + content.len() + 2) as u16;
            file.extend([&[0xFF, 0xE1][..], &length.to_be_bytes(), prefix, content].concat());
        }
        file.extend(&self.jpeg[2..]);
        file
    }

    fn png(&self, block: &[u8]) -> Vec<u8> {
        // The signature and the header have 33 bytes.
        let mut file = self.png[..33].to_vec();
        for (name, content) in [(b"eXIf", block.to_vec()), (b"tEXt", [b"XML:com.adobe.xmp\0", XMP].concat())] {
            let mut checksum = flate2::Crc::new();
            checksum.update(name);
            checksum.update(&content);
            file.extend((content.len() as u32).to_be_bytes());
            file.extend([&name[..], &content, &checksum.sum().to_be_bytes()].concat());
        }
        file.extend(&self.png[33..]);
        file
    }

    fn webp(&self, block: &[u8]) -> Vec<u8> {
        // EXIF and XMP, then the size of 3 x 2 pixels less 1.
        let features = [12, 0, 0, 0, 2, 0, 0, 1, 0, 0];
        let mut content = b"WEBP".to_vec();
        for (name, data) in [(&b"VP8X"[..], &features[..]), (b"", &self.webp[12..]), (b"EXIF", block), (b"XMP ", XMP)] {
            if !name.is_empty() {
                content.extend([name, &(data.len() as u32).to_le_bytes()].concat());
            }
            content.extend(data);
            content.resize(content.len().next_multiple_of(2), 0);
        }
        [&b"RIFF"[..], &(content.len() as u32).to_le_bytes(), &content].concat()
    }
}

/// The pixels of the file in its own size, and the size.
fn decoded(file: &[u8]) -> Result<(Vec<u8>, [u32; 2]), String> {
    let size = |file| prepare(file, &settings(1, 1)).map_err(|error| format!("{error:?}")).map(|(_, context)| context);
    let context = size(file)?;
    let (width, height) = (context.width, context.height);
    match prepare(file, &settings(width, height)) {
        Ok((Elements::U8(pixels), _)) => Ok((pixels, [width, height])),
        other => Err(format!("{other:?}")),
    }
}

/// The orientation that was applied to the picture of the base.
fn applied(base: &(Vec<u8>, [u32; 2]), file: &[u8]) -> Result<u8, String> {
    let (pixels, size) = decoded(file)?;
    let ([width, height], picture) = (base.1, base.0.as_chunks::<3>().0);
    (1..=8)
        .find(|orientation| {
            let turned = *orientation > 4;
            let [across, down] = if turned { [height, width] } else { [width, height] };
            let expected = (0..down).flat_map(|y| (0..across).map(move |x| (x, y))).map(|(x, y)| {
                let (x, y) = if turned { (y, x) } else { (x, y) };
                // EXIF 2.32, 4.6.4: where row 0 and column 0 are.
                let x = if matches!(orientation, 2 | 3 | 7 | 8) { width - 1 - x } else { x };
                let y = if matches!(orientation, 3 | 4 | 6 | 7) { height - 1 - y } else { y };
                picture[(y * width + x) as usize]
            });
            size == [across, down] && expected.flatten().eq(pixels.iter().copied())
        })
        .ok_or_else(|| format!("no orientation gives these pixels: {pixels:?}"))
}

#[test]
fn orientations_are_those_of_pillow() {
    let files = bases();
    let picture = |file: &[u8]| decoded(file).expect("an image");
    let (jpeg, png, webp) = (picture(&files.jpeg), picture(&files.png), picture(&files.webp));
    assert_eq!(png, webp);
    let (mut count, mut wrong) = (0, Vec::new());
    let mut check = |what: &str, answer: &str, base, file: &[u8]| {
        let found = applied(base, file);
        count += 1;
        // A file that Pillow does not read may be refused or not.
        if answer != "error" && found != Ok(answer.parse().expect("a number")) {
            wrong.push(format!("{what}: {answer} expected, {found:?}"));
        }
    };
    for line in TABLE.lines() {
        match line.split('\t').collect::<Vec<_>>().as_slice() {
            ["block", what, for_jpeg, for_png, for_webp, hex] => {
                let block = bytes(hex);
                check(&format!("JPEG, {what}"), for_jpeg, &jpeg, &files.jpeg(&block));
                check(&format!("PNG, {what}"), for_png, &png, &files.png(&block));
                check(&format!("WebP, {what}"), for_webp, &webp, &files.webp(&block));
            }
            ["file", form, what, answer, hex] => {
                let base = if *form == "jpeg" { &jpeg } else { &png };
                check(&format!("{form}, {what}"), answer, base, &bytes(hex));
            }
            ["base", ..] => {}
            _ => assert!(line.starts_with('#'), "{line}"),
        }
    }
    assert!(count > 900, "{count}");
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn damaged_metadata_of_a_png_is_refused() {
    let files = bases();
    let mut file = files.png(b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0");
    let at = file.windows(4).position(|name| name == b"eXIf").expect("present");
    assert_eq!(decoded(&file).expect("an image").1, [2, 3]);
    // The type LONG instead of SHORT.
    file[at + 4 + 13] = 4;
    let refused = decoded(&file).expect_err("refused");
    assert!(refused.contains("eXIf chunk is damaged"), "{refused}");
}
