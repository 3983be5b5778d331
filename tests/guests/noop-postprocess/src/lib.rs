//! The minimal postprocess stage: replies with `ok`. Benchmarks use it to measure the cost of the host, because the
//! stage itself costs almost nothing.

use plimsoll_sdk::{Failure, NamedTensor, Postprocess, Reply, Request, export_postprocess};

struct Noop;

export_postprocess!(Noop);

impl Postprocess for Noop {
    fn run(_request: Request, _outputs: Vec<NamedTensor>, _context: Vec<u8>) -> Result<Reply, Failure> {
        Ok(Reply { content_type: "text/plain".into(), body: b"ok".to_vec() })
    }
}
