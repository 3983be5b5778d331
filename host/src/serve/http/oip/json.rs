//! The JSON of requests and responses. Lists and objects of a request have a maximum length, which is checked while
//! they are parsed.
//!
//! - `elements`: reads the elements of a request's tensors, `singles` some of them exactly. `answer`: writes the response.

use std::fmt;
use std::marker::PhantomData;

use plimsoll_runtime::text::shortened;
use serde::Deserialize as DeriveDeserialize;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::base::object::Object;
use crate::serve::oip::parameter::{Parameter, Parameters};
use crate::serve::oip::request::{MAX_PARAMETERS, MAX_TENSORS};
use crate::serve::oip::tensor::MAX_DIMENSIONS;

mod answer;
mod elements;
mod singles;

pub(super) use answer::write;
pub(super) use elements::{memory_of_elements, read_elements};

/// A request in its JSON form. The parameters of all parts stay unparsed until their memory is reserved: a body can have
/// hundreds of thousands.
#[derive(Debug, DeriveDeserialize)]
pub(super) struct WireRequest<'a> {
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default, borrow)]
    pub(super) parameters: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) inputs: BoundedList<Object<WireInput<'a>>, MAX_TENSORS>,
    #[serde(default, borrow)]
    pub(super) outputs: Option<BoundedList<Object<WireWanted<'a>>, MAX_TENSORS>>,
}

/// An input in its JSON form. `data` stays unparsed until the datatype is known.
#[derive(Debug, DeriveDeserialize)]
pub(super) struct WireInput<'a> {
    pub(super) name: String,
    pub(super) shape: BoundedList<u64, MAX_DIMENSIONS>,
    pub(super) datatype: String,
    #[serde(default, borrow)]
    pub(super) parameters: Option<&'a RawValue>,
    #[serde(default, borrow)]
    pub(super) data: Option<&'a RawValue>,
}

/// An output that the request asks for.
#[derive(Debug, DeriveDeserialize)]
pub(super) struct WireWanted<'a> {
    pub(super) name: String,
    #[serde(default, borrow)]
    pub(super) parameters: Option<&'a RawValue>,
}

/// A list of at most `N` items.
#[derive(Debug)]
pub(super) struct BoundedList<T, const N: usize>(pub(super) Vec<T>);

impl<T, const N: usize> Default for BoundedList<T, N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for BoundedList<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const N: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Items<T, N> {
            type Value = BoundedList<T, N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {N} items")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<BoundedList<T, N>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    if items.len() == N {
                        return Err(A::Error::custom(format!("a list has more than {N} items")));
                    }
                    items.push(item);
                }
                Ok(BoundedList(items))
            }
        }

        deserializer.deserialize_seq(Items(PhantomData))
    }
}

/// Parses the parameters of a part of a request.
///
/// # Errors
/// If they are not an object of at most [`MAX_PARAMETERS`] texts, numbers and Booleans.
pub(super) fn read_parameters(parameters: Option<&RawValue>) -> serde_json::Result<Parameters> {
    parameters.map_or_else(|| Ok(Parameters::new()), |text| serde_json::from_str(text.get()).map(|Limited(read)| read))
}

/// Maximum bytes in memory of what [`read_parameters`] makes.
pub(super) fn memory_of_parameters(parameters: Option<&RawValue>) -> u64 {
    /// The shortest parameter: an empty name and a digit, with a comma.
    const SHORTEST: usize = r#""":0,"#.len();
    let text = parameters.map_or("", RawValue::get);
    let (length, colons) = (text.len(), text.bytes().filter(|&byte| byte == b':').count());
    // Each parameter has a colon. The parse ends at the first parameter above the maximum.
    let count = (length / SHORTEST).min(colons).min(MAX_PARAMETERS + 1);
    count as u64 * PART + length as u64
}

/// Bytes in memory of a part of a request or of a parameter, in addition to its texts.
pub(super) const PART: u64 = 256;

/// At most [`MAX_PARAMETERS`] parameters.
struct Limited(Parameters);

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
                    if parameters.contains_key(&name) {
                        let name = shortened(&name);
                        return Err(A::Error::custom(format!("the parameter `{name}` is given more than once")));
                    }
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
