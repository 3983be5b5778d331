//! Planted: what the parameter `keep` names, several times for several of them.
//!
//! | `keep` | kept for each request | correct verdict |
//! | --- | --- | --- |
//! | `beside_last` | 16 bytes in a vector, beside the latest image | leaks on all: 16 |
//! | `together` | 12 and 8 bytes in two vectors | leaks on all: 20 |
//! | `ring` | a ring of 600 entries of 24 bytes | no leak |
//! | `marker` | 4,000 bytes if the file is a JPEG that does not begin with a comment | leaks: only with the files as they are |
//! | `pool` | a place in a pool of 512, which is never given back; then it traps | no answer: the instance ends |
//! | `quota` | the same, and `internal` instead of the trap | no answer: the outcome changes |
//! | `tensor` | a tensor of 4,096 bytes | leaks on all: 4,096 of tensors |
//! | `block` | 1,000 bytes | leaks on all: 1,000 |
//! | `type` | 500 bytes if there is a content type | leaks with `--content-type` |
//! | `json` | 200 bytes for each new body that is JSON | leaks: only if the body is varied by white space |
//! | `decoded` | 8 bytes in a table for each image that is not known by its pixels | leaks: only with other contents in each call |
//! | `recent` | the same for the last 100 images | no leak |
//! | `filled` | a place in a pool of 28 for each image that is not known by its pixels; then it traps | no answer: only with other contents |
//! | `handle` | the handle of a tensor without elements for each 24th request | leaks on all: a handle in 24 requests |
//! | `new_handle` | the same for each 8th image that is not known by its pixels | leaks: only with other contents |
//! | `text` | 8 bytes in a table for each text that is not known up to its last brace | leaks: only with other contents |
//! | `reused` | one of 32 buffers of 200 bytes, which are used again and again | no leak |
//! | `mixed` | 200 bytes on each 4th request, beside a full cache of 300 blocks of 200 bytes | leaks on all: 50 |
//! | `seventh` | 700 bytes on each 7th request | leaks on all: 100 |
//! | `by_key` | 16 bytes in one of 30 vectors | leaks on all: 16 |
//! | `random_ring` | 64 blocks of any size; a new one replaces a random one | no leak |
//! | `expiring` | 400 bytes for 60 seconds | no leak |
//! | `queue` | blocks of two sizes, until there are 90; then none | no leak |

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::mem;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, export_preprocess, tensor};

static LATEST: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static TIMES: Mutex<Vec<[u64; 2]>> = Mutex::new(Vec::new());
static POINTS: Mutex<Vec<[u32; 3]>> = Mutex::new(Vec::new());
static IDS: Mutex<Vec<u64>> = Mutex::new(Vec::new());
static RECENT: Mutex<VecDeque<[u8; 24]>> = Mutex::new(VecDeque::new());
static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
static CACHE: Mutex<VecDeque<Vec<u8>>> = Mutex::new(VecDeque::new());
static LISTS: Mutex<Vec<Vec<[u64; 2]>>> = Mutex::new(Vec::new());
static EXPIRING: Mutex<Vec<(Instant, Vec<u8>)>> = Mutex::new(Vec::new());
static CALLS: Mutex<usize> = Mutex::new(0);
static USED: Mutex<usize> = Mutex::new(0);
static BODIES: Mutex<Option<HashSet<Vec<u8>>>> = Mutex::new(None);
static SEEN: Mutex<Option<HashSet<u64>>> = Mutex::new(None);
static ORDER: Mutex<VecDeque<u64>> = Mutex::new(VecDeque::new());

/// Places in the pool, entries of the ring, and of the images that are remembered.
const POOL: usize = 512;
const RING: usize = 600;
const RECENT_IMAGES: usize = 100;
/// Places in the pool of images.
const FEW: usize = 28;

struct ByParameter;

export_preprocess!(ByParameter);

impl Preprocess for ByParameter {
    fn run(request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        let is_typed = request.content_type.is_some();
        for (name, value) in request.parameters {
            if name == "keep" {
                keep(&value, is_typed, &body)?;
            }
        }
        match body.first() {
            Some(b'{') => Ok(leaks::prepared()),
            _ => leaks::answer(&body),
        }
    }
}

