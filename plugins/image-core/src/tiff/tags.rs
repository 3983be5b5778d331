//! What each tag means, and which of its values are supported: compression, samples, colours, subsampling and
//! predictor.

use super::colour::{Colours, YCbCr};
use super::directory::{Directory, Values};
use super::{broken, unsupported};
use crate::limits::Rejected;

/// How the rows of a strip or tile are coded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Stored,
    /// One-dimensional codes; rows begin at a byte.
    FaxRows,
    /// Group 3; true if it has two-dimensional codes.
    FaxGroup3(bool),
    FaxGroup4,
    Lzw,
    Jpeg,
    Deflate,
    PackBits,
}

/// How samples are predicted from the samples to their left.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Predictor {
    None,
    Horizontal,
    Float,
}

/// Refuses files whose first page is not the picture: raw camera files, and previews of the picture.
pub(super) fn refuse_raw_and_previews(tags: &Directory<'_>) -> Result<(), Rejected> {
    // DNGVersion.
    if tags.find(50_706)?.is_some() {
        return Err(crate::format::unsupported("DNG (raw camera) images"));
    }
    // Bit 0 of NewSubfileType: a smaller version of another page or of a sub-directory.
    let preview = tags.number(254, 0)? & 1 == 1;
    if preview && (tags.has_next || tags.find(330)?.is_some()) {
        return Err(Rejected::Unknown(
            "the first page of this TIFF is a preview of another picture in it; only first pages that are the picture \
             itself are supported"
                .into(),
        ));
    }
    Ok(())
}

