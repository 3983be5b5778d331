//! A progressive image (ITU-T T.81, annex G): its scans, one after the other, into the coefficients of all blocks, and those
//! strip by strip into samples.

use super::band::{Band, Block};
use super::bits::{Bits, Restarts, Unsound, after};
use super::headers::{Component, Headers, next};
use super::huffman::Code;
use super::plane::{self, Plane, planes, put, sizes};
use super::scan::difference;
use crate::Settings;
use crate::lanes::Lanes;
use crate::output::Output;

/// The lowest bit of a coefficient of which none has come.
const NONE: u32 = 16;

/// More scans than any encoder makes, and no more than `zune-jpeg` takes: each may go through all blocks.
const SCANS: usize = 100;

/// A component with its coefficients.
struct Kept<L> {
    plane: Plane<L>,
    /// Blocks of a row, those included that fill up its last MCU.
    stride: usize,
    /// Blocks of a row and of a column that a scan of this component alone has.
    columns: usize,
    rows: usize,
    coefficients: Coefficients,
    /// The lowest bit of each coefficient that has come.
    lowest: [u32; 64],
}

/// What is kept of each block of a component.
enum Coefficients {
    /// Nothing, for the component does not reach the tensor; but a place for the mean that is under way.
    Not(i16),
    Means(Vec<i16>),
    All(Vec<Block>),
}

/// About how many bytes [`decode`] takes.
pub(super) fn bytes(headers: &Headers, settings: &Settings, output: &Output) -> u64 {
    let mcus = headers.width.div_ceil(8 * headers.widest) as u64 * headers.height.div_ceil(8 * headers.tallest) as u64;
    let kept = headers.components.iter().zip(sizes(headers, settings, output)).map(|(component, size)| {
        let block = match size {
            0 => 0,
            1 => size_of::<i16>(),
            _ => size_of::<Block>(),
        };
        mcus * (component.across * component.down * block) as u64
    });
    kept.sum::<u64>() + plane::bytes(headers, output)
}

/// Decodes all scans, and then the output. What stands between scans is taken into the headers.
///
/// # Errors
/// Where the data are broken or unusual, or end too soon; what the output then holds is of no use.
pub(super) fn decode<L: Lanes>(
    body: &[u8],
    headers: &mut Headers,
    settings: &Settings,
    output: &mut Output,
) -> Result<(), Unsound> {
    let (planes, colour) = planes::<L>(headers, settings, output).ok_or(Unsound)?;
    let mcus = (headers.width.div_ceil(8 * headers.widest), headers.height.div_ceil(8 * headers.tallest));
    let planes = planes.into_iter().zip(&headers.components);
    let mut kept: Vec<_> = planes.map(|(plane, component)| Kept::new(plane, headers, component, mcus)).collect();

    let (mut at, mut scans) = (headers.data, 0);
    loop {
        match next(body, &mut at).ok_or(Unsound)? {
            (0xDA, head) if scans < SCANS => {
                scans += 1;
                let rest = scan(&body[at..], head, headers, &mut kept, mcus)?;
                at = body.len() - rest.len();
            }
            (marker @ (0xC4 | 0xDD), segment) => headers.tables(marker, segment).ok_or(Unsound)?,
            (0xFE, _) => {}
            (0xD9, _) if kept.iter().all(|kept| kept.lowest[0] < NONE) => break,
            _ => return Err(Unsound),
        }
    }

    for row in 0..mcus.1 {
        kept.iter_mut().for_each(|kept| kept.samples(row));
        put(kept.iter_mut().map(|kept| &mut kept.plane), colour, output);
    }
    Ok(())
}

/// Decodes a scan; gives what stands after it.
fn scan<'b, L: Lanes>(
    data: &'b [u8],
    head: &[u8],
    headers: &Headers,
    kept: &mut [Kept<L>],
    mcus: (usize, usize),
) -> Result<&'b [u8], Unsound> {
    let (components, band) = head.split_last_chunk::<3>().ok_or(Unsound)?;
    let band = Band::read(*band).ok_or(Unsound)?;
    let (count, components) = components.split_first().ok_or(Unsound)?;
    let components = components.as_chunks::<2>().0;
    if usize::from(*count) != components.len() || head.len() != 4 + 2 * components.len() {
        return Err(Unsound);
    }
    let mut coded = Vec::with_capacity(3);
    for [id, tables] in components {
        let place = headers.components.iter().position(|component| component.id == *id).ok_or(Unsound)?;
        // In the order of the frame, and each only once.
        if coded.last().is_some_and(|&(last, _)| place <= last) {
            return Err(Unsound);
        }
        kept[place].follows(&band)?;
        let (codes, table) = match band.is_mean() {
            true => (&headers.codes[..4], tables >> 4),
            false => (&headers.codes[4..], tables & 15),
        };
        coded.push((place, codes.get(usize::from(table)).and_then(Option::as_ref)));
    }
    let restarts = Restarts::new(headers.restart);
    match (&coded[..], band.is_mean()) {
        ([], _) => Err(Unsound),
        (_, true) => means(Bits::new(data)?, &band, kept, &coded, mcus, restarts),
        ([(place, code)], false) => match &mut kept[*place] {
            Kept { coefficients: Coefficients::All(blocks), stride, columns, rows, .. } => {
                let rows = blocks.chunks_mut(*stride).take(*rows).map(|row| &mut row[..*columns]);
                band.decode(Bits::<L>::new(data)?, code.ok_or(Unsound)?, rows, restarts)
            }
            _ => Ok(after::<L>(data)),
        },
        // A band is of one component.
        (_, false) => Err(Unsound),
    }
}

