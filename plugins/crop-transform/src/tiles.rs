//! Tiles of the picture, as `get_slice_bboxes` of SAHI cuts them (`sahi/slicing.py`).

use image_core::Target;
use plimsoll_sdk::config;

/// The part of a tile that the next one overlaps, if it is not configured.
const OVERLAP: f64 = 0.2;
/// The default of a step's `max_items`.
const MAX_TILES: usize = 64;

/// Which tiles are cut.
pub(crate) struct Tiles {
    /// The widths and heights of tiles in pixels of the picture.
    sizes: Vec<[u32; 2]>,
    /// The part of a tile that the next one overlaps.
    overlap: f64,
    /// True if the whole picture is an item, too.
    has_whole: bool,
    /// The maximum number of items.
    most: usize,
}

impl Tiles {
    /// Reads the keys. `target` is the size of the tensor.
    ///
    /// # Errors
    /// A message that names the key that is malformed.
    pub(crate) fn read(target: &Target) -> Result<Tiles, String> {
        let widths = config::list::<u32>("tile_widths")?.unwrap_or_else(|| vec![target.width]);
        if widths.contains(&0) {
            return Err("configuration key `tile_widths`: 0 is not a number of pixels".into());
        }
        let overlap = config::parse("overlap", OVERLAP)?;
        if !(0.0..=0.9).contains(&overlap) {
            return Err(format!("configuration key `overlap`: {overlap} is not between 0 and 0.9"));
        }
        let most = config::parse("max_tiles", MAX_TILES)?;
        if most == 0 {
            return Err("configuration key `max_tiles`: must be at least 1".into());
        }
        // Tiles have the proportions of the tensor.
        let height = |width: u32| {
            let height = f64::from(width) * f64::from(target.height) / f64::from(target.width);
            (height.round() as u32).max(1)
        };
        let sizes = widths.into_iter().map(|width| [width, height(width)]).collect();
        Ok(Tiles { sizes, overlap, has_whole: config::parse("whole", true)?, most })
    }

    /// The tiles of a picture as x1, y1, x2, y2 in its pixels: the whole picture first, then row by row, the sizes in their order.
    ///
    /// # Errors
    /// If there are too many. The message says what to configure.
    pub(crate) fn cut(&self, [width, height]: [u32; 2]) -> Result<Vec<[u32; 4]>, String> {
        let axes: Vec<_> =
            self.sizes.iter().map(|size| (self.starts(width, size[0]), self.starts(height, size[1]), size)).collect();
        let whole = [0, 0, width, height];
        let count = axes.iter().map(|(across, down, _)| across.len() * down.len()).sum::<usize>();
        let total = count + usize::from(self.has_whole);
        if total > self.most {
            return Err(format!(
                "the picture of {width} x {height} pixels has {total} tiles, more than `max_tiles` ({}): send a smaller picture; or \
                 set larger `tile_widths`, or `max_tiles` and the step's `max_items`",
                self.most
            ));
        }
        let mut tiles = Vec::with_capacity(total);
        tiles.extend(self.has_whole.then_some(whole));
        for (across, down, [tile_width, tile_height]) in axes {
            for y in down {
                for x in &across {
                    let tile = [*x, y, (x + tile_width).min(width), (y + tile_height).min(height)];
                    // A picture that is not larger than a tile is one tile.
                    if !(self.has_whole && tile == whole) {
                        tiles.push(tile);
                    }
                }
            }
        }
        Ok(tiles)
    }

    /// The first pixels of tiles along a side. The last tile ends with the side.
    fn starts(&self, side: u32, tile: u32) -> Vec<u32> {
        let step = (tile - (self.overlap * f64::from(tile)) as u32).max(1);
        let last = side.saturating_sub(tile);
        // A side of 65,535 pixels in steps of 1 is bounded by `max_tiles` afterwards.
        let mut starts: Vec<_> = (0..last).step_by(step as usize).collect();
        starts.push(last);
        starts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiles(sizes: &[[u32; 2]], overlap: f64, has_whole: bool) -> Tiles {
        Tiles { sizes: sizes.to_vec(), overlap, has_whole, most: 100 }
    }

    #[test]
    fn tiles_cover_the_picture_and_the_last_one_ends_with_it() {
        let cut = |picture, size, overlap| tiles(&[size], overlap, false).cut(picture).expect("few");
        assert_eq!(cut([100, 40], [40, 40], 0.25), [[0, 0, 40, 40], [30, 0, 70, 40], [60, 0, 100, 40]]);
        assert_eq!(cut([90, 40], [40, 40], 0.25), [[0, 0, 40, 40], [30, 0, 70, 40], [50, 0, 90, 40]]);
        assert_eq!(cut([40, 90], [40, 60], 0.0), [[0, 0, 40, 60], [0, 30, 40, 90]]);
        assert_eq!(cut([30, 20], [40, 40], 0.2), [[0, 0, 30, 20]]);
        assert_eq!(cut([80, 40], [40, 40], 0.0), [[0, 0, 40, 40], [40, 0, 80, 40]]);
    }

    #[test]
    fn the_whole_picture_comes_once_and_before_the_sizes() {
        let all = tiles(&[[50, 50], [100, 100]], 0.0, true).cut([100, 50]).expect("few");
        assert_eq!(all, [[0, 0, 100, 50], [0, 0, 50, 50], [50, 0, 100, 50]]);
        let message = tiles(&[[1, 1]], 0.0, true).cut([100, 50]).expect_err("many");
        assert!(message.contains("5001 tiles") && message.contains("`max_tiles`"), "{message}");
    }
}
