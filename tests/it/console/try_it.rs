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
