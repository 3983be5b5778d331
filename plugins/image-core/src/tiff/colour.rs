//! Converts samples of 8 bits to gray or to red, green and blue.

use super::broken;
use super::directory::{Directory, Values};
use crate::limits::Rejected;
use crate::output::Colour;

/// What the samples of a pixel mean.
pub(super) enum Colours {
    /// `inverted` if 0 is white.
    Gray {
        inverted: bool,
    },
    Rgb,
    Palette(Vec<[u8; 3]>),
    Cmyk,
    YCbCr(YCbCr),
}

/// Luma and chroma: how they are stored, and the weights of red and blue in luma (TIFF 6.0, section 21).
pub(super) struct YCbCr {
    red: f32,
    blue: f32,
    /// For luma and both chroma samples: the stored value of black or of no colour, and a factor.
    ranges: [(f32, f32); 3],
}

impl YCbCr {
    /// The default values, those of JFIF 1.02.
    pub(super) const JFIF: YCbCr = YCbCr { red: 0.299, blue: 0.114, ranges: [(0.0, 1.0), (128.0, 1.0), (128.0, 1.0)] };

    /// Reads YCbCrCoefficients and ReferenceBlackWhite.
    pub(super) fn read(tags: &Directory<'_>) -> Result<YCbCr, Rejected> {
        let mut it = YCbCr::JFIF;
        if let Some(weights) = tags.find(529)? {
            let green = weights.fraction(1)?;
            (it.red, it.blue) = (weights.fraction(0)?, weights.fraction(2)?);
            if green <= 0.0 || (it.red + green + it.blue - 1.0).abs() > 0.01 {
                return Err(broken("its YCbCrCoefficients do not add up to 1"));
            }
        }
        if let Some(values) = tags.find(532)? {
            for (index, range) in it.ranges.iter_mut().enumerate() {
                let (black, white) = (values.fraction(2 * index)?, values.fraction(2 * index + 1)?);
                if white <= black {
                    return Err(broken("its ReferenceBlackWhite has no range"));
                }
                *range = (black, if index == 0 { 255.0 } else { 127.0 } / (white - black));
            }
        }
        Ok(it)
    }

    fn rgb(&self, samples: [u8; 3]) -> [u8; 3] {
        let value = |index: usize| {
            let (zero, factor) = self.ranges[index];
            (f32::from(samples[index]) - zero) * factor
        };
        let luma = value(0);
        let red = luma + value(2) * (2.0 - 2.0 * self.red);
        let blue = luma + value(1) * (2.0 - 2.0 * self.blue);
        let green = (luma - self.red * red - self.blue * blue) / (1.0 - self.red - self.blue);
        // The cast saturates.
        [red, green, blue].map(|value| (value + 0.5) as u8)
    }
}

impl Colours {
    /// Reads a ColorMap: all red values, then all green values, then all blue values, of 16 bits each.
    pub(super) fn palette(map: Values<'_>, bits: u32) -> Result<Colours, Rejected> {
        let colours = 1_usize << bits.min(8);
        if map.count < 3 * colours {
            return Err(broken(format!("its palette has {} values; it needs {}", map.count, 3 * colours)));
        }
        let mut values = Vec::with_capacity(3 * colours);
        for index in 0..3 * colours {
            values.push(map.integer(index)?);
        }
        // Some writers store 8 bits, which as 16 bits would be almost black.
        if values.iter().all(|&value| value < 256) && values.iter().any(|&value| value > 0) {
            return Err(super::unsupported("a palette of 8-bit values", "palettes of 16-bit values"));
        }
        // Pillow and libtiff take the high byte.
        let byte = |index: usize| (values[index] >> 8).min(255) as u8;
        let colour = |index| [byte(index), byte(colours + index), byte(2 * colours + index)];
        Ok(Colours::Palette((0..colours).map(colour).collect()))
    }

    /// The channels that [`convert`](Self::convert) writes.
    pub(super) fn output(&self) -> Colour {
        if matches!(self, Colours::Gray { .. }) { Colour::Gray } else { Colour::Rgb }
    }

    /// Converts a row of samples.
    pub(super) fn convert(&self, samples: &[u8], premultiplied: bool, out: &mut [u8]) -> Result<(), Rejected> {
        match self {
            Colours::Gray { inverted: true } => {
                out.iter_mut().zip(samples).for_each(|(out, sample)| *out = 255 - sample);
            }
            Colours::Gray { .. } if premultiplied => divide::<2, 1>(samples, out),
            Colours::Rgb if premultiplied => divide::<4, 3>(samples, out),
            Colours::Gray { .. } | Colours::Rgb => out.copy_from_slice(samples),
            Colours::Palette(colours) => {
                for (out, sample) in out.as_chunks_mut::<3>().0.iter_mut().zip(samples) {
                    // The palette has a colour for every value.
                    *out = colours.get(usize::from(*sample)).copied().unwrap_or_default();
                }
            }
            Colours::Cmyk => {
                for (out, [c, m, y, k]) in out.as_chunks_mut::<3>().0.iter_mut().zip(samples.as_chunks::<4>().0) {
                    // Without a profile, each ink takes its share of the light that black leaves, as in Pillow.
                    let light = 255 - u16::from(*k);
                    *out = [c, m, y].map(|&ink| ((u16::from(255 - ink) * light + 127) / 255) as u8);
                }
            }
            Colours::YCbCr(it) => {
                for (out, samples) in out.as_chunks_mut::<3>().0.iter_mut().zip(samples.as_chunks::<3>().0) {
                    *out = it.rgb(*samples);
                }
            }
        }
        Ok(())
    }
}

/// Divides the colour of each pixel by its alpha, which is its last sample. As in Pillow, the quotient is rounded down,
/// and transparent pixels are black.
fn divide<const N: usize, const C: usize>(samples: &[u8], out: &mut [u8]) {
    for (out, samples) in out.as_chunks_mut::<C>().0.iter_mut().zip(samples.as_chunks::<N>().0) {
        let alpha = u16::from(samples[N - 1]);
        *out = std::array::from_fn(|channel| match alpha {
            0 => 0,
            _ => (u16::from(samples[channel]) * 255 / alpha).min(255) as u8,
        });
    }
}