/// Decodes a scan of means: of some components MCU by MCU, of one block by block.
fn means<'b, L: Lanes>(
    mut bits: Bits<'b, L>,
    band: &Band,
    kept: &mut [Kept<L>],
    coded: &[(usize, Option<&Code>)],
    mcus: (usize, usize),
    mut restarts: Restarts,
) -> Result<&'b [u8], Unsound> {
    let alone = coded.len() == 1;
    let (columns, rows) = if alone { (kept[coded[0].0].columns, kept[coded[0].0].rows) } else { mcus };
    let mut sums = [0; 3];
    for row in 0..rows {
        for column in 0..columns {
            if restarts.is_next() {
                bits.restart()?;
                sums = [0; 3];
            }
            for (&(place, code), sum) in coded.iter().zip(&mut sums) {
                let kept = &mut kept[place];
                let (across, down) = if alone { (1, 1) } else { (kept.plane.across, kept.plane.down) };
                for block in 0..across * down {
                    let (row, column) = (row * down + block / across, column * across + block % across);
                    bits.before_block()?;
                    let mean = kept.mean(row * kept.stride + column);
                    if band.refines {
                        *mean |= ((bits.peek() >> 63) as i16) << band.low;
                        bits.skip(1);
                    } else {
                        *sum = difference(&mut bits, code.ok_or(Unsound)?).ok_or(Unsound)?.wrapping_add(*sum);
                        *mean = *sum << band.low;
                    }
                }
            }
        }
    }
    bits.end()
}

impl<L: Lanes> Kept<L> {
    fn new(plane: Plane<L>, headers: &Headers, component: &Component, mcus: (usize, usize)) -> Self {
        let stride = mcus.0 * component.across;
        let blocks = stride * mcus.1 * component.down;
        let alone = |pixels: usize, sampling: usize, most: usize| (pixels * sampling).div_ceil(most).div_ceil(8);
        let coefficients = match plane.size {
            0 => Coefficients::Not(0),
            1 => Coefficients::Means(vec![0; blocks]),
            _ => Coefficients::All(vec![Block::EMPTY; blocks]),
        };
        Kept {
            plane,
            stride,
            columns: alone(headers.width, component.across, headers.widest),
            rows: alone(headers.height, component.down, headers.tallest),
            coefficients,
            lowest: [NONE; 64],
        }
    }

    /// Notes that a scan comes, if it is one that may come now.
    fn follows(&mut self, band: &Band) -> Result<(), Unsound> {
        let expected = if band.refines { band.low + 1 } else { NONE };
        // The mean comes before all others.
        if !band.is_mean() && self.lowest[0] == NONE {
            return Err(Unsound);
        }
        for lowest in &mut self.lowest[band.first..=band.last] {
            if *lowest != expected {
                return Err(Unsound);
            }
            *lowest = band.low;
        }
        Ok(())
    }

    /// The mean of a block.
    #[inline(always)]
    fn mean(&mut self, block: usize) -> &mut i16 {
        match &mut self.coefficients {
            Coefficients::Not(mean) => mean,
            Coefficients::Means(means) => &mut means[block],
            Coefficients::All(blocks) => &mut blocks[block].coefficients[0],
        }
    }

    /// Fills the strip with the samples of a row of MCUs.
    #[inline(never)]
    fn samples(&mut self, row: usize) {
        let blocks = row * self.plane.down * self.stride..(row + 1) * self.plane.down * self.stride;
        match &self.coefficients {
            Coefficients::Not(_) => {}
            Coefficients::Means(means) => {
                for (row, means) in means[blocks].chunks_exact(self.stride).enumerate() {
                    for (column, mean) in means.iter().enumerate() {
                        self.plane.strip[row * self.plane.stride + column] = self.plane.mean(*mean);
                    }
                }
            }
            Coefficients::All(all) => {
                for (row, blocks) in all[blocks].chunks_exact(self.stride).enumerate() {
                    for (column, block) in blocks.iter().enumerate() {
                        let at = (row * self.plane.stride + column) * self.plane.size;
                        match self.plane.size {
                            2 => self.plane.block::<2>(block.columns(), block.last(), at),
                            _ => self.plane.block::<8>(block.columns(), block.last(), at),
                        }
                    }
                }
            }
        }
    }
}
