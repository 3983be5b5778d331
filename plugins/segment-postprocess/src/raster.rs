//! A map of classes in the size of the reply.

use std::collections::BTreeMap;

use postprocess_core::geometry::Geometry;

use crate::classes::Map;

/// The class of a pixel that the model has not seen.
pub const NO_CLASS: u16 = u16::MAX;

/// Pixels, as blocks of pixels with the same place in the model's output. The blocks form a grid.
pub struct Raster {
    map: Map,
    /// The first pixel of each column of blocks, and its column in the map; `None` outside of the model's input.
    columns: Vec<(u32, Option<usize>)>,
    /// The same for rows.
    rows: Vec<(u32, Option<usize>)>,
    width: u32,
    height: u32,
}

/// The extent of a class.
pub struct Extent {
    /// The number of pixels.
    pub area: u64,
    /// x1, y1, x2, y2 around all pixels.
    pub r#box: [u32; 4],
}

impl Raster {
    /// The map itself: each place is a pixel.
    pub fn whole(map: Map) -> Raster {
        let each = |count: usize| (0..count).map(|index| (index as u32, Some(index))).collect();
        let (width, height) = (map.width as u32, map.height as u32);
        Raster { columns: each(map.width), rows: each(map.height), map, width, height }
    }

    /// The map as a part of an image of this size, whose other pixels have no class: each place is a pixel.
    pub fn part(map: Map, [left, top]: [u32; 2], [width, height]: [u32; 2]) -> Raster {
        let axis = |first: u32, places: usize, pixels: u32| {
            let end = first + places as u32;
            let before = (first > 0).then_some((0, None));
            let inside = (0..places).map(|place| (first + place as u32, Some(place)));
            let after = (end < pixels).then_some((end, None));
            before.into_iter().chain(inside).chain(after).collect()
        };
        Raster { columns: axis(left, map.width, width), rows: axis(top, map.height, height), map, width, height }
    }

    /// In the size of the caller's image: a pixel has the class of the place in which its centre lies.
    pub fn original(map: Map, geometry: &Geometry) -> Raster {
        let x = |pixel: f64| geometry.input_x(pixel) * map.width as f64 / geometry.input_width;
        let y = |pixel: f64| geometry.input_y(pixel) * map.height as f64 / geometry.input_height;
        Raster {
            columns: blocks(geometry.width, map.width, x),
            rows: blocks(geometry.height, map.height, y),
            map,
            width: geometry.width,
            height: geometry.height,
        }
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// The numbers of columns and rows of blocks.
    pub fn blocks(&self) -> (usize, usize) {
        (self.columns.len(), self.rows.len())
    }

    /// The class of a block.
    pub fn class(&self, column: usize, row: usize) -> u16 {
        match (self.columns[column].1, self.rows[row].1) {
            (Some(column), Some(row)) => self.map.classes[row * self.map.width + column],
            _ => NO_CLASS,
        }
    }

    /// The first pixel of a column of blocks; for the number of columns, the width.
    pub fn left(&self, column: usize) -> u32 {
        self.columns.get(column).map_or(self.width, |(first, _)| *first)
    }

    /// The first pixel of a row of blocks; for the number of rows, the height.
    pub fn top(&self, row: usize) -> u32 {
        self.rows.get(row).map_or(self.height, |(first, _)| *first)
    }

    /// The extent of each class that has pixels.
    pub fn extents(&self) -> BTreeMap<u16, Extent> {
        let mut extents = BTreeMap::new();
        for row in 0..self.rows.len() {
            let [y1, y2] = [self.top(row), self.top(row + 1)];
            for column in 0..self.columns.len() {
                let [x1, x2] = [self.left(column), self.left(column + 1)];
                let class = self.class(column, row);
                if class == NO_CLASS {
                    continue;
                }
                let extent = extents.entry(class).or_insert(Extent { area: 0, r#box: [x1, y1, x2, y2] });
                extent.area += u64::from(x2 - x1) * u64::from(y2 - y1);
                let [left, top, right, bottom] = extent.r#box;
                extent.r#box = [left.min(x1), top.min(y1), right.max(x2), bottom.max(y2)];
            }
        }
        extents
    }
}

/// The blocks along one axis of `pixels` pixels. `place` converts a coordinate to places of the map, of which there are
/// `places`.
fn blocks(pixels: u32, places: usize, place: impl Fn(f64) -> f64) -> Vec<(u32, Option<usize>)> {
    let mut blocks: Vec<(u32, Option<usize>)> = Vec::new();
    for pixel in 0..pixels {
        let at = place(f64::from(pixel) + 0.5).floor();
        let at = (at >= 0.0 && at < places as f64).then_some(at as usize);
        if blocks.last().is_none_or(|(_, last)| *last != at) {
            blocks.push((pixel, at));
        }
    }
    blocks
}
