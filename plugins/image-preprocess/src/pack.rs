//! The resized bytes into the elements of the tensor: border, channel order, normalisation, layout.

use crate::geometry::Plan;

/// The channels and their order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    Rgb,
    Bgr,
    Gray,
}

impl Channels {
    /// How many there are.
    pub fn count(self) -> usize {
        if self == Channels::Gray { 1 } else { 3 }
    }
}

/// The order of the dimensions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    Nchw,
    Nhwc,
}

/// What becomes of the bytes; see the configuration keys of the same names.
pub struct Pack {
    pub width: u32,
    pub height: u32,
    pub order: Channels,
    pub layout: Layout,
    pub invert: bool,
    pub pad: u8,
    /// In the order of the tensor's channels.
    pub mean: [f32; 3],
    pub scale: [f32; 3],
    /// Whether the elements are bytes.
    pub bytes: bool,
}

/// The elements of the tensor, row-major.
pub enum Elements {
    F32(Vec<f32>),
    U8(Vec<u8>),
}

impl Pack {
    /// How many bytes a resized pixel has.
    pub fn channels(&self) -> usize {
        self.order.count()
    }

    /// The tensor's shape: one image.
    pub fn shape(&self) -> [u32; 4] {
        let (channels, width, height) = (self.channels() as u32, self.width, self.height);
        match self.layout {
            Layout::Nchw => [1, channels, height, width],
            Layout::Nhwc => [1, height, width, channels],
        }
    }

    /// The elements for the resized part of the image, which is `plan.x.count` by `plan.y.count` pixels.
    pub fn pack(&self, part: &[u8], plan: &Plan) -> Elements {
        if self.bytes {
            Elements::U8(self.arrange(part, plan, |value, _| value))
        } else {
            // There are 256 values to each channel, so a table spares the arithmetic for each pixel.
            let tables: [[f32; 256]; 3] = std::array::from_fn(|channel| {
                std::array::from_fn(|value| (value as f32 - self.mean[channel]) * self.scale[channel])
            });
            Elements::F32(self.arrange(part, plan, |value, channel| tables[channel][usize::from(value)]))
        }
    }

    fn arrange<T: Copy>(&self, part: &[u8], plan: &Plan, element: impl Fn(u8, usize) -> T) -> Vec<T> {
        let channels = self.channels();
        let (width, height) = (self.width as usize, self.height as usize);
        let (left, top) = (plan.x.at as usize, plan.y.at as usize);
        let place = |x: usize, y: usize, channel: usize| match self.layout {
            Layout::Nchw => (channel * height + y) * width + x,
            Layout::Nhwc => (y * width + x) * channels + channel,
        };

        let mut elements = vec![element(self.pad, 0); channels * width * height];
        let bordered = plan.x.count < self.width || plan.y.count < self.height;
        for channel in 0..channels {
            if bordered {
                let border = element(self.pad, channel);
                for y in 0..height {
                    for x in 0..width {
                        elements[place(x, y, channel)] = border;
                    }
                }
            }
            let source = if self.order == Channels::Bgr { 2 - channel } else { channel };
            for (y, line) in part.chunks_exact(plan.x.count as usize * channels).enumerate() {
                for (x, pixel) in line.chunks_exact(channels).enumerate() {
                    let value = if self.invert { 255 - pixel[source] } else { pixel[source] };
                    elements[place(left + x, top + y, channel)] = element(value, channel);
                }
            }
        }
        elements
    }
}
