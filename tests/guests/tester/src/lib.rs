//! A preprocess stage that misbehaves as requested by the query parameter `do`. With `ok` or without `do` it returns
//! one f32 tensor `image` of 1×1×8×8 zeros and an empty context.
//!
//! The commands are the arms of `run` below; `tests/guests/README.md` describes each of them.

mod memory;

use std::hint::black_box;
use std::net::TcpStream;
use std::time::Duration;
use std::{env, fs, thread};

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, Tensor, TensorType, export_preprocess, tensor};

const IMAGE: [u32; 4] = [1, 1, 8, 8];

struct Tester;

export_preprocess!(Tester);

impl Preprocess for Tester {
    fn run(request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        let text = || "requested by the test".to_owned();
        match parameter(&request, "do").unwrap_or("ok") {
            "ok" => {}
            "carry" => return Ok(prepared("image", tensor::from_u8(&[body.len() as u32], &body))),
            "grow" => memory::allocate(usize::MAX),
            "alloc" => drop(black_box(vec![1_u8; number(&request, "bytes")?])),
            "fill" => memory::fill(number(&request, "bytes")?),
            "search" => memory::search(number(&request, "bytes")?)?,
            "loop" => loop {
                black_box(0);
            },
            "panic" => panic!("the message {}", parameter(&request, "message").unwrap_or_default()),
            "recurse" => _ = black_box(recurse(0)),
            "sleep" => thread::sleep(Duration::from_millis(number(&request, "ms")? as u64)),
            "print" => loop {
                println!("a line that says nothing, again and again");
            },
            "hello" => {
                println!("hello from stdout");
                eprint!("hello from stderr");
            }
            "authority" => check_sandbox(),
            "shape" => return Ok(prepared("image", tensor::from_f32(&[1, 3, 10, 10], &[0.0; 300]))),
            "name" => return Ok(prepared("nonsense", image())),
            "type" => return Ok(prepared("image", tensor::from_u8(&IMAGE, &[0; 64]))),
            "lie" => return Ok(prepared("image", Tensor::new(&IMAGE, TensorType::Fp32, &[1, 2, 3]))),
            "big" => {
                let bytes = number(&request, "bytes")?;
                return Ok(prepared("image", tensor::from_u8(&[bytes as u32], &vec![0; bytes])));
            }
            "long-name" => return Ok(prepared(&"n".repeat(number(&request, "bytes")?), image())),
            "rank" => return Ok(prepared("image", tensor::from_u8(&vec![1; number(&request, "count")?], &[0]))),
            "long-text" => return Err(Failure::InvalidInput("t".repeat(number(&request, "bytes")?))),
            "tensors" => {
                let bytes = vec![0; 4 << 20];
                let mut kept = Vec::new();
                loop {
                    kept.push(tensor::from_u8(&[4 << 20], &bytes));
                }
            }
            "unsupported" => return Err(Failure::UnsupportedMediaType(text())),
            "invalid" => return Err(Failure::InvalidInput(text())),
            "large" => return Err(Failure::TooLarge(text())),
            "internal" => return Err(Failure::Internal(text())),
            other => return Err(Failure::InvalidInput(format!("unknown value of `do`: {other:?}"))),
        }
        Ok(prepared("image", image()))
    }
}

fn parameter<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.parameters.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
}

fn number(request: &Request, name: &str) -> Result<usize, Failure> {
    parameter(request, name)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Failure::InvalidInput(format!("parameter `{name}` must be a number")))
}

fn image() -> Tensor {
    tensor::from_f32(&IMAGE, &[0.0; 64])
}

fn prepared(name: &str, tensor: Tensor) -> Prepared {
    Prepared { tensors: vec![(name.into(), tensor)], context: Vec::new() }
}

/// Recurses until the stack is exhausted. The operation after the call prevents a tail call. The end condition, which
/// is never reached, hides the endless recursion from the compiler.
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    if black_box(depth) == u64::MAX { depth } else { black_box(recurse(depth + 1)) ^ depth }
}

/// Tries to access everything that the sandbox must deny. Panics if an access succeeds.
fn check_sandbox() {
    assert!(fs::read("/etc/passwd").is_err(), "a file was read");
    assert!(fs::read_dir("/").is_err(), "a directory was listed");
    assert!(fs::write("/tmp/plimsoll", "x").is_err(), "a file was written");
    assert_eq!(env::vars_os().count(), 0, "there are environment variables");
    assert_eq!(env::args_os().count(), 0, "there are arguments");
    // Nothing listens on port 1: with network access the connection would be refused; without it, access is denied.
    let error = TcpStream::connect("127.0.0.1:1").expect_err("a connection was made");
    assert_ne!(error.kind(), std::io::ErrorKind::ConnectionRefused, "the network was reached");
}
