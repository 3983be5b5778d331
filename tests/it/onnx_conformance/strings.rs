//! The strings of a `TensorProto`, which the crate that decodes it leaves out.

use plimsoll_runtime::tensor::{Tensor, TensorType, join_strings};

/// `string_data` of a `TensorProto`.
const STRING_DATA: u64 = 6;

/// A tensor of strings.
pub(super) fn tensor(shape: &[usize], file: &[u8]) -> Result<Tensor, String> {
    let bytes = join_strings(&strings(file).ok_or("a file that is cut off")?).ok_or("a long string")?;
    let tensor = Tensor::new(shape.iter().map(|&size| size as u32).collect(), TensorType::Bytes, bytes);
    tensor.check_size().map_err(|error| error.to_string())?;
    Ok(tensor)
}

/// The fields of a message are numbered, and each says how long it is.
fn strings(mut file: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut strings = Vec::new();
    while !file.is_empty() {
        let tag = number(&mut file)?;
        let length = match tag & 7 {
            0 => {
                number(&mut file)?;
                continue;
            }
            1 => 8,
            2 => usize::try_from(number(&mut file)?).ok()?,
            5 => 4,
            _ => return None,
        };
        let (value, rest) = file.split_at_checked(length)?;
        if tag >> 3 == STRING_DATA {
            strings.push(value.to_vec());
        }
        file = rest;
    }
    Some(strings)
}

/// A number in groups of seven bits, the lowest first.
fn number(file: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = file.split_first()?;
        *file = rest;
        number |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}
