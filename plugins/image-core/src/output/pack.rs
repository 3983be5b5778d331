//! The form of the tensor: its channels, its shape, its element type, and its elements before there is an image.

use half::{bf16, f16};

/// The channels and their order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// Luma as defined by ITU-R 601-2.
    Gray,
}

impl Channels {
    /// The number of channels.
    pub fn count(self) -> usize {
        if self == Channels::Gray { 1 } else { 3 }
    }
}

/// The order of the dimensions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Channel by channel.
    Nchw,
    /// Pixel by pixel.
    Nhwc,
}

/// How values are converted to elements; see the configuration keys of the same names.
#[derive(Clone)]
pub struct Pack {
    /// The width of the model's input in pixels.
    pub width: u32,
    /// The height of the model's input in pixels.
    pub height: u32,
    /// The channels and their order.
    pub order: Channels,
    /// The order of the dimensions.
    pub layout: Layout,
    /// True if each value v of the image is replaced by 255 - v.
    pub invert: bool,
    /// The border's value, before `mean` and `scale`.
    pub pad: u8,
    /// The number subtracted from the values of each channel, in the order of the tensor's channels.
    pub mean: [f32; 3],
    /// The factor of each channel, applied after the subtraction, in the same order.
    pub scale: [f32; 3],
    /// The type of the elements.
    pub dtype: Dtype,
}

/// The type of the elements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dtype {
    /// Single precision.
    F32,
    /// Half precision (IEEE 754 binary16).
    F16,
    /// The upper half of single precision.
    Bf16,
    /// Unsigned, one byte.
    U8,
}

/// The elements of the tensor, row-major.
#[derive(Debug, Clone, PartialEq)]
pub enum Elements {
    /// Normalised values.
    F32(Vec<f32>),
    /// The bits of normalised values, rounded to half precision.
    F16(Vec<u16>),
    /// The bits of normalised values, rounded to bf16.
    Bf16(Vec<u16>),
    /// Values from 0 to 255, rounded.
    U8(Vec<u8>),
}

impl Pack {
    /// The number of channels of the tensor.
    pub fn channels(&self) -> usize {
        self.order.count()
    }

    /// The size of the tensor in bytes.
    pub fn tensor_bytes(&self) -> usize {
        let element = match self.dtype {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::Bf16 => 2,
            Dtype::U8 => 1,
        };
        element * self.shape().iter().map(|&side| side as usize).product::<usize>()
    }

    /// The tensor's shape, for a batch of one image.
    pub fn shape(&self) -> [u32; 4] {
        let (channels, width, height) = (self.channels() as u32, self.width, self.height);
        match self.layout {
            Layout::Nchw => [1, channels, height, width],
            Layout::Nhwc => [1, height, width, channels],
        }
    }
}

impl Pack {
    /// Creates a tensor without an image. If there is a border, all elements have its value, otherwise 0.
    pub(super) fn blank_tensor(&self, bordered: bool) -> Elements {
        let border = |channel: usize| (f32::from(self.pad) - self.mean[channel]) * self.scale[channel];
        match self.dtype {
            Dtype::F32 => Elements::F32(self.blank(bordered, 0.0, border)),
            Dtype::F16 => Elements::F16(self.blank(bordered, 0, |channel| f16_bits(border(channel)))),
            Dtype::Bf16 => Elements::Bf16(self.blank(bordered, 0, |channel| bf16_bits(border(channel)))),
            Dtype::U8 => Elements::U8(self.blank(bordered, 0, |_| self.pad)),
        }
    }

    fn blank<T: Copy>(&self, bordered: bool, zero: T, border: impl Fn(usize) -> T) -> Vec<T> {
        let channels = self.channels();
        let pixels = (self.width * self.height) as usize;
        let mut elements = vec![zero; channels * pixels];
        if bordered {
            match self.layout {
                Layout::Nchw => {
                    for (channel, plane) in elements.chunks_exact_mut(pixels).enumerate() {
                        plane.fill(border(channel));
                    }
                }
                Layout::Nhwc => {
                    for pixel in elements.chunks_exact_mut(channels) {
                        for (channel, element) in pixel.iter_mut().enumerate() {
                            *element = border(channel);
                        }
                    }
                }
            }
        }
        elements
    }
}

pub(super) fn f16_bits(value: f32) -> u16 {
    f16::from_f32(value).to_bits()
}

pub(super) fn bf16_bits(value: f32) -> u16 {
    bf16::from_f32(value).to_bits()
}
