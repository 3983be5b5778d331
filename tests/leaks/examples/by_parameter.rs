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
//! | `inline` | 8 bytes in a table for each byte in the middle of an image | suspicion; not found |

use std::collections::{HashSet, VecDeque};
use std::mem;
use std::sync::Mutex;

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, export_preprocess, tensor};

static LATEST: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static TIMES: Mutex<Vec<[u64; 2]>> = Mutex::new(Vec::new());
static POINTS: Mutex<Vec<[u32; 3]>> = Mutex::new(Vec::new());
static IDS: Mutex<Vec<u64>> = Mutex::new(Vec::new());
static RECENT: Mutex<VecDeque<[u8; 24]>> = Mutex::new(VecDeque::new());
static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
static USED: Mutex<usize> = Mutex::new(0);
static BODIES: Mutex<Option<HashSet<Vec<u8>>>> = Mutex::new(None);
static SEEN: Mutex<Option<HashSet<u64>>> = Mutex::new(None);

/// Places in the pool, and entries of the ring.
const POOL: usize = 512;
const RING: usize = 600;

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
        "inline" => {
            let pixel = body.get(body.len() / 2).copied().unwrap_or_default();
            lock(&SEEN).get_or_insert_default().insert(pixel.into());
        }
        _ => {}
    }
    Ok(())
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
