//! The place of a crop in the image, from the context that `image-core` returns.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};
use image_core::{Mode, Target, prepare};

use crate::preprocess::{bytes, exif, settings};

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
fn a_crop_matches_torchvision_unless_the_nearest_pixel_is_configured() {
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
