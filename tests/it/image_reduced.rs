//! JPEGs that are reduced. The result is that of a full decode and an exact resize, also at edges of saturated colours:
//! there, colours outside of RGB must be clamped before they are averaged.

use image::RgbImage;
use image_core::{Mode, prepare, prepare_scalar};
use plimsoll_tests::jpeg::Jpeg;

use crate::preprocess::{bytes, picture, resized, settings};

const SIZE: (u32, u32) = (1024, 768);

/// Cells of five pixels in black, white and the six saturated colours, as in coloured text. Luma and chroma by JFIF.
fn saturated(component: usize, x: f64, y: f64) -> f64 {
    let cell = (x / 5.0).floor() * 12.9898 + (y / 5.0).floor() * 78.233;
    let colour = ((cell.sin() * 43_758.545).fract().abs() * 8.0) as u8;
    let [r, g, b] = [0, 1, 2].map(|bit| f64::from(colour >> bit & 1) * 255.0);
    match component {
        0 => 0.299 * r + 0.587 * g + 0.114 * b,
        1 => 128.0 - 0.168_736 * r - 0.331_264 * g + 0.5 * b,
        _ => 128.0 + 0.5 * r - 0.418_688 * g - 0.081_312 * b,
    }
}

/// Luma and chroma that have nothing to do with each other, from pixel to pixel. A third of the area is smooth. Most colours
/// are far outside of RGB.
fn wild(component: usize, x: f64, y: f64) -> f64 {
    let scale = if (x / 48.0).sin() + (y / 36.0).cos() > 0.4 { 0.02 } else { 1.0 };
    let (x, y) = ((x * scale).floor(), (y * scale).floor());
    ((x * 12.9898 + y * 78.233 + component as f64 * 37.719).sin() * 43_758.545).fract().abs() * 255.0
}

/// Colours close to the limits of RGB, which are exceeded by little and in small parts of the image.
fn marginal(component: usize, x: f64, y: f64) -> f64 {
    match component {
        0 => 128.0 + 126.0 * (x / 31.0).sin() * (y / 23.0).cos(),
        1 => 128.0 + 9.0 * (x / 11.0 - y / 17.0).sin(),
        _ => 128.0 + 7.0 * (x / 19.0 + y / 13.0).cos(),
    }
}

type Picture = fn(usize, f64, f64) -> f64;
const PICTURES: [(&str, Picture); 4] =
    [("smooth", picture), ("saturated cells", saturated), ("wild", wild), ("marginal", marginal)];
const SAMPLINGS: [(usize, usize); 6] = [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1), (3, 1)];

/// The mean and the largest difference between a reduced JPEG and its full decode, which is resized exactly.
pub(crate) fn compare(body: &[u8], whole: &RgbImage, (width, height): (u32, u32)) -> (f64, f64) {
    let ours = bytes(prepare(body, &settings(width, height)).expect("an image").0);
    let expected = resized(whole, width, height);
    let each = ours.iter().zip(&expected).map(|(&ours, expected)| (f64::from(ours) - expected).abs());
    (each.clone().sum::<f64>() / expected.len() as f64, each.fold(0.0, f64::max))
}

/// The pixels of the whole image.
fn decode(body: &[u8], (width, height): (u32, u32)) -> RgbImage {
    let whole = bytes(prepare(body, &settings(width, height)).expect("an image").0);
    RgbImage::from_raw(width, height, whole).expect("its size")
}

#[test]
fn reduced_jpegs_are_those_of_a_full_decode() {
    let mut wrong = Vec::new();
    for (name, sample) in PICTURES {
        for luma in SAMPLINGS {
            for (width, height) in [SIZE, (333, 257)] {
                let jpeg = Jpeg::new(width as usize, height as usize, &[luma, (1, 1), (1, 1)]);
                let body = jpeg.encode(sample);
                let whole = decode(&body, (width, height));
                for reduction in [1.0_f64, 3.0, 4.0, 4.1, 6.5, 12.0, 40.0, 300.0] {
                    let side = |side: u32| (f64::from(side) / reduction.sqrt()) as u32;
                    let (mean, most) = compare(&body, &whole, (side(width), side(height)));
                    let what = format!("{name}, luma {luma:?}, {width} x {height}, {reduction} pixels to one");
                    println!("{what}: mean {mean:.3}, largest {most:.1}");
                    // Rounding alone makes a mean of 0.25 and a largest difference of 0.5.
                    if mean > 0.35 || most > 1.25 {
                        wrong.push(format!("{what}: mean {mean:.3}, largest {most:.2}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_two_directions_may_be_reduced_differently() {
    for (name, sample) in PICTURES {
        let body = Jpeg::new(SIZE.0 as usize, SIZE.1 as usize, &[(2, 2), (1, 1), (1, 1)]).progressive().encode(sample);
        let whole = decode(&body, SIZE);
        for target in [(512, 7), (3, 384), (512, 384), (1024, 40), (1, 1), (90, 380)] {
            let (mean, most) = compare(&body, &whole, target);
            println!("{name}, {target:?}: mean {mean:.3}, largest {most:.1}");
            assert!(mean <= 0.5 && most <= 1.25, "{name}, {target:?}: {mean}, {most}");
        }
    }
}

#[test]
fn the_centre_of_a_reduced_jpeg_is_that_of_the_whole_one() {
    for (name, sample) in PICTURES {
        let body = Jpeg::new(SIZE.0 as usize, SIZE.1 as usize, &[(2, 2), (1, 1), (1, 1)]).encode(sample);
        let whole = bytes(prepare(&body, &settings(256, 192)).expect("an image").0);
        let mut crop = settings(100, 60);
        crop.target.mode = Mode::Crop;
        crop.target.shorter = Some(192);
        let ours = bytes(prepare(&body, &crop).expect("an image").0);
        let rows = whole.chunks_exact(3 * 256).skip((192 - 60) / 2).take(60);
        let expected: Vec<u8> = rows.flat_map(|row| row[3 * 78..3 * 178].to_vec()).collect();
        assert!(ours == expected, "{name}");
    }
}

#[test]
fn vectors_and_scalars_give_the_same_reduced_jpegs() {
    for (name, sample) in PICTURES {
        for luma in SAMPLINGS {
            let body = Jpeg::new(339, 271, &[luma, (1, 1), (1, 1)]).encode(sample);
            for side in [150, 60, 9] {
                let settings = settings(side, side);
                assert!(prepare(&body, &settings) == prepare_scalar(&body, &settings), "{name}, {luma:?}, {side}");
            }
        }
    }
}
