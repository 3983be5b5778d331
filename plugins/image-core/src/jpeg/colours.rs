//! Which colours the components of a JPEG mean, by the rules of libjpeg (`default_decompress_parms`). Other decoders
//! follow these rules too.

use super::headers::Component;

/// The meaning of the components.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Colours {
    Gray,
    Rgb,
    YCbCr,
    /// Cyan, magenta, yellow and black, inverted: 255 is no ink. Photoshop writes them like this, and Pillow expects it.
    Cmyk,
    /// Like [`Colours::Cmyk`], but the first three are converted to luma and chroma.
    Ycck,
}

/// The segments that declare the colours.
#[derive(Default)]
pub(super) struct Markers {
    /// True if there is a JFIF segment.
    jfif: bool,
    /// The transform that an Adobe segment declares.
    adobe: Option<u8>,
}

impl Markers {
    /// Reads an APP0 or APP14 segment. Segments that are too short are ignored.
    pub(super) fn read(&mut self, marker: u8, segment: &[u8]) {
        if marker == 0xE0 {
            self.jfif |= segment.len() >= 14 && segment.starts_with(b"JFIF\0");
        } else if segment.starts_with(b"Adobe") {
            self.adobe = segment.get(11).copied().or(self.adobe);
        }
    }

    pub(super) fn colours(&self, components: &[Component]) -> Colours {
        match components {
            [_] => Colours::Gray,
            [first, second, third] => match self.adobe {
                _ if self.jfif => Colours::YCbCr,
                Some(0) => Colours::Rgb,
                Some(_) => Colours::YCbCr,
                None if [first.id, second.id, third.id] == *b"RGB" => Colours::Rgb,
                None => Colours::YCbCr,
            },
            _ => match self.adobe {
                None | Some(0) => Colours::Cmyk,
                Some(_) => Colours::Ycck,
            },
        }
    }
}
