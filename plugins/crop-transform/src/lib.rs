//! Step of kind `transform`: cuts what a detector found out of the picture. Each box becomes an item, with one tensor in the
//! form of the next model. The step needs `items = true`.
//!
//! It takes the outputs of the detector and the picture that `image-preprocess` hands on with `picture = true`:
//! `from = ["detect", "prepare.picture"]`. The context must be that of `image-preprocess`. It reads only the parts of the
//! picture that it cuts out.
//!
//! Boxes become items in the order of their scores, best first. A box that lies outside of the picture or has no area makes no
//! item, and neither do points that describe no crop (all on one place; three of four corners on a line; a margin
//! that reaches over the horizon of the perspective). If nothing is found, there are no items. The parts
//! of a crop outside of the picture have the value `pad`. What a detector cannot return is an error (500), as in
//! `detect-postprocess`: NaN or infinity anywhere in its outputs, exchanged corners, boxes far outside of its input, fractions that are
//! configured as pixels.
//!
//! Configuration, boxes:
//! - `detector`: the form of the detector's outputs: a `layout` of `detect-postprocess` (default `decoded`), or `points`.
//! - All keys of `detect-postprocess` except `layout`, with its meanings and defaults: `output`, `scores`, `boxes`, `classes`,
//!   `count`, `coordinates`, `score_threshold`, `nms`, `iou_threshold`, `soft_sigma`, `multi_label`, `background_class`,
//!   `first_class`, `strides`, `anchor_sizes`, `anchor_ratios`, `max_per_class`, `labels`.
//! - `max_detections`: the maximum number of items (default 64, which is also the default of the step's `max_items`).
//! - `keep`: the classes that become items: labels if `labels` is set (a label of several classes means all of them), otherwise
//!   indices (default: all). Boxes of other classes are dropped before `nms`. With several steps of this plugin, the class of a box decides which branch it goes to.
//! - `margin`: the part of the box's width and height that is added on each side, 0 to 1 (default 0).
//! - `square`: `true` makes the shorter side as long as the longer one, around the centre (default `false`). Applied after
//!   `margin`. The sides of what is cut are rounded to whole pixels of the picture, a half up; it has at least one pixel.
//!
//! Configuration, `detector = "points"`: for detectors that return keypoints or four corners, which are rotated upright:
//! - `points`: the name of the output with the points of each box, of shape `[1, N, 2 K]` or `[1, N, K, 2]`, x before y
//!   (default `points`).
//! - `scores`: the name of the output with a score for each box, `[1, N]` or `[1, N, 1]` (default `scores`; `""`: there is
//!   none, and all boxes are taken). `score_threshold` (default 0.5), `coordinates` (`pixels`, the default, or `fractions`) and
//!   `max_detections` as above. With `iou_threshold`, boxes around the points that overlap a better one are dropped.
//! - `warp`: `perspective` (default; four points) or `similarity` (at least two points: the rotation, scale and translation
//!   that fit best, by least squares, as `SimilarityTransform` of scikit-image).
//! - `template`: where the points lie in the crop, as fractions of its width and height: x and y of each point. Default for
//!   `perspective`: the corners from the left upper one clockwise, `[0, 0, 1, 0, 1, 1, 0, 1]`; for `similarity`: the five points
//!   of ArcFace (eyes, nose, corners of the mouth) in 112 x 112 pixels.
//! - `margin`: as above, as a part of the crop without margin.
//!
//! The centre of a pixel is at a half, as in Pillow. `norm_crop` of insightface (`warpAffine` of OpenCV) and scikit-image have
//! centres at whole numbers: their crop of a face that is s times as large as the template is moved by (1 - 1 / s) / 2 pixels
//! of the crop. With a `template` to which 0.5 pixels are added, 0.5 / s pixels remain.
//!
//! These crops are interpolated between pixels (bilinear, like `transform` of Pillow); a part that is larger than the crop is
//! first warped into a crop larger by a whole factor, which is then resized.
//!
//! Configuration, `detector = "tiles"`: no detector; the picture is cut into tiles that overlap, so that a detector sees small
//! objects in their full size. The step takes only the picture. The tiles are those of `get_slice_bboxes` of SAHI: the last one of
//! a row or a column ends with the picture. `detect-postprocess` with `items = true` merges what is found in them.
//! - `tile_widths`: the widths of tiles in pixels of the picture; their heights have the proportions of the tensor (default: the
//!   width of the tensor, so that tiles are not resized). With several widths, the picture is cut at several sizes.
//! - `overlap`: the part of a tile that the next one overlaps, 0 to 0.9 (default 0.2). It should be larger than the objects.
//! - `whole`: `true` (default) makes the whole picture an item, too, for objects that are larger than a tile.
//! - `max_tiles`: a picture with more tiles is refused (413; default 64, which is also the default of the step's `max_items`).
//! - `resize`: for the whole picture, and for pictures that are smaller than a tile: `letterbox` if the detector expects it.
//!
//! Configuration, tensor: `preset`, `width`, `height`, `resize`, `resize_shorter`, `crop_rounding`, `pad`, `channels`, `invert`, `mean`,
//! `scale`, `layout`, `dtype` and `input`, as of `image-preprocess`, for the crop instead of the image. If the only step that
//! takes these items runs a model, the model's declaration is the default, as there. `points` has no `resize`.
//! - `picture`: the name of the tensor with the picture (default `picture`).
//!
//! The context of an item is JSON. Its member `item` is what postprocessing reports (`items = true` of
//! `classify-postprocess`, `text-postprocess` and `embed-postprocess`): `{"box":[x1,y1,x2,y2],"score":0.99,"index":1,
//! "label":"face"}` in pixels of the caller's image; with `tiles` only `box`; with `points`: `{"box":…,"score":…,"points":[[x,y],…]}`. The other
//! members are those of the context of `image-preprocess`: `(input - offset) / scale` is the place in the caller's image of a
//! point of the crop. With `points` these are only `width` and `height`.

