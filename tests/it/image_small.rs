//! JPEGs of a few pixels: chroma has one or two samples in a row or a column, and libjpeg repeats them or filters them by
//! other rules than in large images. The pixels are those of `djpeg`, and a resized image is that of a full decode.

use std::path::Path;

use image::RgbImage;
use plimsoll_tests::TempDir;
use plimsoll_tests::jpeg::Jpeg;

use crate::image_damage::{decoded, parse_pnm, run, tools_exist};
use crate::image_reduced::compare;

/// Sides below, at and above those of a block and of an MCU.
const SIDES: [usize; 11] = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17];
const LUMA: [(usize, usize); 5] = [(2, 2), (2, 1), (1, 2), (4, 1), (1, 1)];

/// Luma and chroma that change from pixel to pixel. Some colours are outside of RGB.
fn sample(component: usize, x: f64, y: f64) -> f64 {
    128.0 + [90.0, 70.0, 60.0][component] * (x * 1.9 + y * 1.3 + component as f64).sin()
}

/// The pixels by `djpeg`.
fn reference(body: &[u8], path: &Path) -> RgbImage {
    std::fs::write(path, body).expect("written");
    let pnm = run("djpeg", &["-dct", "int", "-pnm"], path).expect("decoded");
    let (width, height, pixels) = parse_pnm(&pnm);
    RgbImage::from_raw(width, height, pixels).expect("its size")
}

#[test]
fn small_jpegs_have_the_pixels_of_djpeg_at_every_size() {
    if !tools_exist() {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("small.jpeg");
    let (mut files, mut wrong) = (0, Vec::new());
    for luma in LUMA {
        for (width, height) in SIDES.iter().flat_map(|&width| SIDES.map(|height| (width, height))) {
            let baseline = Jpeg::new(width, height, &[luma, (1, 1), (1, 1)]);
            for (kind, jpeg) in [("baseline", baseline.clone()), ("progressive", baseline.progressive())] {
                // Each second file is progressive, because `djpeg` has to start for each.
                if (width + height) % 2 != usize::from(kind == "progressive") {
                    continue;
                }
                files += 1;
                let body = jpeg.encode(sample);
                let right = reference(&body, &path);
                let what = format!("{kind}, luma {luma:?}, {width} x {height}");
                let (wide, high) = right.dimensions();
                match decoded(&body, wide, high) {
                    Ok((ours, _)) if ours == *right.as_raw() => {}
                    Ok((ours, _)) => wrong.push(format!("{what}: {ours:?} instead of {:?}", right.as_raw())),
                    Err(reason) => wrong.push(format!("{what}: {reason}")),
                }
                for target in [(1, 1), (wide.div_ceil(4), high.div_ceil(4)), (wide.div_ceil(2), high), (23, 19)] {
                    let (mean, most) = compare(&body, &right, target);
                    // Rounding alone makes a largest difference of 0.5.
                    if most > 1.25 {
                        wrong.push(format!("{what}, to {target:?}: mean {mean:.3}, largest {most:.2}"));
                    }
                }
            }
        }
    }
    println!("{files} files at 5 sizes");
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong[..wrong.len().min(30)].join("\n"));
}
