//! The crate `image-core`, on which `image-preprocess` is based: its results are compared with a full decode and an
//! exact resize, with and without vector instructions. `preprocess_wasm` compares native code with wasm, and checks the
//! memory.

use std::io::Cursor;
use std::path::PathBuf;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader, RgbImage};
use image_core::{Channels, Elements, Layout, Limits, Mode, Pack, Rejected, Settings, Target, prepare, prepare_scalar};
use plimsoll_tests::jpeg::{Jpeg, Scan};
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
            bytes: true,
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
fn decoded(body: &[u8]) -> Option<RgbImage> {
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

fn bytes(elements: Elements) -> Vec<u8> {
    match elements {
        Elements::U8(bytes) => bytes,
        Elements::F32(_) => panic!("the settings require bytes"),
    }
}

/// The mean and the largest difference between the result for a body and the exact result.
fn difference(body: &[u8], settings: &Settings) -> (f64, f64) {
    let ours = bytes(prepare(body, settings).expect("an image").0);
    let expected = resized(&decoded(body).expect("an image"), settings.target.width, settings.target.height);
    let each = ours.iter().zip(&expected).map(|(&ours, expected)| (f64::from(ours) - expected).abs());
    (each.clone().sum::<f64>() / expected.len() as f64, each.fold(0.0, f64::max))
}

/// A picture with smooth colours and some grain.
fn picture(component: usize, x: f64, y: f64) -> f64 {
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
        // `image` does not read an orientation that stands only in XMP.
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

/// Images with all layouts of components, with and without restart markers, and with sizes that are multiples of the
/// block size or not.
fn layouts() -> impl Iterator<Item = Jpeg> {
    let samplings: [&[(usize, usize)]; 8] = [
        &[(1, 1)],
        &[(2, 2)],
        &[(1, 1), (1, 1), (1, 1)],
        &[(2, 1), (1, 1), (1, 1)],
        &[(1, 2), (1, 1), (1, 1)],
        &[(2, 2), (1, 1), (1, 1)],
        &[(4, 1), (1, 1), (1, 1)],
        &[(2, 2), (2, 1), (1, 1)],
    ];
    samplings.into_iter().flat_map(|sampling| {
        [(400, 300, 0, 6), (333, 257, 7, 1), (225, 224, 1, 40)].map(|(width, height, restart, quantiser)| Jpeg {
            restart,
            quantiser,
            ..Jpeg::new(width, height, sampling)
        })
    })
}

#[test]
fn streaming_a_baseline_jpeg_matches_the_full_decode_for_every_layout() {
    for jpeg in layouts() {
        let body = jpeg.encode(picture);
        for (width, height) in [(224, 224), (37, 61), (1, 1)] {
            let (mean, most) = difference(&body, &settings(width, height));
            println!("{mean:.3} {most:.2} {width} x {height} of {jpeg:?}");
            assert!(mean < 0.7 && most < 12.0, "{mean:.3} {most:.2} {width} x {height} of {jpeg:?}");
        }
    }
}

#[test]
fn a_progressive_image_gives_the_same_bits_as_the_sequential_one() {
    for sequential in layouts() {
        let progressive = sequential.clone().progressive();
        let (one, many) = (sequential.encode(picture), progressive.encode(picture));
        for side in [224, 25] {
            for (draft, order) in [(false, Channels::Rgb), (false, Channels::Gray), (true, Channels::Rgb)] {
                let mut settings = Settings { draft, ..settings(side, side) };
                settings.pack.order = order;
                let (one, many) = (prepare(&one, &settings), prepare(&many, &settings));
                assert!(one.is_ok() && one == many, "{side}, draft {draft}, {sequential:?}");
            }
        }
    }
}

#[test]
fn progressive_scans_may_split_components_and_bands_in_any_way() {
    let scan = |components, first, last, refines, low| Scan { components, first, last, refines, low };
    for sampling in [[(2, 2), (1, 1), (1, 1)], [(2, 1), (1, 2), (1, 1)]] {
        for (width, height) in [(331, 255), (320, 256)] {
            let sequential = Jpeg { restart: 3, ..Jpeg::new(width, height, &sampling) };
            let one = prepare(&sequential.encode(picture), &settings(99, 77));
            assert!(one.is_ok());
            // 63 bands of luma, and at most 100 scans in total.
            let mut scans = vec![scan(0..1, 0, 0, false, 2), scan(1..3, 0, 0, false, 0)];
            scans.extend((1..64).map(|index| scan(0..1, index, index, false, 0)));
            scans.extend([scan(0..1, 0, 0, true, 1), scan(1..2, 1, 63, false, 0), scan(2..3, 1, 63, false, 0)]);
            scans.push(scan(0..1, 0, 0, true, 0));
            let many = Jpeg { scans: scans.clone(), ..sequential.clone() };
            assert!(one == prepare(&many.encode(picture), &settings(99, 77)), "{width} x {height}, {sampling:?}");
            // 63 more bands of blue exceed the limit of 100 scans, so the image is rejected.
            let blue = scans.iter().position(|scan| scan.components == (1..2)).expect("a scan of it");
            scans.splice(blue..=blue, (1..64).map(|index| scan(1..2, index, index, false, 0)));
            let refused = prepare(&Jpeg { scans, ..sequential }.encode(picture), &settings(99, 77));
            assert!(matches!(&refused, Err(Rejected::Broken(text)) if text.contains("scans")), "{refused:?}");
        }
    }
}

#[test]
fn an_rgb_jpeg_without_a_colour_transform_keeps_its_colours() {
    for adobe in [0, 1] {
        let jpeg = Jpeg { adobe: Some(adobe), ..Jpeg::new(300, 250, &[(1, 1); 3]) };
        let body = jpeg.encode(|component, x, y| if component == 0 { 200.0 } else { picture(0, x, y) });
        let (mean, most) = difference(&body, &settings(100, 100));
        assert!(mean < 0.5 && (adobe == 1 || most < 3.0), "transform {adobe}: {mean:.3} {most:.2}");
        let red = bytes(prepare(&body, &settings(100, 100)).expect("an image").0)[0];
        assert_eq!(adobe == 0, red.abs_diff(200) < 2, "transform {adobe}: {red}");
    }
}

/// The image with an additional segment before all others.
fn with_segment(image: &[u8], marker: u8, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u16 + 2).to_be_bytes();
    [&image[..2], &[0xFF, marker], &length, content, &image[2..]].concat()
}

/// An EXIF block with this orientation: one entry of a big-endian TIFF header, as in `images`.
fn exif(orientation: u8) -> Vec<u8> {
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
fn the_outcome_of_broken_data_does_not_depend_on_the_target_size() {
    let whole = Jpeg { restart: 5, ..Jpeg::new(640, 480, &[(2, 2), (1, 1), (1, 1)]) }.encode(picture);
    let half = &whole[..whole.len() / 2];
    // A marker that is invalid in a scan, and a missing marker.
    let mut marker = whole.clone();
    let at = marker.windows(2).rposition(|pair| pair == [0xFF, 0xD3]).expect("a restart marker");
    marker[at + 1] = 0xC4;
    let mut missing = whole.clone();
    missing.drain(at..at + 2);
    let progressive = Jpeg::new(640, 480, &[(2, 2), (1, 1), (1, 1)]).progressive().encode(picture);
    let scans: Vec<_> = (0..progressive.len() - 1).filter(|&at| progressive[at..at + 2] == [0xFF, 0xDA]).collect();
    // The last scan adds one bit to each DC coefficient. The scan before it adds one bit to coefficients of an earlier
    // scan.
    let without = |scan: usize| [&progressive[..scans[scan]], &progressive[scans[scan + 1]..]].concat();
    let last = scans.len() - 1;
    for (what, body, is_broken) in [
        ("half", half, Some(true)),
        ("marker", &marker, None),
        ("missing", &missing, Some(false)),
        ("half a progressive image", &progressive[..progressive.len() / 2], Some(true)),
        ("a missing bit", &without(last - 4), None),
        ("no DC coefficients", &without(0), None),
    ] {
        let full = prepare(body, &settings(640, 480));
        if let Some(is_broken) = is_broken {
            assert_eq!(full.is_err(), is_broken, "{what}");
        }
        for (width, height) in [(64, 64), (320, 240), (900, 700)] {
            let scaled = prepare(body, &settings(width, height));
            match (&full, scaled) {
                (Ok((full, _)), Ok((scaled, _))) => {
                    let image = RgbImage::from_raw(640, 480, bytes(full.clone())).expect("its size");
                    let expected = resized(&image, width, height);
                    let scaled = bytes(scaled);
                    let each = scaled.iter().zip(&expected).map(|(&ours, expected)| (f64::from(ours) - expected).abs());
                    let mean = each.sum::<f64>() / expected.len() as f64;
                    assert!(mean < 0.6, "{what} to {width}×{height}: {mean}");
                }
                (Err(Rejected::Broken(_)), Err(Rejected::Broken(_))) => {}
                (full, scaled) => panic!("{what} to {width}×{height}: {} and {}", full.is_ok(), scaled.is_ok()),
            }
        }
    }
}

#[test]
fn broken_headers_are_rejected_for_every_target_size() {
    let whole = Jpeg::new(320, 240, &[(2, 2), (1, 1), (1, 1)]).encode(picture);
    let mut ids = whole.clone();
    let frame = ids.windows(2).position(|pair| pair == [0xFF, 0xC0]).expect("a frame");
    let scan = ids.windows(2).position(|pair| pair == [0xFF, 0xDA]).expect("a scan");
    (ids[frame + 16], ids[scan + 9]) = (ids[frame + 13], ids[scan + 7]);
    let interval = with_segment(&whole, 0xDD, &[0, 0, 0]);
    for (what, body) in [("restart interval", interval), ("identifiers", ids)] {
        for side in [64, 1_000] {
            let ours = prepare(&body, &settings(side, side));
            assert!(matches!(ours, Err(Rejected::Broken(_))), "{what}, {side}");
        }
    }
    // libjpeg takes an unknown transform for YCbCr, and ignores metadata that it does not know.
    let expected = prepare(&whole, &settings(64, 64)).expect("an image").0;
    for body in [
        with_segment(&whole, 0xEE, b"Adobe\0\x64\0\0\0\0\x03"),
        with_segment(&whole, 0xE1, b"http://ns.adobe.com/xmp/extension/\0short"),
    ] {
        assert_eq!(prepare(&body, &settings(64, 64)).expect("an image").0, expected);
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
        settings.pack.bytes = draft;
        for body in &bodies {
            assert!(prepare(body, &settings) == prepare_scalar(body, &settings), "{} bytes", body.len());
        }
    }
}

/// The size to which an image is resized before a crop, and the position of the crop, from the context.
fn cropped(size: (u32, u32), shorter: u32, input: (u32, u32), mode: Mode) -> [f64; 4] {
    let mut body = Cursor::new(Vec::new());
    DynamicImage::new_luma8(size.0, size.1).write_to(&mut body, image::ImageFormat::Png).expect("written");
    let mut settings = settings(input.0, input.1);
    settings.target = Target { mode, shorter: Some(shorter), ..settings.target };
    let (_, context) = prepare(body.get_ref(), &settings).expect("an image");
    let (width, height) = (f64::from(context.width), f64::from(context.height));
    [(context.scale_x * width).round(), (context.scale_y * height).round(), -context.offset_x, -context.offset_y]
}

#[test]
fn a_crop_is_that_of_torchvision_unless_the_nearest_pixel_is_configured() {
    // Computed by `_compute_resized_output_size` and `center_crop` of torchvision 0.29.2: `Resize(shorter)`, then
    // `CenterCrop(input)`. The second row of numbers is rounded to the nearest pixel instead.
    for (size, shorter, input, torchvision, nearest) in [
        ((640, 480), 256, (224, 224), [341, 256, 58, 16], [341, 256, 58, 16]),
        ((451, 300), 256, (224, 224), [384, 256, 80, 16], [385, 256, 80, 16]),
        ((300, 451), 256, (224, 224), [256, 384, 16, 80], [256, 385, 16, 80]),
        ((1000, 667), 232, (224, 224), [347, 232, 62, 4], [348, 232, 62, 4]),
        ((641, 480), 235, (224, 224), [313, 235, 44, 6], [314, 235, 45, 5]),
        ((321, 240), 257, (224, 224), [343, 257, 60, 16], [344, 257, 60, 16]),
        ((1920, 1080), 256, (224, 224), [455, 256, 116, 16], [455, 256, 115, 16]),
        ((97, 161), 227, (224, 224), [227, 376, 2, 76], [227, 377, 1, 76]),
        ((480, 641), 72, (56, 64), [72, 96, 8, 16], [72, 96, 8, 16]),
        ((3, 2), 5, (4, 4), [7, 5, 2, 0], [8, 5, 2, 0]),
        ((224, 224), 224, (224, 224), [224, 224, 0, 0], [224, 224, 0, 0]),
    ] {
        let number = |values: [i32; 4]| values.map(f64::from);
        assert_eq!(cropped(size, shorter, input, Mode::Crop), number(torchvision), "{size:?}");
        assert_eq!(cropped(size, shorter, input, Mode::CropNearest), number(nearest), "{size:?}");
    }
}

#[test]
fn a_crop_of_a_turned_image_is_that_of_the_upright_image() {
    use image::ImageEncoder as _;

    // The rounded start lies on the other side of the centre if an image is mirrored after the crop.
    let image = RgbImage::from_fn(451, 300, |x, y| image::Rgb([(x % 251) as u8, (y % 241) as u8, (x * y % 239) as u8]));
    let mut upright = Cursor::new(Vec::new());
    image.write_to(&mut upright, image::ImageFormat::Png).expect("written");
    for orientation in 1..=8_u8 {
        let turned = Orientation::from_exif(orientation).expect("valid");
        let mut stored = DynamicImage::from(image.clone());
        // The inverse: only the quarter turns are not their own.
        stored.apply_orientation(match turned {
            Orientation::Rotate90 => Orientation::Rotate270,
            Orientation::Rotate270 => Orientation::Rotate90,
            other => other,
        });
        let mut body = Cursor::new(Vec::new());
        let mut encoder = image::codecs::png::PngEncoder::new(&mut body);
        let block = exif(orientation);
        encoder.set_exif_metadata(block[6..].to_vec()).expect("PNG has EXIF");
        stored.write_with_encoder(encoder).expect("written");
        for (mode, shorter) in [(Mode::Crop, 235), (Mode::CropNearest, 235), (Mode::Crop, 227)] {
            let mut settings = settings(224, 201);
            settings.target = Target { mode, shorter: Some(shorter), ..settings.target };
            let (ours, context) = prepare(body.get_ref(), &settings).expect("an image");
            let (expected, expected_context) = prepare(upright.get_ref(), &settings).expect("an image");
            assert_eq!(context, expected_context, "orientation {orientation}");
            let most = bytes(ours).iter().zip(bytes(expected)).map(|(a, b)| a.abs_diff(b)).max();
            assert!(most <= Some(1), "orientation {orientation}: {most:?}");
        }
    }
}
