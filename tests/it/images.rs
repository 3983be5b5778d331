//! `image-preprocess`: the output of each configuration for known pixels.

use plimsoll_tests::{Server, data};
use serde_json::{Value, json};

use crate::image_server::with_configurations;

/// A 24-bit BMP of the given pixels (R, G, B), top row first.
fn bmp(width: usize, pixels: &[[u8; 3]]) -> Vec<u8> {
    let height = pixels.len() / width;
    let row = (width * 3).next_multiple_of(4);
    let mut file = b"BM".to_vec();
    for number in [54 + row * height, 0, 54, 40, width, height] {
        file.extend((number as u32).to_le_bytes());
    }
    file.extend([1, 0, 24, 0]);
    file.resize(54, 0);
    for line in pixels.chunks(width).rev() {
        file.extend(line.iter().flat_map(|[r, g, b]| [*b, *g, *r]));
        file.resize(file.len() + row - line.len() * 3, 0);
    }
    file
}

/// The elements of the tensor and the context that preprocessing in a pipeline returns for a body.
async fn prepared(server: &Server, pipeline: &str, body: &[u8]) -> Value {
    let reply = server.infer(pipeline, "?post=data", body.to_vec()).await;
    assert_eq!(reply.status, 200, "{pipeline}: {}", reply.text);
    reply.json()
}

/// What preprocessing with each configuration returns for a body.
async fn prepared_with<const N: usize>(configurations: [&str; N], body: &[u8]) -> [Value; N] {
    let server = with_configurations(&configurations).await;
    let mut all = [const { Value::Null }; N];
    for (index, found) in all.iter_mut().enumerate() {
        *found = prepared(&server, &format!("t{index}"), body).await;
    }
    all
}

const RED: [u8; 3] = [200, 10, 30];
const BLUE: [u8; 3] = [5, 60, 250];

