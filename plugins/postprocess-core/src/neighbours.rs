//! Finds the boxes that may overlap a box, without looking at all of them.
//!
//! Boxes lie in grids, one for each power of two of their longer sides. The cell of a box is that of its left upper corner, so
//! that a box is in one cell.
//!
//! If the intersection over the union of two boxes is greater than `t`, that of their sides along each axis is too: the union
//! covers the union of the sides along one axis, everywhere with at least the shorter side of the other axis. So a side is at
//! most `1 / t` times as long as the other, and their starts are at most `(1 - t) / t` times the length of either side apart.
//! These limits choose the grids and the cells. The caller computes the overlap of what is found, so limits that are a little
//! too wide change nothing but the time.

use std::collections::BTreeMap;

/// So few boxes are looked at without grids.
const FEW: usize = 32;
/// The limits are wider by this fraction, because the caller's overlap is rounded.
const MARGIN: f64 = 1e-6;
/// The end of a list.
const NONE: u32 = u32::MAX;

/// Boxes with their numbers, in groups. A group is a class, or all boxes.
pub(crate) struct Neighbours {
    /// Overlaps of at most this are not asked for.
    least: f64,
    /// The exponent of the side of a cell, less that of its grid.
    shift: i64,
    groups: Vec<Option<Box<Group>>>,
    /// The boxes that are in cells.
    entries: Vec<Entry>,
    /// The first entry of each hash; a power of two.
    heads: Vec<u32>,
}

#[derive(Default)]
struct Group {
    count: usize,
    /// The boxes of each grid, by the exponent of their longer sides.
    grids: BTreeMap<i64, Vec<(u32, [f32; 4])>>,
    /// Boxes that are in no grid: without area, infinite, or not a number.
    others: Vec<(u32, [f32; 4])>,
}

#[derive(Clone, Copy, PartialEq)]
struct Cell {
    group: usize,
    exponent: i64,
    column: i64,
    row: i64,
}

struct Entry {
    cell: Cell,
    number: u32,
    corners: [f32; 4],
    /// The next entry of the same hash.
    next: u32,
}

/// A box with an area: start, end and length along both axes.
struct Extent {
    axes: [[f64; 3]; 2],
    /// The longer length.
    side: f64,
}

impl Neighbours {
    /// `least` is the intersection over the union that overlaps must be greater than. With 0, all boxes that share an area are
    /// found; with less, all boxes.
    pub(crate) fn new(least: f64) -> Self {
        let least = least.min(1.0) * (1.0 - MARGIN);
        // Cells are about as large as the distance between boxes that overlap, so that few of them are looked at.
        let shift = (exponent(((1.0 - least) / least).max(0.0)) + 2).clamp(-20, 0);
        Self { least, shift, groups: Vec::new(), entries: Vec::new(), heads: vec![NONE; 64] }
    }

    /// Adds a box.
    pub(crate) fn add(&mut self, group: usize, number: usize, corners: [f32; 4]) {
        if self.groups.len() <= group {
            self.groups.resize_with(group + 1, || None);
        }
        let of_group = self.groups[group].get_or_insert_default();
        let number = number as u32;
        of_group.count += 1;
        let Some(extent) = Extent::of(&corners) else {
            of_group.others.push((number, corners));
            return;
        };
        let exponent = exponent(extent.side);
        of_group.grids.entry(exponent).or_default().push((number, corners));
        let [column, row] = extent.axes.map(|[start, ..]| place(start, exponent + self.shift));
        let entry = Entry { cell: Cell { group, exponent, column, row }, number, corners, next: NONE };
        self.entries.push(entry);
        if 2 * self.entries.len() > self.heads.len() {
            self.heads = vec![NONE; 2 * self.heads.len()];
            (0..self.entries.len()).for_each(|at| self.link(at));
        } else {
            self.link(self.entries.len() - 1);
        }
    }

    fn link(&mut self, at: usize) {
        let place = hash(self.entries[at].cell) & (self.heads.len() - 1);
        let head = &mut self.heads[place];
        self.entries[at].next = std::mem::replace(head, at as u32);
    }

