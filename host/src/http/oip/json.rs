//! The JSON of requests and responses. What a caller can make long is bounded before it is kept, and the elements of
//! tensors are read straight into the bytes that they stand for.

use std::fmt;
use std::marker::PhantomData;

use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize as DeriveDeserialize, Serialize};
use serde_json::value::RawValue;

use crate::oip::infer::{MAX_PARAMETERS, MAX_TENSORS, Response};
use crate::oip::parameter::{Parameter, Parameters};
use crate::oip::tensor::{Data, Datatype, MAX_DIMENSIONS, Tensor};

/// A request as it is written.
#[derive(Debug, DeriveDeserialize)]
pub(super) struct WireRequest<'a> {
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) parameters: Option<Limited>,
    #[serde(borrow)]
    pub(super) inputs: Few<WireInput<'a>, MAX_TENSORS>,
    #[serde(default)]
    pub(super) outputs: Option<Few<WireWanted, MAX_TENSORS>>,
}

/// An input as it is written; its elements are read when its datatype is known.
#[derive(Debug, DeriveDeserialize)]
pub(super) struct WireInput<'a> {
    pub(super) name: String,
    pub(super) shape: Few<u64, MAX_DIMENSIONS>,
    pub(super) datatype: String,
    #[serde(default)]
    pub(super) parameters: Option<Limited>,
    #[serde(default, borrow)]
    pub(super) data: Option<&'a RawValue>,
}

/// An output that is asked for.
#[derive(Debug, DeriveDeserialize)]
pub(super) struct WireWanted {
    pub(super) name: String,
    #[serde(default)]
    pub(super) parameters: Option<Limited>,
}

/// A list that may not have more than `N` items.
#[derive(Debug)]
pub(super) struct Few<T, const N: usize>(pub(super) Vec<T>);

impl<T, const N: usize> Default for Few<T, N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for Few<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const N: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Items<T, N> {
            type Value = Few<T, N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {N} items")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Few<T, N>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    if items.len() == N {
                        return Err(A::Error::custom(format!("a list has more than {N} items")));
                    }
                    items.push(item);
                }
                Ok(Few(items))
            }
        }

        deserializer.deserialize_seq(Items(PhantomData))
    }
}

/// Parameters, of which there may not be too many.
#[derive(Debug, Default)]
pub(super) struct Limited(pub(super) Parameters);

impl<'de> Deserialize<'de> for Limited {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Limited;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object of at most {MAX_PARAMETERS} parameters")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Limited, A::Error> {
                let mut parameters = Parameters::new();
                while let Some((name, value)) = map.next_entry::<String, Parameter>()? {
                    parameters.insert(name, value);
                    if parameters.len() > MAX_PARAMETERS {
                        return Err(A::Error::custom(format!("there are more than {MAX_PARAMETERS} parameters")));
                    }
                }
                Ok(Limited(parameters))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

/// Reads the elements of a tensor, nested or flat; there must be `count` of them.
pub(super) fn read_elements(data: &RawValue, datatype: Datatype, count: u64, base64: bool) -> Result<Data, String> {
    if matches!(datatype, Datatype::Fp16 | Datatype::Bf16) {
        return Err(format!("{datatype} has no JSON form; send its bytes with `binary_data_size`"));
    }
    let mut elements = Elements { datatype, count, base64, found: 0, bytes: Vec::new(), texts: Vec::new() };
    let mut deserializer = serde_json::Deserializer::from_str(data.get());
    List(&mut elements).deserialize(&mut deserializer).map_err(|error| error.to_string())?;
    if elements.found != count {
        return Err(format!("the shape has {count} elements, `data` has {}", elements.found));
    }
    Ok(match datatype {
        Datatype::Bytes => Data::Elements(elements.texts),
        _ => Data::Fixed(elements.bytes.into()),
    })
}

/// Elements on their way into bytes.
struct Elements {
    datatype: Datatype,
    count: u64,
    base64: bool,
    found: u64,
    bytes: Vec<u8>,
    texts: Vec<Bytes>,
}

impl Elements {
    fn count_one(&mut self) -> Result<(), String> {
        self.found += 1;
        if self.found > self.count {
            return Err(format!("the shape has {} elements, `data` has more", self.count));
        }
        Ok(())
    }

