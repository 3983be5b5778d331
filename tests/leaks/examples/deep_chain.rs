//! Planted: a registry with one session per outcome. A session never ends and keeps the image of each request.
//!
//! Correct verdict: leaks 1,500 bytes per request, for every outcome. The chain of references is long: `REGISTRY` →
//! table of the map → `Rc` of the session → buffer of its vector → image. They were allocated by `record_image`.

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
