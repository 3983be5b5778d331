//! The preprocess stage for images: decodes and resizes the body and converts it to the input tensor of a model.
//!
//! It reads JPEG, PNG, WebP, GIF, BMP and TIFF. The format is detected from the bytes; the caller's Content-Type is
//! ignored. Only the first frame of an animation and the first page of a TIFF are used. The EXIF orientation is
//! applied, or that in XMP if EXIF has none; a broken block is ignored. Alpha is dropped: a transparent pixel gets the
//! colour that is stored with it. Samples of more than 8 bits are rounded to 8.
//!
//! Memory use depends on the format. A baseline or extended sequential JPEG with all components in one scan, a PNG
//! or GIF that is not interlaced, and a lossy WebP are streamed: they need the body, the tensor and a few MiB. So is a TIFF,
//! except for one strip of JPEG or of fax, or one row of tiles. All other images need memory for each pixel, and are refused if
//! the total is more than `max_decoded_bytes`. The bytes per pixel are: 2.1 to 8.5 (JPEG that is progressive, is
//! arithmetic-coded or has several scans, because the coefficients are kept: 2.1 gray, 3.2 with chroma at a quarter,
//! 6.4 with full chroma, 8.5 with four inks), 4 to 7 (lossless WebP, and lossy WebP with compressed alpha), 1 to 8
//! (interlaced PNG), 3 to 4 (BMP) and 1 (interlaced GIF).
//!
//! Configuration. If all chips of the pipeline run the same model, and a shipped plugin runs it, the model's own
//! declaration is the default of `width`, `height`, `layout`, `dtype` and `input`:
//! - `preset`: the preprocessing that model cards name, see below: defaults of the other keys. A key that is set, and what the
//!   model declares, come before the preset.
//! - `width`, `height`: the size of the model's input in pixels; required if neither the model nor the preset fixes it.
//! - `resize`: `stretch` (default; the aspect ratio is not kept), `letterbox` (the whole image, centred, with a
//!   border; its sides are rounded to whole pixels, a half to the even number, and an odd border is one pixel smaller on the left
//!   and above, as by `LetterBox` of Ultralytics) or `crop` (the image covers the input and its centre is used). All three are bilinear and
//!   antialiased like Pillow's BILINEAR.
//! - `resize_shorter`: for `crop`, the length in pixels to which the shorter side is resized before the crop; at least
//!   the larger of width and height (default: the smallest length that covers the input).
//! - `crop_rounding`: for `crop`, `torchvision` (default) or `nearest`: how the longer side before the crop and the
//!   start of the centre are rounded to whole pixels, see below.
//! - `pad`: for `letterbox`, the border's value before `mean` and `scale`, 0 to 255 (default 0).
//! - `channels`: `rgb` (default), `bgr` or `gray`. Gray is that of Pillow's `convert("L")`: 0.299 red, 0.587 green and 0.114
//!   blue.
//! - `invert`: `true` replaces each value v of the image by 255 - v (default `false`).
//! - `mean`, `scale`: one number, or one for each channel in channel order: an element is `(v - mean) * scale`
//!   with v from 0 to 255 (defaults 0 and 1).
//! - `layout`: `nchw` or `nhwc` (default: that of the model if its number of channels shows it, otherwise `nchw`).
//! - `dtype`: `f32`, `f16`, `bf16` or `u8`: the element type of the model's input (default: the model's, otherwise
//!   `f32`). `f16` and `bf16` are rounded from `f32` to the nearest number, a half to the even one. `u8` cannot be
//!   combined with `mean` and `scale`.
//! - `input`: the name of the tensor, which is the name of the model's input (default: the model's only input, otherwise
//!   `image`).
//! - `max_pixels`: the maximum number of pixels that an image may declare (default 25000000).
//! - `max_decoded_bytes`: the maximum memory for decoding and resizing, in addition to the body and the tensor (default
//!   201326592, which is 192 MiB and leaves room for both within the host's default of 256 MiB). If a stage's
//!   `max_memory` is smaller, reduce this limit too: an image over this limit is refused before memory is allocated,
//!   and the error states the reason.
//! - `draft`: `true` decodes a JPEG at 1/8 of its size if both sides are then still at least as large as the size they
//!   are resized to: faster and less accurate (default `false`).
//!
//! - `picture`: `true` also hands on the decoded image as the tensor `picture`, u8 of shape `[1, height, width, 3]` (RGB, its
//!   orientation applied), so that later steps of the pipeline cut parts out of it without decoding it again (default
//!   `false`). The model's input is then resized from the picture, whose pixels are rounded to bytes, so an element may differ by
//!   one step of 255. The image is decoded as a whole: it needs 3 bytes for each pixel in the plugin, which count in
//!   `max_decoded_bytes`, and again in the host. Cannot be combined with `draft`.
//! - `max_picture_side`: the picture is reduced so that no side is longer, in pixels (default: no limit). The model's input is
//!   made from the full picture.
//!
//! Presets. `mean` and `scale` belong to the colours, so they change their order with `channels`:
//!
//! | preset | source | defaults |
//! | --- | --- | --- |
//! | `imagenet` | `ImageClassification` of torchvision: `Resize(256)`, `CenterCrop(224)`, `ToTensor`, `Normalize` | `resize = "crop"`, 224 x 224, `resize_shorter` 256 (8/7 of the larger side of other sizes), mean 0.485, 0.456, 0.406 and deviation 0.229, 0.224, 0.225 of 255, `rgb`, `nchw` |
//! | `clip` | `_transform` of OpenAI's CLIP: `Resize(224)`, `CenterCrop(224)`, `Normalize` | `resize = "crop"`, 224 x 224, mean 0.48145466, 0.4578275, 0.40821073 and deviation 0.26862954, 0.26130258, 0.27577711 of 255, `rgb`, `nchw`. CLIP resizes by a bicubic filter, and this plugin by a bilinear one |
//! | `yolo` | `LetterBox` of Ultralytics | `resize = "letterbox"`, `pad` 114, 640 x 640, `scale` 1/255, `rgb`, `nchw` |
//! | `tf` | `preprocess_input` of Keras, `mode="tf"` | from -1 to 1 (`mean` 127.5, `scale` 1/127.5), `rgb`, `nhwc`; no size |
//! | `caffe` | the same, `mode="caffe"` | `bgr`, `mean` 103.939, 116.779, 123.68, `scale` 1, `nhwc`; no size |
//!
//! A model expects the preprocessing that it was trained with. The same configuration in other libraries, with 8 bits
//! per sample and differences in steps of 255:
//! - Pillow, `resize` with `BILINEAR`: equal except for rounding. `tests/conformance/images` compares 2,600 files of 495
//!   kinds: the mean difference of an image is at most 0.5, the largest difference 4.
//! - torchvision, `Resize(resize_shorter)` then `CenterCrop`, on Pillow images: `crop` is equal except for the same
//!   rounding. torchvision truncates the longer side and rounds the start of the centre to the nearest pixel, a half to
//!   the even one. That is the default because most models with a centre crop are trained with it.
//!   `crop_rounding = "nearest"` rounds the longer side to the nearest pixel and the start down: it differs from
//!   torchvision by one pixel in size or start for 62 % of all sizes (`Resize(256)`, `CenterCrop(224)`; the script below).
//! - OpenCV 5.0 `INTER_LINEAR` (six photos of the corpus, `tests/conformance/images/other_resizes.py`): equal if the image is
//!   enlarged (mean 0.2, largest 1) or keeps its size. It is not antialiased, so it differs if the image shrinks: the mean
//!   difference is 4.9 at 224 x 224 (largest 180), and 5.3 at an eighth of the size.
//! - OpenCV `INTER_AREA` (same photos): different. It is antialiased by another filter: the mean difference is 1.2 at
//!   224 x 224 (largest 43), 1.4 at an eighth of the size, and 1.9 at twice the size.
//!
//! The context for postprocessing is the JSON object of [`image_core::Context`]. The decoders and the resizing are in
//! the crate `image-core`.

