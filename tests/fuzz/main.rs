//! `image-core` against images that are broken in thousands of ways, from a fixed seed: no panic, no overflow, and no
//! more time and memory than the limits allow. The dev profile checks arithmetic and the bounds of every index.

use std::alloc::{GlobalAlloc, Layout as Block, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use image_core::{Channels, Layout, Limits, Mode, Pack, Settings, Target, prepare};
use plimsoll_tests::jpeg::Jpeg;
use plimsoll_tests::shared;

/// Broken images per file.
const ROUNDS: usize = 60;
/// Files that are larger take too long for a debug build.
const LARGEST: usize = 40_000;
/// What decoding may take.
const MAX_BYTES: u64 = 24 << 20;
/// Decoders do not count all they take; nor does the limit count the tensor.
const BESIDES: usize = 8 << 20;
/// The decoder of TIFF has limits of its own, of 256 and 128 MiB, until it knows the size.
const TIFF_BESIDES: usize = 384 << 20;
/// One image, on a busy machine.
const TIME: Duration = Duration::from_secs(10);

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// Counts what this thread holds.
struct Counting;

fn count(bytes: isize) {
    let held = HELD.get() + bytes;
    HELD.set(held);
    MOST.set(MOST.get().max(held));
}

#[allow(unsafe_code, reason = "an allocator is the only way to see what a decoder allocates")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, block: Block) -> *mut u8 {
        count(block.size() as isize);
        unsafe { System.alloc(block) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, block: Block) {
        count(-(block.size() as isize));
        unsafe { System.dealloc(pointer, block) }
    }

    unsafe fn alloc_zeroed(&self, block: Block) -> *mut u8 {
        count(block.size() as isize);
        unsafe { System.alloc_zeroed(block) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, block: Block, size: usize) -> *mut u8 {
        // Both may be there for a moment.
        count(size as isize);
        count(-(block.size() as isize));
        unsafe { System.realloc(pointer, block, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The generator xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % end.max(1)
    }
}

/// Bytes that mean something to one format or another.
const TELLING: [u8; 12] = [0x00, 0x01, 0x7F, 0x80, 0xFF, 0xFE, 0xC0, 0xC4, 0xD8, 0xD9, 0xDA, 0xDD];

/// Breaks a file in one to eight places.
fn broken(file: &[u8], random: &mut Random) -> Vec<u8> {
    let mut body = file.to_vec();
    for _ in 0..=random.below(8) {
        // Half of the places are in the headers.
        let end = if random.below(2) == 0 { body.len().min(700) } else { body.len() };
        let at = random.below(end);
        let length = random.below(40).min(body.len() - at);
        match random.below(6) {
            0 => body[at] ^= 1 << random.below(8),
            1 => body[at] = TELLING[random.below(TELLING.len())],
            2 => drop(body.drain(at..at + length)),
            3 => {
                let copied = body[at..at + length].to_vec();
                body.splice(at..at, copied);
            }
            4 => {
                let from = random.below(body.len() - length);
                body.copy_within(from..from + length, at);
            }
            _ if random.below(8) == 0 => body.truncate(at),
            _ => body[at] = random.below(256) as u8,
        }
        if body.is_empty() {
            break;
        }
    }
    body
}

fn settings(random: &mut Random) -> Settings {
    let side = |random: &mut Random| [1, 8, 31, 64, 224][random.below(5)];
    let (width, height) = (side(random), side(random));
    Settings {
        target: Target {
            width,
            height,
            mode: [Mode::Stretch, Mode::Letterbox, Mode::Crop][random.below(3)],
            shorter: None,
        },
        pack: Pack {
            width,
            height,
            order: [Channels::Rgb, Channels::Bgr, Channels::Gray][random.below(3)],
            layout: [Layout::Nchw, Layout::Nhwc][random.below(2)],
            invert: random.below(2) == 0,
            pad: 114,
            mean: [0.0; 3],
            scale: [1.0; 3],
            bytes: random.below(2) == 0,
        },
        limits: Limits { max_pixels: 4_000_000, max_bytes: MAX_BYTES },
        draft: random.below(3) == 0,
    }
}

/// Breaks files of these extensions, of the corpus and made here.
fn fuzz(extensions: &[&str], seed: u64, besides: usize) {
    let mut random = Random(seed);
    let mut files = Vec::new();
    if let Some(corpus) = shared("corpus") {
        for folder in ["valid", "abnormal"] {
            let entries = std::fs::read_dir(corpus.join(folder)).expect("a folder");
            let mut paths: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
            paths.sort();
            for path in paths {
                let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
                if extensions.contains(&extension) {
                    files.push((path.display().to_string(), std::fs::read(path).expect("readable")));
                }
            }
        }
    }
    if extensions.contains(&"jpg") {
        for sampling in [vec![(1, 1)], vec![(2, 2), (1, 1), (1, 1)], vec![(1, 2), (2, 1), (4, 4)], vec![(1, 1); 3]] {
            for restart in [0, 1, 6] {
                let jpeg = Jpeg { restart, ..Jpeg::new(203, 117, &sampling) };
                for jpeg in [jpeg.clone(), jpeg.progressive()] {
                    let body = jpeg.encode(|plane, x, y| 128.0 + 99.0 * (x / 5.0 + y * plane as f64 / 3.0).sin());
                    files.push((format!("{jpeg:?}"), body));
                }
            }
        }
    }
    files.retain(|(_, body)| !body.is_empty() && body.len() <= LARGEST);
    let (mut decoded, mut refused) = (0, 0);
    for (name, file) in &files {
        for round in 0..ROUNDS {
            let body = if round == 0 { file.clone() } else { broken(file, &mut random) };
            let settings = settings(&mut random);
            let (held, started) = (HELD.get(), Instant::now());
            MOST.set(held);
            match prepare(&body, &settings) {
                Ok(_) => decoded += 1,
                Err(_) => refused += 1,
            }
            let (bytes, time) = ((MOST.get() - held) as usize, started.elapsed());
            let most = MAX_BYTES as usize + besides;
            assert!(bytes <= most && time <= TIME, "{name}, round {round}: {bytes} bytes, {time:?}");
        }
    }
    println!("{} files of {extensions:?}: {decoded} decoded, {refused} refused", files.len());
    assert!(decoded > 100 && refused > 100, "{decoded} decoded, {refused} refused");
}

#[test]
fn broken_jpegs() {
    fuzz(&["jpg", "jpeg"], 1, BESIDES);
}

#[test]
fn broken_pngs() {
    fuzz(&["png", "apng"], 2, BESIDES);
}

#[test]
fn broken_webps() {
    fuzz(&["webp"], 3, BESIDES);
}

#[test]
fn broken_gifs_bmps_and_tiffs() {
    fuzz(&["gif", "bmp", "tif", "tiff"], 4, TIFF_BESIDES);
}
