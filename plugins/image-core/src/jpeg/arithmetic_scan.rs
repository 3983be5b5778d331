//! Decodes a scan of an arithmetic-coded image.

use super::arithmetic::{Decisions, Predictor, Statistics};
use super::band::{Band, Block};
use super::bits::{Interval, Restarts, next_interval};
use super::fault::Fault;
use super::headers::{Headers, Scan};
use super::segments::skip_coded_data;
use super::stored_component::{Coefficients, StoredComponent};
use crate::lanes::Lanes;

/// The state that is reset at each restart.
struct State<'b> {
    decisions: Decisions<'b>,
    statistics: Box<Statistics>,
    predictors: [Predictor; 4],
    /// True if the data up to the next restart marker are broken.
    broken: bool,
}

/// Decodes a scan. Returns the data after it.
pub(super) fn decode<'b, L: Lanes>(
    data: &'b [u8],
    scan: &Scan,
    band: &Band,
    headers: &Headers,
    stored: &mut [StoredComponent<L>],
) -> Result<&'b [u8], Fault> {
    let [first, others @ ..] = &scan.components[..] else { return Err(Fault::ScanOrder) };
    let non_interleaved = others.is_empty();
    if band.first > 0 {
        // A scan of only AC coefficients has only one component. It may not be needed.
        match stored[first.place].coefficients {
            _ if !non_interleaved => return Err(Fault::ScanOrder),
            Coefficients::All(_) => {}
            _ => return Ok(skip_coded_data::<L>(data)),
        }
    }
    let (columns, rows) = match non_interleaved {
        true => (stored[first.place].columns, stored[first.place].rows),
        false => headers.mcus(),
    };
    let mut state = State::new(data);
    let mut restarts = Restarts::new(headers.restart);
    let mut expected = 0;
    for row in 0..rows {
        for column in 0..columns {
            if restarts.is_due() {
                state = match next_interval::<L>(state.decisions.rest(), expected)? {
                    Interval::Data(data) | Interval::Missing(data) => State::new(data),
                };
                expected = (expected + 1) & 7;
            }
            for (index, component) in scan.components.iter().enumerate() {
                let stored = &mut stored[component.place];
                let (across, down) = if non_interleaved { (1, 1) } else { (stored.plane.across, stored.plane.down) };
                for block in 0..across * down {
                    if state.broken {
                        break;
                    }
                    let (row, column) = (row * down + block / across, column * across + block % across);
                    let tables = (index, component.dc, component.ac);
                    let decoded = state.block(tables, band, headers, stored, row * stored.stride + column);
                    state.broken = decoded.is_none();
                }
            }
            // As with Huffman codes, the damage is limited by restart markers, or the image is refused.
            if state.broken && headers.restart == 0 {
                return Err(Fault::CodeWord);
            }
        }
        state.decisions.check_end()?;
    }
    Ok(state.decisions.rest())
}

impl<'b> State<'b> {
    fn new(data: &'b [u8]) -> Self {
        State {
            decisions: Decisions::new(data),
            statistics: Box::new(Statistics::NEW),
            predictors: [Predictor::default(); 4],
            broken: false,
        }
    }

    /// Decodes a block of the component with this index and these tables. `None` if the data are broken.
    fn block<L: Lanes>(
        &mut self,
        (index, dc, ac): (usize, usize, usize),
        band: &Band,
        headers: &Headers,
        stored: &mut StoredComponent<L>,
        block: usize,
    ) -> Option<()> {
        let (decisions, statistics) = (&mut self.decisions, &mut *self.statistics);
        let conditioning = &headers.conditioning;
        match (band.first, band.refines) {
            (0, true) => *stored.dc(block) |= i16::from(decisions.bit()) << band.low,
            (0, false) => {
                let predictor = &mut self.predictors[index];
                decisions.dc(statistics, dc, conditioning.dc[dc], predictor)?;
                *stored.dc(block) = predictor.value << band.low;
            }
            _ => {}
        }
        if band.last == 0 {
            return Some(());
        }
        let mut unused = Block::EMPTY;
        let block = match &mut stored.coefficients {
            Coefficients::All(blocks) => &mut blocks[block],
            _ => &mut unused,
        };
        match band.refines {
            true => decisions.refine(statistics, ac, band, block),
            false => decisions.ac(statistics, ac, conditioning.ac[ac], band, block),
        }
    }
}
