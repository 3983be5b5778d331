//! The configuration, read and checked once at deployment; the keys are described in `detect-postprocess`.

use plimsoll_sdk::config;
use postprocess_core::boxes::Unit;
use postprocess_core::classes::read_labels;
use postprocess_core::select::{Rule, Suppression, limit, max_detections};

use crate::layout::{Kind, LAYOUTS, Layout, Role};

/// The configuration, read once by `init` and used by every request.
pub struct Settings {
    /// The form of the outputs.
    pub layout: &'static Layout,
    /// The names of the outputs, in the order of the layout; `None` for an output that the model does not have.
    names: Vec<Option<String>>,
    /// The labels of the classes.
    pub labels: Option<Vec<String>>,
    /// The unit of coordinates.
    pub unit: Unit,
    /// True if a box is reported for each of its classes over the threshold, false if only for the best one.
    pub multi_label: bool,
    /// For layouts that return class indices: the index of the first label.
    pub first_class: u32,
    /// For `yolox` and `retinanet`: the grids.
    pub grids: Grids,
    /// How boxes are selected.
    pub rule: Rule,
}

/// The grids to whose cells boxes are relative.
pub struct Grids {
    /// The pixels of the cells of each grid.
    pub strides: Vec<u32>,
    /// For `retinanet`: the sizes of the anchors of all grids, equally many for each.
    pub anchor_sizes: Vec<f32>,
    /// For `retinanet`: the height of an anchor divided by its width.
    pub anchor_ratios: Vec<f32>,
}

/// The keys of `detect-postprocess`.
pub const KEYS: &[&str] = &[
    "layout",
    "output",
    "scores",
    "boxes",
    "classes",
    "count",
    "coordinates",
    "score_threshold",
    "iou_threshold",
    "nms",
    "soft_sigma",
    "multi_label",
    "background_class",
    "first_class",
    "strides",
    "anchor_sizes",
    "anchor_ratios",
    "max_per_class",
    "max_detections",
    "labels",
];

impl Settings {
    /// Reads every key. `layout_key` is the key with the name of the layout.
    ///
    /// # Errors
    /// A message that names the key that is malformed or in conflict with another key.
    pub fn read(layout_key: &'static str) -> Result<Settings, String> {
        let choices: Vec<_> = LAYOUTS.iter().map(|layout| (layout.name, layout)).collect();
        let layout = config::choice(layout_key, &choices)?;
        for key in ["output", "scores", "boxes", "classes", "count"] {
            only_with(key, layout.outputs.iter().any(|role| role.key == key), layout)?;
        }
        let name = |role: &Role| match config::get(role.key) {
            Some(name) if name.is_empty() && role.key == "count" => None,
            Some(name) => Some(name),
            None if role.default.is_empty() && role.key == "count" => None,
            None => Some(role.default.to_owned()),
        };
        let classes_are_indices = matches!(layout.kind, Kind::EndToEnd | Kind::Ssd | Kind::Nms);
        only_with("first_class", classes_are_indices, layout)?;
        only_with("strides", matches!(layout.kind, Kind::Yolox | Kind::Retinanet), layout)?;
        only_with("anchor_sizes", layout.kind == Kind::Retinanet, layout)?;
        only_with("anchor_ratios", layout.kind == Kind::Retinanet, layout)?;
        let has_scores_of_classes =
            matches!(layout.kind, Kind::Decoded | Kind::Yolov5 | Kind::Yolov7 | Kind::Yolov8 | Kind::Yolox);
        only_with("multi_label", has_scores_of_classes, layout)?;
        only_with("background_class", layout.kind == Kind::Decoded, layout)?;

        let unit = match layout.unit {
            Unit::Pixels => [("pixels", Unit::Pixels), ("fractions", Unit::Fractions)],
            Unit::Fractions => [("fractions", Unit::Fractions), ("pixels", Unit::Pixels)],
        };
        let has_one_unit = matches!(layout.kind, Kind::Yolox | Kind::Retinanet | Kind::Fastestdet);
        only_with("coordinates", !has_one_unit, layout)?;
        Ok(Settings {
            layout,
            names: layout.outputs.iter().map(name).collect(),
            labels: read_labels()?,
            unit: config::choice("coordinates", &unit)?,
            multi_label: config::parse("multi_label", layout.kind == Kind::Decoded)?,
            first_class: config::parse("first_class", u32::from(layout.kind == Kind::Ssd))?,
            grids: grids(layout)?,
            rule: rule(layout)?,
        })
    }

    /// The outputs that are read, with their names.
    pub fn outputs(&self) -> impl Iterator<Item = (&'static Role, &str)> {
        self.layout.outputs.iter().zip(&self.names).filter_map(|(role, name)| Some((role, name.as_deref()?)))
    }
}

