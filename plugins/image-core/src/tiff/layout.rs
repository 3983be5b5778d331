//! What the tags of the first page say about its pixels. Anything that could not be decoded exactly is refused here,
//! before decoding, with a message that names it.

use super::colour::Colours;
use super::directory::{Directory, Values};
use super::tags::{
    Compression, Predictor, check_bits, check_more_samples, colours, compression, is_tiled, predictor,
    refuse_raw_and_previews, sharing, uniform,
};
use super::{broken, unsupported};
use crate::limits::Rejected;

/// More than the longest side of an image; tiles may extend beyond it.
const MAX_CHUNK_WIDTH: u32 = 1 << 20;

/// The place of a strip or tile: its plane, and its row and column among all strips or tiles.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) plane: usize,
    pub(super) row: u32,
    pub(super) column: u32,
}

/// The pixels of the first page.
pub(super) struct Layout<'a> {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) big_endian: bool,
    /// The bits of a sample: 1, 2, 4, 8, 12 or 16, or 32 or 64 if `float`.
    pub(super) bits: u32,
    pub(super) float: bool,
    /// The samples of a pixel in the file.
    pub(super) samples: usize,
    /// The samples of a pixel that are decoded: those of the colour, and alpha if the colour is multiplied by it.
    pub(super) kept: usize,
    pub(super) premultiplied: bool,
    /// True if each sample is stored in a separate plane.
    pub(super) planar: bool,
    pub(super) colours: Colours,
    /// The width and height in pixels that share two chroma samples; 1 and 1 if nothing is shared.
    pub(super) shared: (u32, u32),
    /// True if the file does not say what is shared. Its strips or tiles must then have the right lengths.
    pub(super) assumed: bool,
    pub(super) compression: Compression,
    pub(super) predictor: Predictor,
    /// True if the first pixel of a byte is in its lowest bit.
    pub(super) reversed: bool,
    pub(super) jpeg_tables: &'a [u8],
    /// True if the JPEG decoder converts luma and chroma to red, green and blue.
    pub(super) jpeg_ycbcr: bool,
    pub(super) tiled: bool,
    /// The width and height of a strip or tile; the last ones may extend beyond the image.
    pub(super) chunk_width: u32,
    pub(super) chunk_height: u32,
    offsets: Values<'a>,
    lengths: Option<Values<'a>>,
}

