//! Planted: the incident for which Plimsoll was built. The errors for broken images are created once, at module level,
//! and raised again and again. Each raise appends an entry to the error's traceback, an entry holds the frames of its
//! request, and a frame holds the whole image.
//!
//! Correct verdict: leaks for invalid-input only, the size of the image plus the entries of two vectors. The images are
//! held by `IMAGE_FORMAT_ERRORS` and were allocated by `read_image`.

use std::sync::Mutex;

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, export_preprocess};

/// The local variables of a function at the moment when an error passed through it.
struct Frame {
    _function: &'static str,
    _image: Vec<u8>,
}

/// The frames through which one raise passed.
type Traceback = Vec<Frame>;

struct FormatError {
    message: &'static str,
    tracebacks: Vec<Traceback>,
}

impl FormatError {
    const fn new(message: &'static str) -> Self {
        Self { message, tracebacks: Vec::new() }
    }
}

static IMAGE_FORMAT_ERRORS: Mutex<[FormatError; 2]> =
    Mutex::new([FormatError::new("the JPEG is truncated"), FormatError::new("the PNG is truncated")]);

struct Incident;

export_preprocess!(Incident);

impl Preprocess for Incident {
    fn run(_request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        let image = read_image(&body);
        match leaks::judge(&image) {
            Ok(()) => Ok(leaks::prepared()),
            Err(Failure::InvalidInput(_)) => Err(raise(usize::from(image[0] != 0xFF), image)),
            Err(other) => Err(other),
        }
    }
}

#[inline(never)]
fn read_image(body: &[u8]) -> Vec<u8> {
    body.to_vec()
}

#[inline(never)]
fn raise(error: usize, image: Vec<u8>) -> Failure {
    let mut errors = IMAGE_FORMAT_ERRORS.lock().expect("a guest has one thread");
    let error = &mut errors[error];
    error.tracebacks.push(vec![Frame { _function: "run", _image: image }]);
    Failure::InvalidInput(error.message.into())
}
