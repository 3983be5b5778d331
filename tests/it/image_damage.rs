//! Damaged images. A JPEG that lost bytes has the pixels that `djpeg` of libjpeg-turbo gives, or is refused. A truncated
//! image of any format is refused, unless all its pixels are there.
//!
//! The damage is random, but the same in each run. The variable `PLIMSOLL_DAMAGE` is the number of damaged files for each
//! kind of JPEG; 150 take half a minute.

use std::path::Path;
use std::process::{Command, Stdio};

use image_core::{Rejected, prepare};
use plimsoll_tests::TempDir;
use plimsoll_tests::jpeg::Jpeg;

use crate::image_fidelity::{LIMITS, difference, generate, index};
use crate::oip_conformance::skip;
use crate::preprocess::{bytes, picture, settings};

/// The damaged files for each kind of JPEG by default.
const SAMPLE: usize = 50;
const SIZE: (u32, u32) = (113, 83);
/// A file is truncated by each number of bytes up to this one.
const TRUNCATED: usize = 40;

/// The random number generator xorshift64.
struct Random(u64);

impl Random {
    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }
}

/// Runs a program of libjpeg-turbo. Returns its output, or `None` if it fails. A warning is not a failure.
pub(crate) fn run(program: &str, arguments: &[&str], file: &Path) -> Option<Vec<u8>> {
    let output = Command::new(program).args(arguments).arg(file).stderr(Stdio::null()).output().expect("it starts");
    // Both programs exit with 2 after a warning.
    matches!(output.status.code(), Some(0 | 2)).then_some(output.stdout)
}

/// True if `cjpeg` and `djpeg` of libjpeg-turbo are installed. Otherwise the test is skipped.
pub(crate) fn tools_exist() -> bool {
    for tool in ["cjpeg", "djpeg"] {
        let version = Command::new(tool).arg("-version").output();
        let text = version.map(|output| String::from_utf8_lossy(&output.stderr).into_owned()).unwrap_or_default();
        if !text.contains("libjpeg-turbo") {
            skip::<()>(&format!(
                "{tool} of libjpeg-turbo is missing (libjpeg-turbo-progs), so damaged JPEGs are not tested"
            ));
            return false;
        }
    }
    true
}

/// Width, height and RGB pixels of a PGM or PPM file.
pub(crate) fn parse_pnm(file: &[u8]) -> (u32, u32, Vec<u8>) {
    let mut rest = file;
    let mut word = || {
        let end = rest.iter().position(u8::is_ascii_whitespace).expect("a header");
        let word = std::str::from_utf8(&rest[..end]).expect("ASCII").to_owned();
        rest = &rest[end + 1..];
        word
    };
    let (kind, width, height, most) = (word(), word(), word(), word());
    assert_eq!(most, "255");
    let pixels = if kind == "P5" { rest.iter().flat_map(|gray| [*gray; 3]).collect() } else { rest.to_vec() };
    (width.parse().expect("a number"), height.parse().expect("a number"), pixels)
}

/// JPEGs of all kinds that may have restart markers, and some without.
fn jpegs(folder: &TempDir) -> Vec<(String, Vec<u8>)> {
    let (width, height) = SIZE;
    let mut jpegs = Vec::new();
    for (luma, restart) in [((2, 2), 3), ((2, 1), 8), ((1, 1), 5), ((1, 2), 1)] {
        let new = Jpeg::new(width as usize, height as usize, &[luma, (1, 1), (1, 1)]);
        let jpeg = Jpeg { restart, ..new };
        jpegs.push((format!("{luma:?}"), jpeg.encode(picture)));
        jpegs.push((format!("{luma:?} progressive"), jpeg.progressive().encode(picture)));
    }
    let gray = Jpeg { restart: 4, ..Jpeg::new(width as usize, height as usize, &[(1, 1)]) };
    jpegs.push(("gray".to_owned(), gray.encode(picture)));

    let pixel =
        |x: u32, y: u32| [0, 1, 2].map(|plane| picture(plane, f64::from(x), f64::from(y)).clamp(0.0, 255.0) as u8);
    let source = folder.path().join("source.ppm");
    let mut pixels = format!("P6 {width} {height} 255\n").into_bytes();
    pixels.extend((0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))));
    std::fs::write(&source, pixels).expect("written");
    let scans = folder.path().join("scans");
    std::fs::write(&scans, "0; 1; 2;").expect("written");
    let scans = scans.to_str().expect("UTF-8");
    for options in [
        &["-restart", "1"][..],
        &["-progressive", "-restart", "1"],
        &["-arithmetic", "-restart", "1"],
        &["-arithmetic", "-progressive", "-restart", "1"],
        &["-scans", scans, "-restart", "1"],
        &["-quality", "30", "-sample", "2x1", "-restart", "2B"],
        &["-optimize"],
    ] {
        let name = options.join(" ").replace(scans, "0;1;2");
        jpegs.push((name, run("cjpeg", options, &source).expect("encoded")));
    }
    jpegs
}

