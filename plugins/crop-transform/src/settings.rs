//! The configuration of the step, read and checked once at deployment; the keys are described in `lib.rs`.

use detect_core::check;
use image_config::{Contents, TensorForm, only_with};
use image_core::warp::Point;
use image_core::{Limits, Mode};
use plimsoll_sdk::{config, model};
use postprocess_core::boxes::Unit;
use postprocess_core::classes;
use postprocess_core::select::{Rule, Suppression, max_detections};

use crate::found::{Source, renamed};
use crate::points::Points;
use crate::tiles::Tiles;

/// The keys of this plugin; the others are those of `detect-postprocess` and of tensors of images.
const KEYS: [&str; 8] = ["detector", "points", "warp", "template", "keep", "margin", "square", "picture"];
/// The keys of tiles.
const OF_TILES: [&str; 4] = ["tile_widths", "overlap", "whole", "max_tiles"];
/// The default of a step's `max_items`.
const MAX_DETECTIONS: usize = 64;
/// The points of ArcFace, in pixels of 112 x 112.
const ARCFACE: [f64; 10] = [38.2946, 51.6963, 73.5318, 51.5014, 56.0252, 71.7366, 41.5493, 92.3655, 70.7299, 92.2041];
const CORNERS: [f64; 8] = [0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0];

/// The configuration, read once by `init` and used by every request.
pub(crate) struct Settings {
    pub(crate) source: Source,
    /// How the crop becomes a tensor.
    pub(crate) form: TensorForm,
    pub(crate) image: image_core::Settings,
    /// The name of the tensor with the picture.
    pub(crate) picture: String,
    /// The part of the box that is added on each side.
    pub(crate) margin: f64,
    /// True if boxes become squares.
    pub(crate) square: bool,
    /// The form of the mapping of points, and where they lie in the crop, in pixels.
    pub(crate) template: Template,
}

/// Where the points of a box lie in the crop.
pub(crate) struct Template {
    pub(crate) is_perspective: bool,
    pub(crate) points: Vec<Point>,
}

impl Settings {
    /// Reads every key.
    ///
    /// # Errors
    /// A message that names the key that is unknown, missing, malformed or in conflict with another key.
    pub(crate) fn read() -> Result<Settings, String> {
        let detect = detect_core::KEYS.iter().copied().filter(|key| *key != "layout");
        config::only(&detect.chain(image_config::KEYS).chain(KEYS).chain(OF_TILES).collect::<Vec<_>>())?;
        let margin: f64 = config::parse("margin", 0.0)?;
        if !(0.0..=1.0).contains(&margin) {
            return Err(format!("configuration key `margin`: {margin} is not between 0 and 1"));
        }
        let has_points = config::get("detector").as_deref() == Some("points");
        for key in ["points", "warp", "template"] {
            only_with(key, has_points, "`detector = \"points\"`")?;
        }
        let has_tiles = config::get("detector").as_deref() == Some("tiles");
        for key in OF_TILES {
            only_with(key, has_tiles, "`detector = \"tiles\"`")?;
        }
        let of_detectors = detect_core::KEYS.iter().filter(|key| **key != "layout");
        for key in of_detectors.chain(&["keep", "margin", "square"]) {
            only_with(key, !has_tiles, "a detector, and not with `detector = \"tiles\"`")?;
        }
        for key in ["keep", "square", "resize"] {
            only_with(key, !has_points, "detectors that return boxes, and not with `detector = \"points\"`")?;
        }
        let form = TensorForm::read(if has_points { Contents::Points } else { Contents::Box })?;
        let upright = Template { is_perspective: false, points: Vec::new() };
        let (source, template) = match (has_points, has_tiles) {
            (true, _) => points(&form, margin)?,
            (_, true) => (Source::Tiles(Tiles::read(&form.target)?), upright),
            _ => (boxes()?, upright),
        };
        Ok(Settings {
            source,
            image: image_core::Settings {
                target: form.target,
                pack: form.pack.clone(),
                // The picture is within the limits of preprocessing.
                limits: Limits { max_pixels: u64::MAX, max_bytes: u64::MAX },
                draft: false,
            },
            form,
            picture: config::get("picture").unwrap_or_else(|| "picture".into()),
            margin,
            square: config::parse("square", false)?,
            template,
        })
    }
}

fn boxes() -> Result<Source, String> {
    let mut settings = detect_core::Settings::read("detector").map_err(|text| renamed(&text))?;
    if config::get("max_detections").is_none() {
        settings.rule.max_detections = MAX_DETECTIONS;
    }
    let keep = classes::read_keep(settings.labels.as_deref())?;
    if let Some(outputs) = model::outputs()? {
        check::declared(&outputs, &settings, keep.as_deref()).map_err(|text| renamed(&text))?;
    }
    Ok(Source::Boxes(Box::new(settings), keep))
}

fn points(form: &TensorForm, margin: f64) -> Result<(Source, Template), String> {
    // These would have no effect.
    let used = ["scores", "coordinates", "score_threshold", "iou_threshold", "max_detections"];
    for key in detect_core::KEYS.iter().filter(|key| !used.contains(key) && **key != "layout") {
        only_with(key, false, "detectors that return boxes, and not with `detector = \"points\"`")?;
    }
    let is_perspective = config::choice("warp", &[("perspective", true), ("similarity", false)])?;
    let numbers = match config::list::<f64>("template")? {
        Some(numbers) => numbers,
        None if is_perspective => CORNERS.to_vec(),
        None => ARCFACE.iter().map(|number| number / 112.0).collect(),
    };
    if let Some(wrong) = numbers.iter().find(|number| !number.is_finite()) {
        return Err(format!("configuration key `template`: {wrong} is not a finite number"));
    }
    let count = numbers.len() / 2;
    let is_right = numbers.len().is_multiple_of(2) && if is_perspective { count == 4 } else { count >= 2 };
    if !is_right {
        let wanted =
            if is_perspective { "8 numbers (x and y of four points)" } else { "x and y of at least two points" };
        return Err(format!("configuration key `template`: {} numbers; {wanted} are needed", numbers.len()));
    }
    // With a margin, the points are nearer to the centre.
    let (width, height) = (f64::from(form.target.width), f64::from(form.target.height));
    let inside = |at: f64, size: f64| (0.5 + (at - 0.5) / (1.0 + 2.0 * margin)) * size;
    let points = numbers.as_chunks::<2>().0.iter().map(|[x, y]| [inside(*x, width), inside(*y, height)]).collect();
    let iou = config::get("iou_threshold").map(|_| config::fraction("iou_threshold", 0.5)).transpose()?;
    let suppression = iou.map_or(Suppression::None, Suppression::ClassAgnostic);
    let source = Points {
        points: config::get("points").unwrap_or_else(|| "points".into()),
        scores: config::get("scores").unwrap_or_else(|| "scores".into()),
        count,
        unit: config::choice("coordinates", &[("pixels", Unit::Pixels), ("fractions", Unit::Fractions)])?,
        rule: Rule {
            score_threshold: config::fraction("score_threshold", 0.5)?,
            suppression,
            background: None,
            max_per_class: usize::MAX,
            max_detections: max_detections(suppression, MAX_DETECTIONS)?,
        },
    };
    debug_assert!(form.target.mode == Mode::Stretch, "`resize` is refused");
    Ok((Source::Points(source), Template { is_perspective, points }))
}
