//! Writes blocks as the bits of a scan (ITU-T T.81, annexes F and G).

use std::ops::Range;

use super::Block;

/// The content of one scan of a progressive image.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The components of the scan.
    pub components: Range<usize>,
    /// The first coefficient, in zigzag order.
    pub first: usize,
    /// The last coefficient, in zigzag order.
    pub last: usize,
    /// True if the scan adds one bit to coefficients of earlier scans.
    pub refines: bool,
    /// The lowest bit that the scan contains.
    pub low: u32,
}

impl Scan {
    /// The last three bytes of the scan header: the band and the bit positions.
    pub(super) fn band(&self) -> [u8; 3] {
        let high = if self.refines { self.low + 1 } else { 0 };
        [self.first as u8, self.last as u8, (high << 4 | self.low) as u8]
    }
}

/// The Huffman table of the twelve DC sizes. Every code word has four bits.
pub(super) fn dc_code() -> Vec<u8> {
    let mut code = vec![0; 16];
    code[3] = 12;
    code.extend(0..12);
    code
}

/// The Huffman table of the AC symbols. Every code word has eight bits.
pub(super) fn ac_code() -> Vec<u8> {
    let symbols = ac_symbols();
    [&[0; 7][..], &[symbols.len() as u8], &[0; 8], &symbols].concat()
}

/// The AC symbols. The code word of a symbol is its index.
fn ac_symbols() -> Vec<u8> {
    (0..16).flat_map(|run| (0..=10).map(move |size| run << 4 | size)).collect()
}

/// Writes the bits of a scan to the file.
pub(super) struct Writer<'f> {
    file: &'f mut Vec<u8>,
    buffer: u64,
    count: u32,
    /// The number of blocks whose band ended since the last code word (the end-of-band run).
    ended: u64,
    /// Correction bits of coefficients of earlier scans. They are written after the next code word.
    corrections: Vec<u64>,
}

impl<'f> Writer<'f> {
    pub(super) fn new(file: &'f mut Vec<u8>) -> Self {
        Writer { file, buffer: 0, count: 0, ended: 0, corrections: Vec::new() }
    }

    fn put(&mut self, value: u64, bits: u32) {
        self.buffer = self.buffer << bits | value;
        self.count += bits;
        while self.count >= 8 {
            self.count -= 8;
            let byte = (self.buffer >> self.count) as u8;
            self.file.push(byte);
            if byte == 0xFF {
                self.file.push(0);
            }
        }
    }

    pub(super) fn flush(&mut self) {
        self.end_band();
        let missing = (8 - self.count % 8) % 8;
        self.put((1 << missing) - 1, missing);
    }

    /// Writes a restart marker. `number` is the number of restart markers before it.
    pub(super) fn restart(&mut self, number: usize) {
        self.flush();
        self.file.extend([0xFF, 0xD0 + number as u8 % 8]);
    }

    fn symbol(&mut self, run: u64, size: u32) {
        self.put(11 * run + u64::from(size), 8);
    }

    fn number(&mut self, value: i32, size: u32) {
        let bits = if value < 0 { value + (1 << size) - 1 } else { value };
        self.put(bits as u64, size);
    }

    fn correct(&mut self, corrections: Vec<u64>) {
        corrections.into_iter().for_each(|bit| self.put(bit, 1));
    }

    /// Writes the end-of-band run and its correction bits.
    fn end_band(&mut self) {
        if self.ended > 0 {
            let bits = self.ended.ilog2();
            self.symbol(u64::from(bits), 0);
            self.put(self.ended - (1 << bits), bits);
            self.ended = 0;
            let corrections = std::mem::take(&mut self.corrections);
            self.correct(corrections);
        }
    }

    /// Writes a block. A progressive image writes end-of-band runs instead of single end-of-band symbols. `mean` is the
    /// DC coefficient of the previous block.
    pub(super) fn block(&mut self, block: &Block, scan: &Scan, progressive: bool, mean: &mut i32) {
        if scan.first == 0 {
            if scan.refines {
                self.put((block[0] >> scan.low & 1) as u64, 1);
            } else {
                let shifted = block[0] >> scan.low;
                let difference = shifted - *mean;
                *mean = shifted;
                self.put(u64::from(size(difference)), 4);
                self.number(difference, size(difference));
            }
        }
        let others = &block[scan.first.max(1)..=scan.last];
        match scan.refines {
            true => self.refine(others, scan.low),
            false => self.first_bits(others, scan.low, progressive),
        }
    }

    fn first_bits(&mut self, others: &[i32], low: u32, progressive: bool) {
        let mut zeros = 0;
        for value in others.iter().map(|value| value / (1 << low)) {
            if value == 0 {
                zeros += 1;
                continue;
            }
            self.end_band();
            while zeros > 15 {
                self.symbol(15, 0);
                zeros -= 16;
            }
            self.symbol(zeros, size(value));
            self.number(value, size(value));
            zeros = 0;
        }
        if zeros > 0 {
            self.ended += 1;
            if !progressive || self.ended == 0x7FFF {
                self.end_band();
            }
        }
    }

    fn refine(&mut self, others: &[i32], low: u32) {
        let shifted = || others.iter().map(|value| value / (1 << low));
        let last_new = shifted().rposition(|value| value.abs() == 1);
        let (mut zeros, mut corrections) = (0, Vec::new());
        for (index, value) in shifted().enumerate() {
            if value == 0 {
                zeros += 1;
                continue;
            }
            while zeros > 15 && last_new.is_some_and(|last| index <= last) {
                self.end_band();
                self.symbol(15, 0);
                zeros -= 16;
                self.correct(std::mem::take(&mut corrections));
            }
            if value.abs() > 1 {
                corrections.push(u64::from(value.unsigned_abs() & 1));
                continue;
            }
            self.end_band();
            self.symbol(zeros, 1);
            self.number(value, 1);
            self.correct(std::mem::take(&mut corrections));
            zeros = 0;
        }
        if zeros > 0 || !corrections.is_empty() {
            self.ended += 1;
            self.corrections.extend(corrections);
            if self.ended == 0x7FFF {
                self.end_band();
            }
        }
    }
}

fn size(value: i32) -> u32 {
    32 - value.unsigned_abs().leading_zeros()
}
