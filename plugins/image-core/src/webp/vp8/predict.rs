//! Prediction from neighbouring pixels (RFC 6386, section 12).

/// The bytes from one row of a [`Block`] to the next.
pub(super) const STRIDE: usize = 32;
/// A macroblock and its neighbours: luma with the row above, the column on the left and four pixels on the upper right;
/// below it both chroma planes, side by side, with the row above and the column on the left.
pub(super) type Block = [u8; 26 * STRIDE];
/// Where the pixels begin.
pub(super) const LUMA: usize = STRIDE + 8;
pub(super) const CHROMA: [usize; 2] = [18 * STRIDE + 8, 18 * STRIDE + 24];

/// The modes that a whole macroblock can have, which its blocks have, too.
pub(super) const MEAN: u8 = 0;
pub(super) const TRUE_MOTION: u8 = 1;
pub(super) const VERTICAL: u8 = 2;
pub(super) const HORIZONTAL: u8 = 3;

/// Whether a macroblock has neighbours above and on the left. Outside the image, their pixels are constant, and do not
/// count for means.
#[derive(Clone, Copy)]
pub(super) struct Neighbours {
    pub(super) above: bool,
    pub(super) left: bool,
}

/// Predicts `SIDE` x `SIDE` pixels (sections 12.2 and 12.3).
pub(super) fn whole<const SIDE: usize>(block: &mut Block, at: usize, mode: u8, neighbours: Neighbours) {
    let above: [u8; SIDE] = std::array::from_fn(|column| block[at - STRIDE + column]);
    let left: [u8; SIDE] = std::array::from_fn(|row| block[at - 1 + row * STRIDE]);
    let row = |block: &mut Block, row: usize, pixels: [u8; SIDE]| {
        block[at + row * STRIDE..][..SIDE].copy_from_slice(&pixels);
    };
    match mode {
        TRUE_MOTION => {
            let corner = block[at - STRIDE - 1];
            for (number, left) in left.into_iter().enumerate() {
                row(block, number, true_motion(above, left, corner));
            }
        }
        VERTICAL => (0..SIDE).for_each(|number| row(block, number, above)),
        HORIZONTAL => (0..SIDE).for_each(|number| row(block, number, [left[number]; SIDE])),
        _ => {
            let sum = |pixels: [u8; SIDE]| pixels.iter().map(|pixel| u32::from(*pixel)).sum::<u32>();
            let side = SIDE as u32;
            let mean = match (neighbours.above, neighbours.left) {
                (true, true) => (sum(above) + sum(left) + side) / (2 * side),
                (true, false) => (sum(above) + side / 2) / side,
                (false, true) => (sum(left) + side / 2) / side,
                (false, false) => 128,
            };
            (0..SIDE).for_each(|number| row(block, number, [mean as u8; SIDE]));
        }
    }
}

#[inline(always)]
fn true_motion<const SIDE: usize>(above: [u8; SIDE], left: u8, corner: u8) -> [u8; SIDE] {
    let step = i16::from(left) - i16::from(corner);
    above.map(|above| (i16::from(above) + step).clamp(0, 255) as u8)
}

/// Predicts 4 x 4 pixels (section 12.3).
#[inline(always)]
pub(super) fn small(block: &mut Block, at: usize, mode: u8) {
    // From the lowest pixel on the left, over the corner, to the last pixel on the upper right.
    let mut edge = [0; 13];
    for (row, pixel) in edge[..4].iter_mut().enumerate() {
        *pixel = block[at + (3 - row) * STRIDE - 1];
    }
    edge[4..].copy_from_slice(&block[at - STRIDE - 1..][..9]);
    let rows = small_rows(&edge, mode);
    for (number, row) in rows.into_iter().enumerate() {
        block[at + number * STRIDE..][..4].copy_from_slice(&row);
    }
}

#[inline(always)]
fn small_rows(edge: &[u8; 13], mode: u8) -> [[u8; 4]; 4] {
    let e = |at: usize| u32::from(edge[at]);
    let two = |at: usize| (e(at) + e(at + 1)).div_ceil(2) as u8;
    let three = |at: usize| ((e(at) + 2 * e(at + 1) + e(at + 2) + 2) / 4) as u8;
    let above = [edge[5], edge[6], edge[7], edge[8]];
    match mode {
        MEAN => {
            let sum: u32 = (0..4).chain(5..9).map(e).sum();
            [[((sum + 4) / 8) as u8; 4]; 4]
        }
        TRUE_MOTION => [3, 2, 1, 0].map(|left| true_motion(above, edge[left], edge[4])),
        VERTICAL => [[4, 5, 6, 7].map(three); 4],
        HORIZONTAL => {
            let last = ((e(1) + 3 * e(0) + 2) / 4) as u8;
            [[three(2); 4], [three(1); 4], [three(0); 4], [last; 4]]
        }
        // Down and to the left.
        4 => {
            let last = ((e(11) + 3 * e(12) + 2) / 4) as u8;
            let [b, c, d, f, g, h] = [5, 6, 7, 8, 9, 10].map(three);
            [[b, c, d, f], [c, d, f, g], [d, f, g, h], [f, g, h, last]]
        }
        // Down and to the right.
        5 => {
            let [a, b, c, d, f, g, h] = [0, 1, 2, 3, 4, 5, 6].map(three);
            [[d, f, g, h], [c, d, f, g], [b, c, d, f], [a, b, c, d]]
        }
        // Down and a little to the right.
        6 => {
            let [a, b, c, d] = [4, 5, 6, 7].map(two);
            let [f, g, h, i, j, k] = [1, 2, 3, 4, 5, 6].map(three);
            [[a, b, c, d], [h, i, j, k], [g, a, b, c], [f, h, i, j]]
        }
        // Down and a little to the left.
        7 => {
            let [a, b, c, d] = [5, 6, 7, 8].map(two);
            let [f, g, h, i, j, k] = [5, 6, 7, 8, 9, 10].map(three);
            [[a, b, c, d], [f, g, h, i], [b, c, d, j], [g, h, i, k]]
        }
        // To the right and a little down.
        8 => {
            let [a, b, c, d] = [0, 1, 2, 3].map(two);
            let [f, g, h, i, j, k] = [0, 1, 2, 3, 4, 5].map(three);
            [[d, i, j, k], [c, h, d, i], [b, g, c, h], [a, f, b, g]]
        }
        // To the right and a little up.
        _ => {
            let [a, b, c] = [2, 1, 0].map(two);
            let [f, g] = [1, 0].map(three);
            let last = edge[0];
            let h = ((e(1) + 3 * e(0) + 2) / 4) as u8;
            [[a, f, b, g], [b, g, c, h], [c, h, last, last], [last; 4]]
        }
    }
}
