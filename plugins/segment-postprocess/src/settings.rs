//! The configuration of the stage, read and checked once at deployment; the keys are described in `lib.rs`.

use plimsoll_sdk::config;
use postprocess_core::boxes::Unit;
use postprocess_core::classes::read_labels;
use postprocess_core::select::Rule;

use crate::objects::Objects;

/// The keys of all layouts.
const KEYS: [&str; 5] = ["output", "layout", "format", "size", "labels"];
/// The keys of maps of classes.
const OF_MAPS: [&str; 2] = ["threshold", "background_class"];
/// The keys of models that return boxes.
const OF_BOXES: [&str; 6] = ["prototypes", "coordinates", "score_threshold", "nms", "iou_threshold", "max_detections"];
/// The names of the outputs of Ultralytics' exporter.
const BOXES: &str = "output0";
const PROTOTYPES: &str = "output1";

/// The form of the output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Scores, a plane for each class.
    Nchw,
    /// Scores, the classes of a pixel next to each other.
    Nhwc,
    /// Indices of classes.
    Classes,
    /// Columns of a box, the probabilities of the classes and coefficients; and prototypes.
    Yolo,
    /// Rows of corners, probability, class and coefficients; and prototypes.
    EndToEnd,
}

/// The form of the reply.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// An image with a palette.
    Png,
    /// Run lengths of COCO.
    Rle,
    /// Outlines.
    Polygons,
}

/// The configuration.
pub struct Settings {
    /// The name of the output; empty if the model has one. For layouts with boxes, that of the boxes.
    pub output: String,
    /// Its form.
    pub layout: Layout,
    /// The score from which a pixel belongs to the class, if the scores have a single channel.
    pub threshold: Option<f32>,
    /// The form of the reply.
    pub format: Format,
    /// True if the map has the size of the caller's image.
    pub is_original: bool,
    /// The class that is left out.
    pub background: Option<u16>,
    /// For `yolo` and `end-to-end`: how boxes and masks are read.
    pub objects: Option<Objects>,
    labels: Option<Vec<String>>,
}

impl Settings {
    /// Reads every key.
    ///
    /// # Errors
    /// A message that names the key that is unknown, malformed or in conflict with another key.
    pub fn read() -> Result<Settings, String> {
        config::only(&[&KEYS[..], &OF_MAPS, &OF_BOXES].concat())?;
        let layouts = [
            ("nchw", Layout::Nchw),
            ("nhwc", Layout::Nhwc),
            ("classes", Layout::Classes),
            ("yolo", Layout::Yolo),
            ("end-to-end", Layout::EndToEnd),
        ];
        let formats = [("png", Format::Png), ("rle", Format::Rle), ("polygons", Format::Polygons)];
        let layout = config::choice("layout", &layouts)?;
        let format = config::choice("format", &formats)?;
        let threshold = config::get("threshold").map(|_| config::parse("threshold", 0.0_f32)).transpose()?;
        if threshold.is_some_and(|threshold| !threshold.is_finite()) {
            return Err("configuration key `threshold`: it is not a finite number".into());
        }
        if threshold.is_some() && layout == Layout::Classes {
            return Err("configuration key `threshold` cannot be used with `layout = \"classes\"`".into());
        }
        // A key that would have no effect is rejected, because its author expects an effect.
        let has_boxes = matches!(layout, Layout::Yolo | Layout::EndToEnd);
        let unused = if has_boxes { &OF_MAPS[..] } else { &OF_BOXES };
        if let Some(key) = unused.iter().find(|key| config::get(key).is_some()) {
            let name = config::get("layout").unwrap_or_else(|| "nchw".into());
            return Err(format!("configuration key `{key}` cannot be used with `layout = \"{name}\"`"));
        }
        let objects = has_boxes.then(|| objects(layout)).transpose()?;
        for key in ["background_class", "labels"] {
            if format == Format::Png && config::get(key).is_some() {
                return Err(format!("configuration key `{key}` cannot be used with `format = \"png\"`"));
            }
        }
        let background: i64 = config::parse("background_class", 0)?;
        Ok(Settings {
            output: config::get("output").unwrap_or_else(|| if has_boxes { BOXES.into() } else { String::new() }),
            layout,
            threshold,
            format,
            is_original: config::choice("size", &[("original", true), ("model", false)])?,
            background: match background {
                -1 => None,
                class => {
                    Some(u16::try_from(class).map_err(|_| {
                        format!("configuration key `background_class`: {class} is neither a class nor -1")
                    })?)
                }
            },
            objects,
            labels: read_labels()?,
        })
    }

    /// The number of labels, if there are labels.
    pub fn labels(&self) -> Option<usize> {
        self.labels.as_ref().map(Vec::len)
    }

    /// The label of a class.
    pub fn label(&self, class: u16) -> String {
        let label = self.labels.as_ref().and_then(|labels| labels.get(usize::from(class)));
        label.cloned().unwrap_or_else(|| class.to_string())
    }
}

fn objects(layout: Layout) -> Result<Objects, String> {
    Ok(Objects {
        prototypes: config::get("prototypes").unwrap_or_else(|| PROTOTYPES.into()),
        unit: config::choice("coordinates", &[("pixels", Unit::Pixels), ("fractions", Unit::Fractions)])?,
        rule: Rule::read(layout == Layout::EndToEnd)?,
    })
}
