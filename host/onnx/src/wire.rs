//! Edits the bytes of a protobuf message without loss: fields that are not edited are copied as they are, also those that
//! this crate does not know (functions, sparse constants, metadata).

/// Fields whose value has a length: messages, texts, bytes.
const LENGTH: u8 = 2;

/// A field of a message.
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    /// The bytes of the value; `None` for a number.
    pub(crate) value: Option<&'a [u8]>,
    /// The whole field.
    raw: &'a [u8],
}

impl Field<'_> {
    /// The value of a number of variable length.
    pub(crate) fn varint(&self) -> Option<u64> {
        let mut rest = self.raw;
        let tag = varint(&mut rest)?;
        if tag & 7 == 0 { varint(&mut rest) } else { None }
    }
}

/// Splits a message into its fields; `None` if it is not valid.
pub(crate) fn fields(message: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut fields = Vec::new();
    let mut rest = message;
    while !rest.is_empty() {
        let start = rest;
        let tag = varint(&mut rest)?;
        let kind = (tag & 7) as u8;
        let value = match kind {
            0 => {
                varint(&mut rest)?;
                None
            }
            1 => {
                rest = rest.get(8..)?;
                None
            }
            LENGTH => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                let (value, after) = rest.split_at_checked(length)?;
                rest = after;
                Some(value)
            }
            5 => {
                rest = rest.get(4..)?;
                None
            }
            _ => return None,
        };
        let raw = &start[..start.len() - rest.len()];
        fields.push(Field { number: u32::try_from(tag >> 3).ok()?, value, raw });
    }
    Some(fields)
}

/// A copy of a message. `edit` returns true for a field that it wrote itself. All other fields are copied.
pub(crate) fn edited(
    message: &[u8],
    mut edit: impl FnMut(&Field<'_>, &mut Vec<u8>) -> Option<bool>,
) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(message.len());
    for field in fields(message)? {
        if !edit(&field, &mut out)? {
            copy(&mut out, &field);
        }
    }
    Some(out)
}

/// Adds a field as it is.
pub(crate) fn copy(out: &mut Vec<u8>, field: &Field<'_>) {
    out.extend_from_slice(field.raw);
}

/// Adds a field of bytes.
pub(crate) fn write(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    write_varint(out, u64::from(number) << 3 | u64::from(LENGTH));
    write_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// True if the bytes are a list of numbers.
pub(crate) fn numbers(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        if varint(&mut bytes).is_none() {
            return false;
        }
    }
    true
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7F) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_copied_bit_for_bit_except_what_is_edited() {
        let mut message = vec![0x08, 0x96, 0x01, 0x2D, 1, 2, 3, 4, 0x31, 1, 2, 3, 4, 5, 6, 7, 8];
        write(&mut message, 300, &[7; 200]);
        assert_eq!(edited(&message, |_, _| Some(false)), Some(message.clone()));
        let changed = edited(&message, |field, out| {
            if field.number == 300 {
                write(out, 300, b"x");
            }
            Some(field.number == 300)
        });
        let mut expected = message[..17].to_vec();
        write(&mut expected, 300, b"x");
        assert_eq!(changed, Some(expected));
        for cut in [1, 2, 4, 20, message.len() - 1] {
            assert!(fields(&message[..cut]).is_none(), "{cut}");
        }
    }
}