#[tokio::test(flavor = "multi_thread")]
async fn layout_channels_and_value_range_follow_the_configuration() {
    let image = bmp(2, &[RED, BLUE]);
    let cases = [
        ("dtype = \"u8\"", json!([200, 5, 10, 60, 30, 250])),
        ("dtype = \"u8\", layout = \"nhwc\"", json!([200, 10, 30, 5, 60, 250])),
        ("dtype = \"u8\", layout = \"nhwc\", channels = \"bgr\"", json!([30, 10, 200, 250, 60, 5])),
        ("dtype = \"u8\", invert = true", json!([55, 250, 245, 195, 225, 5])),
        ("mean = [100, 10, 50], scale = 0.5", json!([50.0, -47.5, 0.0, 25.0, -10.0, 100.0])),
        ("dtype = \"u8\", channels = \"gray\"", Value::Null),
    ];
    let configurations = cases.each_ref().map(|(config, _)| format!("width = 2, height = 1, {config}"));
    let [found @ .., gray] = prepared_with(configurations.each_ref().map(String::as_str), &image).await;
    for ((config, expected), found) in cases.iter().zip(&found) {
        assert_eq!(&found["data"][0], expected, "{config}");
    }
    // The luma of red lies between the values by ITU-R BT.601 and BT.709.
    let red = gray["data"][0][0].as_u64().expect("a number");
    assert!((50..=70).contains(&red), "{gray}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stretch_letterbox_and_crop_place_the_image() {
    let wide = bmp(4, &[RED, RED, BLUE, BLUE, RED, RED, BLUE, BLUE]);
    let gray = "dtype = \"u8\", channels = \"rgb\", layout = \"nhwc\"";
    let first =
        |value: &Value| value["data"][0].as_array().expect("numbers").iter().step_by(3).cloned().collect::<Vec<_>>();
    let configurations = [
        "width = 4, height = 4, resize = \"letterbox\", pad = 7",
        "width = 2, height = 2, resize = \"crop\"",
        "width = 1, height = 1",
    ]
    .map(|config| format!("{config}, {gray}"));
    let [boxed, cropped, stretched] = prepared_with(configurations.each_ref().map(String::as_str), &wide).await;
    let row = [200, 200, 5, 5].map(Value::from);
    let pad = [7, 7, 7, 7].map(Value::from);
    assert_eq!(first(&boxed), [pad.clone(), row.clone(), row, pad].concat());
    assert_eq!((&boxed["context"]["width"], &boxed["context"]["offset_y"]), (&json!(4), &json!(1.0)), "{boxed}");
    assert_eq!(first(&cropped), [200, 5, 200, 5].map(Value::from));
    // Resizing is antialiased: every source pixel counts, so stretching to one pixel gives the mean of the colours.
    let mean = first(&stretched)[0].as_f64().expect("a number");
    assert!((mean - 102.5).abs() <= 1.0, "{mean}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exif_orientation_is_applied_and_the_pixel_limit_is_checked_before_decoding() {
    let config = "width = 8, height = 8, dtype = \"u8\", channels = \"gray\"";
    let plain = std::fs::read(data("digits/3.jpg")).expect("present");
    // APP1 with a big-endian TIFF header and one entry: tag 0x0112 (orientation), SHORT, count 1, value 6
    // (Exif 2.32, 4.6.4): the picture must be rotated by 90 degrees clockwise.
    let tiff = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let mut turned = plain[..2].to_vec();
    turned.extend([0xff, 0xe1]);
    turned.extend(((tiff.len() + 2) as u16).to_be_bytes());
    turned.extend(tiff);
    turned.extend(&plain[2..]);
    let numbers = |value: &Value| -> Vec<f64> {
        value["data"][0].as_array().expect("numbers").iter().map(|number| number.as_f64().expect("a number")).collect()
    };
    let server = with_configurations(&[config, &format!("{config}, max_pixels = 4095")]).await;
    let (plain_pixels, turned_pixels) =
        (numbers(&prepared(&server, "t0", &plain).await), numbers(&prepared(&server, "t0", &turned).await));
    let expected = |row: usize, column: usize| plain_pixels[(7 - column) * 8 + row];
    for row in 0..8 {
        for column in 0..8 {
            let difference = turned_pixels[row * 8 + column] - expected(row, column);
            assert!(difference.abs() <= 2.0, "row {row}, column {column}: {difference}");
        }
    }
    assert_ne!(
        plain_pixels, turned_pixels,
        "the picture must not look the same after the rotation, or this test proves nothing"
    );

    let reply = server.infer("t1", "", plain).await;
    assert_eq!((reply.status, reply.code().as_str()), (413, "too_large"), "{}", reply.text);
    assert!(reply.text.contains("4096") && reply.text.contains("4095"), "{}", reply.text);
}

/// Readers do not agree on a BMP whose pixels start inside its palette: it is refused, not read somewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_bmp_whose_pixels_start_inside_its_palette_is_refused() {
    let file = |offset: u32, used: u32| {
        let mut file = b"BM".to_vec();
        for number in [54 + 1024 + 16, 0, offset, 40, 4, 4] {
            file.extend(number.to_le_bytes());
        }
        file.extend([1, 0, 8, 0]);
        file.resize(46, 0);
        file.extend(used.to_le_bytes());
        file.resize(54, 0);
        file.extend((0..=255_u8).flat_map(|gray| [gray, gray, gray, 0]));
        file.extend([9; 16]);
        file
    };
    let server = with_configurations(&["width = 4, height = 4, dtype = \"u8\", channels = \"gray\""]).await;
    for right in [file(1078, 0), file(1078, 256), file(1078, 16)] {
        assert_eq!(prepared(&server, "t0", &right).await["data"][0], json!(vec![9; 16]));
    }
    for wrong in [file(0, 0), file(14, 0), file(54, 0), file(54, 16), file(117, 16), file(1077, 256)] {
        let reply = server.infer("t0", "", wrong).await;
        assert_eq!((reply.status, reply.code().as_str()), (422, "invalid_input"), "{}", reply.text);
        assert!(reply.text.contains("inside its header or palette"), "{}", reply.text);
    }
}