impl<'a> Layout<'a> {
    /// Reads the tags. The size is not yet checked against the limits.
    pub(super) fn read(tags: &Directory<'a>) -> Result<Self, Rejected> {
        refuse_raw_and_previews(tags)?;
        let side = |tag, missing| {
            let side = tags.optional(tag)?.ok_or_else(|| broken(missing))?;
            Ok::<u32, Rejected>(u32::try_from(side).unwrap_or(u32::MAX))
        };
        let (width, height) = (side(256, "it has no size")?, side(257, "it has no size")?);
        let tile = |tag| side(tag, "it has tiles, but no TileWidth or no TileLength");
        let tiled = is_tiled(tags)?;
        let (chunk_width, chunk_height) = if tiled {
            (tile(322)?, tile(323)?)
        } else {
            (width, u32::try_from(tags.number(278, u64::from(height))?).unwrap_or(u32::MAX).min(height))
        };
        if chunk_width > MAX_CHUNK_WIDTH || chunk_width == 0 && tiled || chunk_height == 0 && height > 0 {
            return Err(broken(format!("it has strips or tiles of {chunk_width} x {chunk_height} pixels")));
        }

        let compression = compression(tags)?;
        let samples = usize::try_from(tags.number(277, 1)?).unwrap_or(usize::MAX);
        let bits = uniform(tags.find(258)?, samples, 1)?.ok_or_else(|| {
            unsupported("samples of different sizes", "images whose samples all have the same number of bits")
        })?;
        let float = match uniform(tags.find(339)?, samples, 1)? {
            Some(1) => false,
            Some(3) => true,
            Some(2) => return Err(unsupported("signed samples", "unsigned and floating-point samples")),
            Some(5 | 6) => return Err(unsupported("complex samples", "unsigned and floating-point samples")),
            _ => return Err(unsupported("samples of an undefined format", "unsigned and floating-point samples")),
        };
        let photometric = tags.optional(262)?.ok_or_else(|| broken("it has no PhotometricInterpretation"))?;
        let (mut colours, wanted, name) = colours(tags, photometric, bits)?;
        check_bits(&colours, name, bits, float)?;
        if samples < wanted {
            return Err(broken(format!("a pixel has {samples} samples, {name} needs {wanted}")));
        }
        if samples > wanted {
            check_more_samples(tags, samples - wanted, name, matches!(colours, Colours::Rgb))?;
        }
        if samples > wanted && bits < 8 {
            return Err(unsupported(
                &format!("{name} with {} more sample(s) of {bits} bits", samples - wanted),
                "additional samples of 8 bits or more",
            ));
        }
        // ExtraSamples: 1 is alpha that the colour is multiplied by.
        let premultiplied = samples > wanted && tags.number(338, 0)? == 1 && !matches!(colours, Colours::Palette(_));
        if premultiplied && !matches!(colours, Colours::Gray { inverted: false } | Colours::Rgb) {
            return Err(unsupported(&format!("{name} multiplied by alpha"), "RGB and gray multiplied by alpha"));
        }
        let planar = match tags.number(284, 1)? {
            1 => false,
            2 => samples > 1,
            other => return Err(broken(format!("PlanarConfiguration {other} does not exist"))),
        };

        if premultiplied && planar && bits > 8 {
            return Err(unsupported(
                &format!("{name} multiplied by alpha, with samples of {bits} bits in separate planes"),
                "colours multiplied by alpha in one plane, and in separate planes with 8 bits",
            ));
        }

        let jpeg = compression == Compression::Jpeg;
        let (mut shared, mut assumed, mut jpeg_ycbcr) = ((1, 1), false, false);
        if let Colours::YCbCr(_) = colours {
            if !jpeg {
                let (across, down, missing) = sharing(tags, planar)?;
                (shared, assumed) = ((across, down), missing);
            } else if !planar {
                // The decoder converts them.
                jpeg_ycbcr = true;
                colours = Colours::Rgb;
            }
        }
        if shared != (1, 1) && samples != wanted {
            return Err(unsupported("subsampled YCbCr with additional samples", "subsampled YCbCr without them"));
        }
        let together = if planar { 1 } else { samples };
        let decodable = bits == 8 && !float && matches!(together, 1 | 3 | 4) && !(jpeg_ycbcr && together == 4);
        if jpeg && (!decodable || matches!(colours, Colours::Palette(_))) {
            return Err(unsupported(
                &format!("JPEG compression of {name} with {samples} sample(s) of {bits} bits"),
                "JPEG compression of gray, RGB, YCbCr and CMYK with 8 bits, and of RGB with one more sample",
            ));
        }
        let fax = matches!(compression, Compression::FaxRows | Compression::FaxGroup3(_) | Compression::FaxGroup4);
        if fax && (bits, samples) != (1, 1) {
            return Err(broken(format!("it has CCITT compression and {samples} sample(s) of {bits} bits")));
        }
        let reversed = match tags.number(266, 1)? {
            1 => false,
            2 => !jpeg,
            other => return Err(broken(format!("FillOrder {other} does not exist"))),
        };
        let predictor = match compression {
            // Only these two compressions use it (TIFF 6.0, section 14; libtiff ignores it for all others).
            Compression::Lzw | Compression::Deflate => predictor(tags.number(317, 1)?, bits, float, shared)?,
            _ => Predictor::None,
        };

        let chunks = if tiled { (324, 325) } else { (273, 279) };
        let offsets = tags.find(chunks.0)?.ok_or_else(|| broken("it has neither strips nor tiles"))?;
        let layout = Layout {
            width,
            height,
            big_endian: tags.big_endian,
            bits,
            float,
            samples,
            kept: wanted + usize::from(premultiplied),
            premultiplied,
            planar,
            colours,
            shared,
            assumed,
            compression,
            predictor,
            reversed,
            jpeg_tables: if jpeg { tags.find(347)?.map_or(&[][..], |tables| tables.bytes) } else { &[] },
            jpeg_ycbcr,
            tiled,
            chunk_width,
            chunk_height,
            offsets,
            lengths: tags.find(chunks.1)?,
        };
        let chunks = layout.chunks_per_plane() * if planar { samples as u64 } else { 1 };
        if offsets.count as u64 != chunks {
            return Err(broken(format!("it has {} strips or tiles instead of {chunks}", offsets.count)));
        }
        Ok(layout)
    }

