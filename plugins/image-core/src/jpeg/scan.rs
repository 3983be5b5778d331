//! The scan: MCU by MCU into a strip for each component, and strip by strip into the resamplers. Luma and the colour
//! differences are resized each from its own resolution, and become colours when they are few.

use super::bits::{Bits, Unsound};
use super::headers::{Component, Headers, TRANSPOSED};
use super::huffman::{Code, END, Leap, SKIP};
use super::idct;
use crate::Settings;
use crate::lanes::Lanes;
use crate::output::{Channels, Colour, Output};
use crate::resample::{Resampler, Side, resampler_bytes};

/// Tables, the window over the data, and the rows that wait for those of other components.
const DECODER_BYTES: u64 = 256 << 10;

/// The coefficients of a block in columns, and a place for those that lie beyond it.
type Block = [i16; 128];

/// A component on its way.
struct Plane<'h, L> {
    component: &'h Component,
    quantiser: &'h [i16; 64],
    dc: &'h Code,
    ac: &'h Code,
    leaps: Option<Box<[Leap; 1 << SKIP]>>,
    /// The sum of the DC differences.
    mean: i16,
    /// Samples of a block's side: 8, or in a draft 1 or 2.
    size: usize,
    strip: Vec<u8>,
    stride: usize,
    /// `None` where the component does not reach the tensor.
    resampler: Option<Resampler<L>>,
}

/// About how many bytes [`decode`] takes.
pub(super) fn bytes(headers: &Headers, output: &Output) -> u64 {
    let sum: u64 = headers
        .components
        .iter()
        .map(|component| {
            let width = (headers.width * component.across / headers.widest) as u64;
            let height = (headers.height * component.down / headers.tallest) as u64;
            8 * component.down as u64 * width + resampler_bytes(1, width, height, output.y)
        })
        .sum();
    sum + DECODER_BYTES
}

/// Decodes the scan into the output.
///
/// # Errors
/// Where the data are broken or end too soon; what the output then holds is of no use.
pub(super) fn decode<L: Lanes>(
    body: &[u8],
    headers: &Headers,
    settings: &Settings,
    output: &mut Output,
) -> Result<(), Unsound> {
    let far = |side: usize, full: u64| side as u64 >= 8 * full;
    let draft = settings.draft && far(headers.width, output.x.full) && far(headers.height, output.y.full);
    let gray = settings.pack.order == Channels::Gray && !headers.rgb;
    let mut planes: Vec<Plane<L>> = Vec::with_capacity(3);
    for component in &headers.components {
        let wanted = planes.is_empty() || !gray;
        planes.push(Plane::new(headers, component, output, draft, wanted).ok_or(Unsound)?);
    }
    let colour = match (planes.len(), headers.rgb) {
        (1, _) => Colour::Gray,
        (_, true) => Colour::Rgb,
        (_, false) if gray => Colour::Gray,
        _ => Colour::YCbCr,
    };

    let mut bits = Bits::<L>::new(&body[headers.data..])?;
    let mut block: Block = [0; 128];
    let mut until_restart = headers.restart;
    for _ in 0..headers.height.div_ceil(8 * headers.tallest) {
        for mcu in 0..headers.width.div_ceil(8 * headers.widest) {
            if headers.restart > 0 {
                if until_restart == 0 {
                    bits.restart()?;
                    planes.iter_mut().for_each(|plane| plane.mean = 0);
                    until_restart = headers.restart;
                }
                until_restart -= 1;
            }
            for plane in &mut planes {
                match (&plane.leaps, plane.size) {
                    (Some(_), _) => plane.decode::<1>(&mut bits, &mut block, mcu)?,
                    (None, 2) => plane.decode::<2>(&mut bits, &mut block, mcu)?,
                    (None, _) => plane.decode::<8>(&mut bits, &mut block, mcu)?,
                }
            }
        }
        bits.check()?;
        put(&mut planes, colour, output);
    }
    Ok(())
}

