//! The detections of the items of a pipeline: tiles, or other parts of a picture, each with the outputs of a detector. They are
//! merged in the picture's coordinates.

use detect_core::{Settings, select_boxes};
use plimsoll_sdk::gathered::{Gathered, ItemError};
use plimsoll_sdk::{Failure, NamedTensor, config};
use postprocess_core::boxes;
use postprocess_core::geometry::Geometry;
use postprocess_core::merge::{Merge, Metric, merge};
use postprocess_core::select::{Found, Rule, Suppression};
use serde::{Deserialize, Serialize};

/// The keys of gathered items.
pub(crate) const KEYS: [&str; 3] = ["items", "merge_metric", "merge_threshold"];

/// An item without detections, because a step failed for it.
#[derive(Serialize)]
pub(crate) struct FailedItem {
    /// Its number, from 0.
    item: usize,
    step: String,
    outcome: String,
    message: String,
}

/// The detections of all items.
pub(crate) struct Merged {
    /// The width and the height of the picture.
    pub(crate) size: [u32; 2],
    /// The boxes in pixels of the picture, best first.
    pub(crate) found: Vec<Found<()>>,
    /// The items that failed.
    pub(crate) failed: Vec<FailedItem>,
}

/// The size in the context from before the items.
#[derive(Deserialize)]
struct Size {
    width: u32,
    height: u32,
}

/// Reads the keys. `None` if the step does not gather items.
///
/// # Errors
/// A message that names the key that is malformed or in conflict with another key.
pub(crate) fn read(rule: &Rule) -> Result<Option<Merge>, String> {
    if !config::parse("items", false)? {
        return match KEYS[1..].iter().find(|key| config::get(key).is_some()) {
            Some(key) => Err(format!("configuration key `{key}` can only be used with `items = true`")),
            None => Ok(None),
        };
    }
    Ok(Some(Merge {
        metric: config::choice("merge_metric", &[("smaller", Metric::Smaller), ("union", Metric::Union)])?,
        threshold: config::fraction("merge_threshold", 0.5)?,
        is_class_agnostic: matches!(rule.suppression, Suppression::ClassAgnostic(_)),
        max_per_class: rule.max_per_class,
        max_detections: rule.max_detections,
    }))
}

/// The detections of all items, merged.
///
/// # Errors
/// If the step does not gather items, or the outputs of an item cannot be right. The message names the item.
pub(crate) fn detections(
    settings: &Settings,
    rule: &Merge,
    tensors: Vec<NamedTensor>,
    context: &[u8],
) -> Result<Merged, Failure> {
    let without = "configuration key `items`: this step does not gather items; set `gather = true` at the step";
    let gathered =
        Gathered::read(tensors, context).map_err(|error| Failure::Internal(format!("{without}: {error}")))?;
    let (mut all, mut failed) = (Vec::new(), Vec::new());
    let mut size = serde_json::from_slice(&gathered.context).ok().map(|Size { width, height }| [width, height]);
    for (at, item) in gathered.items.into_iter().enumerate() {
        let item = match item {
            Ok(item) => item,
            Err(ItemError { step, outcome, message, .. }) => {
                failed.push(FailedItem { item: at, step, outcome, message });
                continue;
            }
        };
        let of_item = |error: String| Failure::Internal(format!("item {at}: {error}"));
        let geometry = Geometry::parse(&item.context).map_err(of_item)?;
        size.get_or_insert([geometry.width, geometry.height]);
        let found = select_boxes(settings, &geometry, &item.tensors, None).map_err(of_item)?;
        all.extend(found.into_iter().filter_map(|found| {
            Some(Found { r#box: boxes::to_original(&geometry, found.r#box, settings.unit)?, ..found })
        }));
    }
    let size = size.ok_or_else(|| {
        let mend = "take the context of `image-preprocess` first";
        Failure::Internal(format!("there are no items, and the context from before them has no size: {mend}"))
    })?;
    Ok(Merged { size, found: merge(rule, all), failed })
}