/// A damaged file, and what was done to it. Most damage is in the data of scans, the rest anywhere.
fn damaged(whole: &[u8], random: &mut Random) -> (Vec<u8>, String) {
    let scan = whole.windows(2).position(|pair| pair == [0xFF, 0xDA]).expect("a scan");
    let first = if random.below(8) == 0 { 2 } else { scan + 14 };
    let at = first + random.below(whole.len() - 3 - first);
    let markers: Vec<_> =
        (scan..whole.len() - 1).filter(|&at| whole[at] == 0xFF && matches!(whole[at + 1], 0xD0..=0xD7)).collect();
    let marker = if markers.is_empty() { None } else { Some(markers[random.below(markers.len())]) };
    let mut file = whole.to_vec();
    let what = match (random.below(9), marker) {
        (0, _) => {
            file.remove(at);
            format!("without byte {at}")
        }
        (1, _) => {
            let bit = random.below(8);
            file[at] ^= 1 << bit;
            format!("bit {bit} of byte {at} flipped")
        }
        (2, _) => {
            file.insert(at, random.below(255) as u8);
            format!("one more byte at {at}")
        }
        (3, _) => {
            let end = (at + 2 + random.below(58)).min(file.len());
            file.drain(at..end);
            format!("without bytes {at} to {end}")
        }
        (4, _) => {
            let end = (at + 5).min(file.len());
            file[at..end].fill(0);
            format!("bytes {at} to {end} are 0")
        }
        (5, Some(marker)) => {
            file.drain(marker..marker + 2);
            format!("without the marker at {marker}")
        }
        (6, Some(marker)) => {
            file[marker + 1] = 0xD0 | random.below(8) as u8;
            format!("another marker at {marker}")
        }
        (7, Some(marker)) => {
            let two = [file[marker], file[marker + 1]];
            file.splice(marker..marker, two);
            format!("the marker at {marker} twice")
        }
        (8, Some(marker)) => {
            // All bytes from a marker to the next one, together with this marker.
            let end = markers.iter().find(|next| **next > marker).map_or(whole.len() - 2, |next| *next);
            file.drain(marker..end);
            format!("without bytes {marker} to {end}, from marker to marker")
        }
        _ => {
            file.truncate(at);
            format!("truncated to {at} bytes")
        }
    };
    (file, what)
}

/// The pixels at a size and the image's own size, or the reason why it is refused.
pub(crate) fn decoded(body: &[u8], width: u32, height: u32) -> Result<(Vec<u8>, (u32, u32)), String> {
    match prepare(body, &settings(width, height)) {
        Ok((elements, context)) => Ok((bytes(elements), (context.width, context.height))),
        Err(Rejected::Unknown(reason) | Rejected::Broken(reason) | Rejected::TooLarge(reason)) => Err(reason),
    }
}