    pub(super) fn chunks_across(&self) -> u32 {
        self.width.div_ceil(self.chunk_width.max(1))
    }

    fn chunks_per_plane(&self) -> u64 {
        u64::from(self.chunks_across()) * u64::from(self.height.div_ceil(self.chunk_height.max(1)))
    }

    /// The samples of a pixel within one strip or tile.
    pub(super) fn chunk_samples(&self) -> usize {
        if self.planar { 1 } else { self.samples }
    }

    /// The bytes of a stored row of a strip or tile; the rows that share chroma samples count as one.
    pub(super) fn row_bytes(&self) -> u64 {
        let (across, down) = (u64::from(self.shared.0), u64::from(self.shared.1));
        if self.shared != (1, 1) {
            return u64::from(self.chunk_width).div_ceil(across) * (across * down + 2);
        }
        (u64::from(self.chunk_width) * self.chunk_samples() as u64).saturating_mul(u64::from(self.bits)).div_ceil(8)
    }

    /// The bytes of a whole strip or tile that is not compressed.
    pub(super) fn chunk_bytes(&self) -> u64 {
        self.row_bytes().saturating_mul(u64::from(self.chunk_height.div_ceil(self.shared.1)))
    }

    /// Returns the compressed bytes of a strip or tile. If they are not compressed, the `needed` bytes are returned:
    /// some writers declare too much, or nothing, or the wrong length of the only strip (libtiff ignores these too).
    pub(super) fn chunk(&self, tags: &Directory<'a>, place: Place, needed: u64) -> Result<&'a [u8], Rejected> {
        let Place { plane, row, column } = place;
        let within = u64::from(row) * u64::from(self.chunks_across()) + u64::from(column);
        let index = plane as u64 * self.chunks_per_plane() + within;
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let at = self.offsets.integer(index)?;
        let only = self.offsets.count == 1;
        let declared = self.lengths.map(|lengths| lengths.integer(index)).transpose()?;
        if self.assumed && self.compression == Compression::Stored {
            // The last strip may be padded.
            if declared.is_some_and(|declared| declared != needed && declared != self.chunk_bytes()) {
                return Err(assumed());
            }
        }
        let length = match (declared, self.compression) {
            (Some(declared), Compression::Stored) if declared < needed && !only => declared,
            (_, Compression::Stored) => needed,
            (Some(declared), _) => declared,
            (None, _) if only => u64::MAX,
            (None, _) => return Err(broken("the lengths of its strips or tiles are missing")),
        };
        let bytes = tags.bytes(at, length);
        if at == 0 || bytes.is_empty() || length != u64::MAX && (bytes.len() as u64) < length {
            return Err(broken(format!("strip or tile {index} is not in the file")));
        }
        Ok(bytes)
    }

    /// The largest declared length of a strip or tile in bytes.
    pub(super) fn longest_chunk(&self, body: &[u8]) -> u64 {
        let lengths = |lengths: Values| (0..lengths.count).filter_map(move |index| lengths.integer(index).ok()).max();
        self.lengths.and_then(lengths).unwrap_or(u64::MAX).min(body.len() as u64)
    }
}

/// Strips or tiles have other lengths than those of the subsampling that holds if the file does not state it.
pub(super) fn assumed() -> Rejected {
    broken(
        "it has YCbCr without YCbCrSubSampling, and its strips or tiles do not have the length that 2 x 2 would give",
    )
}
