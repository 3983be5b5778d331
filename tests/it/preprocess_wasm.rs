//! Compares `image-preprocess` in the host with native `image-core`: the results have the same bits, and the memory
//! stays within limits.

use std::io::Cursor;
use std::time::Duration;

use image_core::{Dtype, Elements, Layout, Rejected, Settings, prepare};
use plimsoll_runtime::cap::Usage;
use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::stage::{Request, RunLog, StageError};
use plimsoll_runtime::tensor::Tensors;
use plimsoll_tests::Server;
use plimsoll_tests::jpeg::Jpeg;

use crate::image_server::{with_configurations, with_stages};
use crate::preprocess::{corpus, settings};

/// Runs the preprocess stage of the pipeline `t{index}` once, like a request does. Returns its result and its memory
/// usage.
async fn run(server: &Server, index: usize, body: &[u8]) -> (Result<(Tensors, Vec<u8>), StageError>, Usage) {
    let pipeline = server.app.pipeline(&format!("t{index}")).expect("configured");
    let request = Request { id: String::new(), content_type: None, parameters: Vec::new() };
    let mut log = RunLog::new(Duration::from_secs(60));
    let result = pipeline.preprocess.run(&mut log, &request, body).await;
    (result, log.reports()[0].usage)
}

#[tokio::test(flavor = "multi_thread")]
async fn wasm_and_native_code_give_the_same_bits_and_the_same_errors() {
    let mut bodies = corpus("valid").unwrap_or_default();
    bodies.extend(corpus("abnormal").unwrap_or_default());
    let layouts = [(2, 2), (2, 1), (1, 2), (4, 1), (1, 1)];
    for (index, luma) in layouts.into_iter().enumerate() {
        let jpeg = Jpeg { restart: index, quantiser: 1 << index, ..Jpeg::new(350, 341, &[luma, (1, 1), (1, 1)]) };
        for jpeg in [jpeg.clone(), jpeg.progressive()] {
            bodies.push((
                format!("{jpeg:?}").into(),
                jpeg.encode(|plane, x, y| 128.0 + 99.0 * (x / 9.0 - y * plane as f64).sin()),
            ));
        }
    }
    let floats = |draft| {
        let mut settings = Settings { draft, ..settings(224, 224) };
        settings.pack.dtype = Dtype::F32;
        settings.pack.layout = Layout::Nchw;
        settings
    };
    let halves = |dtype| {
        let mut settings = floats(false);
        (settings.pack.dtype, settings.pack.mean, settings.pack.scale) = (dtype, [127.0; 3], [0.0078125; 3]);
        settings
    };
    let configurations = [
        ("width = 224, height = 224", floats(false)),
        ("width = 224, height = 224, dtype = \"f16\", mean = 127, scale = 0.0078125", halves(Dtype::F16)),
        ("width = 224, height = 224, dtype = \"bf16\", mean = 127, scale = 0.0078125", halves(Dtype::Bf16)),
        ("width = 224, height = 224, draft = true", floats(true)),
        ("width = 150, height = 400, dtype = \"u8\", layout = \"nhwc\"", settings(150, 400)),
    ];
    let server = with_configurations(&configurations.each_ref().map(|(config, _)| *config)).await;
    for (index, (config, settings)) in configurations.iter().enumerate() {
        for (file, body) in &bodies {
            let (wasm, _) = run(&server, index, body).await;
            match (wasm, prepare(body, settings)) {
                (Ok((tensors, context)), Ok((elements, expected))) => {
                    let bytes = match elements {
                        Elements::F32(floats) => floats.iter().flat_map(|float| float.to_le_bytes()).collect(),
                        Elements::F16(bits) | Elements::Bf16(bits) => {
                            bits.iter().flat_map(|bits| bits.to_le_bytes()).collect()
                        }
                        Elements::U8(bytes) => bytes,
                    };
                    assert!(*tensors[0].1.data == bytes, "{config}: {}", file.display());
                    assert_eq!(context, serde_json::to_vec(&expected).expect("JSON"), "{}", file.display());
                }
                (Err(error), Err(rejected)) => {
                    let (outcome, text) = match rejected {
                        Rejected::Unknown(text) => (Outcome::UnsupportedMediaType, text),
                        Rejected::Broken(text) => (Outcome::InvalidInput, text),
                        Rejected::TooLarge(text) => (Outcome::TooLarge, text),
                    };
                    assert_eq!((error.outcome, error.public), (outcome, text), "{}", file.display());
                }
                (wasm, native) => {
                    panic!("{}: wasm {:?}, native {:?}", file.display(), wasm.err(), native.err());
                }
            }
        }
    }
}