/// Resizes the strips, and hands on the rows that all components have.
fn put<L: Lanes>(planes: &mut [Plane<L>], colour: Colour, output: &mut Output) {
    let mut ready = usize::MAX;
    for plane in &mut *planes {
        if let Some(resampler) = &mut plane.resampler {
            resampler.feed(&plane.strip, plane.stride, plane.component.down * plane.size);
            ready = ready.min(resampler.ready());
        }
    }
    for row in 0..ready {
        let of = |plane: usize| planes.get(plane).and_then(|plane| plane.resampler.as_ref());
        let channel = |plane: usize| of(plane).map_or(&[][..], |resampler| resampler.row(row, 0));
        output.put(colour, [channel(0), channel(1), channel(2)]);
    }
    for resampler in planes.iter_mut().filter_map(|plane| plane.resampler.as_mut()) {
        resampler.take(ready);
    }
}

impl<'h, L: Lanes> Plane<'h, L> {
    fn new(headers: &'h Headers, component: &'h Component, output: &Output, draft: bool, wanted: bool) -> Option<Self> {
        // In a draft, a component that has a sample for four pixels gives four for a block, as in libjpeg.
        let coarse = 2 * component.across <= headers.widest && 2 * component.down <= headers.tallest;
        let size = match (draft, coarse) {
            (false, _) => 8,
            (true, true) => 2,
            (true, false) => 1,
        };
        let blocks = headers.width.div_ceil(8 * headers.widest) * component.across;
        let stride = (blocks * size).next_multiple_of(16);
        let side = |pixels: usize, sampling: usize, most: usize| {
            let size = pixels as f64 * sampling as f64 / most as f64 * size as f64 / 8.0;
            Side { size, length: size.ceil() as usize }
        };
        let width = side(headers.width, component.across, headers.widest);
        let height = side(headers.height, component.down, headers.tallest);
        let ac = headers.codes[4 + component.ac].as_ref()?;
        Some(Plane {
            component,
            quantiser: headers.quantisers[component.quantiser].as_ref()?,
            dc: headers.codes[component.dc].as_ref()?,
            ac,
            leaps: (size == 1 || !wanted).then(|| ac.leaps()),
            mean: 0,
            size,
            strip: if wanted { vec![0; stride * component.down * size] } else { Vec::new() },
            stride,
            resampler: wanted.then(|| Resampler::new(1, stride, width, height, output.x, output.y)),
        })
    }

    /// Decodes the blocks of one MCU. `SIZE` is the plane's, or 1 where the AC coefficients are passed over.
    // Not inlined: a function of its own has registers of its own, and one kernel for each size.
    #[inline(never)]
    fn decode<const SIZE: usize>(&mut self, bits: &mut Bits<L>, block: &mut Block, mcu: usize) -> Result<(), Unsound> {
        for down in 0..self.component.down {
            for across in 0..self.component.across {
                bits.before_block()?;
                self.mean = self.mean.wrapping_add(difference(bits, self.dc).ok_or(Unsound)?);
                let at = (down * self.stride + mcu * self.component.across + across) * self.size;
                let mean = idct::mean(self.mean, self.quantiser[0]);
                if SIZE == 1 {
                    let leaps = self.leaps.as_ref().expect("made for blocks of one sample");
                    leap(bits, self.ac, leaps).ok_or(Unsound)?;
                    if let Some(sample) = self.strip.get_mut(at) {
                        *sample = mean;
                    }
                    continue;
                }
                block[0] = self.mean;
                let last = coefficients(bits, self.ac, block).ok_or(Unsound)?;
                let columns: &mut [[i16; 8]; 8] = block.as_chunks_mut().0.first_chunk_mut().expect("twice as many");
                let (strip, stride, quantiser) = (&mut self.strip[at..], self.stride, self.quantiser);
                match (SIZE, last) {
                    (2, 0) => copy([[mean; 2]; 2], strip, stride),
                    (2, ..10) => copy(idct::quarters::<true>(columns, quantiser), strip, stride),
                    (2, _) => copy(idct::quarters::<false>(columns, quantiser), strip, stride),
                    (_, 0) => copy([[mean; 8]; 8], strip, stride),
                    (_, ..10) => copy(low_block::<L>(columns, quantiser), strip, stride),
                    (_, _) => copy(full_block::<L>(columns, quantiser), strip, stride),
                }
                match last {
                    ..10 => columns[..4].fill([0; 8]),
                    _ => *columns = [[0; 8]; 8],
                }
            }
        }
        Ok(())
    }
}