mod settings;

use image_core::{Picture, Rejected, prepare};
use plimsoll_sdk::{Configured, Failure, Init, Prepared, Preprocess, Request, export_preprocess, tensor};

use settings::{Configuration, PICTURE};

struct ImagePreprocess;

export_preprocess!(ImagePreprocess with init);

static CONFIGURATION: Configured<Configuration> = Configured::new();

/// Bytes of heap that `init` leaves free in the snapshot, in addition to those of the tensor. Small images need no
/// more. If an instance has to grow its memory, the host needs two system calls, and the second interrupts the other
/// cores.
const FREE_HEAP_BYTES: usize = 96 << 10;
/// The snapshot reserves heap for tensors up to this size in bytes, because a host resets only a limited part of an
/// instance's memory in place.
const MAX_RESERVED_TENSOR_BYTES: usize = 1 << 20;

impl Init for ImagePreprocess {
    fn init() -> Result<(), String> {
        let configuration = Configuration::read()?;
        let tensor = configuration.settings.pack.tensor_bytes();
        CONFIGURATION.set(configuration)?;
        let free = if tensor > MAX_RESERVED_TENSOR_BYTES { FREE_HEAP_BYTES } else { FREE_HEAP_BYTES + tensor };
        drop(std::hint::black_box(Vec::<u8>::with_capacity(free)));
        Ok(())
    }
}

impl Preprocess for ImagePreprocess {
    fn run(_request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        let Configuration { settings, form, picture } = CONFIGURATION.get()?;
        let rejected = |rejected: Rejected| match rejected {
            Rejected::Unknown(text) => Failure::UnsupportedMediaType(text),
            Rejected::Broken(text) => Failure::InvalidInput(text),
            Rejected::TooLarge(text) => Failure::TooLarge(text),
        };
        let (elements, context, whole) = match picture {
            None => {
                let (elements, context) = prepare(&body, settings).map_err(rejected)?;
                (elements, context, None)
            }
            Some(max_side) => {
                let whole = Picture::decode(&body, settings.limits).map_err(rejected)?;
                let (elements, context) = whole.prepare(settings);
                (elements, context, Some(whole.reduced(*max_side)))
            }
        };
        let mut tensors = vec![(form.input.clone(), form.tensor(&elements))];
        if let Some(Picture { width, height, rgb }) = whole {
            tensors.push((PICTURE.to_owned(), tensor::from_u8(&[1, height, width, 3], &rgb)));
        }
        let context = serde_json::to_vec(&context)
            .map_err(|error| Failure::Internal(format!("the context cannot be serialised: {error}")))?;
        Ok(Prepared { tensors, context })
    }
}
