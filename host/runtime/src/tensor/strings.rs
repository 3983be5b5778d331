//! The elements of a tensor of strings. Each has four bytes with its length before it, little-endian: the binary form of the
//! Open Inference Protocol.

use super::Tensor;

/// The strings of a tensor, one after the other. The last item is `None` if the bytes end inside a string.
pub struct Strings<'a> {
    rest: &'a [u8],
}

impl<'a> Strings<'a> {
    /// The strings of a tensor.
    pub fn of(tensor: &'a Tensor) -> Self {
        Self { rest: &tensor.data }
    }

    /// How many there are; `None` if the bytes end inside a string.
    pub fn count(mut self) -> Option<usize> {
        self.try_fold(0, |count, string| string.map(|_| count + 1))
    }

    /// The strings as texts.
    ///
    /// # Errors
    /// The number of the first string that is no text, and the reason.
    pub fn texts(self) -> Result<Vec<&'a str>, (usize, &'static str)> {
        let text = |(index, string): (usize, Option<&'a [u8]>)| {
            let string = string.ok_or((index, "is cut off"))?;
            let text = std::str::from_utf8(string).map_err(|_| (index, "is not UTF-8"))?;
            if text.contains('\0') { Err((index, "has the character NUL")) } else { Ok(text) }
        };
        self.enumerate().map(text).collect()
    }
}

impl<'a> Iterator for Strings<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let split = self.rest.split_first_chunk::<4>();
        let split = split.and_then(|(length, rest)| rest.split_at_checked(u32::from_le_bytes(*length) as usize));
        let Some((string, rest)) = split else {
            self.rest = &[];
            return Some(None);
        };
        self.rest = rest;
        Some(Some(string))
    }
}

/// The bytes of a tensor of these strings. `None` if one is longer than 4 GiB.
pub fn join_strings<S: AsRef<[u8]>>(strings: &[S]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(strings.iter().map(|string| string.as_ref().len() + 4).sum());
    for string in strings {
        bytes.extend(u32::try_from(string.as_ref().len()).ok()?.to_le_bytes());
        bytes.extend_from_slice(string.as_ref());
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::TensorType;

    #[test]
    fn strings_are_read_as_they_were_joined() {
        let strings = ["", "a", "two words", "ä"];
        let bytes = join_strings(&strings).expect("short");
        let tensor = |shape: &[u32], bytes: &[u8]| Tensor::new(shape.to_vec(), TensorType::Bytes, bytes.to_vec());
        let whole = tensor(&[2, 2], &bytes);
        assert_eq!(whole.check_size(), Ok(()));
        assert_eq!(Strings::of(&whole).texts(), Ok(strings.to_vec()));
        assert_eq!(tensor(&[0], &[]).check_size(), Ok(()));
        let error = tensor(&[5], &bytes).check_size().expect_err("four strings").to_string();
        assert_eq!(
            error,
            "shape [5] of bytes needs 5 strings, the tensor holds 28 bytes with another number of strings"
        );
        for cut in [bytes.len() - 1, 3, bytes.len() - 4] {
            assert_eq!(Strings::of(&tensor(&[4], &bytes[..cut])).count(), None, "{cut}");
            assert!(tensor(&[4], &bytes[..cut]).check_size().is_err(), "{cut}");
        }
        for (string, reason) in [(&b"a\0b"[..], "has the character NUL"), (b"\xff", "is not UTF-8")] {
            let bytes = join_strings(&[b"good", string]).expect("short");
            assert_eq!(Strings::of(&tensor(&[2], &bytes)).texts(), Err((1, reason)));
        }
    }
}
