//! The crate `image-core`, on which `image-preprocess` is based: its results are compared with a full decode and an
//! exact resize, with and without vector instructions. `preprocess_wasm` compares native code with wasm, and checks the
//! memory.

use std::io::Cursor;
use std::path::PathBuf;

use half::{bf16, f16};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader, RgbImage};
use image_core::{Channels, Dtype, Elements, Layout, Limits, Mode, Pack, Settings, Target, prepare, prepare_scalar};
use plimsoll_tests::jpeg::Jpeg;
use plimsoll_tests::shared;

/// The defaults of the plugin, except that the elements are bytes and the channels are interleaved.
pub(crate) fn settings(width: u32, height: u32) -> Settings {
    Settings {
        target: Target { width, height, mode: Mode::Stretch, shorter: None },
        pack: Pack {
            width,
            height,
            order: Channels::Rgb,
            layout: Layout::Nhwc,
            invert: false,
            pad: 0,
            mean: [0.0; 3],
            scale: [1.0; 3],
            dtype: Dtype::U8,
        },
        limits: Limits { max_pixels: 25_000_000, max_bytes: 192 << 20 },
        draft: false,
    }
}

/// The files in a folder of the corpus, with their contents.
pub(crate) fn corpus(folder: &str) -> Option<Vec<(PathBuf, Vec<u8>)>> {
    let entries = std::fs::read_dir(shared("corpus")?.join(folder)).expect("a folder");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    Some(files.into_iter().map(|file| (file.clone(), std::fs::read(file).expect("readable"))).collect())
}

/// The whole image, decoded by the crate `image`, with its orientation applied.
pub(crate) fn decoded(body: &[u8]) -> Option<RgbImage> {
    let mut decoder = ImageReader::new(Cursor::new(body)).with_guessed_format().ok()?.into_decoder().ok()?;
    // Some WebP files have the EXIF prefix of JPEG, which `image` does not expect in WebP.
    let exif = decoder.exif_metadata().ok().flatten().unwrap_or_default();
    let exif = Orientation::from_exif_chunk(exif.strip_prefix(b"Exif\0\0").unwrap_or(&exif));
    let orientation = exif.unwrap_or(decoder.orientation().unwrap_or(Orientation::NoTransforms));
    let mut image = DynamicImage::from_decoder(decoder).ok()?;
    image.apply_orientation(orientation);
    Some(image.to_rgb8())
}

/// For each pixel of the result: the index of the first sample, and the weights of the samples from there on. They are
/// those of a triangle filter that is widened by the reduction factor.
fn weights(size: u32, result: u32) -> Vec<(usize, Vec<f64>)> {
    let scale = f64::from(size) / f64::from(result);
    let reach = scale.max(1.0);
    let window = |index: u32| {
        let center = (f64::from(index) + 0.5) * scale;
        let samples: Vec<_> = (0..size).filter(|&at| (f64::from(at) + 0.5 - center).abs() < reach).collect();
        let weight = |at: u32| 1.0 - (f64::from(at) + 0.5 - center).abs() / reach;
        let sum: f64 = samples.iter().map(|&at| weight(at)).sum();
        (samples[0] as usize, samples.iter().map(|&at| weight(at) / sum).collect())
    };
    (0..result).map(window).collect()
}

/// The image resized without intermediate rounding.
pub(crate) fn resized(image: &RgbImage, width: u32, height: u32) -> Vec<f64> {
    let (across, down) = (weights(image.width(), width), weights(image.height(), height));
    let source = image.as_raw();
    let stride = 3 * image.width() as usize;
    let mut between = vec![0.0; stride * height as usize];
    for (out, (first, weights)) in between.chunks_exact_mut(stride).zip(&down) {
        for (row, weight) in (*first..).zip(weights) {
            for (sum, sample) in out.iter_mut().zip(&source[row * stride..]) {
                *sum += weight * f64::from(*sample);
            }
        }
    }
    let rows = between.chunks_exact(stride);
    let pixel = |row: &[f64], (first, weights): &(usize, Vec<f64>), channel: usize| -> f64 {
        (*first..).zip(weights).map(|(at, weight)| weight * row[3 * at + channel]).sum()
    };
    rows.flat_map(|row| across.iter().flat_map(move |window| (0..3).map(move |channel| pixel(row, window, channel))))
        .collect()
}