mod cut;
mod found;
mod points;
mod settings;
mod tiles;

use plimsoll_sdk::{Bundle, Configured, Failure, Init, Outcome, Request, Transform, export_transform};
use postprocess_core::geometry::Geometry;

use cut::Picture;
use found::Source;
use settings::Settings;

struct Crop;

export_transform!(Crop with init);

static SETTINGS: Configured<Settings> = Configured::new();

impl Init for Crop {
    fn init() -> Result<(), String> {
        SETTINGS.set(Settings::read()?)
    }
}

impl Transform for Crop {
    fn run(_request: Request, input: Bundle) -> Result<Outcome, Failure> {
        let settings = SETTINGS.get()?;
        items(settings, input).map(Outcome::Items)
    }
}

fn items(settings: &Settings, Bundle { mut tensors, context }: Bundle) -> Result<Vec<Bundle>, Failure> {
    let internal = Failure::Internal;
    let geometry = Geometry::parse(&context).map_err(internal)?;
    let name = &settings.picture;
    let place = tensors.iter().position(|(other, _)| other == name).ok_or_else(|| {
        let names: Vec<_> = tensors.iter().map(|(name, _)| name.as_str()).collect();
        internal(format!(
            "there is no tensor `{name}` with the picture; the tensors are {names:?}. Set `picture = true` of `image-preprocess`, \
             and take the tensor: `from = [\"DETECTOR\", \"PREPROCESS.{name}\"]`"
        ))
    })?;
    let (_, tensor) = tensors.remove(place);
    let picture = Picture::new(name, &tensor, &geometry).map_err(internal)?;
    let all = match &settings.source {
        // How many there are follows from the caller's picture.
        Source::Tiles(tiles) => {
            let tiles = tiles.cut(picture.size()).map_err(Failure::TooLarge)?;
            tiles.into_iter().map(|tile| picture.tile(tile)).collect()
        }
        source => source.find(&geometry, &tensors).map_err(internal)?,
    };
    let mut items = Vec::new();
    for found in all {
        if let Some(bundle) = cut::item(settings, &picture, &geometry, found).map_err(internal)? {
            items.push(bundle);
        }
    }
    Ok(items)
}
