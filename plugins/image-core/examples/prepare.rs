//! Prepares one image, natively: `prepare FILE WIDTH HEIGHT [OUTPUT [gray]]`. With a fourth argument, the bytes are written
//! to a file: RGB, or gray. `tests/benches/jpeg_instructions.py` counts the instructions of this program.

use image_core::{Channels, Dtype, Elements, Layout, Limits, Mode, Pack, Settings, Target, prepare};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (file, width, height, output, order) = match &arguments[..] {
        [file, width, height] => (file, width, height, None, Channels::Rgb),
        [file, width, height, output] => (file, width, height, Some(output), Channels::Rgb),
        [file, width, height, output, gray] if gray == "gray" => (file, width, height, Some(output), Channels::Gray),
        _ => panic!("usage: prepare FILE WIDTH HEIGHT [OUTPUT [gray]]"),
    };
    let [width, height] = [width, height].map(|side| side.parse().expect("a number of pixels"));
    let bytes = output.is_some();
    let settings = Settings {
        target: Target { width, height, mode: Mode::Stretch, shorter: None },
        pack: Pack {
            width,
            height,
            order,
            layout: if bytes { Layout::Nhwc } else { Layout::Nchw },
            invert: false,
            pad: 0,
            mean: [123.675, 116.28, 103.53],
            scale: [0.017_124_753, 0.017_507_004, 0.017_429_193],
            dtype: if bytes { Dtype::U8 } else { Dtype::F32 },
        },
        limits: Limits { max_pixels: 25_000_000, max_bytes: 192 << 20 },
        draft: false,
    };
    let body = std::fs::read(file).expect("readable");
    match (prepare(&body, &settings), output) {
        (Ok((Elements::U8(bytes), _)), Some(output)) => std::fs::write(output, bytes).expect("written"),
        (Ok((elements, _)), _) => drop(std::hint::black_box(elements)),
        (Err(rejected), _) => panic!("{rejected:?}"),
    }
}