pub(crate) fn bytes(elements: Elements) -> Vec<u8> {
    match elements {
        Elements::U8(bytes) => bytes,
        _ => panic!("the settings require bytes"),
    }
}

/// The mean and the largest difference between the result for a body and the exact result.
pub(crate) fn difference(body: &[u8], settings: &Settings) -> (f64, f64) {
    let ours = bytes(prepare(body, settings).expect("an image").0);
    let expected = resized(&decoded(body).expect("an image"), settings.target.width, settings.target.height);
    let each = ours.iter().zip(&expected).map(|(&ours, expected)| (f64::from(ours) - expected).abs());
    (each.clone().sum::<f64>() / expected.len() as f64, each.fold(0.0, f64::max))
}

/// A picture with smooth colours and some grain.
pub(crate) fn picture(component: usize, x: f64, y: f64) -> f64 {
    let grain = ((x * 12.9898 + y * 78.233).sin() * 43_758.545).fract() * 12.0;
    match component {
        0 => 128.0 + 50.0 * (x / 17.0).sin() * (y / 23.0).cos() + grain,
        1 => 128.0 + 25.0 * ((x + y) / 41.0).sin(),
        _ => 128.0 + 25.0 * ((x - 2.0 * y) / 37.0).cos(),
    }
}

#[test]
fn results_for_the_corpus_match_a_full_decode_and_an_exact_resize() {
    let Some(files) = corpus("valid") else { return };
    let mut rows = Vec::new();
    for (file, body) in &files {
        // `image` does not draw the first frame of an animation on the canvas, as Pillow and the plugin do.
        let is_animated_webp =
            file.extension().is_some_and(|kind| kind == "webp") && body.windows(4).any(|at| at == b"ANIM");
        // `image` does not read an orientation that is only in XMP.
        let has_xmp_orientation = body.windows(16).any(|at| at == b"tiff:Orientation");
        if decoded(body).is_some() && !is_animated_webp && !has_xmp_orientation {
            let (mean, most) = difference(body, &settings(224, 224));
            rows.push((mean, most, file.file_name().expect("a file").to_string_lossy()));
        }
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    println!("   mean     max  of 255, compared with `image` and a resize in f64");
    for (mean, most, file) in &rows {
        println!("{mean:7.3} {most:7.2}  {file}");
    }
    assert!(rows.len() > 100, "{}", rows.len());
    // Rounding alone gives a mean of a quarter of a level. The largest difference is that of a photo with colours
    // outside of RGB.
    // `image` enlarges chroma differently from libjpeg, whose pixels `image_cases` and `image_fidelity` compare.
    assert!(rows.iter().all(|(mean, ..)| *mean < 0.6), "{:?}", rows[0]);
    let mean = rows.iter().map(|(mean, ..)| mean).sum::<f64>() / rows.len() as f64;
    println!("mean of {} files: {mean:.3}", rows.len());
    assert!(mean < 0.3, "{mean}");
}

/// The image with an additional segment before all others.
pub(crate) fn with_segment(image: &[u8], marker: u8, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u16 + 2).to_be_bytes();
    [&image[..2], &[0xFF, marker], &length, content, &image[2..]].concat()
}

