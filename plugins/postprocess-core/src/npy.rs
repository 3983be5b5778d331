//! The file format of numpy's arrays (`.npy`, version 1.0), as `numpy.lib.format` describes it.

/// The bytes of a file. `element` is the type as numpy writes it, such as `<f4`; `data` are the elements, row-major.
pub fn file(element: &str, shape: &[u32], data: &[u8]) -> Vec<u8> {
    let sizes: String = shape.iter().map(|size| format!("{size},")).collect();
    let mut header = format!("{{'descr': '{element}', 'fortran_order': False, 'shape': ({sizes}), }}");
    // The elements begin at a multiple of 64 bytes; the header ends with a newline.
    let before = MAGIC.len() + 2;
    let padding = (64 - (before + header.len() + 1) % 64) % 64;
    header.extend(std::iter::repeat_n(' ', padding));
    header.push('\n');
    // A tensor has few dimensions, so the length is far below 65,536.
    let length = (header.len() as u16).to_le_bytes();
    [MAGIC, &length, header.as_bytes(), data].concat()
}

const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";
