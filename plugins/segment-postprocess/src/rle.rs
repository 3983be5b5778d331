//! Run lengths of COCO (`rleEncode` and `rleToString` of `maskApi.c` in `cocodataset/cocoapi`).

use std::collections::BTreeMap;

use serde::Serialize;

use crate::raster::{NO_CLASS, Raster};

/// The pixels of a class as run lengths.
#[derive(Serialize, Default)]
pub struct Rle {
    /// Height and width.
    pub size: [u32; 2],
    /// The lengths of runs without and with the class in turn, column by column, compressed.
    pub counts: String,
}

/// The runs of a class.
#[derive(Default)]
struct Runs {
    counts: Vec<u64>,
    /// The first pixel after the last run, counted column by column.
    end: u64,
}

impl Runs {
    fn add(&mut self, start: u64, end: u64) {
        match self.counts.last_mut() {
            Some(last) if self.end == start => *last += end - start,
            _ => self.counts.extend([start - self.end, end - start]),
        }
        self.end = end;
    }
}

/// The run lengths of each class.
pub fn encode(raster: &Raster) -> BTreeMap<u16, Rle> {
    let (width, height) = raster.size();
    let (columns, rows) = raster.blocks();
    let mut classes: BTreeMap<u16, Runs> = BTreeMap::new();
    for column in 0..columns {
        for x in raster.left(column)..raster.left(column + 1) {
            let top = u64::from(x) * u64::from(height);
            for row in 0..rows {
                let class = raster.class(column, row);
                if class != NO_CLASS {
                    let at = |row| top + u64::from(raster.top(row));
                    classes.entry(class).or_default().add(at(row), at(row + 1));
                }
            }
        }
    }
    classes.into_iter().map(|(class, runs)| (class, finish(runs, [height, width]))).collect()
}

/// The run lengths of an object without pixels.
pub fn nothing(raster: &Raster) -> Rle {
    let (width, height) = raster.size();
    finish(Runs::default(), [height, width])
}

fn finish(mut runs: Runs, size: [u32; 2]) -> Rle {
    let total = u64::from(size[0]) * u64::from(size[1]);
    if runs.end < total {
        runs.counts.push(total - runs.end);
    }
    Rle { size, counts: compress(&runs.counts) }
}

/// Numbers in groups of five bits, the lowest first, from the fourth number on as differences from the second last one.
fn compress(counts: &[u64]) -> String {
    let mut text = String::new();
    for (index, count) in counts.iter().enumerate() {
        // A count is at most the number of pixels, far below 2^63.
        let mut rest = *count as i64;
        if index > 2 {
            rest -= counts[index - 2] as i64;
        }
        loop {
            let bits = (rest & 0x1f) as u8;
            rest >>= 5;
            let is_last = if bits & 0x10 == 0 { rest == 0 } else { rest == -1 };
            text.push(char::from(48 + bits + if is_last { 0 } else { 0x20 }));
            if is_last {
                break;
            }
        }
    }
    text
}