/// An EXIF block with this orientation: one entry of a big-endian TIFF header, as in `images`.
pub(crate) fn exif(orientation: u8) -> Vec<u8> {
    [&b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"[..], &[orientation], &[0; 6]].concat()
}

#[test]
fn all_orientations_are_applied_in_every_mode() {
    let plain = Jpeg::new(320, 240, &[(2, 2), (1, 1), (1, 1)]).encode(picture);
    for orientation in 1..=8_u8 {
        let turned = with_segment(&plain, 0xE1, &exif(orientation));
        let image = decoded(&turned).expect("an image");
        // The same pixels with the orientation applied, in another format.
        let mut upright = Cursor::new(Vec::new());
        image.write_to(&mut upright, image::ImageFormat::Bmp).expect("written");
        for mode in [Mode::Stretch, Mode::Crop, Mode::Letterbox] {
            for order in [Channels::Rgb, Channels::Gray] {
                for layout in [Layout::Nchw, Layout::Nhwc] {
                    let mut settings = settings(90, 50);
                    settings.target.mode = mode;
                    settings.pack = Pack { pad: 99, order, layout, ..settings.pack };
                    let (ours, context) = prepare(&turned, &settings).expect("an image");
                    let (expected, expected_context) = prepare(upright.get_ref(), &settings).expect("an image");
                    assert_eq!(context, expected_context);
                    let (ours, expected) = (bytes(ours), bytes(expected));
                    assert_eq!(ours.len(), expected.len());
                    let sum: u32 = ours.iter().zip(&expected).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
                    let mean = f64::from(sum) / ours.len() as f64;
                    assert!(mean < 0.7, "orientation {orientation}: {mean}");
                }
            }
        }
    }
}

#[test]
fn a_draft_is_close_to_the_full_decode_and_only_used_for_large_reductions() {
    for sampling in [&[(2, 2), (1, 1), (1, 1)], &[(2, 1), (1, 1), (1, 1)], &[(1, 1); 3]] {
        let body = Jpeg::new(1200, 1000, sampling).encode(picture);
        let draft = |side| Settings { draft: true, ..settings(side, side) };
        let (mean, most) = difference(&body, &draft(100));
        println!("draft of {sampling:?}: mean {mean:.3}, max {most:.2}");
        assert!(mean < 2.5, "{sampling:?}: {mean:.3} {most:.2}");
        assert_ne!(prepare(&body, &draft(100)), prepare(&body, &settings(100, 100)));
        assert_eq!(prepare(&body, &draft(126)), prepare(&body, &settings(126, 126)));
    }
}

#[test]
fn an_empty_exif_block_does_not_replace_an_earlier_one() {
    let whole = Jpeg::new(320, 240, &[(2, 2), (1, 1), (1, 1)]).encode(picture);
    let empty = with_segment(&whole, 0xE1, b"Exif\0\0");
    let (_, context) = prepare(&with_segment(&empty, 0xE1, &exif(6)), &settings(64, 64)).expect("an image");
    assert_eq!((context.width, context.height), (240, 320));
}

#[test]
fn vector_and_scalar_code_give_the_same_bits() {
    let mut bodies = Vec::new();
    for folder in ["valid", "abnormal"] {
        bodies.extend(corpus(folder).unwrap_or_default().into_iter().map(|(_, body)| body));
    }
    for sampling in [&[(2, 2), (1, 1), (1, 1)], &[(2, 1), (1, 1), (1, 1)]] {
        bodies.push(Jpeg { quantiser: 1, ..Jpeg::new(333, 299, sampling) }.encode(picture));
    }
    for (width, height, draft) in [(224, 224, false), (50, 30, true), (19, 333, false)] {
        let mut settings = Settings { draft, ..settings(width, height) };
        settings.pack.dtype = if draft { Dtype::U8 } else { Dtype::F32 };
        for body in &bodies {
            assert!(prepare(body, &settings) == prepare_scalar(body, &settings), "{} bytes", body.len());
        }
    }
}

#[test]
fn elements_of_half_precision_are_those_of_single_precision_rounded() {
    let body = Jpeg::new(333, 299, &[(2, 2), (1, 1), (1, 1)]).encode(picture);
    let with = |dtype, layout, mode, invert| {
        let mut settings = settings(97, 120);
        settings.target.mode = mode;
        let (mean, scale) = ([123.675, 116.28, 103.53], [0.017_124_753, 0.017_507_004, 0.017_429_193]);
        settings.pack = Pack { dtype, layout, invert, pad: 114, mean, scale, ..settings.pack };
        prepare(&body, &settings).expect("an image").0
    };
    for layout in [Layout::Nchw, Layout::Nhwc] {
        for (mode, invert) in [(Mode::Letterbox, false), (Mode::Stretch, true)] {
            let Elements::F32(single) = with(Dtype::F32, layout, mode, invert) else { panic!("f32") };
            let Elements::F16(half) = with(Dtype::F16, layout, mode, invert) else { panic!("f16") };
            let Elements::Bf16(upper) = with(Dtype::Bf16, layout, mode, invert) else { panic!("bf16") };
            assert!(single.iter().zip(&half).all(|(single, half)| f16::from_f32(*single).to_bits() == *half));
            assert!(single.iter().zip(&upper).all(|(single, upper)| bf16::from_f32(*single).to_bits() == *upper));
            assert_eq!((single.len(), half.len(), upper.len()), (97 * 120 * 3, 97 * 120 * 3, 97 * 120 * 3));
        }
    }
}
