//! Writes the JSON of a response.

use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::serve::oip::binary_form::write_binary;
use crate::serve::oip::datatype::Datatype;
use crate::serve::oip::parameter::Parameters;
use crate::serve::oip::request::Response;
use crate::serve::oip::tensor::{Data, Tensor};

/// An output that is not requested as binary data, but has no JSON form.
#[derive(Debug, thiserror::Error)]
#[error("output `{output}` is {datatype}, which has no JSON form; request it with `binary_data`: true")]
pub(in crate::serve::http::oip) struct NoJsonForm {
    output: String,
    datatype: Datatype,
}

#[derive(Serialize)]
struct WireResponse<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Parameters::is_empty")]
    parameters: &'a Parameters,
    outputs: Vec<WireOutput<'a>>,
}

#[derive(Serialize)]
struct WireOutput<'a> {
    name: &'a str,
    shape: &'a [u64],
    datatype: &'a str,
    #[serde(skip_serializing_if = "Parameters::is_empty")]
    parameters: Parameters,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
}

/// Writes a response. Returns its JSON and the bytes of the outputs for which `binary` returns true.
///
/// # Errors
/// If an output has a datatype without a JSON form and is not requested as binary.
#[expect(clippy::expect_used, reason = "the members are texts, numbers and valid JSON")]
pub(in crate::serve::http::oip) fn write(
    response: &Response,
    binary: impl Fn(&str) -> bool,
) -> Result<(Vec<u8>, Vec<Bytes>), NoJsonForm> {
    let mut tails = Vec::new();
    let mut outputs = Vec::with_capacity(response.outputs.len());
    for tensor in &response.outputs {
        let mut parameters = tensor.parameters.clone();
        let data = if binary(&tensor.name) {
            let bytes = write_binary(&tensor.data);
            parameters.insert("binary_data_size".to_owned(), (bytes.len() as u64).into());
            tails.push(bytes);
            None
        } else {
            Some(write_elements(tensor, &mut parameters)?)
        };
        let datatype = tensor.datatype.as_str();
        outputs.push(WireOutput { name: &tensor.name, shape: &tensor.shape, datatype, parameters, data });
    }
    let wire = WireResponse {
        model_name: &response.model_name,
        model_version: &response.model_version,
        id: response.id.as_deref(),
        parameters: &response.parameters,
        outputs,
    };
    Ok((serde_json::to_vec(&wire).expect("a response can always be written as JSON"), tails))
}

#[expect(clippy::expect_used, reason = "texts and numbers can be written as JSON, to memory")]
fn write_elements(tensor: &Tensor, parameters: &mut Parameters) -> Result<Box<RawValue>, NoJsonForm> {
    let bytes = match &tensor.data {
        Data::Fixed(bytes) => bytes,
        Data::Elements(elements) => {
            let texts: Result<Vec<_>, _> = elements.iter().map(|element| std::str::from_utf8(element)).collect();
            let written = match texts {
                Ok(texts) => serde_json::value::to_raw_value(&texts),
                Err(_) => {
                    parameters.insert("encoding".to_owned(), "base64".into());
                    let texts: Vec<_> = elements.iter().map(|element| STANDARD.encode(element)).collect();
                    serde_json::value::to_raw_value(&texts)
                }
            };
            return Ok(written.expect("texts can always be written as JSON"));
        }
    };
    // All elements go into one string, because a list of strings would need many times the memory of the tensor.
    let mut list = vec![b'['];
    macro_rules! numbers {
        ($ty:ty) => {
            for number in bytes.as_chunks::<{ size_of::<$ty>() }>().0 {
                // NaN and the infinities become `null`, because JSON has no such numbers.
                serde_json::to_writer(&mut list, &<$ty>::from_le_bytes(*number))
                    .expect("a number can always be written as JSON");
                list.push(b',');
            }
        };
    }
    match tensor.datatype {
        Datatype::Bool => {
            for byte in bytes {
                list.extend_from_slice(if *byte == 0 { b"false," } else { b"true," });
            }
        }
        Datatype::Uint8 => numbers!(u8),
        Datatype::Uint16 => numbers!(u16),
        Datatype::Uint32 => numbers!(u32),
        Datatype::Uint64 => numbers!(u64),
        Datatype::Int8 => numbers!(i8),
        Datatype::Int16 => numbers!(i16),
        Datatype::Int32 => numbers!(i32),
        Datatype::Int64 => numbers!(i64),
        Datatype::Fp32 => numbers!(f32),
        Datatype::Fp64 => numbers!(f64),
        datatype @ (Datatype::Fp16 | Datatype::Bf16) => {
            return Err(NoJsonForm { output: tensor.name.clone(), datatype });
        }
        Datatype::Bytes => unreachable!("BYTES tensors are not `Data::Fixed`"),
    }
    if list.last() == Some(&b',') {
        list.pop();
    }
    list.push(b']');
    let list = String::from_utf8(list).expect("JSON is UTF-8");
    Ok(RawValue::from_string(list).expect("a list of numbers is valid JSON"))
}
