//! Reads maps, one for each keypoint of one person. Computes what `get_max_preds` and `get_final_preds` of
//! `lib/core/inference.py` in `leoxiaobin/deep-high-resolution-net.pytorch` compute; SimpleBaseline has the same functions.

use postprocess_core::geometry::Geometry;

use crate::settings::Settings;
use crate::shape::Sizes;
use crate::{Keypoint, Person};

/// The person in these maps. Sizes are the number of keypoints and the rows and columns of a map, none of them 0.
pub fn person(settings: &Settings, geometry: &Geometry, numbers: &[f32], [_, rows, columns]: Sizes<usize>) -> Person {
    let keypoint = |(index, map): (usize, &[f32])| {
        let (x, y, score) = place(map, rows, columns);
        Keypoint {
            label: settings.keypoint(index),
            x: geometry.x(x / columns as f64 * geometry.input_width) as f32,
            y: geometry.y(y / rows as f64 * geometry.input_height) as f32,
            score: Some(score),
        }
    };
    let keypoints = numbers.chunks_exact(rows * columns).enumerate().map(keypoint).collect();
    Person { label: None, index: None, score: None, r#box: None, keypoints }
}

/// The place of the greatest number, moved by a quarter towards the greater neighbours, and the number.
fn place(map: &[f32], rows: usize, columns: usize) -> (f64, f64, f32) {
    let indexed = map.iter().copied().enumerate();
    let greatest = indexed.reduce(|best, next| if next.1 > best.1 { next } else { best });
    let (index, score) = greatest.unwrap_or((0, 0.0));
    if score <= 0.0 {
        return (0.0, 0.0, score);
    }
    let (x, y) = (index % columns, index / columns);
    let quarter = |before: f32, after: f32| match after.partial_cmp(&before) {
        Some(std::cmp::Ordering::Greater) => 0.25,
        Some(std::cmp::Ordering::Less) => -0.25,
        _ => 0.0,
    };
    // The edges are as in the source, which is not symmetric.
    let has_neighbours = x > 1 && x + 1 < columns && y > 1 && y + 1 < rows;
    let (right, down) = match has_neighbours {
        true => (quarter(map[index - 1], map[index + 1]), quarter(map[index - columns], map[index + columns])),
        false => (0.0, 0.0),
    };
    (x as f64 + right, y as f64 + down, score)
}
