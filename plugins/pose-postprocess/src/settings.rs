//! The configuration of the stage, read and checked once at deployment; the keys are described in `lib.rs`.

use plimsoll_sdk::{config, labels};
use postprocess_core::boxes::Unit;
use postprocess_core::select::Rule;
#[cfg(test)]
use postprocess_core::select::Suppression;

/// The form of the output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Columns of a box, the probabilities of the classes, and keypoints.
    Yolo,
    /// Rows of corners, probability, class, and keypoints.
    EndToEnd,
    /// A map for each keypoint.
    Heatmaps,
}

/// The configuration.
pub struct Settings {
    /// The form of the output.
    pub layout: Layout,
    /// The name of the output; empty if the model has one.
    pub output: String,
    /// For `yolo`: the number of classes.
    pub classes: usize,
    /// The numbers of a keypoint: x, y and perhaps a score.
    pub dimensions: usize,
    /// The unit of coordinates.
    pub unit: Unit,
    /// How boxes are selected.
    pub rule: Rule,
    /// The labels of the classes.
    pub labels: Option<Vec<String>>,
    keypoints: Option<Vec<String>>,
}

/// The maximum number of classes, as of `end-to-end`.
const MAX_CLASSES: usize = 1 << 16;

/// The keys that `heatmaps` does not have.
const OF_BOXES: [&str; 8] =
    ["dimensions", "labels", "classes", "coordinates", "score_threshold", "nms", "iou_threshold", "max_detections"];

impl Settings {
    /// Reads every key.
    ///
    /// # Errors
    /// A message that names the key that is unknown, malformed or in conflict with another key.
    pub fn read() -> Result<Settings, String> {
        config::only(&[&["layout", "output", "keypoints"][..], &OF_BOXES].concat())?;
        let layouts = [("yolo", Layout::Yolo), ("end-to-end", Layout::EndToEnd), ("heatmaps", Layout::Heatmaps)];
        let layout = config::choice("layout", &layouts)?;
        // A key that would have no effect is rejected, because its author expects an effect.
        for key in OF_BOXES {
            let applies = layout == Layout::Yolo || layout == Layout::EndToEnd && key != "classes";
            if !applies && config::get(key).is_some() {
                let name = config::get("layout").unwrap_or_default();
                return Err(format!("configuration key `{key}` cannot be used with `layout = \"{name}\"`"));
            }
        }
        let names = |key: &str| config::get(key).map(|name| labels::read(&name)).transpose();
        let labels = names("labels")?;
        let classes = config::parse("classes", labels.as_ref().map_or(1, Vec::len))?;
        if !(1..=MAX_CLASSES).contains(&classes) {
            return Err(format!(
                "configuration key `classes`: it is {classes}, but a model has at least one class, and at most {MAX_CLASSES}"
            ));
        }
        if let Some(labels) = labels.as_ref().filter(|labels| layout == Layout::Yolo && labels.len() != classes) {
            return Err(format!(
                "configuration key `classes`: it is {classes}, but the configured file of labels has {} labels",
                labels.len()
            ));
        }
        Ok(Settings {
            layout,
            output: config::get("output").unwrap_or_default(),
            classes,
            dimensions: config::choice("dimensions", &[("3", 3), ("2", 2)])?,
            unit: config::choice("coordinates", &[("pixels", Unit::Pixels), ("fractions", Unit::Fractions)])?,
            rule: Rule::read(layout == Layout::EndToEnd)?,
            labels,
            keypoints: names("keypoints")?,
        })
    }

    /// The number of names of keypoints, if there are names.
    pub fn keypoints(&self) -> Option<usize> {
        self.keypoints.as_ref().map(Vec::len)
    }

    /// The name of a keypoint.
    pub fn keypoint(&self, index: usize) -> String {
        let name = self.keypoints.as_ref().and_then(|names| names.get(index));
        name.cloned().unwrap_or_else(|| index.to_string())
    }

    /// The label of a class.
    pub fn label(&self, class: usize) -> String {
        let label = self.labels.as_ref().and_then(|labels| labels.get(class));
        label.cloned().unwrap_or_else(|| class.to_string())
    }
}

#[cfg(test)]
impl Settings {
    /// The settings of `yolo` without names.
    pub fn of(classes: usize, unit: Unit) -> Settings {
        Settings {
            layout: Layout::Yolo,
            output: String::new(),
            classes,
            dimensions: 3,
            unit,
            rule: Rule::default(),
            labels: None,
            keypoints: None,
        }
    }
}
