//! The picture that `image-preprocess` hands on: its pixels, and the tensor that is made of it.

use std::io::Cursor;

use image_core::{Limits, Mode, Picture, prepare};
use plimsoll_tests::Server;
use plimsoll_tests::jpeg::Jpeg;
use serde_json::json;

use crate::image_server::with_configurations;
use crate::preprocess::{bytes, corpus, decoded, exif, picture, settings, with_segment};

const LIMITS: Limits = Limits { max_pixels: 25_000_000, max_bytes: 192 << 20 };

/// An encoded picture, stored with an orientation.
fn turned(orientation: u8) -> Vec<u8> {
    let plain = Jpeg::new(90, 70, &[(2, 2), (1, 1), (1, 1)]).encode(picture);
    with_segment(&plain, 0xE1, &exif(orientation))
}

#[test]
fn the_picture_has_the_pixels_of_the_decoded_image() {
    for orientation in 1..=8 {
        let body = turned(orientation);
        let expected = decoded(&body).expect("an image");
        let ours = Picture::decode(&body, LIMITS).expect("an image");
        assert_eq!((ours.width, ours.height), expected.dimensions(), "{orientation}");
        let most = ours.rgb.iter().zip(expected.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
        // `image` enlarges chroma differently.
        assert!(most <= Some(12), "{orientation}: {most:?}");
        // Without loss it is the same.
        let mut png = Cursor::new(Vec::new());
        expected.write_to(&mut png, image::ImageFormat::Png).expect("written");
        assert_eq!(Picture::decode(png.get_ref(), LIMITS).expect("an image").rgb, *expected.as_raw());
    }
}

#[test]
fn a_tensor_of_the_picture_differs_by_rounding_only() {
    let mut bodies: Vec<_> =
        (1..=8).map(|orientation| (format!("{orientation}").into(), turned(orientation))).collect();
    bodies.extend(corpus("valid").unwrap_or_default());
    let mut compared = 0;
    for (file, body) in bodies {
        for mode in [Mode::Stretch, Mode::Letterbox, Mode::Crop] {
            let mut settings = settings(64, 48);
            settings.target.mode = mode;
            let Ok((direct, context)) = prepare(&body, &settings) else { continue };
            let (ours, same) = Picture::decode(&body, LIMITS).expect("an image").prepare(&settings);
            assert_eq!(context, same, "{}", file.display());
            let (direct, ours) = (bytes(direct), bytes(ours));
            let sum: u64 = direct.iter().zip(&ours).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
            assert!(sum as f64 / direct.len() as f64 <= 0.5, "{}: {sum}", file.display());
            compared += 1;
        }
    }
    assert!(compared >= 24, "{compared}");
}

#[test]
fn a_reduced_picture_keeps_its_aspect_ratio() {
    let whole = || Picture::decode(&turned(6), LIMITS).expect("an image");
    assert_eq!((whole().width, whole().height), (70, 90));
    let reduced = whole().reduced(45);
    assert_eq!((reduced.width, reduced.height, reduced.rgb.len()), (35, 45, 3 * 35 * 45));
    let direct = bytes(whole().prepare(&settings(35, 45)).0);
    assert_eq!(reduced.rgb, direct);
    assert_eq!(whole().reduced(90).rgb, whole().rgb);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_picture_is_handed_on_beside_the_input_of_the_model() {
    let keys = "width = 32, height = 32, channels = \"gray\"";
    let both = format!("{keys}, picture = true");
    let small = format!("{keys}, picture = true, max_picture_side = 45");
    let server = with_configurations(&[keys, &both, &small]).await;
    let body = turned(6);
    let tensors = async |at: usize| {
        let reply = server.infer(&format!("t{at}"), "", body.clone()).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json()["tensors"].clone()
    };
    let image = json!({ "name": "image", "shape": [1, 1, 32, 32], "bytes": 4096 });
    let picture = |height: u32, width: u32| json!({ "name": "picture", "shape": [1, height, width, 3], "bytes": 3 * width * height });
    assert_eq!(tensors(0).await, json!([image]));
    assert_eq!(tensors(1).await, json!([image, picture(90, 70)]));
    assert_eq!(tensors(2).await, json!([image, picture(45, 35)]));
    // It counts in the bytes that the host holds for the stage.
    let report = server.get("/v1/memory").await.json();
    let host = |pipeline: &str| {
        let mut rows = report["stages"].as_array().expect("rows").iter();
        let row = rows.find(|row| row["pipeline"] == pipeline && row["stage"] == "preprocess").expect("a row");
        row["host_max"].as_u64().expect("a number")
    };
    assert!((4096..3 * 90 * 70).contains(&host("t0")), "{report}");
    assert!(host("t1") >= 4096 + 3 * 90 * 70, "{report}");
    for (config, words) in [
        ("draft = true, picture = true", "`draft` cannot be used with `picture = true`"),
        ("max_picture_side = 9", "`max_picture_side` can only be used with `picture = true`"),
        ("picture = true, input = \"picture\"", "`picture`"),
        (
            "picture = true, max_decoded_bytes = 1000000",
            "`max_decoded_bytes`: a picture of `max_pixels` (25000000) needs",
        ),
    ] {
        let stage = format!("config = {{ {keys}, {config} }}");
        let text = plimsoll_tests::guests_config("tester", "");
        let text = format!(
            "{text}[pipelines.t.preprocess]\nplugin = \"image-preprocess\"\n{stage}\n[pipelines.t.chips.echo]\nplugin = \
             \"echo-infer\"\n[pipelines.t.postprocess]\nplugin = \"echo-postprocess\"\n"
        );
        let message = Server::rejection(&text).await;
        assert!(message.contains(words), "{config}: {message}");
    }
}
