//! JPEGs that the plugin decodes itself: every layout of components, and progressive scans.

use image_core::{Channels, Rejected, Settings, prepare};
use plimsoll_tests::jpeg::{Jpeg, Scan};

use crate::preprocess::{bytes, difference, picture, settings};

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
