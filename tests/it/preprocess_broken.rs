//! Broken images, whose outcome does not depend on the size of the result.

use image::RgbImage;
use image_core::{Rejected, prepare};
use plimsoll_tests::jpeg::Jpeg;

use crate::preprocess::{bytes, picture, resized, settings, with_segment};

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
    // libjpeg treats an unknown transform as YCbCr, and ignores metadata that it does not know.
    let expected = prepare(&whole, &settings(64, 64)).expect("an image").0;
    for body in [
        with_segment(&whole, 0xEE, b"Adobe\0\x64\0\0\0\0\x03"),
        with_segment(&whole, 0xE1, b"http://ns.adobe.com/xmp/extension/\0short"),
    ] {
        assert_eq!(prepare(&body, &settings(64, 64)).expect("an image").0, expected);
    }
}
