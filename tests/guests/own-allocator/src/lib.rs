//! Code shared by the guests with their own allocators: uses the heap, and returns a tensor from which a test can tell
//! whether the body, the request's strings and the plugin's own blocks kept their bytes.

use std::sync::Mutex;

use plimsoll_sdk::{Failure, Prepared, Request, tensor};

/// The last bodies, so that the blocks of the host and of the plugin are freed in another order than they were made.
static RECENT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
const KEPT: usize = 3;

/// Returns a tensor `image` of u8: the bytes of the body, then those of the parameters' values.
///
/// # Errors
/// `InvalidInput` with the first bytes of the body as text if the body begins with a `!`; `Internal` if a block that was
/// kept has changed.
pub fn run(request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
    let mut recent = RECENT.lock().expect("a guest has one thread");
    recent.push(body.clone());
    if recent.len() > KEPT {
        recent.remove(0);
    }
    if recent.last() != Some(&body) {
        return Err(Failure::Internal("a kept block has changed".into()));
    }
    if body.first() == Some(&b'!') {
        let text = String::from_utf8_lossy(&body[..body.len().min(16)]).into_owned();
        return Err(Failure::InvalidInput(text));
    }
    let mut bytes = body;
    for (_, value) in &request.parameters {
        bytes.extend_from_slice(value.as_bytes());
    }
    let image = tensor::from_u8(&[bytes.len() as u32], &bytes);
    Ok(Prepared { tensors: vec![("image".into(), image)], context: request.id.into_bytes() })
}

/// Exports [`run`] as the stage of an example.
#[macro_export]
macro_rules! export {
    () => {
        struct OwnAllocator;

        plimsoll_sdk::export_preprocess!(OwnAllocator);

        impl plimsoll_sdk::Preprocess for OwnAllocator {
            fn run(
                request: plimsoll_sdk::Request,
                body: Vec<u8>,
            ) -> Result<plimsoll_sdk::Prepared, plimsoll_sdk::Failure> {
                own_allocator::run(request, body)
            }
        }
    };
}