#[test]
fn a_damaged_jpeg_has_the_pixels_of_djpeg_or_is_refused() {
    if !tools_exist() {
        return;
    }
    let count = std::env::var("PLIMSOLL_DAMAGE").map_or(SAMPLE, |count| count.parse().expect("a number"));
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("damaged.jpeg");
    let mut random = Random(0x5EED);
    let mut wrong = Vec::new();
    for (kind, whole) in jpegs(&folder) {
        let (mut equal, mut refused) = (0, 0);
        for index in 0..=count {
            let (body, what) =
                if index == 0 { (whole.clone(), "undamaged".to_owned()) } else { damaged(&whole, &mut random) };
            std::fs::write(&path, &body).expect("written");
            let expected = run("djpeg", &["-dct", "int", "-pnm"], &path).map(|pnm| parse_pnm(&pnm));
            let (width, height) = expected.as_ref().map_or(SIZE, |(width, height, _)| (*width, *height));
            match (decoded(&body, width, height), expected) {
                (Err(reason), _) if index == 0 => wrong.push(format!("{kind}, undamaged: {reason}")),
                (Err(_), _) => refused += 1,
                (Ok(_), None) => wrong.push(format!("{kind}, {what}: djpeg refuses it")),
                (Ok((ours, size)), Some((.., expected))) => {
                    let (mean, most) = difference(&ours, &expected);
                    if size != (width, height) || ours.len() != expected.len() || mean > LIMITS.0 || most > LIMITS.1 {
                        wrong.push(format!("{kind}, {what}: {size:?}, mean {mean:.3}, largest {most}"));
                    } else {
                        equal += 1;
                    }
                }
            }
        }
        println!("{kind:<44} {equal:5} as djpeg, {refused:5} refused");
        // Damage that can be repaired is not refused. A file without restart markers that ends early is refused.
        if kind != "-optimize" && equal < count / 2 {
            wrong.push(format!("{kind}: only {equal} of {count} are decoded"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Compares each truncation of a file with the whole file. Returns the numbers of missing bytes with which it is decoded.
fn truncations(name: &str, whole: &[u8], width: u32, height: u32, wrong: &mut Vec<String>) -> Vec<usize> {
    let Ok(expected) = decoded(whole, width, height) else { return Vec::new() };
    let mut complete = Vec::new();
    for missing in 1..=TRUNCATED.min(whole.len()) {
        match decoded(&whole[..whole.len() - missing], width, height) {
            Ok(ours) if ours == expected => complete.push(missing),
            Ok(_) => wrong.push(format!("{name} without its last {missing} bytes has other pixels or another size")),
            Err(reason) if reason.is_empty() => {
                wrong.push(format!("{name} without its last {missing} bytes: no reason"))
            }
            Err(_) => {}
        }
    }
    complete
}

#[test]
fn a_truncated_image_is_refused_or_has_all_its_pixels() {
    let image = image::RgbImage::from_fn(61, 47, |x, y| {
        image::Rgb([0, 1, 2].map(|plane| picture(plane, f64::from(x), f64::from(y)).clamp(0.0, 255.0) as u8))
    });
    let mut files: Vec<(String, Vec<u8>, (u32, u32))> = Vec::new();
    for format in ["bmp", "gif", "jpeg", "png", "tiff", "webp"] {
        let mut body = std::io::Cursor::new(Vec::new());
        let kind = image::ImageFormat::from_extension(format).expect("a format");
        image::DynamicImage::from(image.clone()).write_to(&mut body, kind).expect("written");
        files.push((format!("{format} by the crate `image`"), body.into_inner(), image.dimensions()));
    }
    let progressive = Jpeg::new(61, 47, &[(2, 2), (1, 1), (1, 1)]).progressive().encode(picture);
    files.push(("progressive jpeg".to_owned(), progressive, (61, 47)));
    if let Some(folder) = generate() {
        for file in index(folder.path()) {
            let body = std::fs::read(folder.path().join(&file.name)).expect("listed");
            files.push((file.name, body, (file.size.0 as u32, file.size.1 as u32)));
        }
    }
    let mut wrong = Vec::new();
    println!("{} files, truncated by 1 to {TRUNCATED} bytes; decoded without", files.len());
    for (name, body, (width, height)) in &files {
        let complete = truncations(name, body, *width, *height, &mut wrong);
        if !complete.is_empty() {
            println!("{name}: {complete:?}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
