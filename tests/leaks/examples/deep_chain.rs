//! Planted: sessions by outcome in a registry. A session never ends, and each of its requests leaves its image.
//!
//! Right verdict: leaks 1,500 bytes per request on every outcome. The way to them is long: `REGISTRY` → the map's
//! table → the counted session → the buffer of its vector → the image. They were allocated by `record_image`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::rc::Rc;

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, export_preprocess};

#[derive(Default)]
struct Session {
    images: Vec<Vec<u8>>,
}

type Sessions = HashMap<&'static str, Rc<RefCell<Session>>, BuildHasherDefault<DefaultHasher>>;

struct Registry(RefCell<Sessions>);

// SAFETY: a guest has one thread.
unsafe impl Sync for Registry {}

static REGISTRY: Registry = Registry(RefCell::new(HashMap::with_hasher(BuildHasherDefault::new())));

struct DeepChain;

export_preprocess!(DeepChain);

impl Preprocess for DeepChain {
    fn run(_request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        let answer = leaks::answer(&body);
        let name = match &answer {
            Ok(_) => "ok",
            Err(Failure::InvalidInput(_)) => "invalid",
            Err(_) => "unsupported",
        };
        record_image(&session(name), &body);
        answer
    }
}

fn session(name: &'static str) -> Rc<RefCell<Session>> {
    Rc::clone(REGISTRY.0.borrow_mut().entry(name).or_default())
}

#[inline(never)]
fn record_image(session: &RefCell<Session>, body: &[u8]) {
    let image = vec![body.len() as u8; 1_500];
    session.borrow_mut().images.push(image);
}
