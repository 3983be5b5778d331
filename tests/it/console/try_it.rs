//! The screen `Try it`: an image on all chips, and boxes at the right pixels.

use plimsoll_tests::{Server, TempDir, data};
use serde_json::{Value, json};

use super::faces::Faces;
use super::{check_clean, choose, demo, show};
use crate::browser::Browser;

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_tried_on_all_chips_without_a_token() {
    let server = demo().await;
    let Some(mut browser) = Browser::start() else { return };
    browser.open(&format!("{}/", server.url));
    browser.find("textbox", "Administration token");
    show(&mut browser, "Try it");
    choose(&mut browser, &data("digits/7.jpg"));
    browser.wait_for_text("native, wasm agree");
    for chip in ["native", "wasm"] {
        browser.find("region", &format!("Result on {chip}"));
        browser.find("table", &format!("Stages on {chip}"));
    }
    for text in ["99.99 %", "image-preprocess@", "curl --data-binary @'7.jpg'"] {
        browser.wait_for_text(text);
    }
    assert_eq!(
        browser.eval("document.querySelectorAll('.side .water[role=img]').length"),
        6,
        "a water line for each stage"
    );
    assert_eq!(
        browser.eval("[...document.querySelectorAll('.canvas img')].map((i) => i.naturalWidth > 0)"),
        json!([true, true])
    );
    // One chip, and an image that is none: the problem is shown.
    browser.eval("chip.value = 'wasm'; chip.dispatchEvent(new Event('change'))");
    browser.wait_for_text("200 reply from wasm.");
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("no image.txt");
    std::fs::write(&file, "no image").expect("written");
    choose(&mut browser, &file);
    browser.find("alert", "");
    browser.wait_for_text("415 unsupported_media_type");
    browser.wait_for_text("curl --data-binary @'no image.txt'");
    // A dropped file is sent, too.
    browser.drop_file("button", "Drop, paste or pick an image It is sent to this server only.", &data("digits/3.jpg"));
    browser.wait_for_text("200 reply from wasm.");
    check_clean(&mut browser, &server);
}

#[tokio::test(flavor = "multi_thread")]
async fn boxes_are_drawn_at_the_pixels_of_the_image() {
    let faces = Faces::new("face");
    let server = Server::start(&faces.config()).await;
    let reply = server.infer("faces", "", std::fs::read(&faces.picture).expect("a picture")).await.json();
    assert_eq!(reply["detections"][0]["box"], json!([100.0, 100.0, 300.0, 200.0]), "{reply}");
    let Some(mut browser) = Browser::start() else { return };
    browser.open(&format!("{}/#/try", server.url));
    choose(&mut browser, &faces.picture);
    browser.wait_for_text("2 of 2");
    browser.wait_for_text("face 95.0 %");
    // The corners of the boxes in fractions of the picture, at two sizes of the window.
    for width in [1400, 330] {
        browser.size(width, 900);
        let corners = browser.eval(
            "(() => { const picture = document.querySelector('.canvas img').getBoundingClientRect(); \
             return [...document.querySelectorAll('.boxes rect')].map((box) => { const it = box.getBoundingClientRect(); \
             return [(it.left - picture.left) / picture.width, (it.top - picture.top) / picture.height, \
             (it.right - picture.left) / picture.width, (it.bottom - picture.top) / picture.height]; }); })()",
        );
        for (at, wanted) in [[0.25, 0.5, 0.75, 1.0], [0.0, 0.0, 0.1, 0.2]].into_iter().enumerate() {
            for (corner, wanted) in wanted.into_iter().enumerate() {
                let found = corners[at][corner].as_f64().expect("a number");
                assert!((found - wanted).abs() < 0.01, "box {at}, corner {corner} at {width}: {corners}");
            }
        }
    }
    browser.size(1400, 1000);
    // The colour of the left edge, and that of the picture beside it, in a screenshot.
    browser.eval("document.querySelector('.canvas').scrollIntoView()");
    let place = browser.eval(
        "(({ left, top, width }) => [left, top, width])(document.querySelector('.canvas img').getBoundingClientRect())",
    );
    let picture = image::load_from_memory(&browser.screenshot()).expect("a picture").to_rgb8();
    let at = |x: f64, y: f64| {
        let scale = place[2].as_f64().expect("a number") / 400.0;
        let pixel = |place: &Value, offset: f64| (place.as_f64().expect("a number") + offset * scale).round() as u32;
        picture.get_pixel(pixel(&place[0], x), pixel(&place[1], y)).0
    };
    // The edge is smoothed, so its colour may be mixed with that of the picture.
    let [red, _, blue] = at(100.0, 150.0);
    assert!(red > 150 && blue < 50, "{:?}", at(100.0, 150.0));
    assert_eq!(at(200.0, 150.0), [40, 60, 80], "the inside of the box");
    // Boxes with a lower score are hidden.
    browser.eval("(() => { const slider = document.querySelector('input[type=range]'); slider.value = 0.9; slider.dispatchEvent(new Event('input')); })()");
    browser.wait_for_text("1 of 2");
    assert_eq!(browser.eval("document.querySelectorAll('.boxes rect').length"), 1);
    check_clean(&mut browser, &server);
}