/// A picture with smooth colours and detail. Like an ordinary photo, it takes about 1.5 bits per pixel.
fn photo(component: usize, x: f64, y: f64) -> f64 {
    let grain = ((x * 12.9898 + y * 78.233).sin() * 43_758.545).fract() * 12.0;
    let detail = if component == 0 { grain + 14.0 * (x / 3.1).sin() * (y / 2.3).cos() } else { 0.0 };
    128.0 + detail + 60.0 * ((x + y * (component as f64 - 1.0)) / 50.0).sin()
}

const HALVED: [(usize, usize); 3] = [(2, 2), (1, 1), (1, 1)];

#[tokio::test(flavor = "multi_thread")]
async fn twelve_megapixels_of_baseline_jpeg_need_less_than_8_mib() {
    let body = Jpeg { quantiser: 26, ..Jpeg::new(4000, 3000, &HALVED) }.encode(photo);
    println!("{} bytes", body.len());
    assert!((1_500_000..3_000_000).contains(&body.len()), "{} bytes", body.len());
    let configurations = ["", ", draft = true", ", channels = \"gray\"", ", resize = \"crop\""];
    let stage = |config: &str| format!("max_memory = \"8MiB\"\nconfig = {{ width = 224, height = 224{config} }}");
    let server = with_stages(&configurations.map(stage)).await;
    for (index, config) in configurations.into_iter().enumerate() {
        let (result, usage) = run(&server, index, &body).await;
        result.expect("an image");
        println!("4000 x 3000{config}: high-water mark {}", usage.high_water);
        assert!(usage.high_water <= 8 << 20, "{config}: {}", usage.high_water);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn images_that_decode_into_too_much_memory_are_refused_before_the_cap_is_reached() {
    // Memory of the tensor and the instance, which `max_decoded_bytes` does not limit. The body is added separately.
    const OTHER_MEMORY: u64 = 6 << 20;
    let stage = "max_memory = \"112MiB\"\nconfig = { width = 224, height = 224, max_decoded_bytes = 36000000 }";
    const LIMIT: u64 = 36_000_000;
    let server = with_stages(&[stage.into()]).await;
    let encoded = |width: usize, height: usize, format: image::ImageFormat, alpha: bool| {
        let mut file = Cursor::new(Vec::new());
        let image =
            image::RgbaImage::from_fn(width as u32, height as u32, |x, y| image::Rgba([x as u8, y as u8, 7, 99]));
        let image = image::DynamicImage::from(image);
        let image = if alpha { image } else { image.to_rgb8().into() };
        image.write_to(&mut file, format).expect("written");
        file.into_inner()
    };
    let (mut decoded, mut refused) = (0, 0);
    for megapixels in [1, 5, 12] {
        let (width, height) = (1000 * megapixels, 1000);
        let progressive = |sampling: &[(usize, usize)]| Jpeg::new(width, height, sampling).progressive().encode(photo);
        for (what, body) in [
            ("progressive", progressive(&HALVED)),
            ("progressive in full colour", progressive(&[(1, 1); 3])),
            ("progressive gray", progressive(&[(1, 1)])),
            ("WebP", encoded(width, height, image::ImageFormat::WebP, false)),
            ("WebP with alpha", encoded(width, height, image::ImageFormat::WebP, true)),
            ("BMP", encoded(width, height, image::ImageFormat::Bmp, false)),
            ("TIFF", encoded(width, height, image::ImageFormat::Tiff, true)),
        ] {
            let (result, usage) = run(&server, 0, &body).await;
            let text = result.as_ref().err().map(|error| error.public.clone()).unwrap_or_default();
            println!("{megapixels:>2} megapixels, {what}, {} bytes: {} {text}", body.len(), usage.high_water);
            assert!(usage.high_water <= LIMIT + body.len() as u64 + OTHER_MEMORY, "{what}: {}", usage.high_water);
            match result {
                Ok(_) => decoded += 1,
                Err(error) => {
                    assert_eq!(error.outcome, Outcome::TooLarge, "{what}: {text}");
                    assert!(text.contains("36000000"), "{what}: {text}");
                    refused += 1;
                }
            }
        }
    }
    println!("{decoded} decoded, {refused} refused");
    assert!(decoded > 6 && refused > 3, "{decoded} decoded, {refused} refused");
}