#[inline(never)]
fn full_block<L: Lanes>(columns: &[[i16; 8]; 8], quantiser: &[i16; 64]) -> [[u8; 8]; 8] {
    idct::block::<L, false>(columns, quantiser)
}

#[inline(never)]
fn low_block<L: Lanes>(columns: &[[i16; 8]; 8], quantiser: &[i16; 64]) -> [[u8; 8]; 8] {
    idct::block::<L, true>(columns, quantiser)
}

#[inline(always)]
fn copy<const SIZE: usize>(block: [[u8; SIZE]; SIZE], strip: &mut [u8], stride: usize) {
    for (row, samples) in block.iter().enumerate() {
        strip[row * stride..][..SIZE].copy_from_slice(samples);
    }
}

/// The number of `size` bits that stand after `before` bits: those with a 0 on top are negative.
#[inline(always)]
fn number(bits: u64, before: u32, size: u32) -> i32 {
    let top = bits << before;
    let value = ((top >> 1) >> (63 - size)) as i32;
    let negative = !((top as i64) >> 63) as i32;
    value + (negative & (1 - (1 << size)))
}

/// A DC difference.
#[inline(always)]
fn difference<L: Lanes>(bits: &mut Bits<L>, code: &Code) -> Option<i16> {
    let look = bits.peek();
    let entry = code.entry(look)?;
    bits.skip(entry.bits());
    Some(number(look, entry.bits() - entry.size(), entry.size()) as i16)
}

/// The AC coefficients of a block; gives the place of the last in zigzag order, 0 where there are none.
#[inline(always)]
fn coefficients<L: Lanes>(bits: &mut Bits<L>, code: &Code, block: &mut Block) -> Option<usize> {
    let (mut index, mut last) = (1, 0);
    loop {
        // Two to a look at the bits, and two looks to a turn: WebAssembly checks for its deadline at every turn.
        for _ in 0..2 {
            let mut look = bits.peek();
            for _ in 0..2 {
                let entry = code.entry(look)?;
                bits.skip(entry.bits());
                index += entry.run() as usize;
                if entry.run() == END {
                    return Some(last);
                }
                let place = usize::from(TRANSPOSED[index & 127]) & 127;
                block[place] = number(look, entry.bits() - entry.size(), entry.size()) as i16;
                last = index.min(63);
                index += 1;
                if index >= 64 {
                    return Some(last);
                }
                look <<= entry.bits();
            }
        }
    }
}

/// Passes over the AC coefficients of a block.
#[inline(always)]
fn leap<L: Lanes>(bits: &mut Bits<L>, code: &Code, leaps: &[Leap; 1 << SKIP]) -> Option<()> {
    let mut index = 1;
    loop {
        // Two to a look at the bits, as in `coefficients`: a leap takes at most 23.
        let mut look = bits.peek();
        for _ in 0..2 {
            let leap = leaps[(look >> (64 - SKIP)) as usize];
            let (taken, steps) = if index + leap.steps() <= 63 {
                if leap.ends() {
                    bits.skip(leap.bits());
                    return Some(());
                }
                (leap.bits(), leap.steps())
            } else {
                let entry = code.entry(look)?;
                (entry.bits(), entry.run() + 1)
            };
            bits.skip(taken);
            index += steps;
            if index >= 64 {
                return Some(());
            }
            look <<= taken;
        }
    }
}
