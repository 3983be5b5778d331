//! Quadrilaterals and rotated parts of a picture: the mapping from the pixels of a crop to those of the picture, and the rows
//! of the crop.
//!
//! A pixel of the crop is interpolated between the four pixels around its place (bilinear, as `transform` of Pillow). If the
//! part is larger than the crop, this would miss pixels: then a larger crop is made, which is resized with
//! [`prepare_rows`](crate::prepare_rows) ([`Warp::oversampling`]).

/// A point: x and y.
pub type Point = [f64; 2];

/// A mapping from a point (x, y) of the crop to one of the picture: `((a x + b y + c) / (g x + h y + 1), …)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Warp([f64; 8]);

/// A part of a picture in memory.
pub struct Part<'a> {
    /// Its left and its upper edge in the picture.
    pub start: [u32; 2],
    /// Its width and height.
    pub size: [u32; 2],
    /// Red, green and blue of each pixel, row by row.
    pub rgb: &'a [u8],
    /// The value of pixels outside of the picture.
    pub pad: u8,
}

impl Warp {
    /// The similarity (rotation, one scale, translation) that maps the points of the picture as near as possible to those of
    /// the crop, by least squares in the crop (Umeyama, "Least-squares estimation of transformation parameters between two
    /// point patterns", IEEE TPAMI 1991, without reflection). `None` if the points of the picture are all at one place, or
    /// those of the crop are.
    pub fn similarity(crop: &[Point], picture: &[Point]) -> Option<Warp> {
        let count = crop.len().min(picture.len()) as f64;
        let mean = |points: &[Point], axis: usize| points.iter().map(|point| point[axis]).sum::<f64>() / count;
        let (from, to) = ([mean(picture, 0), mean(picture, 1)], [mean(crop, 0), mean(crop, 1)]);
        let (mut along, mut across, mut spread) = (0.0, 0.0, 0.0);
        for (p, c) in picture.iter().zip(crop) {
            let (px, py, cx, cy) = (p[0] - from[0], p[1] - from[1], c[0] - to[0], c[1] - to[1]);
            along += px * cx + py * cy;
            across += px * cy - py * cx;
            spread += px * px + py * py;
        }
        // From the picture to the crop: (a -b; b a). The inverse maps from the crop to the picture.
        let (a, b) = (along / spread, across / spread);
        let square = a * a + b * b;
        let (a, b) = (a / square, -b / square);
        let [x, y] = to;
        let warp = [a, -b, from[0] - a * x + b * y, b, a, from[1] - b * x - a * y, 0.0, 0.0];
        warp.iter().all(|number| number.is_finite()).then_some(Warp(warp))
    }

    /// The perspective that maps four points of the crop to four of the picture. `None` if three of them are on a line.
    pub fn perspective(crop: [Point; 4], picture: [Point; 4]) -> Option<Warp> {
        let mut rows = [[0.0; 9]; 8];
        for (index, ([x, y], [u, v])) in crop.into_iter().zip(picture).enumerate() {
            rows[2 * index] = [x, y, 1.0, 0.0, 0.0, 0.0, -x * u, -y * u, u];
            rows[2 * index + 1] = [0.0, 0.0, 0.0, x, y, 1.0, -x * v, -y * v, v];
        }
        let warp = Warp(solve(rows)?);
        // A quadrilateral that crosses itself or is not convex has a vanishing line through the crop.
        crop.iter().all(|point| warp.is_in_front(point)).then_some(warp)
    }

    /// The place in the picture of a point of the crop.
    pub fn place(&self, [x, y]: Point) -> Point {
        let [a, b, c, d, e, f, g, h] = self.0;
        let depth = g * x + h * y + 1.0;
        [(a * x + b * y + c) / depth, (d * x + e * y + f) / depth]
    }

    /// The places in the picture of the corners of a crop of this size, from the left upper one clockwise. `None` if a part of the
    /// crop is behind the picture: with a margin, a crop can reach over the horizon of its perspective.
    pub fn corners(&self, width: u32, height: u32) -> Option<[Point; 4]> {
        let (width, height) = (f64::from(width), f64::from(height));
        let corners = [[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]];
        corners.iter().all(|corner| self.is_in_front(corner)).then(|| corners.map(|corner| self.place(corner)))
    }

