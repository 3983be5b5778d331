//! The masks of objects: sums of prototypes, as `process_mask` and `process_mask_native` of Ultralytics make them
//! (`ultralytics/utils/ops.py`).

use postprocess_core::geometry::Geometry;

use crate::classes::Map;
use crate::raster::{NO_CLASS, Raster};

/// The prototypes: maps over the model's input.
pub struct Prototypes<'a> {
    /// The name of the output.
    pub name: &'a str,
    /// The elements, map by map. All of them are finite.
    pub numbers: &'a [f32],
    /// The number of rows of a map.
    pub rows: usize,
    /// The number of columns.
    pub columns: usize,
}

/// The mask of an object: the pixels of a rectangle that belong to it.
pub struct Mask {
    /// The first column and the first row of the rectangle.
    start: [u32; 2],
    /// The numbers of columns and rows.
    size: [u32; 2],
    /// True for each pixel of the object, row by row.
    pixels: Vec<bool>,
}

/// Where a line of pixels lies between two places of a map.
struct Between {
    first: usize,
    second: usize,
    /// The part of the second place.
    weight: f32,
}

impl Prototypes<'_> {
    /// The mask in the size of the map: places whose sum is over 0, in the box, given in places. A place is in a box if its
    /// left upper corner is.
    ///
    /// # Errors
    /// If a sum is not a finite number. The message names the output.
    pub fn mask(&self, coefficients: &[f32], [x1, y1, x2, y2]: [f32; 4]) -> Result<Mask, String> {
        let ([left, right], [top, bottom]) = (within(x1, x2, self.columns as u32), within(y1, y2, self.rows as u32));
        let sums = self.sums(coefficients, [left, right], [top, bottom])?;
        Ok(Mask {
            start: [left, top],
            size: [right - left, bottom - top],
            pixels: sums.into_iter().map(|sum| sum > 0.0).collect(),
        })
    }

    /// The mask in the size of the caller's image: the sums are interpolated between the centres of the places. The box is
    /// in pixels of this image. Pixels that the model has not seen do not belong to the object.
    ///
    /// # Errors
    /// If a sum is not a finite number. The message names the output.
    pub fn original(
        &self,
        coefficients: &[f32],
        [x1, y1, x2, y2]: [f32; 4],
        geometry: &Geometry,
    ) -> Result<Mask, String> {
        let ([left, right], [top, bottom]) = (within(x1, x2, geometry.width), within(y1, y2, geometry.height));
        let x = |pixel: f64| geometry.input_x(pixel) * self.columns as f64 / geometry.input_width;
        let y = |pixel: f64| geometry.input_y(pixel) * self.rows as f64 / geometry.input_height;
        let (left, across) = between(left..right, self.columns, x);
        let (top, down) = between(top..bottom, self.rows, y);
        let size = [across.len() as u32, down.len() as u32];
        let (Some((first, last)), Some((above, below))) = (ends(&across), ends(&down)) else {
            return Ok(Mask { start: [left, top], size: [0, 0], pixels: Vec::new() });
        };
        let part = [[first, last], [above, below]].map(|ends| ends.map(|end| end as u32));
        let sums = self.sums(coefficients, part[0], part[1])?;
        let columns = last - first;
        let mut pixels = Vec::with_capacity(across.len() * down.len());
        let mut line = vec![0.0; columns];
        for row in &down {
            let [upper, lower] = [row.first, row.second].map(|row| &sums[(row - above) * columns..][..columns]);
            for ((mixed, upper), lower) in line.iter_mut().zip(upper).zip(lower) {
                *mixed = upper + (lower - upper) * row.weight;
            }
            pixels.extend(across.iter().map(|column| {
                let [left, right] = [column.first, column.second].map(|column| line[column - first]);
                left + (right - left) * column.weight > 0.0
            }));
        }
        Ok(Mask { start: [left, top], size, pixels })
    }

    /// The sums of all prototypes in a part of the map, row by row.
    fn sums(&self, coefficients: &[f32], columns: [u32; 2], rows: [u32; 2]) -> Result<Vec<f32>, String> {
        let [[left, right], [top, bottom]] = [columns, rows].map(|ends| ends.map(|end| end as usize));
        let width = right - left;
        let mut sums = vec![0.0; width * (bottom - top)];
        if sums.is_empty() {
            return Ok(sums);
        }
        for (coefficient, map) in coefficients.iter().zip(self.numbers.chunks_exact(self.rows * self.columns)) {
            let lines = map.chunks_exact(self.columns).skip(top);
            for (sums, line) in sums.chunks_exact_mut(width).zip(lines) {
                for (sum, number) in sums.iter_mut().zip(&line[left..right]) {
                    *sum += coefficient * number;
                }
            }
        }
        match sums.iter().fold(true, |are_finite, sum: &f32| are_finite & sum.is_finite()) {
            true => Ok(sums),
            false => Err(format!(
                "output `{}`: the sum of the prototypes of a mask is not a finite number: the model is wrong",
                self.name
            )),
        }
    }
}