fn keep(what: &str, is_typed: bool, body: &[u8]) -> Result<(), Failure> {
    match what {
        "beside_last" => {
            *lock(&LATEST) = body.to_vec();
            lock(&TIMES).push([1, 2]);
        }
        "together" => {
            lock(&POINTS).push([1, 2, 3]);
            lock(&IDS).push(7);
        }
        "ring" => {
            let mut recent = lock(&RECENT);
            if recent.len() == RING {
                recent.pop_front();
            }
            recent.push_back([1; 24]);
        }
        "marker" if body.starts_with(&[0xFF, 0xD8, 0xFF]) && body.get(3) != Some(&0xFE) => {
            lock(&KEPT).push(vec![1; 4_000]);
        }
        "pool" | "quota" => {
            let mut used = lock(&USED);
            *used += 1;
            if *used > POOL {
                assert_eq!(what, "quota", "the pool is empty");
                return Err(Failure::Internal("the pool is empty".into()));
            }
        }
        "tensor" => mem::forget(tensor::from_u8(&[1, 1, 64, 64], &[1; 64 * 64])),
        "type" if !is_typed => {}
        "type" => lock(&KEPT).push(vec![1; 500]),
        "block" => lock(&KEPT).push(vec![1; 1_000]),
        "json" => keep_body(body)?,
        "expiring" => {
            let (mut expiring, now) = (lock(&EXPIRING), Instant::now());
            expiring.retain(|(made, _)| now.duration_since(*made) < Duration::from_secs(60));
            expiring.push((now, vec![1; 400]));
        }
        "mixed" | "seventh" | "handle" | "reused" | "by_key" | "random_ring" | "queue" => keep_by_call(what),
        "decoded" => {
            lock(&SEEN).get_or_insert_default().insert(pixels(body));
        }
        "recent" => {
            let (mut order, mut seen) = (lock(&ORDER), lock(&SEEN));
            let seen = seen.get_or_insert_default();
            if seen.insert(pixels(body)) {
                order.push_back(pixels(body));
            }
            if order.len() > RECENT_IMAGES {
                order.pop_front().map(|oldest| seen.remove(&oldest));
            }
        }
        "filled" | "new_handle" => {
            let mut seen = lock(&SEEN);
            let seen = seen.get_or_insert_default();
            if seen.insert(pixels(body)) {
                assert!(what != "filled" || seen.len() <= FEW, "the pool is empty");
                if what == "new_handle" && seen.len().is_multiple_of(8) {
                    forget_handle();
                }
            }
        }
        "text" => {
            let mut digest = DefaultHasher::new();
            body.rsplitn(2, |byte| *byte == b'}').last().hash(&mut digest);
            lock(&SEEN).get_or_insert_default().insert(digest.finish());
        }
        _ => {}
    }
    Ok(())
}

/// What depends on the number of the call, and on chance.
fn keep_by_call(what: &str) {
    let mut calls = lock(&CALLS);
    *calls += 1;
    let (call, random) = (*calls, RandomState::new().hash_one(*calls) as usize);
    let (mut kept, mut cache) = (lock(&KEPT), lock(&CACHE));
    match what {
        "mixed" => {
            cache.push_back(vec![1; 200]);
            if cache.len() > 300 {
                cache.pop_front();
            }
            if call.is_multiple_of(4) {
                kept.push(vec![1; 200]);
            }
        }
        "seventh" if call.is_multiple_of(7) => kept.push(vec![1; 700]),
        "reused" => {
            let entry = (0..200).map(|at| (at * call) as u8).collect::<Vec<u8>>();
            match cache.len() {
                32 => cache[call % 32].copy_from_slice(&entry),
                _ => cache.push_back(entry),
            }
        }
        "handle" if call.is_multiple_of(24) => forget_handle(),
        "by_key" => {
            let mut lists = lock(&LISTS);
            lists.resize(30, Vec::new());
            lists[random % 30].push([1; 2]);
        }
        "random_ring" => {
            kept.push(vec![1; 16 + random % 2_000]);
            if kept.len() > 64 {
                kept.swap_remove(random / 2_000 % 64);
            }
        }
        "queue" => {
            kept.push(vec![1; 100 << (call % 2)]);
            if kept.len() > 90 {
                *kept = Vec::new();
            }
        }
        _ => {}
    }
}

/// Leaks a handle of the host, and few bytes.
fn forget_handle() {
    mem::forget(tensor::from_u8(&[0], &[]));
}

/// A digest of what a decoder would make of an image: of the chunks of a PNG that have pixels; of other files nothing.
fn pixels(body: &[u8]) -> u64 {
    let (mut digest, mut at) = (DefaultHasher::new(), 8);
    while let Some(&[a, b, c, d]) = body.get(at..at + 4) {
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let Some(chunk) = body.get(at + 4..at + 8 + length).filter(|_| body[0] == 0x89) else { break };
        if chunk.starts_with(b"IDAT") {
            chunk[4..].hash(&mut digest);
        }
        at += 12 + length;
    }
    digest.finish()
}

/// An object in JSON ends with a brace, and maybe white space.
fn keep_body(body: &[u8]) -> Result<(), Failure> {
    if body.first() != Some(&b'{') || body.trim_ascii_end().last() != Some(&b'}') {
        return Err(Failure::InvalidInput("this is no object in JSON".into()));
    }
    lock(&BODIES).get_or_insert_default().insert(body.to_vec());
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("a guest has one thread")
}
