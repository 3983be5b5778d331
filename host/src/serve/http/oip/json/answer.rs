//! Writes the JSON of a response.

use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::serve::oip::binary_form::write_binary;
use crate::serve::oip::datatype::Datatype;
use crate::serve::oip::json_outputs::{NoJsonForm, check_datatype};
use crate::serve::oip::parameter::Parameters;
use crate::serve::oip::request::Response;
use crate::serve::oip::tensor::{Data, Tensor};

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
    check_datatype(&tensor.name, tensor.datatype)?;
    // All elements go into one string, because a list of strings would need many times the memory of the tensor.
    let mut list = vec![b'['];
    macro_rules! numbers {
        ($ty:ty) => {
            for number in bytes.as_chunks::<{ size_of::<$ty>() }>().0 {
                // NaN becomes `null`, because JSON has no such number.
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
        Datatype::Fp32 => {
            for number in bytes.as_chunks::<4>().0 {
                write_single(&mut list, f32::from_le_bytes(*number));
                list.push(b',');
            }
        }
        Datatype::Fp64 => numbers!(f64),
        Datatype::Fp16 | Datatype::Bf16 => unreachable!("they have no JSON form"),
        Datatype::Bytes => unreachable!("BYTES tensors are not `Data::Fixed`"),
    }
    if list.last() == Some(&b',') {
        list.pop();
    }
    list.push(b']');
    let list = String::from_utf8(list).expect("JSON is UTF-8");
    Ok(RawValue::from_string(list).expect("a list of numbers is valid JSON"))
}

/// Integers up to this one are exact in single precision and short in JSON.
const EXACT: f32 = 16_777_216.0;

/// Writes a number of single precision. Most readers of JSON take a number as a double and round that to single precision.
/// These two roundings can give another number than one, so then the number is written as the double that it is.
#[expect(clippy::expect_used, reason = "a number can be written as JSON, to memory")]
fn write_single(list: &mut Vec<u8>, number: f32) {
    let start = list.len();
    serde_json::to_writer(&mut *list, &number).expect("a number can always be written as JSON");
    if !number.is_finite() || (number.abs() <= EXACT && number.fract() == 0.0) {
        return;
    }
    let read = std::str::from_utf8(&list[start..]).ok().and_then(|text| text.parse::<f64>().ok());
    if read.is_none_or(|read| read as f32 != number) {
        list.truncate(start);
        serde_json::to_writer(list, &f64::from(number)).expect("a number can always be written as JSON");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(number: f32) -> String {
        let mut list = Vec::new();
        write_single(&mut list, number);
        String::from_utf8(list).expect("text")
    }

    #[test]
    fn single_precision_is_read_back_exactly_also_through_doubles() {
        let odd = f32::from_bits(0x15ae_43fd);
        assert_ne!("7.038531e-26".parse::<f64>().expect("a number") as f32, odd, "the shortest form is not enough");
        assert_eq!("7.038531e-26".parse::<f32>(), Ok(odd));
        assert_eq!(written(odd), "7.038530691851209e-26");
        assert_eq!([0.1, 1.0, -0.0, 16_777_216.0, 1e-45].map(written), ["0.1", "1.0", "-0.0", "16777216.0", "1e-45"]);
        assert_eq!(written(f32::NAN), "null");
        // A linear congruential generator (Knuth, MMIX): the test is the same in every run.
        let mut state = 1_u64;
        for _ in 0..200_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = f32::from_bits((state >> 32) as u32);
            if number.is_finite() {
                let text = written(number);
                assert_eq!(text.parse::<f64>().expect("a number") as f32, number, "{text}");
                assert_eq!(text.parse::<f32>(), Ok(number), "{text}");
            }
        }
    }
}
