//! Images with several scans: decodes all scans to the coefficients of all blocks, then converts these strip by strip to
//! samples. They are progressive (ITU-T T.81, annex G), or sequential with components in separate scans.

use super::arithmetic_scan;
use super::band::{Band, Block};
use super::bits::{BitReader, Restarts};
use super::coefficients::{NO_CODE_WORD, ac_coefficients, dc_difference};
use super::fault::Fault;
use super::headers::{Headers, Scan};
use super::huffman::Code;
use super::plane::{Plane, block_sizes};
use super::segments::{next_segment, skip_coded_data};
use super::sink::{self, Sink};
use super::stored_component::{Coefficients, StoredComponent};
use crate::Settings;
use crate::lanes::Lanes;
use crate::output::Output;

/// The maximum number of scans, limited because each scan may visit all blocks. No encoder writes as many.
const MAX_SCANS: usize = 100;

/// A component of the current scan.
struct Coded<'h> {
    place: usize,
    /// `None` if the scan does not need it.
    dc: Option<&'h Code>,
    ac: Option<&'h Code>,
    /// The sum of the DC differences since the last restart.
    predictor: i16,
}

/// Estimates the bytes that [`decode`] allocates.
pub(super) fn estimated_bytes(headers: &Headers, settings: &Settings, output: &Output) -> u64 {
    coefficients_bytes(headers, block_sizes(headers, settings, output))
        + sink::estimated_bytes(headers, settings, output)
}

/// The bytes of the coefficients that are kept for planes with blocks of these sizes.
pub(super) fn coefficients_bytes(headers: &Headers, block_sizes: impl Iterator<Item = usize>) -> u64 {
    let (columns, rows) = headers.mcus();
    let stored = headers.components.iter().zip(block_sizes).map(|(component, block_size)| {
        let block = match block_size {
            0 => 0,
            1 => size_of::<i16>(),
            _ => size_of::<Block>(),
        };
        columns as u64 * rows as u64 * (component.across * component.down * block) as u64
    });
    stored.sum()
}

/// Decodes all scans, then fills the output. Segments between scans update the headers.
///
/// # Errors
/// If the data are broken or end too early. The content of the output is then unusable.
pub(super) fn decode<L: Lanes>(
    body: &[u8],
    headers: &mut Headers,
    planes: Vec<Plane<L>>,
    mut sink: Sink<L>,
) -> Result<(), Fault> {
    let planes = planes.into_iter().zip(&headers.components);
    let mut stored: Vec<_> = planes.map(|(plane, component)| StoredComponent::new(plane, headers, component)).collect();

    let (mut at, mut scans) = (headers.first_scan, 0);
    loop {
        match next_segment(body, &mut at) {
            Some((0xDA, _)) if scans == MAX_SCANS => return Err(Fault::TooManyScans),
            Some((0xDA, segment)) => {
                scans += 1;
                let scan = headers.scan(segment)?;
                let rest = decode_scan(&body[at..], &scan, headers, &mut stored)?;
                at = body.len() - rest.len();
            }
            Some((0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF, _)) => return Err(Fault::ScanOrder),
            // Without its last scans an image is an estimate, which differs between decoders.
            Some((0xD9, _)) if !stored.iter().all(StoredComponent::is_complete) => return Err(Fault::MissingScan),
            Some((0xD9, _)) => break,
            Some((marker, segment)) => headers.table(marker, segment)?,
            // Without a marker at the end, further scans may be missing. A marker without its whole segment is a fault.
            None if at + 1 >= body.len() && stored.iter().all(StoredComponent::is_complete) => break,
            None => return Err(Fault::Truncated),
        }
    }

    let mut row = 0;
    while row < headers.mcus().1 {
        stored.iter_mut().for_each(|stored| stored.fill_strip(row));
        sink.take_strips(stored.iter_mut().map(|stored| &mut stored.plane));
        row += 1;
        if sink.is_unsuitable() {
            sink = sink.by_pixel(headers, stored.iter_mut().map(|stored| &mut stored.plane));
            row = 0;
        }
    }
    sink.finish(stored.iter_mut().map(|stored| &mut stored.plane));
    Ok(())
}

