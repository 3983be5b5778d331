//! Planted: scratch buffers that are added to a thread-local and never removed. A guest has one thread, so its
//! thread-locals are statics.
//!
//! Correct verdict: leaks 777 bytes per request, for every outcome. They are held by the thread-local `SCRATCH` and
//! were allocated by `take_scratch`.

use std::cell::RefCell;

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, export_preprocess};

thread_local! {
    static SCRATCH: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

struct ThreadLocal;

export_preprocess!(ThreadLocal);

impl Preprocess for ThreadLocal {
    fn run(_request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        take_scratch(body.len() as u8);
        leaks::answer(&body)
    }
}

#[inline(never)]
fn take_scratch(fill: u8) {
    let buffer = vec![fill; 777].into_boxed_slice();
    SCRATCH.with_borrow_mut(|scratch| scratch.push(buffer));
}