    /// Calls `is_wanted` with the number and the corners of each box of the group that may overlap this box, each once, until it
    /// returns true. Returns whether it did.
    pub(crate) fn any(
        &self,
        group: usize,
        corners: &[f32; 4],
        mut is_wanted: impl FnMut(usize, &[f32; 4]) -> bool,
    ) -> bool {
        let Some(Some(of_group)) = self.groups.get(group) else { return false };
        if any_of(&of_group.others, &mut is_wanted) {
            return true;
        }
        let extent = Extent::of(corners).filter(|_| of_group.count > FEW && self.least >= 0.0);
        let Some(extent) = extent else {
            return of_group.grids.values().any(|boxes| any_of(boxes, &mut is_wanted));
        };
        let exponents = exponent(extent.side * self.least)..=exponent(extent.side / self.least);
        of_group.grids.range(exponents).any(|(exponent, boxes)| {
            let [columns, rows] = extent.axes.map(|axis| self.places(axis, *exponent));
            let count = |[first, last]: [i64; 2]| last as f64 - first as f64 + 1.0;
            if count(columns) * count(rows) > boxes.len() as f64 {
                return any_of(boxes, &mut is_wanted);
            }
            (rows[0]..=rows[1]).any(|row| {
                let mut cells =
                    (columns[0]..=columns[1]).map(|column| Cell { group, exponent: *exponent, column, row });
                cells.any(|cell| self.any_in(cell, &mut is_wanted))
            })
        })
    }

    fn any_in(&self, cell: Cell, is_wanted: &mut impl FnMut(usize, &[f32; 4]) -> bool) -> bool {
        let mut next = self.heads[hash(cell) & (self.heads.len() - 1)];
        while let Some(entry) = self.entries.get(next as usize) {
            if entry.cell == cell && is_wanted(entry.number as usize, &entry.corners) {
                return true;
            }
            next = entry.next;
        }
        false
    }

    /// The first and the last column, or row, of a grid whose boxes may overlap.
    fn places(&self, [start, end, length]: [f64; 3], exponent: i64) -> [i64; 2] {
        let apart = length * ((1.0 - self.least) / self.least);
        // The boxes of the grid are shorter than the next power of two. A limit that is rounded is on the right side of all f32.
        let first = (start - apart).max(start - power(exponent + 1));
        [first, (start + apart).min(end)].map(|limit| place(limit, exponent + self.shift))
    }
}

fn any_of(boxes: &[(u32, [f32; 4])], is_wanted: &mut impl FnMut(usize, &[f32; 4]) -> bool) -> bool {
    boxes.iter().any(|(number, corners)| is_wanted(*number as usize, corners))
}

impl Extent {
    fn of([left, top, right, bottom]: &[f32; 4]) -> Option<Self> {
        let axes = [[*left, *right], [*top, *bottom]].map(|axis| {
            let [start, end] = axis.map(f64::from);
            [start, end, end - start]
        });
        let [[_, _, width], [_, _, height]] = axes;
        let side = width.max(height);
        // False if one of them is not a number.
        (width > 0.0 && height > 0.0 && side < f64::INFINITY).then_some(Self { axes, side })
    }
}

/// The exponent of the greatest power of two that is not greater. The number is not negative.
fn exponent(number: f64) -> i64 {
    (number.to_bits() >> 52) as i64 - 1023
}

/// Two to this power, which is the exponent of the side of a box of f32.
fn power(exponent: i64) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// The column or the row of a grid. Those that are too far for an i64 are one.
fn place(start: f64, exponent: i64) -> i64 {
    (start * power(-exponent)).floor() as i64
}

fn hash(cell: Cell) -> usize {
    let parts = [cell.group as u64, cell.exponent as u64, cell.column as u64, cell.row as u64];
    let mix = |hash: u64, part: u64| (hash.rotate_left(5) ^ part).wrapping_mul(0x517c_c1b7_2722_0a95);
    (parts.into_iter().fold(0, mix) >> 32) as usize
}
