//! A plugin that is both a preprocess and a postprocess stage. It contains a mark that tests replace in the built file,
//! so that the reply shows which version ran as preprocess stage and which as postprocess stage.
use plimsoll_sdk::{Failure, NamedTensor, Postprocess, Prepared, Preprocess, Reply, Request};
use plimsoll_sdk::{export_postprocess, export_preprocess, tensor};

struct Stamp;

export_preprocess!(Stamp);
export_postprocess!(Stamp);

/// Hidden from the optimiser with `black_box`, so that the file contains the mark exactly once and unchanged.
fn mark() -> &'static [u8] {
    std::hint::black_box(b"MARK-00000000")
}

fn misbehave(request: &Request) -> Result<(), Failure> {
    for (key, value) in &request.parameters {
        match (key.as_str(), value.as_str()) {
            ("do", "trap") if mark().ends_with(b"9") => panic!("requested by the test"),
            ("do", "grow") if mark().ends_with(b"9") => drop(std::hint::black_box(vec![1u8; 8 << 20])),
            ("do", "refuse") if mark().ends_with(b"9") => return Err(Failure::InvalidInput("the new version".into())),
            ("do", "fail") if mark().ends_with(b"9") => return Err(Failure::Internal("the new version".into())),
            // Bad input: no version takes it.
            ("do", "bad") => return Err(Failure::InvalidInput("bad input".into())),
            ("do", "sleep") => {
                let asked = request.parameters.iter().find(|(key, _)| key == "ms");
                let milliseconds = asked.and_then(|(_, value)| value.parse().ok()).unwrap_or(300);
                std::thread::sleep(std::time::Duration::from_millis(milliseconds));
            }
            _ => {}
        }
    }
    Ok(())
}

impl Preprocess for Stamp {
    fn run(request: Request, _body: Vec<u8>) -> Result<Prepared, Failure> {
        misbehave(&request)?;
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
