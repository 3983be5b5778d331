//! Entropy-coded images (sections 5 and 6): the image, and the smaller ones that transforms and prefix codes need.

use super::bits::Bits;
use super::codes::Code;
use super::memory::Memory;
use super::{Blocks, broken, truncated};
use crate::limits::Rejected;

/// The first symbols that are not a value of green: lengths of copies, then entries of the colour cache.
const COPY: u32 = 256;
const CACHED: u32 = 256 + 24;

/// The codes of a block of pixels.
struct Group {
    green: Code,
    red: Code,
    blue: Code,
    alpha: Code,
    distance: Code,
    /// A pixel of red, blue and alpha, if these need no bits.
    constant: Option<u32>,
}

impl Group {
    fn read(bits: &mut Bits<'_>, cached: usize, memory: &mut Memory) -> Result<Self, Rejected> {
        let green = Code::read(bits, CACHED as usize + cached, memory)?;
        let red = Code::read(bits, 256, memory)?;
        let blue = Code::read(bits, 256, memory)?;
        let alpha = Code::read(bits, 256, memory)?;
        let distance = Code::read(bits, 40, memory)?;
        let constant = match (red.only(), blue.only(), alpha.only()) {
            (Some(red), Some(blue), Some(alpha)) => Some(alpha << 24 | red << 16 | blue),
            _ => None,
        };
        Ok(Group { green, red, blue, alpha, distance, constant })
    }
}

/// The groups of codes, and which block has which.
struct Groups {
    groups: Vec<Group>,
    blocks: Blocks,
    /// The number of a group for each block; empty if there is one group.
    numbers: Vec<u16>,
    across: usize,
    /// The column of a pixel within its block.
    mask: usize,
}

impl Groups {
    fn read(
        bits: &mut Bits<'_>,
        (width, height): (usize, usize),
        cached: usize,
        main: bool,
        memory: &mut Memory,
    ) -> Result<Self, Rejected> {
        let (mut numbers, mut blocks, mut across, mut mask) = (Vec::new(), Blocks(0), 0, usize::MAX);
        if main && bits.flag() {
            blocks = Blocks::read(bits);
            across = blocks.cover(width);
            mask = (1 << blocks.0) - 1;
            let size = (across, blocks.cover(height));
            memory.take::<[u16; 3]>(size.0 * size.1)?;
            numbers = read(bits, size, false, memory)?.into_iter().map(|pixel| (pixel >> 8) as u16).collect();
        }
        let count = 1 + usize::from(numbers.iter().max().copied().unwrap_or(0));
        let mut groups = Vec::new();
        for _ in 0..count {
            groups.push(Group::read(bits, cached, memory)?);
        }
        Ok(Groups { groups, blocks, numbers, across, mask })
    }

    fn at(&self, x: usize, y: usize) -> &Group {
        let number = self.numbers.get((y >> self.blocks.0) * self.across + (x >> self.blocks.0));
        &self.groups[usize::from(number.copied().unwrap_or(0))]
    }
}

/// Colours that were used, by a hash (section 5.2.3).
struct Cache {
    colours: Vec<u32>,
    shift: u32,
    /// The number of pixels that were entered.
    entered: usize,
}

impl Cache {
    fn read(bits: &mut Bits<'_>) -> Result<Option<Self>, Rejected> {
        if !bits.flag() {
            return Ok(None);
        }
        match bits.number(4) {
            size @ 1..=11 => Ok(Some(Cache { colours: vec![0; 1 << size], shift: 32 - size, entered: 0 })),
            _ => Err(broken("its colour cache has an unknown size")),
        }
    }

    /// Returns an entry after `pixels` were decoded. All of them are entered, also those that came from the cache: an
    /// entry that was never used is 0, and belongs to another place.
    fn colour(&mut self, entry: u32, pixels: &[u32]) -> u32 {
        for pixel in &pixels[self.entered..] {
            self.colours[(pixel.wrapping_mul(0x1E35_A7BD) >> self.shift) as usize] = *pixel;
        }
        self.entered = pixels.len();
        self.colours[entry as usize]
    }
}