/// True if the pixels are stored in tiles, false if they are stored in strips. Files that have tags of both are refused:
/// libtiff takes the offsets of strips for those of tiles if there is a TileWidth, and other readers do not.
pub(super) fn is_tiled(tags: &Directory<'_>) -> Result<bool, Rejected> {
    let find = |list: &[(u16, &'static str)]| {
        for &(tag, name) in list {
            if tags.find(tag)?.is_some() {
                return Ok(Some(name));
            }
        }
        Ok::<_, Rejected>(None)
    };
    let strips = find(&[(273, "StripOffsets"), (279, "StripByteCounts")])?;
    let tiles = find(&[(324, "TileOffsets"), (325, "TileByteCounts"), (322, "TileWidth"), (323, "TileLength")])?;
    match (strips, tiles) {
        (Some(strips), Some(tiles)) => Err(unsupported(
            &format!(
                "the tags {strips} and {tiles}, of which the first describes strips and the other describes tiles"
            ),
            "files that have either strips or tiles",
        )),
        (_, tiles) => Ok(tiles.is_some()),
    }
}

/// Reads Compression.
pub(super) fn compression(tags: &Directory<'_>) -> Result<Compression, Rejected> {
    let name = match tags.number(259, 1)? {
        1 => return Ok(Compression::Stored),
        2 => return Ok(Compression::FaxRows),
        3 => return Ok(Compression::FaxGroup3(tags.number(292, 0)? & 1 == 1)),
        4 => return Ok(Compression::FaxGroup4),
        5 => return Ok(Compression::Lzw),
        7 => return Ok(Compression::Jpeg),
        8 | 32_946 => return Ok(Compression::Deflate),
        32_773 => return Ok(Compression::PackBits),
        6 => "old-style JPEG",
        9 | 10 | 34_661 => "JBIG",
        32_766 => "NeXT",
        32_771 => "word-aligned CCITT",
        32_809 => "ThunderScan",
        33_003 | 33_005 | 34_712 => "JPEG 2000",
        34_676 | 34_677 => "SGI Log",
        34_887 => "LERC",
        34_892 => "lossy JPEG (DNG)",
        34_925 => "LZMA",
        34_933 => "PNG",
        34_934 | 22_610 => "JPEG XR",
        50_000 => "Zstandard",
        50_001 => "WebP",
        50_002 | 52_546 => "JPEG XL",
        other => return Err(unsupported(&format!("compression {other}"), COMPRESSIONS)),
    };
    Err(unsupported(&format!("{name} compression"), COMPRESSIONS))
}

const COMPRESSIONS: &str =
    "the compressions none, PackBits, LZW, Deflate, JPEG, and CCITT modified Huffman, group 3 and group 4";

/// Returns the value that all samples have in common, or `None` if they differ. One value may stand for all.
pub(super) fn uniform(values: Option<Values<'_>>, samples: usize, default: u32) -> Result<Option<u32>, Rejected> {
    let Some(values) = values else { return Ok(Some(default)) };
    if samples == 0 || samples > usize::from(u16::MAX) || values.count < samples && values.count > 1 {
        return Err(broken(format!("a pixel has {samples} samples and {} sizes of them", values.count)));
    }
    let first = values.integer(0)?;
    for index in 1..samples.min(values.count) {
        if values.integer(index)? != first {
            return Ok(None);
        }
    }
    Ok(Some(u32::try_from(first).unwrap_or(u32::MAX)))
}

/// Returns the colours, the number of samples that they need, and their name.
pub(super) fn colours(
    tags: &Directory<'_>,
    photometric: u64,
    bits: u32,
) -> Result<(Colours, usize, &'static str), Rejected> {
    const SUPPORTED: &str = "gray, RGB, palette, CMYK and YCbCr";
    let name = match photometric {
        0 | 1 => return Ok((Colours::Gray { inverted: photometric == 0 }, 1, "gray")),
        2 => return Ok((Colours::Rgb, 3, "RGB")),
        3 => {
            let map = tags.find(320)?.ok_or_else(|| broken("it has no palette"))?;
            return Ok((Colours::palette(map, bits)?, 1, "a palette"));
        }
        5 if tags.number(332, 1)? != 1 => "inks other than CMYK",
        5 => return Ok((Colours::Cmyk, 4, "CMYK")),
        6 => return Ok((Colours::YCbCr(YCbCr::read(tags)?), 3, "YCbCr")),
        4 => "its first page for a transparency mask",
        8..=10 => "L*a*b* colours",
        32_803 => "raw camera data (a colour filter array)",
        34_892 => "raw camera data (linear)",
        32_844 | 32_845 => "LogL or LogLuv colours",
        other => return Err(unsupported(&format!("PhotometricInterpretation {other}"), SUPPORTED)),
    };
    Err(unsupported(name, SUPPORTED))
}

/// Checks that samples of the colours may have this number of bits.
pub(super) fn check_bits(colours: &Colours, name: &str, bits: u32, float: bool) -> Result<(), Rejected> {
    let (fits, supported) = match colours {
        Colours::Gray { .. } if float => (matches!(bits, 32 | 64), "floating-point samples of 32 and 64 bits"),
        Colours::Rgb if float => (matches!(bits, 32 | 64), "floating-point samples of 32 and 64 bits"),
        Colours::Gray { .. } => (matches!(bits, 1 | 2 | 4 | 8 | 12 | 16), "gray samples of 1, 2, 4, 8, 12 and 16 bits"),
        Colours::Palette(_) => (!float && matches!(bits, 1 | 2 | 4 | 8), "palettes of 1, 2, 4 and 8 bits"),
        Colours::Rgb => (matches!(bits, 8 | 16), "RGB samples of 8 and 16 bits"),
        Colours::Cmyk => (!float && matches!(bits, 8 | 16), "CMYK samples of 8 and 16 bits"),
        Colours::YCbCr(_) => (!float && bits == 8, "YCbCr samples of 8 bits"),
    };
    let kind = if float { "floating-point samples" } else { "samples" };
    if fits { Ok(()) } else { Err(unsupported(&format!("{bits}-bit {kind} for {name}"), supported)) }
}

/// Checks the samples that a pixel has in addition to its colour. Without the tag ExtraSamples their meaning is
/// unknown, and the colours may differ from those that the file declares.
pub(super) fn check_more_samples(tags: &Directory<'_>, more: usize, name: &str, rgb: bool) -> Result<(), Rejected> {
    let values = tags.find(338)?;
    let declared = values.map_or(0, |values| values.count);
    for index in 1..declared.min(more) {
        if values.is_some_and(|values| values.integer(index) == Ok(1)) {
            return Err(unsupported(
                "colours multiplied by an alpha that is not the first additional sample",
                "alpha in the first additional sample",
            ));
        }
    }
    // Many writers of RGB and alpha forget the tag; Pillow reads these files, too.
    if declared == more || declared == 0 && more == 1 && rgb {
        return Ok(());
    }
    Err(broken(format!("a pixel has {more} sample(s) more than {name} needs, but ExtraSamples lists {declared}")))
}

/// Reads YCbCrSubSampling. The last value is true if the tag is missing, so that it is 2 x 2 (TIFF 6.0, section 21).
pub(super) fn sharing(tags: &Directory<'_>, planar: bool) -> Result<(u32, u32, bool), Rejected> {
    let values = tags.find(530)?;
    let assumed = values.is_none();
    let shared = match values {
        Some(values) => (values.integer(0)?, values.integer(1)?),
        None => (2, 2),
    };
    let valid = |side: u64| matches!(side, 1 | 2 | 4);
    if !valid(shared.0) || !valid(shared.1) {
        return Err(broken(format!("its YCbCrSubSampling is {} x {}", shared.0, shared.1)));
    }
    if planar && shared != (1, 1) {
        return Err(unsupported(
            "subsampled YCbCr in separate planes",
            "subsampled YCbCr in one plane and YCbCr without subsampling",
        ));
    }
    Ok((shared.0 as u32, shared.1 as u32, assumed))
}

/// The predictor with this number in the tag Predictor.
pub(super) fn predictor(predictor: u64, bits: u32, float: bool, shared: (u32, u32)) -> Result<Predictor, Rejected> {
    match predictor {
        1 => Ok(Predictor::None),
        2 if bits >= 8 && bits != 12 && shared == (1, 1) => Ok(Predictor::Horizontal),
        3 if float => Ok(Predictor::Float),
        2 => Err(unsupported(
            "a predictor with samples of fewer than 8 or of 12 bits, or with subsampling",
            "predictors for samples of 8 bits or more but not 12, without subsampling",
        )),
        3 => Err(unsupported(
            "the floating-point predictor for integers",
            "the floating-point predictor for floating-point samples",
        )),
        other => Err(unsupported(&format!("predictor {other}"), "predictors 1, 2 and 3")),
    }
}
