//! Why a JPEG image is refused.

use std::fmt::{Display, Formatter, Result};

use crate::limits::Rejected;

/// A fault of the headers or the coded data.
// Two bytes, because the functions that decode a block return it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The body ends too early.
    Truncated,
    /// There is no marker where one must be, or the image ends before its first scan.
    NoScan,
    /// The segment of this marker is not valid.
    Segment(u8),
    /// A marker is where coded data should be.
    Interrupted,
    /// Some bits are not a code word.
    CodeWord,
    /// A scan refers to a table that is not defined.
    MissingTable,
    /// The scans do not follow each other as specified.
    ScanOrder,
    /// There are more scans than this decoder accepts.
    TooManyScans,
    /// A scan is missing at the end.
    MissingScan,
}

impl Display for Fault {
    fn fmt(&self, formatter: &mut Formatter) -> Result {
        match self {
            Fault::Truncated => formatter.write_str("the file ends before the end of the image"),
            Fault::NoScan => formatter.write_str("it has no coded data"),
            Fault::Segment(marker) => match segment_name(*marker) {
                Some(name) => write!(formatter, "its {name} is not valid"),
                None => write!(formatter, "its segment FF{marker:02X} is not valid"),
            },
            Fault::Interrupted => formatter.write_str("a marker interrupts its coded data"),
            Fault::CodeWord => formatter.write_str("its coded data contain bits that are not a code word"),
            Fault::MissingTable => formatter.write_str("a scan refers to a table that is not defined"),
            Fault::ScanOrder => formatter.write_str("its scans are not in a valid order"),
            Fault::TooManyScans => formatter.write_str("it has too many scans"),
            Fault::MissingScan => formatter.write_str("some of its scans are missing"),
        }
    }
}

fn segment_name(marker: u8) -> Option<&'static str> {
    Some(match marker {
        0xC0..=0xC2 | 0xC9 | 0xCA => "frame header",
        0xC4 => "definition of Huffman codes (DHT)",
        0xCC => "definition of arithmetic coding (DAC)",
        0xDA => "scan header",
        0xDB => "definition of quantisation tables (DQT)",
        0xDD => "restart interval (DRI)",
        _ => return None,
    })
}

impl From<Fault> for Rejected {
    fn from(fault: Fault) -> Rejected {
        Rejected::broken("JPEG", fault)
    }
}

/// The image uses a part of the standard that this decoder does not support.
pub(super) fn unsupported(what: impl Display) -> Rejected {
    Rejected::Unknown(format!("{what} is not supported; send a baseline or progressive JPEG of 8 bits"))
}
