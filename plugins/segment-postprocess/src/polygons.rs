//! Outlines of the classes along the edges of pixels.

use std::collections::BTreeMap;

use crate::raster::{NO_CLASS, Raster};

/// A direction along the edges. The class is on the right-hand side.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Right,
    Down,
    Left,
    Up,
}

use Direction::{Down, Left, Right, Up};

impl Direction {
    fn turned_right(self) -> Self {
        match self {
            Right => Down,
            Down => Left,
            Left => Up,
            Up => Right,
        }
    }

    fn turned_left(self) -> Self {
        self.turned_right().turned_right().turned_right()
    }
}

/// The outlines of each class, as x, y, x, y, … in pixels: outer ones clockwise, holes counter-clockwise. Blocks that
/// touch only at a corner have separate outlines.
pub fn trace(raster: &Raster) -> BTreeMap<u16, Vec<Vec<u32>>> {
    let (columns, rows) = raster.blocks();
    let mut is_traced = vec![false; columns * rows];
    let mut rings: BTreeMap<u16, Vec<Vec<u32>>> = BTreeMap::new();
    for row in 0..rows {
        for column in 0..columns {
            let class = raster.class(column, row);
            // Every outline has an upper edge of a block below it.
            let is_edge = row == 0 || raster.class(column, row - 1) != class;
            if class != NO_CLASS && is_edge && !is_traced[row * columns + column] {
                rings.entry(class).or_default().push(ring(raster, class, (column, row), &mut is_traced));
            }
        }
    }
    rings
}

/// The outline that begins with the upper edge of a block. Marks the blocks whose upper edges it has.
fn ring(raster: &Raster, class: u16, start: (usize, usize), is_traced: &mut [bool]) -> Vec<u32> {
    let (columns, rows) = raster.blocks();
    let is_inside = |column: Option<usize>, row: Option<usize>| {
        let block = column.zip(row).filter(|(column, row)| *column < columns && *row < rows);
        block.is_some_and(|(column, row)| raster.class(column, row) == class)
    };
    let mut ring = Vec::new();
    let (mut x, mut y) = start;
    let mut direction = Right;
    loop {
        // Along one edge, to the next corner of blocks.
        match direction {
            Right => {
                is_traced[y * columns + x] = true;
                x += 1;
            }
            Down => y += 1,
            Left => x -= 1,
            Up => y -= 1,
        }
        // The four blocks around the corner.
        let (left, above) = (x.checked_sub(1), y.checked_sub(1));
        let upper_left = || is_inside(left, above);
        let upper_right = || is_inside(Some(x), above);
        let lower_left = || is_inside(left, Some(y));
        let lower_right = || is_inside(Some(x), Some(y));
        let (ahead_left, ahead_right) = match direction {
            Right => (upper_right(), lower_right()),
            Down => (lower_right(), lower_left()),
            Left => (lower_left(), upper_left()),
            Up => (upper_left(), upper_right()),
        };
        let next = match (ahead_left, ahead_right) {
            (_, false) => direction.turned_right(),
            (true, true) => direction.turned_left(),
            (false, true) => direction,
        };
        if next != direction {
            ring.extend([raster.left(x), raster.top(y)]);
        }
        direction = next;
        if (x, y) == start && direction == Right {
            return ring;
        }
    }
}
