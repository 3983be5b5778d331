//! Runs `image-core` on thousands of corrupted images, generated from fixed seeds. There must be no panic and no
//! overflow, and time and memory must stay within the limits. The dev profile checks arithmetic overflow and the bounds
//! of every index.

use std::alloc::{GlobalAlloc, Layout as Block, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use image_core::{Channels, Dtype, Layout, Limits, Mode, Pack, Settings, Target, prepare};
use plimsoll_tests::jpeg::Jpeg;
use plimsoll_tests::shared;

/// The number of images per file: the file itself, and corrupted copies.
const ROUNDS: usize = 60;
/// The maximum size of a file in bytes. Larger files take too long in a debug build.
const MAX_FILE: usize = 40_000;
/// The memory limit of decoding in bytes.
const MAX_BYTES: u64 = 24 << 20;
/// Memory that the limit does not count: the tensor, and some allocations of the decoders.
const UNCOUNTED: usize = 8 << 20;
/// The same for TIFF. Until the decoder knows the size of the image, it uses its own limits of 256 and 128 MiB.
const TIFF_UNCOUNTED: usize = 384 << 20;
/// The maximum time for one image, on a busy machine.
const MAX_TIME: Duration = Duration::from_secs(10);

thread_local! {
    /// Bytes that this thread has allocated and not freed.
    static HELD: Cell<isize> = const { Cell::new(0) };
    /// The peak of `HELD`.
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// An allocator that counts the bytes that each thread holds.
struct Counting;

fn count(bytes: isize) {
    let held = HELD.get() + bytes;
    HELD.set(held);
    PEAK.set(PEAK.get().max(held));
}

#[allow(unsafe_code, reason = "an allocator is the only way to see what a decoder allocates")]
// SAFETY: every call is passed to the system's allocator unchanged.
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
        // For a moment, both blocks may exist.
        count(size as isize);
        count(-(block.size() as isize));
        unsafe { System.realloc(pointer, block, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The random number generator xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % end.max(1)
    }
}

/// Bytes that have a meaning in at least one format.
const MEANINGFUL: [u8; 12] = [0x00, 0x01, 0x7F, 0x80, 0xFF, 0xFE, 0xC0, 0xC4, 0xD8, 0xD9, 0xDA, 0xDD];

/// Corrupts a file in one to eight places.
fn corrupt(file: &[u8], random: &mut Random) -> Vec<u8> {
    let mut body = file.to_vec();
    for _ in 0..=random.below(8) {
        // Half of the changes are in the first 700 bytes, where the headers are.
        let end = if random.below(2) == 0 { body.len().min(700) } else { body.len() };
        let at = random.below(end);
        let length = random.below(40).min(body.len() - at);
        match random.below(6) {
            0 => body[at] ^= 1 << random.below(8),
            1 => body[at] = MEANINGFUL[random.below(MEANINGFUL.len())],
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
            dtype: [Dtype::U8, Dtype::F32, Dtype::F16, Dtype::Bf16][random.below(4)],
        },
        limits: Limits { max_pixels: 4_000_000, max_bytes: MAX_BYTES },
        draft: random.below(3) == 0,
    }
}

/// Decodes corrupted files with these extensions. The files are those of the corpus and, for JPEG, generated ones.
fn fuzz(extensions: &[&str], seed: u64, uncounted: usize) {
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
    files.retain(|(_, body)| !body.is_empty() && body.len() <= MAX_FILE);
    let (mut decoded, mut rejected) = (0, 0);
    for (name, file) in &files {
        for round in 0..ROUNDS {
            let body = if round == 0 { file.clone() } else { corrupt(file, &mut random) };
            let settings = settings(&mut random);
            let (held, started) = (HELD.get(), Instant::now());
            PEAK.set(held);
            match prepare(&body, &settings) {
                Ok(_) => decoded += 1,
                Err(_) => rejected += 1,
            }
            let (bytes, time) = ((PEAK.get() - held) as usize, started.elapsed());
            let limit = MAX_BYTES as usize + uncounted;
            assert!(bytes <= limit && time <= MAX_TIME, "{name}, round {round}: {bytes} bytes, {time:?}");
        }
    }
    println!("{} files of {extensions:?}: {decoded} decoded, {rejected} rejected", files.len());
    assert!(decoded > 100 && rejected > 100, "{decoded} decoded, {rejected} rejected");
}

#[test]
fn corrupted_jpegs_stay_within_the_limits() {
    fuzz(&["jpg", "jpeg"], 1, UNCOUNTED);
}

#[test]
fn corrupted_pngs_stay_within_the_limits() {
    fuzz(&["png", "apng"], 2, UNCOUNTED);
}

#[test]
fn corrupted_webps_stay_within_the_limits() {
    fuzz(&["webp"], 3, UNCOUNTED);
}

#[test]
fn corrupted_gifs_bmps_and_tiffs_stay_within_the_limits() {
    fuzz(&["gif", "bmp", "tif", "tiff"], 4, TIFF_UNCOUNTED);
}