/// Reads an image of this size. Only the `main` one can have several groups of codes. Its pixels are not taken from
/// `memory`.
///
/// # Errors
/// If the data are not as specified, end early, or need more memory.
pub(super) fn read(
    bits: &mut Bits<'_>,
    size: (usize, usize),
    main: bool,
    memory: &mut Memory,
) -> Result<Vec<u32>, Rejected> {
    let mut cache = Cache::read(bits)?;
    let cached = cache.as_ref().map_or(0, |cache| cache.colours.len());
    let groups = Groups::read(bits, size, cached, main, memory)?;
    let (width, height) = size;
    let mut image = vec![0; width * height];
    let (mut at, mut x, mut y) = (0, 0, 0);
    let mut group = groups.at(0, 0);
    while at < image.len() {
        if x & groups.mask == 0 {
            group = groups.at(x, y);
        }
        bits.refill();
        let symbol = group.green.symbol(bits);
        if symbol < COPY {
            let others = group.constant.unwrap_or_else(|| {
                let red = group.red.symbol(bits);
                let blue = group.blue.symbol(bits);
                bits.hold(15);
                group.alpha.symbol(bits) << 24 | red << 16 | blue
            });
            image[at] = others | symbol << 8;
        } else if symbol < CACHED {
            let length = copied(symbol - COPY, bits);
            bits.hold(15);
            let distance = group.distance.symbol(bits);
            let distance = distance_in(copied(distance, bits), width);
            if bits.ended() {
                return Err(truncated());
            }
            if distance > at || length > image.len() - at {
                return Err(broken("it repeats pixels that it does not have"));
            }
            repeat(&mut image[at - distance..at + length], distance);
            at += length;
            x += length;
            if x >= width {
                y += x / width;
                x %= width;
            }
            if at < image.len() {
                group = groups.at(x, y);
            }
            continue;
        } else if let Some(cache) = &mut cache {
            image[at] = cache.colour(symbol - CACHED, &image[..at]);
        }
        at += 1;
        x += 1;
        if x == width {
            (x, y) = (0, y + 1);
            if bits.ended() {
                return Err(truncated());
            }
        }
    }
    Ok(image)
}

/// The length or the distance of a symbol (section 5.2.2).
fn copied(symbol: u32, bits: &mut Bits<'_>) -> usize {
    if symbol < 4 {
        return symbol as usize + 1;
    }
    let extra = (symbol - 2) >> 1;
    ((2 + (symbol & 1)) << extra) as usize + bits.number(extra) as usize + 1
}

/// The pixels that a distance stands for. The first 120 distances are places near the pixel.
fn distance_in(distance: usize, width: usize) -> usize {
    match distance.checked_sub(121) {
        Some(distance) => distance + 1,
        None => {
            let (left, up) = NEAR[distance - 1];
            (up * width).saturating_add_signed(left).max(1)
        }
    }
}

/// Repeats the first pixels until the slice is full.
fn repeat(pixels: &mut [u32], distance: usize) {
    if distance == 1 {
        let first = pixels[0];
        return pixels.fill(first);
    }
    let mut done = distance;
    while done < pixels.len() {
        let next = done.min(pixels.len() - done);
        pixels.copy_within(..next, done);
        done += next;
    }
}

/// To the left and up of the pixel.
#[rustfmt::skip]
const NEAR: [(isize, usize); 120] = [
    (0, 1),  (1, 0),  (1, 1),  (-1, 1), (0, 2),  (2, 0),  (1, 2),  (-1, 2), (2, 1),  (-2, 1), (2, 2),  (-2, 2),
    (0, 3),  (3, 0),  (1, 3),  (-1, 3), (3, 1),  (-3, 1), (2, 3),  (-2, 3), (3, 2),  (-3, 2), (0, 4),  (4, 0),
    (1, 4),  (-1, 4), (4, 1),  (-4, 1), (3, 3),  (-3, 3), (2, 4),  (-2, 4), (4, 2),  (-4, 2), (0, 5),  (3, 4),
    (-3, 4), (4, 3),  (-4, 3), (5, 0),  (1, 5),  (-1, 5), (5, 1),  (-5, 1), (2, 5),  (-2, 5), (5, 2),  (-5, 2),
    (4, 4),  (-4, 4), (3, 5),  (-3, 5), (5, 3),  (-5, 3), (0, 6),  (6, 0),  (1, 6),  (-1, 6), (6, 1),  (-6, 1),
    (2, 6),  (-2, 6), (6, 2),  (-6, 2), (4, 5),  (-4, 5), (5, 4),  (-5, 4), (3, 6),  (-3, 6), (6, 3),  (-6, 3),
    (0, 7),  (7, 0),  (1, 7),  (-1, 7), (5, 5),  (-5, 5), (7, 1),  (-7, 1), (4, 6),  (-4, 6), (6, 4),  (-6, 4),
    (2, 7),  (-2, 7), (7, 2),  (-7, 2), (3, 7),  (-3, 7), (7, 3),  (-7, 3), (5, 6),  (-5, 6), (6, 5),  (-6, 5),
    (8, 0),  (4, 7),  (-4, 7), (7, 4),  (-7, 4), (8, 1),  (8, 2),  (6, 6),  (-6, 6), (8, 3),  (5, 7),  (-5, 7),
    (7, 5),  (-7, 5), (8, 4),  (6, 7),  (-6, 7), (7, 6),  (-7, 6), (8, 5),  (7, 7),  (-7, 7), (8, 6),  (8, 7),
];
