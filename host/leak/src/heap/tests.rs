use super::*;

/// A page as dlmalloc writes it: statics, a chunk in use, a free chunk, a chunk in use, and the top chunk.
fn page() -> Vec<u8> {
    let mut memory = vec![0; PAGE as usize];
    let mut put = |address: u32, value: u32| {
        memory[address as usize..address as usize + 4].copy_from_slice(&value.to_le_bytes());
    };
    put(1024 + 4, 48 | IN_USE | PREVIOUS_IN_USE);
    put(1072 + 4, 64 | PREVIOUS_IN_USE);
    put(1136, 64);
    put(1136 + 4, 32 | IN_USE);
    let (top, foot) = (1168, 56);
    put(top + 4, (PAGE - top - foot) | PREVIOUS_IN_USE);
    put(PAGE - foot + 4, foot);
    memory
}

/// Numbers that are random enough, and the same in every run: a linear congruential generator (Knuth's constants).
fn random() -> impl FnMut() -> u32 {
    let mut state = 1u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    }
}

#[test]
fn blocks_in_use_are_found_from_any_earlier_address() {
    let memory = page();
    let heap = Heap::find(&memory, 100).expect("a heap");
    assert_eq!(heap.start(), 1024);
    let blocks = heap.walk(&memory).expect("whole");
    let expected = [Block { address: 1032, size: 48 }, Block { address: 1144, size: 32 }];
    assert_eq!((blocks.blocks.as_slice(), blocks.bytes), (&expected[..], 80));
    assert_eq!(blocks.holding(1040), Some((0, expected[0])));
    assert_eq!(blocks.holding(1072), None, "the first word of the next chunk");
}

#[test]
fn a_broken_chain_is_not_a_heap() {
    let mut memory = page();
    memory[1140] |= PREVIOUS_IN_USE as u8;
    assert_eq!(Heap::find(&memory, 1024).map(|heap| heap.start()), Some(1136), "the part after the break");
    memory[PAGE as usize - 52] = 0;
    assert_eq!(Heap::find(&memory, 0), None);
}

#[test]
fn random_bytes_never_make_the_walk_panic() {
    let mut random = random();
    let mut byte = || random() as u8;
    for length in [0, 1, 7, 8, 20, 1000, PAGE as usize] {
        let memory: Vec<u8> = (0..length).map(|_| byte() & byte()).collect();
        let _ = Heap::find(&memory, 0);
        let _ = Heap { start: 0 }.walk(&memory);
    }
}

/// Writes words at addresses.
fn write(memory: &mut [u8], words: impl IntoIterator<Item = (u32, u32)>) {
    for (address, value) in words {
        memory[address as usize..address as usize + 4].copy_from_slice(&value.to_le_bytes());
    }
}

/// Memories in which every word looks like the head of a chunk: a chain begins at every address that a chunk can have, and
/// the chains join. Following each chain to its end would take minutes.
#[test]
fn a_memory_full_of_heads_takes_linear_time() {
    const LENGTH: u32 = 4 << 20;
    let heads = || {
        let mut memory = vec![0; LENGTH as usize];
        write(&mut memory, (0..LENGTH / 8).map(|granule| (8 * granule + 4, 16 | IN_USE | PREVIOUS_IN_USE)));
        memory
    };
    // All chains break at the end of the memory.
    assert_eq!(Heap::find(&heads(), 0), None);
    // All end at a fence, and nothing comes after it.
    let mut memory = heads();
    write(&mut memory, [(LENGTH - 12, FENCEPOST), (LENGTH - 4, FENCEPOST)]);
    assert_eq!(Heap::find(&memory, 0), None);
    // Every page begins with a chain to a fence in its middle, and the search for the next segment looks at all pages.
    write(
        &mut memory,
        (0..LENGTH / PAGE).flat_map(|page| [8, 16].map(|at| (page * PAGE + PAGE / 2 + at + 4, FENCEPOST))),
    );
    assert_eq!(Heap::find(&memory, 0), None);
    // The walk of one heap: its first segment is followed by pages of chains that break.
    let mut memory = heads();
    write(&mut memory, [(16 + 4, FENCEPOST)]);
    assert_eq!(Heap { start: 0 }.walk(&memory), None);
}

#[test]
fn a_heap_is_not_searched_beyond_the_last_address() {
    for from in [u32::MAX, u32::MAX - 6, u32::MAX - 7] {
        assert_eq!(Heap::find(&page(), from), None);
    }
    assert_eq!(Heap { start: u32::MAX - 7 }.walk(&page()), None);
}

/// The search as it is defined: from each address to the end, and a new search for each next segment.
fn find_slowly(memory: &[u8], from: u32) -> Option<Heap> {
    let next_segment = |end: u32| {
        let pages = (end.next_multiple_of(PAGE)..length(memory)).step_by(PAGE as usize);
        let mut starts = pages.flat_map(|page| [page, page + 8]);
        starts.find(|&at| is_plausible(memory, at) && walk_segment(memory, at, &mut Blocks::default()).is_some())
    };
    (from..length(memory).saturating_sub(SMALLEST)).step_by(8).map(|start| Heap { start }).find(|heap| {
        let mut next = Some(heap.start).filter(|&start| is_plausible(memory, start));
        let mut has_top = false;
        while let Some(start) = next {
            let Some(segment) = walk_segment(memory, start, &mut Blocks::default()) else { return false };
            has_top |= segment.ends_with_top;
            next = next_segment(segment.end);
        }
        has_top
    })
}

#[test]
fn the_search_finds_what_the_slow_one_finds() {
    let mut random = random();
    let (mut found, mut with_segments) = (0, 0);
    for _ in 0..400 {
        let pages = 1 + random() % 4;
        let mut memory = vec![0; (pages * PAGE) as usize];
        // Segments that begin anywhere or with a page; each ends with a fence, a top chunk or a break.
        for _ in 0..1 + random() % 8 {
            let mut chunk =
                if random().is_multiple_of(2) { random() % pages * PAGE } else { random() % (pages * PAGE) / 8 * 8 };
            let mut previous_in_use = PREVIOUS_IN_USE;
            for _ in 0..random() % 40 {
                let size = 16 + random() % 64 * 8;
                let in_use = if random().is_multiple_of(4) { 0 } else { IN_USE };
                if chunk + size + 16 > pages * PAGE {
                    break;
                }
                write(&mut memory, [(chunk + 4, size | in_use | previous_in_use)]);
                chunk += size;
                if in_use == 0 {
                    write(&mut memory, [(chunk, size)]);
                }
                previous_in_use = if in_use == 0 { 0 } else { PREVIOUS_IN_USE };
            }
            let end = (chunk + 128).next_multiple_of(PAGE);
            match random() % 3 {
                0 => write(&mut memory, [(chunk + 4, FENCEPOST)]),
                1 if end <= pages * PAGE => {
                    write(&mut memory, [(chunk + 4, (end - 56 - chunk) | previous_in_use), (end - 56 + 4, 56)]);
                }
                _ => {}
            }
        }
        let heap = Heap::find(&memory, 0);
        assert_eq!(heap, find_slowly(&memory, 0));
        let Some(heap) = heap else { continue };
        let blocks = heap.walk(&memory).expect("a heap that was found can be walked");
        assert!(blocks.blocks.is_sorted());
        found += 1;
        with_segments += usize::from(blocks.covered > u64::from(PAGE));
    }
    assert!(found > 50 && with_segments > 5, "{found} heaps, {with_segments} of several pages");
}
