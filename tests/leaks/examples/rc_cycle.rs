//! Planted: two reference-counted nodes that hold each other, so that neither count reaches zero.
//!
//! Correct verdict: leaks for every outcome, per request two blocks with 500 bytes of payload each. No root holds them:
//! they only refer to each other. They were allocated by `new_node`.

use std::cell::RefCell;
use std::hint::black_box;
use std::rc::Rc;

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, export_preprocess};

struct Node {
    _payload: [u8; 500],
    other: RefCell<Option<Rc<Node>>>,
}

struct RcCycle;

export_preprocess!(RcCycle);

impl Preprocess for RcCycle {
    fn run(_request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        link_image_and_request(body.len() as u8);
        leaks::answer(&body)
    }
}

#[inline(never)]
fn link_image_and_request(fill: u8) {
    let (image, request) = (new_node(fill), new_node(fill));
    image.other.replace(Some(Rc::clone(&request)));
    request.other.replace(Some(Rc::clone(&image)));
}

#[inline(never)]
fn new_node(fill: u8) -> Rc<Node> {
    // Without `black_box` the compiler may remove the payload, because nothing reads it.
    black_box(Rc::new(Node { _payload: [fill; 500], other: RefCell::default() }))
}