    fn is_in_front(&self, &[x, y]: &Point) -> bool {
        self.0[6] * x + self.0[7] * y + 1.0 > 1e-6
    }

    /// The number of pixels of the picture for one pixel of the crop, horizontally and vertically, rounded up: by these numbers
    /// the crop has to be larger before it is resized. At most `most`. `corners` are those of the crop in the picture.
    pub fn oversampling([p, q, r, s]: [Point; 4], (width, height): (u32, u32), most: u32) -> [u32; 2] {
        let length = |a: Point, b: Point| (a[0] - b[0]).hypot(a[1] - b[1]);
        let across = length(p, q).max(length(s, r)) / f64::from(width);
        let down = length(p, s).max(length(q, r)) / f64::from(height);
        // Rounding must not make a crop of the same size larger.
        [across, down].map(|scale| ((scale - 1e-6).ceil().max(1.0) as u32).min(most.max(1)))
    }

    /// The same mapping from a crop that is larger by these factors.
    pub fn enlarged(&self, [across, down]: [u32; 2]) -> Warp {
        let [a, b, c, d, e, f, g, h] = self.0;
        let (x, y) = (f64::from(across), f64::from(down));
        Warp([a / x, b / y, c, d / x, e / y, f, g / x, h / y])
    }

    /// Fills a row of the crop, `row` from 0, with red, green and blue. Returns true if a pixel of it is in the part.
    pub fn fill(&self, row: u32, part: &Part<'_>, out: &mut [u8]) -> bool {
        let mut is_seen = false;
        let y = f64::from(row) + 0.5;
        for (x, pixel) in out.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let [u, v] = self.place([x as f64 + 0.5, y]);
            let sample = part.sample(u - f64::from(part.start[0]), v - f64::from(part.start[1]));
            is_seen |= sample.is_some();
            *pixel = sample.unwrap_or([part.pad; 3]);
        }
        is_seen
    }
}

impl Part<'_> {
    /// The colour at a place of the part; `None` outside of it. The centre of its first pixel is at 0.5, 0.5.
    fn sample(&self, x: f64, y: f64) -> Option<[u8; 3]> {
        let [width, height] = self.size;
        // Also false for NaN.
        let is_inside = x >= 0.0 && y >= 0.0 && x < f64::from(width) && y < f64::from(height);
        if !is_inside {
            return None;
        }
        let axis = |at: f64, size: u32| {
            let at = (at - 0.5).clamp(0.0, f64::from(size - 1));
            let first = at as usize;
            (first, (first + 1).min(size as usize - 1), (at - first as f64) as f32)
        };
        let ((left, right, across), (top, bottom, down)) = (axis(x, width), axis(y, height));
        let value = |row: usize, column: usize, channel: usize| {
            f32::from(self.rgb[3 * (row * width as usize + column) + channel])
        };
        Some(std::array::from_fn(|channel| {
            let between = |row: usize| {
                let (first, second) = (value(row, left, channel), value(row, right, channel));
                first + (second - first) * across
            };
            let (upper, lower) = (between(top), between(bottom));
            (upper + (lower - upper) * down + 0.5) as u8
        }))
    }
}

/// Solves eight linear equations by elimination with pivots. `None` if they have no single solution.
fn solve(mut rows: [[f64; 9]; 8]) -> Option<[f64; 8]> {
    let largest = rows.as_flattened().iter().fold(0.0_f64, |largest, number| largest.max(number.abs()));
    for column in 0..8 {
        let pivot = (column..8).max_by(|&a, &b| rows[a][column].abs().total_cmp(&rows[b][column].abs()))?;
        if rows[pivot][column].abs().partial_cmp(&(largest * 1e-12)) != Some(std::cmp::Ordering::Greater) {
            return None;
        }
        rows.swap(column, pivot);
        let source = rows[column];
        for (_, row) in rows.iter_mut().enumerate().filter(|(index, _)| *index != column) {
            let factor = row[column] / source[column];
            row.iter_mut().zip(source).for_each(|(number, other)| *number -= factor * other);
        }
    }
    let solution = std::array::from_fn(|index| rows[index][8] / rows[index][index]);
    solution.iter().all(|number| number.is_finite()).then_some(solution)
}
