//! Progressive images (ITU-T T.81, annex G): decodes all scans to the coefficients of all blocks, then converts these
//! strip by strip to samples.

use super::band::{Band, Block};
use super::bits::{BitReader, InvalidData, Restarts, skip_coded_data};
use super::headers::{Component, Headers, next_segment};
use super::huffman::Code;
use super::plane::{self, Plane, block_sizes, flush_strips, planes};
use super::scan::dc_difference;
use crate::Settings;
use crate::lanes::Lanes;
use crate::output::Output;

/// The `lowest_bit` of a coefficient that no scan had yet.
const NOT_DECODED: u32 = 16;

/// The maximum number of scans, limited because each scan may visit all blocks. No encoder writes as many, and
/// `zune-jpeg` accepts at least as many.
const MAX_SCANS: usize = 100;

/// A component and its coefficients.
struct StoredComponent<L> {
    plane: Plane<L>,
    /// Blocks of a row, including those that pad its last MCU.
    stride: usize,
    /// Blocks of a row and of a column in a scan of only this component (non-interleaved).
    columns: usize,
    rows: usize,
    coefficients: Coefficients,
    /// The lowest bit that was decoded of each coefficient.
    lowest_bit: [u32; 64],
}

/// The coefficients that are stored for each block of a component.
enum Coefficients {
    /// None, because the component is not needed for the tensor. The value is scratch space for the current DC
    /// coefficient.
    Unused(i16),
    Dc(Vec<i16>),
    All(Vec<Block>),
}

/// Estimates the bytes that [`decode`] allocates.
pub(super) fn estimated_bytes(headers: &Headers, settings: &Settings, output: &Output) -> u64 {
    let mcus = headers.width.div_ceil(8 * headers.widest) as u64 * headers.height.div_ceil(8 * headers.tallest) as u64;
    let stored =
        headers.components.iter().zip(block_sizes(headers, settings, output)).map(|(component, block_size)| {
            let block = match block_size {
                0 => 0,
                1 => size_of::<i16>(),
                _ => size_of::<Block>(),
            };
            mcus * (component.across * component.down * block) as u64
        });
    stored.sum::<u64>() + plane::estimated_bytes(headers, output)
}

/// Decodes all scans, then fills the output. Segments between scans update the headers.
///
/// # Errors
/// If the data are broken or unusual, or end too early. The content of the output is then unusable.
pub(super) fn decode<L: Lanes>(
    body: &[u8],
    headers: &mut Headers,
    settings: &Settings,
    output: &mut Output,
) -> Result<(), InvalidData> {
    let (planes, colour) = planes::<L>(headers, settings, output).ok_or(InvalidData)?;
    let mcus = (headers.width.div_ceil(8 * headers.widest), headers.height.div_ceil(8 * headers.tallest));
    let planes = planes.into_iter().zip(&headers.components);
    let mut stored: Vec<_> =
        planes.map(|(plane, component)| StoredComponent::new(plane, headers, component, mcus)).collect();

    let (mut at, mut scans) = (headers.data, 0);
    loop {
        match next_segment(body, &mut at).ok_or(InvalidData)? {
            (0xDA, head) if scans < MAX_SCANS => {
                scans += 1;
                let rest = scan(&body[at..], head, headers, &mut stored, mcus)?;
                at = body.len() - rest.len();
            }
            (marker @ (0xC4 | 0xDD), segment) => headers.tables(marker, segment).ok_or(InvalidData)?,
            (0xFE, _) => {}
            (0xD9, _) if stored.iter().all(|stored| stored.lowest_bit[0] < NOT_DECODED) => break,
            _ => return Err(InvalidData),
        }
    }

    for row in 0..mcus.1 {
        stored.iter_mut().for_each(|stored| stored.fill_strip(row));
        flush_strips(stored.iter_mut().map(|stored| &mut stored.plane), colour, output);
    }
    Ok(())
}

/// Decodes a scan. Returns the data after it.
fn scan<'b, L: Lanes>(
    data: &'b [u8],
    head: &[u8],
    headers: &Headers,
    stored: &mut [StoredComponent<L>],
    mcus: (usize, usize),
) -> Result<&'b [u8], InvalidData> {
    let (components, band) = head.split_last_chunk::<3>().ok_or(InvalidData)?;
    let band = Band::read(*band).ok_or(InvalidData)?;
    let (count, components) = components.split_first().ok_or(InvalidData)?;
    let components = components.as_chunks::<2>().0;
    if usize::from(*count) != components.len() || head.len() != 4 + 2 * components.len() {
        return Err(InvalidData);
    }
    let mut coded = Vec::with_capacity(3);
    for [id, tables] in components {
        let place = headers.components.iter().position(|component| component.id == *id).ok_or(InvalidData)?;
        // Components must be in the order of the frame, and each only once.
        if coded.last().is_some_and(|&(last, _)| place <= last) {
            return Err(InvalidData);
        }
        stored[place].record_scan(&band)?;
        let (codes, table) = match band.is_dc() {
            true => (&headers.codes[..4], tables >> 4),
            false => (&headers.codes[4..], tables & 15),
        };
        coded.push((place, codes.get(usize::from(table)).and_then(Option::as_ref)));
    }
    let restarts = Restarts::new(headers.restart);
    match (&coded[..], band.is_dc()) {
        ([], _) => Err(InvalidData),
        (_, true) => scan_dc(BitReader::new(data)?, &band, stored, &coded, mcus, restarts),
        ([(place, code)], false) => match &mut stored[*place] {
            StoredComponent { coefficients: Coefficients::All(blocks), stride, columns, rows, .. } => {
                let rows = blocks.chunks_mut(*stride).take(*rows).map(|row| &mut row[..*columns]);
                band.decode(BitReader::<L>::new(data)?, code.ok_or(InvalidData)?, rows, restarts)
            }
            _ => Ok(skip_coded_data::<L>(data)),
        },
        // A scan of AC coefficients has only one component.
        (_, false) => Err(InvalidData),
    }
}

