//! Any bytes as an image: no panic, no overflow, and the same answer with and without vector instructions. The first
//! byte selects the size of the result, and how the image is placed in it.
#![no_main]

use image_core::{Channels, Dtype, Layout, Limits, Mode, Pack, Settings, Target, prepare, prepare_scalar};
use libfuzzer_sys::fuzz_target;

fn settings(choice: u8) -> Settings {
    let sides = [(1, 1), (31, 8), (224, 64), (8, 224)];
    let (width, height) = sides[usize::from(choice & 3)];
    let mode = [Mode::Stretch, Mode::Letterbox, Mode::Crop][usize::from(choice >> 2) % 3];
    Settings {
        target: Target { width, height, mode, shorter: None },
        pack: Pack {
            width,
            height,
            order: [Channels::Rgb, Channels::Bgr, Channels::Gray][usize::from(choice >> 4) % 3],
            layout: [Layout::Nchw, Layout::Nhwc][usize::from(choice >> 6) & 1],
            invert: false,
            pad: 114,
            mean: [0.0; 3],
            scale: [1.0; 3],
            dtype: Dtype::U8,
        },
        limits: Limits { max_pixels: 1_000_000, max_bytes: 16 << 20 },
        draft: choice & 0x80 != 0,
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, body)) = bytes.split_first() else { return };
    let settings = settings(*choice);
    match (prepare(body, &settings), prepare_scalar(body, &settings)) {
        (Ok((elements, _)), Ok((scalar, _))) => assert_eq!(elements, scalar, "with and without vector instructions"),
        (Err(_), Err(_)) => {}
        (vector, scalar) => panic!("only one is refused: {:?}, {:?}", vector.err(), scalar.err()),
    }
});