#[cfg(test)]
impl Settings {
    /// The settings of a layout without configuration, with this unit.
    pub(crate) fn of(layout: &'static Layout, unit: Unit) -> Settings {
        Settings {
            layout,
            names: Vec::new(),
            labels: None,
            unit,
            multi_label: false,
            first_class: 0,
            grids: Grids { strides: Vec::new(), anchor_sizes: Vec::new(), anchor_ratios: Vec::new() },
            rule: Rule::default(),
        }
    }
}

/// The strides, the sizes and the ratios of the anchors.
fn grids(layout: &Layout) -> Result<Grids, String> {
    let retinanet = [8_u32, 16, 32, 64, 128];
    let default = if layout.kind == Kind::Retinanet { &retinanet[..] } else { &retinanet[..3] };
    let strides = config::list("strides")?.unwrap_or_else(|| default.to_vec());
    if strides.contains(&0) {
        return Err("configuration key `strides`: 0 is not a number of pixels".into());
    }
    // The sizes of torchvision's RetinaNet: powers of two, times whole thirds of an octave, without fractions.
    let thirds = |side: f32| [side, (side * 2_f32.powf(1.0 / 3.0)).floor(), (side * 2_f32.powf(2.0 / 3.0)).floor()];
    let sizes = config::list("anchor_sizes")?
        .unwrap_or_else(|| [32.0, 64.0, 128.0, 256.0, 512.0].into_iter().flat_map(thirds).collect());
    let ratios = config::list("anchor_ratios")?.unwrap_or_else(|| vec![0.5, 1.0, 2.0]);
    for (key, numbers) in [("anchor_sizes", &sizes), ("anchor_ratios", &ratios)] {
        if let Some(wrong) = numbers.iter().find(|number: &&f32| !(number.is_finite() && **number > 0.0)) {
            return Err(format!("configuration key `{key}`: {wrong} is not a number greater than 0"));
        }
    }
    if layout.kind == Kind::Retinanet && sizes.len() % strides.len() != 0 {
        return Err(format!(
            "configuration key `anchor_sizes`: {} sizes cannot be divided equally among {} strides",
            sizes.len(),
            strides.len()
        ));
    }
    Ok(Grids { strides, anchor_sizes: sizes, anchor_ratios: ratios })
}

fn rule(layout: &Layout) -> Result<Rule, String> {
    let background: i64 = config::parse("background_class", if layout.kind == Kind::Decoded { 0 } else { -1 })?;
    let all = ["per-class", "class-agnostic", "soft", "none"];
    let default = if layout.iou_threshold.is_some() { "per-class" } else { "none" };
    // The first choice is the default.
    let mut choices: Vec<_> = all.iter().map(|name| (*name, *name)).collect();
    choices.sort_by_key(|(name, _)| *name != default);
    let nms = config::choice("nms", &choices)?;
    for (key, needed) in [("iou_threshold", ["per-class", "class-agnostic"]), ("soft_sigma", ["soft", "soft"])] {
        if !needed.contains(&nms) && config::get(key).is_some() {
            return Err(format!("configuration key `{key}` cannot be used with `nms = \"{nms}\"`"));
        }
    }
    let iou_threshold = config::fraction("iou_threshold", layout.iou_threshold.unwrap_or(0.5))?;
    let sigma = config::parse("soft_sigma", 0.5_f32)?;
    if !(sigma.is_finite() && sigma > 0.0) {
        return Err(format!("configuration key `soft_sigma`: {sigma} is not greater than 0"));
    }
    let suppression = match nms {
        "per-class" => Suppression::PerClass(iou_threshold),
        "class-agnostic" => Suppression::ClassAgnostic(iou_threshold),
        "soft" => Suppression::Soft(sigma),
        _ => Suppression::None,
    };
    Ok(Rule {
        score_threshold: config::fraction("score_threshold", layout.score_threshold)?,
        suppression,
        background: match background {
            -1 => None,
            class => Some(
                usize::try_from(class)
                    .map_err(|_| format!("configuration key `background_class`: {class} is neither a class nor -1"))?,
            ),
        },
        max_per_class: limit("max_per_class", usize::MAX)?,
        max_detections: max_detections(suppression, 100)?,
    })
}

/// Rejects a key that would have no effect, because its author expects an effect.
fn only_with(key: &str, applies: bool, layout: &Layout) -> Result<(), String> {
    if applies || config::get(key).is_none() {
        Ok(())
    } else {
        Err(format!("configuration key `{key}` cannot be used with `layout = \"{}\"`", layout.name))
    }
}
