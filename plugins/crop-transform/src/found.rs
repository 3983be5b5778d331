//! What a detector found, in pixels of the caller's image.

use detect_core::{Settings, select_boxes};
use plimsoll_sdk::NamedTensor;
use postprocess_core::boxes;
use postprocess_core::geometry::Geometry;
use serde::Serialize;

use crate::points::Points;
use crate::tiles::Tiles;

/// Where the boxes come from.
pub(crate) enum Source {
    /// Boxes of a layout of `detect-postprocess`; and the classes that are kept, if not all are.
    Boxes(Box<Settings>, Option<Vec<usize>>),
    /// Points of each box.
    Points(Points),
    /// No detector: tiles of the picture.
    Tiles(Tiles),
}

/// What becomes an item. Serialised as the member `item` of its context.
#[derive(Serialize)]
pub(crate) struct Found {
    /// x1, y1, x2, y2, clamped to the image.
    pub(crate) r#box: [f32; 4],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) score: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) label: Option<String>,
    /// The points, which may lie outside of the image.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) points: Vec<[f32; 2]>,
}

impl Source {
    /// What the outputs of the detector contain, best first.
    ///
    /// # Errors
    /// If an output is missing or cannot be right. The message names it.
    pub(crate) fn find(&self, geometry: &Geometry, outputs: &[NamedTensor]) -> Result<Vec<Found>, String> {
        let (settings, keep) = match self {
            Source::Points(points) => return points.find(geometry, outputs),
            // These are cut without outputs.
            Source::Tiles(_) => return Ok(Vec::new()),
            Source::Boxes(settings, keep) => (settings, keep),
        };
        let found = select_boxes(settings, geometry, outputs, keep.as_deref()).map_err(|text| renamed(&text))?;
        let original = |found: postprocess_core::select::Found<()>| {
            let r#box = boxes::to_original(geometry, found.r#box, settings.unit)?;
            let label = match &settings.labels {
                Some(labels) => labels[found.class].clone(),
                None => found.class.to_string(),
            };
            Some(Found {
                r#box,
                score: Some(found.score),
                index: Some(found.class),
                label: Some(label),
                points: Vec::new(),
            })
        };
        Ok(found.into_iter().filter_map(original).collect())
    }
}

/// A message of `detect-core` with the name that the key has here.
pub(crate) fn renamed(text: &str) -> String {
    text.replace("`layout`", "`detector`").replace("`layout = ", "`detector = ")
}
