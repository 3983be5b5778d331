//! The preprocess stage for images: the body is decoded, resized and becomes the input tensor of a model.
//!
//! It reads JPEG, PNG, WebP, GIF, BMP and TIFF. The bytes alone decide which: the caller's Content-Type is
//! ignored. Of an animation the first frame counts, of a TIFF the first page. The EXIF orientation is applied,
//! and a broken EXIF block is passed over. Transparency is dropped, so that a transparent pixel has the colour
//! that is stored with it; samples of more than 8 bits are rounded to 8.
//!
//! The memory it takes depends on the format. A JPEG that is baseline or extended sequential, with its components in one
//! scan, and a PNG that is not interlaced are streamed: they take the body, the tensor, and a few MiB. All others take
//! memory by the pixel, and are refused where that is more than `max_decoded_bytes`: 2.1 to 6.4 bytes (progressive JPEG, whose
//! coefficients are kept), 3 (a baseline JPEG that is not streamed, since it is broken or smaller than the input; 6 to 9, if
//! it is progressive), 4.5 (lossy WebP), 7 (lossless WebP; either with alpha 4 to 11), and 1 to 16 (GIF, BMP, TIFF, interlaced
//! PNG).
//!
//! Configuration:
//! - `width`, `height`: the size of the model's input in pixels; both are required.
//! - `resize`: `stretch` (default; the aspect ratio is not kept), `letterbox` (the whole image, centred on a
//!   border) or `crop` (the image covers the input, its centre is shown). All three are bilinear, and
//!   antialiased as Pillow's BILINEAR is.
//! - `resize_shorter`: for `crop`, the length to which the shorter side is resized before the crop; at least
//!   the greater of width and height (default: as small as covers the input).
//! - `pad`: for `letterbox`, the border's value before `mean` and `scale`, 0 to 255 (default 0).
//! - `channels`: `rgb` (default), `bgr` or `gray`.
//! - `invert`: `true` replaces each value v of the image by 255 - v (default `false`).
//! - `mean`, `scale`: a number, or one for each channel in their order: an element is `(v - mean) * scale`
//!   with v from 0 to 255 (defaults 0 and 1).
//! - `layout`: `nchw` (default) or `nhwc`.
//! - `dtype`: `f32` (default) or `u8`; `u8` goes without `mean` and `scale`.
//! - `input`: the name of the tensor, that is of the model's input (default `image`).
//! - `max_pixels`: the most pixels an image may declare (default 25000000).
//! - `max_decoded_bytes`: the most memory that decoding and resizing may take besides the body and the tensor (default
//!   201326592, which is 192 MiB and leaves room for both in the host's default of 256 MiB). Where a stage's `max_memory`
//!   is smaller, this should be smaller too: what it refuses is answered before the memory is taken, and says why.
//! - `draft`: `true` decodes a JPEG at 1/8 where both sides are then still as large as they are resized to:
//!   faster and less accurate (default `false`).
//!
//! The context for postprocessing is the JSON object of [`image_core::Context`]. The decoders and the resizing are the
//! crate `image-core`.

mod settings;

use std::sync::OnceLock;

use image_core::{Elements, Rejected, prepare};
use plimsoll_sdk::{Failure, Init, Prepared, Preprocess, Request, export_preprocess, tensor};

use settings::Configured;

struct ImagePreprocess;

export_preprocess!(ImagePreprocess with init);

static CONFIGURED: OnceLock<Configured> = OnceLock::new();

/// Bytes of the heap that `init` leaves free in the snapshot beside those of the tensor: as much as small images take. An
/// instance that has to grow its memory costs the host two calls of the kernel, the second of which interrupts the other
/// cores.
const FREE: usize = 96 << 10;
/// Of tensors that are larger than this the snapshot has no room, for a host writes only so much of a memory anew in place.
const LARGEST: usize = 1 << 20;

impl Init for ImagePreprocess {
    fn init() -> Result<(), String> {
        let configured = Configured::read()?;
        let tensor = configured.settings.pack.tensor_bytes();
        CONFIGURED.set(configured).map_err(|_| "the plugin is initialised already")?;
        let free = if tensor > LARGEST { FREE } else { FREE + tensor };
        drop(std::hint::black_box(Vec::<u8>::with_capacity(free)));
        Ok(())
    }
}

impl Preprocess for ImagePreprocess {
    fn run(_request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        let Configured { settings, input } =
            CONFIGURED.get().ok_or_else(|| Failure::Internal("`init` was not called".into()))?;
        let (elements, context) = prepare(&body, settings).map_err(|rejected| match rejected {
            Rejected::Unknown(text) => Failure::UnsupportedMediaType(text),
            Rejected::Broken(text) => Failure::InvalidInput(text),
            Rejected::TooLarge(text) => Failure::TooLarge(text),
        })?;
        let shape = settings.pack.shape();
        let tensor = match elements {
            Elements::F32(data) => tensor::from_f32(&shape, &data),
            Elements::U8(data) => tensor::from_u8(&shape, &data),
        };
        let context = serde_json::to_vec(&context)
            .map_err(|error| Failure::Internal(format!("the context is not written: {error}")))?;
        Ok(Prepared { tensors: vec![(input.clone(), tensor)], context })
    }
}
