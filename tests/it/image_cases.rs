//! Images that once gave wrong pixels or failed (`../shared/cases`): each gives the right pixels at smaller, equal and larger
//! targets, or is rejected with the true reason.

use image_core::{Elements, Rejected, prepare};
use plimsoll_tests::shared;

use crate::preprocess::{resized, settings};

/// What the rejection of a file must say, if the plugin may reject it.
fn allowed_rejection(name: &str) -> Option<&'static str> {
    match name {
        "jpeg_arithmetic.jpg" => Some("arithmetic"),
        "jpeg_lossless.jpg" => Some("lossless"),
        _ => None,
    }
}

#[test]
fn every_image_of_the_cases_has_the_right_pixels_at_every_size() {
    let Some(cases) = shared("cases") else { return };
    let index = std::fs::read_to_string(cases.join("INDEX.tsv")).expect("an index");
    let (mut count, mut wrong) = (0, Vec::new());
    for name in index.lines().skip(1).filter_map(|line| line.split('\t').next()) {
        let right = cases.join(format!("{name}.right.png"));
        if !right.is_file() {
            continue;
        }
        count += 1;
        let right = image::open(right).expect("an image").to_rgb8();
        let (width, height) = right.dimensions();
        let body = std::fs::read(cases.join(name)).expect("present");
        for (to_width, to_height) in [
            (width, height),
            ((width / 3).max(1), (height / 3).max(1)),
            (2 * width + 1, 2 * height + 3),
            (width, 2 * height),
        ] {
            let found = match prepare(&body, &settings(to_width, to_height)) {
                Ok((Elements::U8(found), _)) => found,
                Ok(_) => panic!("the settings require bytes"),
                Err(Rejected::Unknown(reason) | Rejected::Broken(reason) | Rejected::TooLarge(reason)) => {
                    match allowed_rejection(name) {
                        Some(word) => assert!(reason.contains(word), "{name}: {reason}"),
                        None => wrong.push(format!("{name} to {to_width}×{to_height}: {reason}")),
                    }
                    continue;
                }
            };
            let expected = resized(&right, to_width, to_height);
            let each = found.iter().zip(&expected).map(|(&found, expected)| (f64::from(found) - expected).abs());
            let (mean, most) = (each.clone().sum::<f64>() / expected.len() as f64, each.fold(0.0, f64::max));
            if mean > 0.5 || most > 4.5 {
                wrong.push(format!("{name} to {to_width}×{to_height}: mean {mean:.3}, maximum {most:.1}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 17, "{count}");
}