    fn integer(&mut self, value: i128) -> Result<(), String> {
        self.count_one()?;
        let datatype = self.datatype;
        let outside = || format!("{value} is no {datatype}");
        macro_rules! put {
            ($ty:ty) => {
                self.bytes.extend_from_slice(&<$ty>::try_from(value).map_err(|_| outside())?.to_le_bytes())
            };
        }
        match datatype {
            Datatype::Bool if (0..=1).contains(&value) => self.bytes.push(value as u8),
            Datatype::Uint8 => put!(u8),
            Datatype::Uint16 => put!(u16),
            Datatype::Uint32 => put!(u32),
            Datatype::Uint64 => put!(u64),
            Datatype::Int8 => put!(i8),
            Datatype::Int16 => put!(i16),
            Datatype::Int32 => put!(i32),
            Datatype::Int64 => put!(i64),
            Datatype::Fp32 => self.bytes.extend_from_slice(&(value as f32).to_le_bytes()),
            Datatype::Fp64 => self.bytes.extend_from_slice(&(value as f64).to_le_bytes()),
            Datatype::Bool | Datatype::Fp16 | Datatype::Bf16 | Datatype::Bytes => return Err(outside()),
        }
        Ok(())
    }

    fn number(&mut self, value: f64) -> Result<(), String> {
        self.count_one()?;
        match self.datatype {
            Datatype::Fp32 => {
                let narrow = value as f32;
                if narrow.is_infinite() {
                    return Err(format!("{value} is no FP32"));
                }
                self.bytes.extend_from_slice(&narrow.to_le_bytes());
            }
            Datatype::Fp64 => self.bytes.extend_from_slice(&value.to_le_bytes()),
            datatype => return Err(format!("{value} is no {datatype}")),
        }
        Ok(())
    }

    fn truth(&mut self, value: bool) -> Result<(), String> {
        if self.datatype != Datatype::Bool {
            return Err(format!("{value} is no {}", self.datatype));
        }
        self.integer(value.into())
    }

    fn text(&mut self, value: &str) -> Result<(), String> {
        self.count_one()?;
        if self.datatype != Datatype::Bytes {
            return Err(format!("a text is no {}", self.datatype));
        }
        let bytes = if self.base64 {
            STANDARD.decode(value).map_err(|error| format!("element {} is no base64: {error}", self.found - 1))?
        } else {
            value.as_bytes().to_vec()
        };
        self.texts.push(bytes.into());
        Ok(())
    }
}

/// A list of elements or of lists; serde_json bounds how deep.
struct List<'a>(&'a mut Elements);

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "elements of {}, in a list or in nested lists", self.0.datatype)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(List(&mut *self.0))?.is_some() {}
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.0.truth(value).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.0.integer(value.into()).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.0.integer(value.into()).map_err(E::custom)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.0.number(value).map_err(E::custom)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.0.text(value).map_err(E::custom)
    }
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

/// Writes a response: its JSON, and the bytes of the outputs that are to be binary.
pub(super) fn write(response: &Response, binary: impl Fn(&str) -> bool) -> Result<(Vec<u8>, Vec<Bytes>), String> {
    let mut tails = Vec::new();
    let mut outputs = Vec::with_capacity(response.outputs.len());
    for tensor in &response.outputs {
        let mut parameters = tensor.parameters.clone();
        let data = if binary(&tensor.name) {
            let bytes = tensor.data.to_binary();
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
    Ok((serde_json::to_vec(&wire).expect("strings and numbers"), tails))
}

fn write_elements(tensor: &Tensor, parameters: &mut Parameters) -> Result<Box<RawValue>, String> {
    let list = |text: Vec<String>| RawValue::from_string(format!("[{}]", text.join(","))).expect("JSON");
    macro_rules! numbers {
        ($bytes:expr, $ty:ty) => {{
            let (numbers, _) = $bytes.as_chunks::<{ size_of::<$ty>() }>();
            // A number that JSON does not have becomes `null`.
            let text = |bytes| serde_json::to_string(&<$ty>::from_le_bytes(bytes)).expect("a number");
            numbers.iter().map(|number| text(*number)).collect()
        }};
    }
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
            return Ok(written.expect("texts"));
        }
    };
    Ok(list(match tensor.datatype {
        Datatype::Bool => bytes.iter().map(|byte| (*byte != 0).to_string()).collect(),
        Datatype::Uint8 => numbers!(bytes, u8),
        Datatype::Uint16 => numbers!(bytes, u16),
        Datatype::Uint32 => numbers!(bytes, u32),
        Datatype::Uint64 => numbers!(bytes, u64),
        Datatype::Int8 => numbers!(bytes, i8),
        Datatype::Int16 => numbers!(bytes, i16),
        Datatype::Int32 => numbers!(bytes, i32),
        Datatype::Int64 => numbers!(bytes, i64),
        Datatype::Fp32 => numbers!(bytes, f32),
        Datatype::Fp64 => numbers!(bytes, f64),
        datatype @ (Datatype::Fp16 | Datatype::Bf16) => {
            let name = &tensor.name;
            return Err(format!(
                "output `{name}` is {datatype}, which has no JSON form; ask for it with `binary_data`: true"
            ));
        }
        Datatype::Bytes => unreachable!("its elements are not fixed"),
    }))
}
