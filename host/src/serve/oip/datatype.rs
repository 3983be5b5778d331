//! The datatypes of tensors.

use std::fmt;
use std::str::FromStr;

use plimsoll_runtime::tensor::TensorType;
use plimsoll_runtime::text::shortened;

/// A name that is not a datatype.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no datatype `{0}`; the datatypes are {names}", names = Datatype::names())]
pub struct UnknownDatatype(String);

/// The datatypes of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datatype {
    /// One byte, 0 or 1.
    Bool,
    /// Unsigned, one byte.
    Uint8,
    /// Unsigned, two bytes.
    Uint16,
    /// Unsigned, four bytes.
    Uint32,
    /// Unsigned, eight bytes.
    Uint64,
    /// Signed, one byte.
    Int8,
    /// Signed, two bytes.
    Int16,
    /// Signed, four bytes.
    Int32,
    /// Signed, eight bytes.
    Int64,
    /// Half precision.
    Fp16,
    /// Single precision.
    Fp32,
    /// Double precision.
    Fp64,
    /// The upper 16 bits of single precision.
    Bf16,
    /// Byte strings of any length.
    Bytes,
}

impl Datatype {
    const ALL: [(Self, &'static str); 14] = [
        (Self::Bool, "BOOL"),
        (Self::Uint8, "UINT8"),
        (Self::Uint16, "UINT16"),
        (Self::Uint32, "UINT32"),
        (Self::Uint64, "UINT64"),
        (Self::Int8, "INT8"),
        (Self::Int16, "INT16"),
        (Self::Int32, "INT32"),
        (Self::Int64, "INT64"),
        (Self::Fp16, "FP16"),
        (Self::Fp32, "FP32"),
        (Self::Fp64, "FP64"),
        (Self::Bf16, "BF16"),
        (Self::Bytes, "BYTES"),
    ];

    /// The name in the protocol.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(datatype, _)| *datatype == self).map_or("", |(_, name)| name)
    }

    fn names() -> String {
        Self::ALL.map(|(_, name)| name).join(", ")
    }

    /// Bytes of one element; `None` for BYTES.
    pub fn size(self) -> Option<u64> {
        Some(match self {
            Self::Bool | Self::Uint8 | Self::Int8 => 1,
            Self::Uint16 | Self::Int16 | Self::Fp16 | Self::Bf16 => 2,
            Self::Uint32 | Self::Int32 | Self::Fp32 => 4,
            Self::Uint64 | Self::Int64 | Self::Fp64 => 8,
            Self::Bytes => return None,
        })
    }

    /// The datatype of a tensor of the host.
    pub fn from_nn(ty: TensorType) -> Self {
        match ty {
            TensorType::Fp16 => Self::Fp16,
            TensorType::Fp32 => Self::Fp32,
            TensorType::Fp64 => Self::Fp64,
            TensorType::Bf16 => Self::Bf16,
            TensorType::Bool => Self::Bool,
            TensorType::U8 => Self::Uint8,
            TensorType::U16 => Self::Uint16,
            TensorType::U32 => Self::Uint32,
            TensorType::U64 => Self::Uint64,
            TensorType::I8 => Self::Int8,
            TensorType::I16 => Self::Int16,
            TensorType::I32 => Self::Int32,
            TensorType::I64 => Self::Int64,
            TensorType::Bytes => Self::Bytes,
        }
    }

    /// The type of a tensor of the host.
    pub fn to_nn(self) -> TensorType {
        match self {
            Self::Fp16 => TensorType::Fp16,
            Self::Fp32 => TensorType::Fp32,
            Self::Fp64 => TensorType::Fp64,
            Self::Bf16 => TensorType::Bf16,
            Self::Bool => TensorType::Bool,
            Self::Uint8 => TensorType::U8,
            Self::Uint16 => TensorType::U16,
            Self::Uint32 => TensorType::U32,
            Self::Uint64 => TensorType::U64,
            Self::Int8 => TensorType::I8,
            Self::Int16 => TensorType::I16,
            Self::Int32 => TensorType::I32,
            Self::Int64 => TensorType::I64,
            Self::Bytes => TensorType::Bytes,
        }
    }
}

impl FromStr for Datatype {
    type Err = UnknownDatatype;

    fn from_str(text: &str) -> Result<Self, UnknownDatatype> {
        let known = Self::ALL.iter().find(|(_, name)| *name == text).map(|(datatype, _)| *datatype);
        known.ok_or_else(|| UnknownDatatype(shortened(text)))
    }
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