impl Mask {
    /// The number of pixels of the object.
    pub fn area(&self) -> u64 {
        self.pixels.iter().map(|is_inside| u64::from(*is_inside)).sum()
    }

    /// The object as class 0 in an image of this size.
    pub fn raster(self, size: [u32; 2]) -> Raster {
        let classes = self.pixels.into_iter().map(|is_inside| if is_inside { 0 } else { NO_CLASS }).collect();
        let map = Map { width: self.size[0] as usize, height: self.size[1] as usize, classes };
        Raster::part(map, self.start, size)
    }

    /// Paints the object over an image of this width, where no other object is.
    pub fn paint(&self, class: u16, image: &mut [u16], width: u32) {
        let columns = self.size[0] as usize;
        if columns == 0 {
            return;
        }
        let lines = image.chunks_exact_mut(width as usize).skip(self.start[1] as usize);
        for (line, pixels) in lines.zip(self.pixels.chunks_exact(columns)) {
            for (found, is_inside) in line[self.start[0] as usize..].iter_mut().zip(pixels) {
                if *is_inside && *found == NO_CLASS {
                    *found = class;
                }
            }
        }
    }
}

/// The whole numbers from `first`, and less than `last`, of those less than `count`: the first one, and the one after the last.
fn within(first: f32, last: f32, count: u32) -> [u32; 2] {
    let whole = |end: f32| (f64::from(end).ceil().max(0.0) as u32).min(count);
    [whole(first), whole(last).max(whole(first))]
}

/// Between which of `places` the centres of pixels lie; and the first pixel that the model has seen. `place` converts a
/// coordinate to places of the map.
fn between(pixels: std::ops::Range<u32>, places: usize, place: impl Fn(f64) -> f64) -> (u32, Vec<Between>) {
    let (start, end) = (pixels.start, pixels.end);
    let at = |pixel: u32| Some(place(f64::from(pixel) + 0.5)).filter(|at| (0.0..places as f64).contains(at));
    let first = (start..end).find(|pixel| at(*pixel).is_some()).unwrap_or(end);
    let line = (first..end).map_while(|pixel| {
        let at = (at(pixel)? - 0.5).clamp(0.0, (places - 1) as f64);
        let first = at.floor();
        let second = (first as usize + 1).min(places - 1);
        Some(Between { first: first as usize, second, weight: (at - first) as f32 })
    });
    (first, line.collect())
}

/// The first place that a line of pixels needs, and the one after the last.
fn ends(line: &[Between]) -> Option<(usize, usize)> {
    Some((line.first()?.first, line.last()?.second + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_that_is_not_finite_is_an_error() {
        let prototypes = Prototypes { name: "p", numbers: &[f32::MAX, f32::MAX], rows: 1, columns: 1 };
        assert!(prototypes.mask(&[1.0, 0.0], [0.0, 0.0, 1.0, 1.0]).is_ok_and(|mask| mask.area() == 1));
        let message = prototypes.mask(&[1.0, 1.0], [0.0, 0.0, 1.0, 1.0]).err().expect("refused");
        assert!(message.contains("`p`"), "{message}");
    }

    #[test]
    fn a_pixel_is_in_a_box_if_its_left_upper_corner_is() {
        assert_eq!(within(0.0, 2.0, 9), [0, 2]);
        assert_eq!(within(0.1, 2.1, 9), [1, 3]);
        assert_eq!(within(-3.0, 99.0, 9), [0, 9]);
        assert_eq!(within(2.2, 2.8, 9), [3, 3]);
        assert_eq!(within(20.0, 30.0, 9), [9, 9]);
    }
}
