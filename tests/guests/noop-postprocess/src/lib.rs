//! The least that a postprocess stage can do: the reply `ok`. It stands for no misbehaviour; what a
//! request costs with it is what the host costs.

use plimsoll_sdk::{Failure, NamedTensor, Postprocess, Reply, Request, export_postprocess};

struct Noop;

export_postprocess!(Noop);

impl Postprocess for Noop {
    fn run(_request: Request, _outputs: Vec<NamedTensor>, _context: Vec<u8>) -> Result<Reply, Failure> {
        Ok(Reply { content_type: "text/plain".into(), body: b"ok".to_vec() })
    }
}
