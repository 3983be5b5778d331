//! A JPEG encoder for tests. It also writes the layouts that cameras rarely write: any sampling factors, restart
//! intervals, one component or three, colours without a transform, progressive scans.

mod writer;

use std::f64::consts::PI;

pub use writer::Scan;
use writer::Writer;

/// The picture repeats after this number of MCUs in both directions, so that a large image is encoded quickly.
const PERIOD: usize = 16;

/// The parameters of an encoded image.
#[derive(Clone, Debug)]
pub struct Jpeg {
    /// The width in pixels.
    pub width: usize,
    /// The height in pixels.
    pub height: usize,
    /// The horizontal and vertical sampling factor of each component. There are one or three components.
    pub sampling: Vec<(usize, usize)>,
    /// The number of MCUs between restart markers; 0 for no markers.
    pub restart: usize,
    /// The quantisation step of all coefficients.
    pub quantiser: u8,
    /// The scans of a progressive image. Without scans the image is sequential.
    pub scans: Vec<Scan>,
    /// The colour transform in the Adobe segment. If `None`, the file has a JFIF segment instead.
    pub adobe: Option<u8>,
}

/// A block's coefficients in zigzag order.
type Block = [i32; 64];

const ZIGZAG: [usize; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

impl Jpeg {
    /// A baseline image without restart markers.
    pub fn new(width: usize, height: usize, sampling: &[(usize, usize)]) -> Jpeg {
        let sampling = sampling.to_vec();
        Jpeg { width, height, sampling, restart: 0, quantiser: 6, scans: Vec::new(), adobe: None }
    }

    /// The same image, but progressive. The first scan has the DC coefficients without their lowest bit, which the last
    /// scan adds. Between them are the AC coefficients without their lowest two bits, then each of these two bits.
    #[must_use]
    pub fn progressive(self) -> Jpeg {
        let all = 0..self.sampling.len();
        let mean = |refines, low| Scan { components: all.clone(), first: 0, last: 0, refines, low };
        let mut scans = vec![mean(false, 1)];
        for (first, last, refines, low) in [(1, 5, false, 2), (6, 63, false, 2), (1, 63, true, 1), (1, 63, true, 0)] {
            scans.extend(all.clone().map(|one| Scan { components: one..one + 1, first, last, refines, low }));
        }
        scans.push(mean(true, 0));
        Jpeg { scans, ..self }
    }

    /// Encodes the image. `sample` returns the value (0 to 255) of a component at a position in pixels.
    ///
    /// # Panics
    /// If the image has no component.
    pub fn encode(&self, sample: impl Fn(usize, f64, f64) -> f64) -> Vec<u8> {
        let widest = self.sampling.iter().map(|it| it.0).max().expect("a component");
        let tallest = self.sampling.iter().map(|it| it.1).max().expect("a component");
        let size = (self.width.div_ceil(8 * widest), self.height.div_ceil(8 * tallest));
        let planes: Vec<_> = (0..self.sampling.len())
            .map(|component| self.plane(component, (widest, tallest), size, |x, y| sample(component, x, y)))
            .collect();

        let mut file = vec![0xFF, 0xD8];
        match self.adobe {
            Some(transform) => segment(&mut file, 0xEE, &[&b"Adobe\0\x64\0\0\0\0"[..], &[transform]].concat()),
            None => segment(&mut file, 0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0"),
        }
        segment(&mut file, 0xDB, &[&[0][..], &[self.quantiser; 64]].concat());
        let (width, height) = ((self.width as u16).to_be_bytes(), (self.height as u16).to_be_bytes());
        let mut frame = [&[8][..], &height, &width, &[self.sampling.len() as u8]].concat();
        for (id, (across, down)) in (1..).zip(&self.sampling) {
            frame.extend([id, (across << 4 | down) as u8, 0]);
        }
        segment(&mut file, if self.is_progressive() { 0xC2 } else { 0xC0 }, &frame);
        segment(&mut file, 0xC4, &[&[0x00][..], &writer::dc_code(), &[0x10], &writer::ac_code()].concat());
        if self.restart > 0 {
            segment(&mut file, 0xDD, &(self.restart as u16).to_be_bytes());
        }
        let whole = [Scan { components: 0..planes.len(), first: 0, last: 63, refines: false, low: 0 }];
        for scan in if self.is_progressive() { &self.scans[..] } else { &whole } {
            segment(&mut file, 0xFE, b"a scan");
            self.scan(&mut file, &planes, size, scan);
        }
        file.extend([0xFF, 0xD9]);
        file
    }

    fn is_progressive(&self) -> bool {
        !self.scans.is_empty()
    }

    fn plane(
        &self,
        component: usize,
        most: (usize, usize),
        size: (usize, usize),
        sample: impl Fn(f64, f64) -> f64,
    ) -> Plane {
        let (across, down) = self.sampling[component];
        let (across, down) = if self.sampling.len() == 1 { (1, 1) } else { (across, down) };
        let (wide, tall) =
            (most.0 as f64 / self.sampling[component].0 as f64, most.1 as f64 / self.sampling[component].1 as f64);
        let (columns, rows) = (PERIOD.min(size.0) * across, PERIOD.min(size.1) * down);
        let mut blocks = Vec::with_capacity(columns * rows);
        for y in 0..rows {
            for x in 0..columns {
                let at = |row: usize, column: usize| {
                    let (x, y) = ((8 * x + column) as f64 + 0.5, (8 * y + row) as f64 + 0.5);
                    sample(x * wide, y * tall).clamp(0.0, 255.0).round() - 128.0
                };
                blocks.push(transform(at, f64::from(self.quantiser)));
            }
        }
        let own =
            (self.width.div_ceil((8.0 * wide) as usize).max(1), self.height.div_ceil((8.0 * tall) as usize).max(1));
        Plane { id: component as u8 + 1, across, down, columns, rows, own, blocks }
    }

    fn scan(&self, file: &mut Vec<u8>, planes: &[Plane], size: (usize, usize), scan: &Scan) {
        let planes = &planes[scan.components.clone()];
        let mut head = vec![planes.len() as u8];
        for plane in planes {
            head.extend([plane.id, 0]);
        }
        head.extend(scan.band());
        segment(file, 0xDA, &head);
        let mut bits = Writer::new(file);
        let mut means = [0; 3];
        // A scan of one component is not interleaved: it has only the blocks that the component needs.
        let alone = planes.len() == 1;
        let size = if alone { planes[0].own } else { size };
        for mcu in 0..size.0 * size.1 {
            if self.restart > 0 && mcu > 0 && mcu % self.restart == 0 {
                bits.restart(mcu / self.restart - 1);
                means = [0; 3];
            }
            let (column, row) = (mcu % size.0, mcu / size.0);
            for (plane, mean) in planes.iter().zip(&mut means) {
                let (across, down) = if alone { (1, 1) } else { (plane.across, plane.down) };
                for block in 0..across * down {
                    let (x, y) = (column * across + block % across, row * down + block / across);
                    let block = &plane.blocks[y % plane.rows * plane.columns + x % plane.columns];
                    bits.block(block, scan, self.is_progressive(), mean);
                }
            }
        }
        bits.flush();
    }
}

struct Plane {
    id: u8,
    across: usize,
    down: usize,
    columns: usize,
    rows: usize,
    /// The columns and rows of blocks in a scan of this component alone.
    own: (usize, usize),
    blocks: Vec<Block>,
}

fn segment(file: &mut Vec<u8>, marker: u8, content: &[u8]) {
    file.extend([0xFF, marker]);
    file.extend((content.len() as u16 + 2).to_be_bytes());
    file.extend(content);
}

fn transform(at: impl Fn(usize, usize) -> f64, quantiser: f64) -> Block {
    let cosine = |index: usize, frequency: usize| {
        let scale = if frequency == 0 { (0.125_f64).sqrt() } else { 0.5 };
        scale * ((2 * index + 1) as f64 * frequency as f64 * PI / 16.0).cos()
    };
    let cosines: Vec<[f64; 8]> =
        (0..8).map(|frequency| std::array::from_fn(|index| cosine(index, frequency))).collect();
    let mut rows = [[0.0; 8]; 8];
    for (row, out) in rows.iter_mut().enumerate() {
        let samples: [f64; 8] = std::array::from_fn(|column| at(row, column));
        *out = std::array::from_fn(|frequency| (0..8).map(|index| samples[index] * cosines[frequency][index]).sum());
    }
    ZIGZAG.map(|place| {
        let value: f64 = (0..8).map(|row| rows[row][place % 8] * cosines[place / 8][row]).sum();
        (value / quantiser).round() as i32
    })
}