/// The mask of a segment lies over the pixels of its class, in both forms of the reply.
#[tokio::test(flavor = "multi_thread")]
async fn masks_are_drawn_over_the_pixels_of_their_class() {
    let folder = TempDir::new().expect("a folder");
    // Class 1 has the right half of the image.
    let half: Vec<f32> = (0..16).map(|place| if place % 4 < 2 { 0.0 } else { 2.0 }).collect();
    let model = plimsoll_tests::onnx::Onnx::new(13)
        .input("image", &[1, 1, 8, 8].map(Some))
        .floats("zero", &[], &[0.0])
        .floats("s", &[1, 2, 4, 4], &[vec![1.0; 16], half].concat())
        .node("ReduceSum", &["image"], "sum", &[("keepdims", 0)])
        .node("Mul", &["sum", "zero"], "nothing", &[])
        .node("Add", &["nothing", "s"], "scores", &[])
        .output("scores", &[1, 2, 4, 4].map(Some));
    std::fs::write(folder.path().join("halves.onnx"), model.bytes()).expect("written");
    let picture = folder.path().join("picture.png");
    image::RgbImage::from_pixel(400, 200, image::Rgb([0, 0, 0])).save(&picture).expect("written");
    let pipeline = |format: &str| {
        format!(
            "[pipelines.{format}]\nmodel = \"halves\"\n[pipelines.{format}.preprocess]\nplugin = \"image-preprocess\"\n\
             config = {{ width = 8, height = 8, channels = \"gray\" }}\n[pipelines.{format}.chips.native]\n\
             plugin = \"infer-native\"\n[pipelines.{format}.postprocess]\nplugin = \"segment-postprocess\"\n\
             config = {{ format = \"{format}\" }}\n"
        )
    };
    let model = format!("[models.halves]\nfile = {:?}\n", folder.path().join("halves.onnx"));
    let formats = ["rle", "polygons", "png"];
    let server = Server::start(&(model + &formats.map(pipeline).concat())).await;
    let Some(mut browser) = Browser::start() else { return };
    browser.open(&format!("{}/#/try", server.url));
    for format in formats {
        browser.find("combobox", "Pipeline");
        browser.eval(&format!("pipeline.value = '{format}'; pipeline.dispatchEvent(new Event('change'))"));
        choose(&mut browser, &picture);
        browser.wait_for_text(&format!("/v1/pipelines/{format}/infer"));
        let is_loaded = "document.querySelector('.canvas img').naturalWidth === 400";
        browser.wait("the image is loaded", |browser| (browser.eval(is_loaded) == true).then_some(()));
        browser.eval("document.querySelector('.canvas').scrollIntoView()");
        let place = "(({ left, top, width }) => [left, top, width])(document.querySelector('.canvas img').getBoundingClientRect())";
        let place = browser.eval(place);
        let shown = image::load_from_memory(&browser.screenshot()).expect("a picture").to_rgb8();
        let at = |x: f64| {
            let corner = |at: usize| place[at].as_f64().expect("a number");
            let scale = corner(2) / 400.0;
            shown.get_pixel((corner(0) + x * scale) as u32, (corner(1) + 60.0 * scale) as u32).0
        };
        assert!(at(300.0).iter().any(|part| *part > 60), "{format}: {:?}", at(300.0));
        assert!(at(100.0).iter().all(|part| *part < 20), "{format}: {:?}", at(100.0));
    }
    check_clean(&mut browser, &server);
}

/// Replies that were not compared, failed, or differ in small numbers never agree.
#[tokio::test(flavor = "multi_thread")]
async fn chips_agree_only_if_their_replies_were_compared() {
    let server = demo().await;
    let Some(mut browser) = Browser::start() else { return };
    browser.open(&format!("{}/#/try", server.url));
    browser.find("combobox", "Pipeline");
    let mut sentence = |status: [u16; 2], kind: &str, texts: [&str; 2]| {
        let sides = ["a", "b"].iter().zip(status).zip(texts).map(|((chip, status), text)| {
            let json: Option<Value> = (kind == "application/json").then(|| serde_json::from_str(text).expect("JSON"));
            let json = json.map(|json| format!(", json: {json}")).unwrap_or_default();
            format!(
                "{{ chip: '{chip}', status: {status}, type: '{kind}', \
                 bytes: new TextEncoder().encode({}){json} }}",
                json!(text)
            )
        });
        let sides: Vec<_> = sides.collect();
        let script = format!("import('/console/try-compare.js').then((it) => it.compared([{}], 2))", sides.join(", "));
        browser.eval(&script).as_str().expect("a sentence").to_owned()
    };
    let (json, bytes) = ("application/json", "application/octet-stream");
    for (status, kind, texts, wanted) in [
        ([200, 200], json, ["[0.004, -0.003]", "[-0.004, 0.005]"], "The chips differ"),
        ([200, 200], json, ["{}", "null"], "The chips differ"),
        ([200, 200], json, ["{\"class\": 500}", "{\"class\": 501}"], "The chips differ"),
        ([200, 200], json, ["[0.4, -0.3]", "[0.4001, -0.3]"], "a, b agree: a number differs by at most 0.025 %"),
        ([200, 200], bytes, ["one", "two"], "The chips differ: 3 of 3 bytes"),
        ([200, 200], bytes, ["one", "one"], "a, b agree: the replies are equal"),
        ([200, 200], "image/png", ["one", "two"], "The chips differ"),
        ([503, 503], bytes, ["one", "one"], "Nothing was compared: all chips failed"),
        ([200, 503], bytes, ["one", "one"], "The chips differ: a 200, b 503"),
    ] {
        let found = sentence(status, kind, texts);
        assert!(found.starts_with(wanted), "{texts:?}: {found}");
    }
}
