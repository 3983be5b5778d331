//! Every datatype: what each backend returns for it, and rows of its extreme numbers in bytes, as FLOAT and in JSON.

use rten_onnx::onnx::DataType;
use serde_json::{Value, json};

/// For each datatype that a model declares: what it returns on rten, natively and in WebAssembly, or "" if the model is
/// rejected. rten computes FP16 as FP32, and INT64 and BOOL as INT32. On onnxruntime it is the same datatype, also on OpenVINO.
pub(super) const TABLE: [(&str, &str); 13] = [
    ("BOOL", "INT32"),
    ("UINT8", "UINT8"),
    ("UINT16", ""),
    ("UINT32", ""),
    ("UINT64", ""),
    ("INT8", "INT8"),
    ("INT16", ""),
    ("INT32", "INT32"),
    ("INT64", "INT32"),
    ("FP16", "FP32"),
    ("BF16", ""),
    ("FP32", "FP32"),
    ("FP64", ""),
];

/// A row of three numbers.
#[derive(Clone)]
pub(super) struct Row {
    /// Its elements, little-endian.
    pub bytes: Vec<u8>,
    /// Its elements as FLOAT.
    pub floats: [f32; 3],
    /// Its elements in JSON; `None` if the type has no form there.
    pub json: Option<[Value; 3]>,
}

pub(super) fn row<const N: usize>(bytes: [[u8; N]; 3], floats: [f32; 3], json: Option<[Value; 3]>) -> Row {
    Row { bytes: bytes.concat(), floats, json }
}

/// A row of three numbers of a Rust type.
macro_rules! numbers {
    ($ty:ty, $a:expr, $b:expr, $c:expr) => {{
        let numbers: [$ty; 3] = [$a, $b, $c];
        let json = numbers.map(|number| ::serde_json::json!(number));
        $crate::tensor_types::datatypes::row(
            numbers.map(<$ty>::to_le_bytes),
            numbers.map(|number| number as f32),
            Some(json),
        )
    }};
}
pub(super) use numbers;

/// Two rows with the extreme numbers of a datatype. The bytes of FP16 and BF16 are those of numpy and `ml_dtypes`.
pub(super) fn rows(datatype: &str) -> [Row; 2] {
    let half = |bytes: [u16; 3], floats| row(bytes.map(u16::to_le_bytes), floats, None);
    let bools = |numbers: [u8; 3]| {
        row(numbers.map(|it| [it]), numbers.map(f32::from), Some(numbers.map(|number| json!(number == 1))))
    };
    match datatype {
        "BOOL" => [bools([0, 1, 1]), bools([1, 0, 0])],
        "UINT8" => [numbers!(u8, 0, 255, 7), numbers!(u8, 1, 128, 2)],
        "UINT16" => [numbers!(u16, 0, u16::MAX, 258), numbers!(u16, 1, 0x8000, 2)],
        "UINT32" => [numbers!(u32, 0, u32::MAX, 16_777_217), numbers!(u32, 1, 1 << 31, 2)],
        "UINT64" => [numbers!(u64, 0, u64::MAX, 9_007_199_254_740_993), numbers!(u64, 1, 1 << 63, 2)],
        "INT8" => [numbers!(i8, -128, 127, -1), numbers!(i8, 1, -2, 3)],
        "INT16" => [numbers!(i16, i16::MIN, i16::MAX, -1), numbers!(i16, 1, -2, 300)],
        "INT32" => [numbers!(i32, i32::MIN, i32::MAX, -1), numbers!(i32, 1, -2, 16_777_217)],
        "INT64" => [numbers!(i64, i64::MIN, i64::MAX, 9_007_199_254_740_993), numbers!(i64, 1, -2, 1 << 40)],
        "FP16" => [
            half([0x3E00, 0xFBFF, 1], [1.5, -65504.0, 5.960_464_5e-8]),
            half([0xC000, 0, 0x3555], [-2.0, 0.0, 0.333_251_95]),
        ],
        "BF16" => [
            half([0x3FC0, 0xFF7F, 1], [1.5, -3.389_531_4e38, 9.183_55e-41]),
            half([0xC000, 0, 0x3EAB], [-2.0, 0.0, 0.333_984_38]),
        ],
        "FP32" => [numbers!(f32, 0.1, f32::MAX, -1e-45), numbers!(f32, -2.0, 0.0, 1e-10)],
        "FP64" => [numbers!(f64, 0.1, -1e30, 5e-324), numbers!(f64, -2.0, 0.0, 1e-10)],
        other => panic!("{other}"),
    }
}

/// The rows that rten and OpenVINO can take: they compute 64-bit integers in 32 bits.
pub(super) fn rows_on(backend: &str, datatype: &str) -> [Row; 2] {
    match (backend, datatype) {
        ("rten" | "openvino", "INT64") => {
            [numbers!(i64, i32::MIN.into(), i32::MAX.into(), -1), numbers!(i64, 1, -2, 16_777_217)]
        }
        ("openvino", "UINT32") => [numbers!(u32, 0, 0x7fff_ffff, 16_777_217), numbers!(u32, 1, 5, 2)],
        _ => rows(datatype),
    }
}

pub(super) fn element(datatype: &str) -> DataType {
    match datatype {
        "BOOL" => DataType::BOOL,
        "UINT8" => DataType::UINT8,
        "UINT16" => DataType::UINT16,
        "UINT32" => DataType::UINT32,
        "UINT64" => DataType::UINT64,
        "INT8" => DataType::INT8,
        "INT16" => DataType::INT16,
        "INT32" => DataType::INT32,
        "INT64" => DataType::INT64,
        "FP16" => DataType::FLOAT16,
        "BF16" => DataType::BFLOAT16,
        "FP32" => DataType::FLOAT,
        "FP64" => DataType::DOUBLE,
        other => panic!("{other}"),
    }
}

/// The elements that `y` must have: the row twice.
pub(super) fn twice<T: Clone>(row: &[T]) -> Vec<T> {
    [row, row].concat()
}

/// Bytes of a row in the datatype that the model returns.
pub(super) fn returned(row: &Row, sent: &str, returned: &str) -> Vec<u8> {
    match (sent, returned) {
        ("FP16", "FP32") => row.floats.iter().flat_map(|float| float.to_le_bytes()).collect(),
        ("BOOL", "INT32") => row.bytes.iter().flat_map(|&byte| i32::from(byte).to_le_bytes()).collect(),
        ("INT64", "INT32") => {
            let numbers = row.bytes.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes) as i32);
            numbers.flat_map(i32::to_le_bytes).collect()
        }
        _ => row.bytes.clone(),
    }
}

pub(super) fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}
