//! Linear memory from few bytes: a memory that has no page boundary has no heap, and a page has 65,536 bytes. One byte for
//! the pages, two for the granule (8 bytes) where a search begins; then records: granules that are skipped (two bytes), the
//! number of words (one byte), the words.

pub const PAGE: usize = 64 << 10;
const GRANULE: usize = 8;
pub const MAX_PAGES: usize = 4;

/// A memory, and where a search in it begins.
pub struct Memory {
    pub bytes: Vec<u8>,
    pub from: u32,
}

impl Memory {
    pub fn decode(input: &[u8]) -> Option<Self> {
        let (&[pages, low, high], mut rest) = input.split_first_chunk()?;
        let mut bytes = vec![0; (1 + usize::from(pages) % MAX_PAGES) * PAGE];
        let mut at = 0;
        while let Some((&[low, high, count], after)) = rest.split_first_chunk() {
            at += GRANULE * usize::from(u16::from_le_bytes([low, high]));
            let length = (4 * usize::from(count)).min(after.len());
            let (words, after) = after.split_at(length);
            let Some(place) = bytes.get_mut(at..at + length) else { break };
            place.copy_from_slice(words);
            at = (at + length).next_multiple_of(GRANULE);
            rest = after;
        }
        let from = GRANULE as u32 * u32::from(u16::from_le_bytes([low, high]));
        Some(Self { bytes, from })
    }

    /// The bytes that stand for this memory; `None` if they are more than `most`.
    pub fn encode(&self, most: usize) -> Option<Vec<u8>> {
        let [low, high] = u16::try_from(self.from as usize / GRANULE).ok()?.to_le_bytes();
        let mut input = vec![(self.bytes.len() / PAGE - 1) as u8, low, high];
        let mut end = 0;
        let is_zero = |granule: &[u8]| granule.iter().all(|&byte| byte == 0);
        let granules: Vec<&[u8]> = self.bytes.chunks_exact(GRANULE).collect();
        let mut at = 0;
        while let Some(skipped) = granules[at..].iter().position(|granule| !is_zero(granule)) {
            at += skipped;
            let count = granules[at..].iter().take(127).take_while(|granule| !is_zero(granule)).count();
            let mut skip = at - end;
            while skip > usize::from(u16::MAX) {
                input.extend([0xFF, 0xFF, 0]);
                skip -= usize::from(u16::MAX);
            }
            let [low, high] = (skip as u16).to_le_bytes();
            input.extend([low, high, 2 * count as u8]);
            input.extend(granules[at..at + count].concat());
            at += count;
            end = at;
            if input.len() > most {
                return None;
            }
        }
        Some(input).filter(|input| input.len() <= most)
    }

    pub fn word(&self, address: usize) -> u32 {
        let word = self.bytes.get(address..address + 4);
        word.map_or(0, |word| u32::from_le_bytes(word.try_into().expect("four bytes")))
    }

    /// Writes a word, if the memory has its address.
    pub fn put(&mut self, address: usize, value: u32) {
        if let Some(word) = self.bytes.get_mut(address..address + 4) {
            word.copy_from_slice(&value.to_le_bytes());
        }
    }
}
