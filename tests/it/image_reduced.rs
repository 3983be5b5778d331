//! JPEGs that are strongly reduced. The result is that of a full decode and an exact resize, also at edges of saturated
//! colours: there, colours outside of RGB must be clamped before they are averaged.

use image::RgbImage;
use image_core::prepare;
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

#[test]
fn strongly_reduced_jpegs_are_those_of_a_full_decode() {
    type Picture = fn(usize, f64, f64) -> f64;
    let (width, height) = SIZE;
    for (name, sample) in [("smooth", picture as Picture), ("saturated cells", saturated as Picture)] {
        for luma in [(1, 1), (2, 2)] {
            let body = Jpeg::new(width as usize, height as usize, &[luma, (1, 1), (1, 1)]).encode(sample);
            let whole = bytes(prepare(&body, &settings(width, height)).expect("an image").0);
            let whole = RgbImage::from_raw(width, height, whole).expect("its size");
            for reduction in [6.5_f64, 12.0, 40.0] {
                let side = |side: u32| (f64::from(side) / reduction.sqrt()) as u32;
                let (width, height) = (side(width), side(height));
                let ours = bytes(prepare(&body, &settings(width, height)).expect("an image").0);
                let expected = resized(&whole, width, height);
                let each = ours.iter().zip(&expected).map(|(&ours, expected)| (f64::from(ours) - expected).abs());
                let (mean, most) = (each.clone().sum::<f64>() / expected.len() as f64, each.fold(0.0, f64::max));
                println!("{name}, luma {luma:?}, {reduction} pixels to one: mean {mean:.3}, largest {most:.1}");
                assert!(mean <= 0.5 && most <= 2.0, "{name}, {luma:?}, {reduction}: {mean}, {most}");
            }
        }
    }
}
