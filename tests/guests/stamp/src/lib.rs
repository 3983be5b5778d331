//! A plugin of two kinds with a mark that a test replaces in the built file: a reply tells which version of it ran as
//! preprocessing and which as postprocessing.
use plimsoll_sdk::{Failure, NamedTensor, Postprocess, Prepared, Preprocess, Reply, Request};
use plimsoll_sdk::{export_postprocess, export_preprocess, tensor};

struct Stamp;

export_preprocess!(Stamp);
export_postprocess!(Stamp);

/// Hidden from the optimiser, so that it stands in the file once, as it is.
fn mark() -> &'static [u8] {
    std::hint::black_box(b"MARK-00000000")
}

fn obey(request: &Request) {
    for (key, value) in &request.parameters {
        match (key.as_str(), value.as_str()) {
            ("do", "trap") if mark().ends_with(b"9") => panic!("told to"),
            ("do", "grow") if mark().ends_with(b"9") => drop(std::hint::black_box(vec![1u8; 8 << 20])),
            ("do", "sleep") => std::thread::sleep(std::time::Duration::from_millis(300)),
            _ => {}
        }
    }
}

impl Preprocess for Stamp {
    fn run(request: Request, _body: Vec<u8>) -> Result<Prepared, Failure> {
        obey(&request);
        let image = tensor::from_u8(&[4], &[0; 4]);
        Ok(Prepared { tensors: vec![("image".into(), image)], context: mark().to_vec() })
    }
}

impl Postprocess for Stamp {
    fn run(_request: Request, _outputs: Vec<NamedTensor>, context: Vec<u8>) -> Result<Reply, Failure> {
        let body = [context.as_slice(), b" ", mark()].concat();
        Ok(Reply { content_type: "text/plain".into(), body })
    }
}