/// Decodes a scan. Returns the data after it.
fn decode_scan<'b, L: Lanes>(
    data: &'b [u8],
    scan: &Scan,
    headers: &Headers,
    stored: &mut [StoredComponent<L>],
) -> Result<&'b [u8], Fault> {
    // The band of a sequential image must be the whole block; as in libjpeg, a different declaration is ignored.
    let band = if headers.progressive { Band::read(scan.band).ok_or(Fault::ScanOrder)? } else { Band::WHOLE };
    let mut coded = Vec::with_capacity(4);
    for component in &scan.components {
        let stored = &mut stored[component.place];
        if !stored.has_dc() {
            stored.plane.define_quantiser(headers, component.place)?;
        }
        stored.record_scan(&band)?;
        if headers.arithmetic {
            continue;
        }
        let needs_dc = band.first == 0 && !band.refines;
        let dc = needs_dc.then(|| headers.dc_code(component.dc)).transpose()?;
        let ac = (band.last > 0).then(|| headers.ac_code(component.ac)).transpose()?;
        coded.push(Coded { place: component.place, dc, ac, predictor: 0 });
    }
    if headers.arithmetic {
        return arithmetic_scan::decode::<L>(data, scan, &band, headers, stored);
    }
    let restarts = Restarts::new(headers.restart);
    let bits = || BitReader::<L>::new(data, headers.restart > 0);
    if band.first == 0 {
        return decode_mcus(bits()?, &band, stored, &mut coded, headers.mcus(), restarts);
    }
    // A scan of only AC coefficients has only one component.
    let [Coded { place, ac: Some(code), .. }] = &coded[..] else { return Err(Fault::ScanOrder) };
    match &mut stored[*place] {
        StoredComponent { coefficients: Coefficients::All(blocks), stride, columns, rows, .. } => {
            let rows = blocks.chunks_mut(*stride).take(*rows).map(|row| &mut row[..*columns]);
            band.decode(bits()?, code, rows, restarts)
        }
        _ => Ok(skip_coded_data::<L>(data)),
    }
}

/// Decodes a scan that has DC coefficients: MCU by MCU if it has several components, block by block if it has one.
fn decode_mcus<'b, L: Lanes>(
    mut bits: BitReader<'b, L>,
    band: &Band,
    stored: &mut [StoredComponent<L>],
    coded: &mut [Coded],
    mcus: (usize, usize),
    mut restarts: Restarts,
) -> Result<&'b [u8], Fault> {
    let non_interleaved = coded.len() == 1;
    let (columns, rows) =
        if non_interleaved { (stored[coded[0].place].columns, stored[coded[0].place].rows) } else { mcus };
    for row in 0..rows {
        for column in 0..columns {
            if restarts.is_due() {
                bits.restart()?;
                coded.iter_mut().for_each(|coded| coded.predictor = 0);
            }
            if bits.is_starved() {
                continue;
            }
            for coded in &mut *coded {
                let stored = &mut stored[coded.place];
                let (across, down) = if non_interleaved { (1, 1) } else { (stored.plane.across, stored.plane.down) };
                for block in 0..across * down {
                    let (row, column) = (row * down + block / across, column * across + block % across);
                    bits.ensure_block()?;
                    coded.block(&mut bits, band, stored, row * stored.stride + column).ok_or(Fault::CodeWord)?;
                }
            }
            bits.end_mcu()?;
        }
    }
    Ok(bits.finish())
}

impl Coded<'_> {
    /// Decodes a block of a scan that has DC coefficients.
    #[inline(always)]
    fn block<L: Lanes>(
        &mut self,
        bits: &mut BitReader<L>,
        band: &Band,
        stored: &mut StoredComponent<L>,
        block: usize,
    ) -> Option<()> {
        let dc = stored.dc(block);
        let Some(code) = self.dc else {
            *dc |= ((bits.peek() >> 63) as i16) << band.low;
            bits.skip(1);
            return Some(());
        };
        self.predictor = self.predictor.wrapping_add(dc_difference(bits, code)?);
        *dc = self.predictor << band.low;
        let Some(code) = self.ac else { return Some(()) };
        match &mut stored.coefficients {
            Coefficients::All(blocks) => {
                let block = &mut blocks[block];
                let last = ac_coefficients(bits, code, &mut block.coefficients);
                if last >= NO_CODE_WORD {
                    return None;
                }
                block.set_last(last);
            }
            _ if ac_coefficients(bits, code, &mut [0; 64]) >= NO_CODE_WORD => return None,
            _ => {}
        }
        Some(())
    }
}