/// Decodes a scan of DC coefficients: MCU by MCU if it has several components, block by block if it has one.
fn scan_dc<'b, L: Lanes>(
    mut bits: BitReader<'b, L>,
    band: &Band,
    stored: &mut [StoredComponent<L>],
    coded: &[(usize, Option<&Code>)],
    mcus: (usize, usize),
    mut restarts: Restarts,
) -> Result<&'b [u8], InvalidData> {
    let non_interleaved = coded.len() == 1;
    let (columns, rows) = if non_interleaved { (stored[coded[0].0].columns, stored[coded[0].0].rows) } else { mcus };
    let mut predictors = [0; 3];
    for row in 0..rows {
        for column in 0..columns {
            if restarts.is_due() {
                bits.restart()?;
                predictors = [0; 3];
            }
            for (&(place, code), predictor) in coded.iter().zip(&mut predictors) {
                let stored = &mut stored[place];
                let (across, down) = if non_interleaved { (1, 1) } else { (stored.plane.across, stored.plane.down) };
                for block in 0..across * down {
                    let (row, column) = (row * down + block / across, column * across + block % across);
                    bits.ensure_block()?;
                    let dc = stored.dc(row * stored.stride + column);
                    if band.refines {
                        *dc |= ((bits.peek() >> 63) as i16) << band.low;
                        bits.skip(1);
                    } else {
                        *predictor = dc_difference(&mut bits, code.ok_or(InvalidData)?)
                            .ok_or(InvalidData)?
                            .wrapping_add(*predictor);
                        *dc = *predictor << band.low;
                    }
                }
            }
        }
    }
    bits.expect_marker()
}

impl<L: Lanes> StoredComponent<L> {
    fn new(plane: Plane<L>, headers: &Headers, component: &Component, mcus: (usize, usize)) -> Self {
        let stride = mcus.0 * component.across;
        let blocks = stride * mcus.1 * component.down;
        let block_count = |pixels: usize, sampling: usize, most: usize| (pixels * sampling).div_ceil(most).div_ceil(8);
        let coefficients = match plane.block_size {
            0 => Coefficients::Unused(0),
            1 => Coefficients::Dc(vec![0; blocks]),
            _ => Coefficients::All(vec![Block::EMPTY; blocks]),
        };
        StoredComponent {
            plane,
            stride,
            columns: block_count(headers.width, component.across, headers.widest),
            rows: block_count(headers.height, component.down, headers.tallest),
            coefficients,
            lowest_bit: [NOT_DECODED; 64],
        }
    }

    /// Records that a scan follows. Fails if this scan is not allowed at this point.
    fn record_scan(&mut self, band: &Band) -> Result<(), InvalidData> {
        let expected = if band.refines { band.low + 1 } else { NOT_DECODED };
        // The DC coefficient must precede all others.
        if !band.is_dc() && self.lowest_bit[0] == NOT_DECODED {
            return Err(InvalidData);
        }
        for lowest_bit in &mut self.lowest_bit[band.first..=band.last] {
            if *lowest_bit != expected {
                return Err(InvalidData);
            }
            *lowest_bit = band.low;
        }
        Ok(())
    }

    /// The DC coefficient of a block.
    #[inline(always)]
    fn dc(&mut self, block: usize) -> &mut i16 {
        match &mut self.coefficients {
            Coefficients::Unused(dc) => dc,
            Coefficients::Dc(dcs) => &mut dcs[block],
            Coefficients::All(blocks) => &mut blocks[block].coefficients[0],
        }
    }

    /// Fills the strip with the samples of one row of MCUs.
    #[inline(never)]
    fn fill_strip(&mut self, row: usize) {
        let blocks = row * self.plane.down * self.stride..(row + 1) * self.plane.down * self.stride;
        match &self.coefficients {
            Coefficients::Unused(_) => {}
            Coefficients::Dc(dcs) => {
                for (row, dcs) in dcs[blocks].chunks_exact(self.stride).enumerate() {
                    for (column, dc) in dcs.iter().enumerate() {
                        self.plane.strip[row * self.plane.stride + column] = self.plane.dc_sample(*dc);
                    }
                }
            }
            Coefficients::All(all) => {
                for (row, blocks) in all[blocks].chunks_exact(self.stride).enumerate() {
                    for (column, block) in blocks.iter().enumerate() {
                        let at = (row * self.plane.stride + column) * self.plane.block_size;
                        match self.plane.block_size {
                            2 => self.plane.block::<2>(block.columns(), block.last(), at),
                            _ => self.plane.block::<8>(block.columns(), block.last(), at),
                        }
                    }
                }
            }
        }
    }
}
