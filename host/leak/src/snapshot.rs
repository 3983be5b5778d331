//! The heap of a component that is a snapshot (componentize-py, componentize-js, Wizer): its initialised data covers the heap.

use super::heap::{FENCEPOST, FLAGS, GRANULE, Heap, IN_USE, LARGEST_TOP_FOOT, PAGE, PREVIOUS_IN_USE, SMALLEST, word};

/// Minimum number of chunks of a snapshot's heap: statics can look like a few.
const FEWEST_CHUNKS: u32 = 64;

impl Heap {
    /// Searches for dlmalloc's heap in the memory of a snapshot, whose initialised data covers the heap too, so that it is
    /// not known where the heap begins. Statics can look like a chunk of any size, so the longest chain counts: chains
    /// from all addresses at or after `from`, counted from the end.
    pub fn find_in_snapshot(memory: &[u8], from: u32) -> Option<Self> {
        let end = u32::try_from(memory.len()).unwrap_or(u32::MAX);
        let granules = ((end / GRANULE) as usize).checked_sub(2)?;
        let first = (from / GRANULE) as usize;
        // For each address the number of chunks from there to the end of a segment; 0 if there is no such chain.
        let mut lengths = vec![0u32; granules + 2];
        let mut longest = (0, 0);
        for at in (first..granules).rev() {
            let start = at as u32 * GRANULE;
            let Some(next) = next_chunk(memory, start, end) else { continue };
            let length = match next {
                Next::End => 1,
                Next::Chunk(next) => match lengths.get((next / GRANULE) as usize) {
                    None | Some(0) => continue,
                    Some(rest) => rest + 1,
                },
            };
            lengths[at] = length;
            longest = longest.max((length, start));
        }
        let (length, start) = longest;
        let heap = Self { start };
        (length >= FEWEST_CHUNKS && heap.walk(memory).is_some()).then_some(heap)
    }
}

/// What follows a chunk.
enum Next {
    /// The end of the segment.
    End,
    /// The chunk at this address.
    Chunk(u32),
}

/// What follows the chunk at `start`; `None` if there is no chunk, or if its neighbour contradicts it.
fn next_chunk(memory: &[u8], start: u32, end: u32) -> Option<Next> {
    let head = word(memory, start + 4)?;
    if head == FENCEPOST {
        return Some(Next::End);
    }
    let size = head & !FLAGS;
    if size < SMALLEST || !size.is_multiple_of(8) || end - start <= size {
        return None;
    }
    let next = start + size;
    let after = word(memory, next.checked_add(4)?)?;
    if head & IN_USE != 0 {
        return (after == FENCEPOST || after & PREVIOUS_IN_USE != 0).then_some(Next::Chunk(next));
    }
    if after & FLAGS == 0 && (SMALLEST..=LARGEST_TOP_FOOT).contains(&after) {
        return next.checked_add(after)?.is_multiple_of(PAGE).then_some(Next::End);
    }
    (after & PREVIOUS_IN_USE == 0 && word(memory, next)? == size).then_some(Next::Chunk(next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heap_of_a_snapshot_is_the_longest_chain() {
        let mut memory = vec![0; 2 * PAGE as usize];
        let mut put = |address: u32, value: u32| {
            memory[address as usize..address as usize + 4].copy_from_slice(&value.to_le_bytes());
        };
        let (first, size) = (4_096, 48);
        for chunk in 0..200 {
            put(first + chunk * size + 4, size | IN_USE | PREVIOUS_IN_USE);
        }
        let (top, foot) = (first + 200 * size, 56);
        put(top + 4, (2 * PAGE - top - foot) | PREVIOUS_IN_USE);
        put(2 * PAGE - foot + 4, foot);
        // A static that looks like a chunk and hides nearly all of the heap.
        put(1_000 + 4, (top - 10 * size - 1_000) | IN_USE | PREVIOUS_IN_USE);
        assert_eq!(
            Heap::find(&memory, 100).map(|heap| heap.start()),
            Some(1_000),
            "the search in a memory without data"
        );
        let heap = Heap::find_in_snapshot(&memory, 100).expect("a heap");
        assert_eq!(heap.start(), first);
        assert_eq!(heap.walk(&memory).expect("whole").blocks.len(), 200);
        assert_eq!(Heap::find_in_snapshot(&vec![0; PAGE as usize], 0), None, "too few chunks");
        assert_eq!(Heap::find_in_snapshot(&[], 0), None);
    }
}
