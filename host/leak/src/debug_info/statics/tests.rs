use super::*;
use crate::debug_info::DebugInfo;
use crate::module::CoreModule;

/// A number in LEB128.
fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 128 {
        bytes.push(number as u8 | 128);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A core module with a memory and these custom sections.
fn module(sections: &[(&str, Vec<u8>)]) -> CoreModule {
    let mut bytes = b"\0asm\x01\0\0\0\x05\x03\x01\0\x01".to_vec();
    for (name, contents) in sections {
        let contents = [leb(name.len()), name.as_bytes().to_vec(), contents.clone()].concat();
        bytes.extend([vec![0], leb(contents.len()), contents].concat());
    }
    CoreModule::of_component(&bytes).expect("a module")
}

/// The tags and attributes of the entries below. The numbers are those of DWARF 4: name 3, location 2, type 73, byte size 11,
/// last index 47; string 8, expression 24, reference 19, eight bytes 7.
const ABBREVIATIONS: &[u8] = b"\x01\x11\x01\0\0\x02\x34\0\x03\x08\x02\x18\x49\x13\0\0\x03\x01\x01\x49\x13\0\0\
    \x04\x21\0\x2f\x07\0\0\x05\x24\0\x0b\x07\0\0\x06\x39\x01\x03\x08\0\0\0";
/// The entries, by their numbers above.
const UNIT: u8 = 1;
const VARIABLE: u8 = 2;
const ARRAY: u8 = 3;
const DIMENSION: u8 = 4;
const BASE_TYPE: u8 = 5;
const NAMESPACE: u8 = 6;
/// Where the first entry after that of the unit begins.
const FIRST: u32 = 12;

/// The statics of one unit with these entries.
fn statics_of(entries: &[u8]) -> Vec<Static> {
    let unit = [b"\x04\0\0\0\0\0\x04".as_slice(), &[UNIT], entries, &[0]].concat();
    let info = [&(unit.len() as u32).to_le_bytes(), unit.as_slice()].concat();
    let module = module(&[(".debug_abbrev", ABBREVIATIONS.to_vec()), (".debug_info", info)]);
    DebugInfo::of_module(&module).statics().to_vec()
}

/// A type of four bytes, for variables after it.
fn word() -> Vec<u8> {
    [&[BASE_TYPE], 4u64.to_le_bytes().as_slice()].concat()
}

fn variable(name: &str, expression: &[u8], ty: u32) -> Vec<u8> {
    [&[VARIABLE], name.as_bytes(), b"\0", &leb(expression.len()), expression, &ty.to_le_bytes()].concat()
}

/// An expression that is an address.
fn address(address: u32) -> Vec<u8> {
    [b"\x03".as_slice(), &address.to_le_bytes()].concat()
}

#[test]
fn sizes_of_any_value_are_read() {
    for (last, element, size) in [
        (9u64, 4u64, 40),
        (u64::MAX, 4, 0),
        (u64::MAX - 1, 4, u32::MAX),
        (1 << 40, 1, u32::MAX),
        (0, 1 << 40, u32::MAX),
    ] {
        let base = [&[BASE_TYPE], element.to_le_bytes().as_slice()].concat();
        let array = FIRST + base.len() as u32;
        let dimension = [&[DIMENSION], last.to_le_bytes().as_slice(), &[0]].concat();
        let array_type = [&[ARRAY], FIRST.to_le_bytes().as_slice(), &dimension].concat();
        let entries = [base, array_type, variable("x", &address(16), array)].concat();
        assert_eq!(statics_of(&entries), [Static { name: "x".to_owned(), address: 16, size }], "{last} × {element}");
    }
}

#[test]
fn a_static_has_a_bounded_number_of_pieces() {
    let piece = |at: u32| [address(16 + 8 * at), b"\x93\x04".to_vec()].concat();
    let expression: Vec<u8> = (0..1_000).flat_map(piece).collect();
    let found = statics_of(&[word(), variable("x", &expression, FIRST)].concat());
    assert_eq!(found.len(), MAX_PIECES);
    assert_eq!(found[1], Static { name: "x".to_owned(), address: 24, size: 4 });
}

#[test]
fn a_piece_of_an_impossible_size_ends_the_pieces() {
    let whole = [address(16), b"\x93\x04".to_vec()].concat();
    for bytes in [u64::MAX / 8 + 1, u64::MAX] {
        let huge = [address(24), vec![0x93], leb(bytes as usize)].concat();
        let found = statics_of(&[word(), variable("x", &[whole.clone(), huge].concat(), FIRST)].concat());
        assert_eq!(found, [Static { name: "x".to_owned(), address: 16, size: 4 }], "{bytes}");
    }
    let large = [address(24), vec![0x93], leb((u64::MAX / 8) as usize)].concat();
    let found = statics_of(&[word(), variable("x", &large, FIRST)].concat());
    assert_eq!(found, [Static { name: "x".to_owned(), address: 24, size: u32::MAX }]);
}

/// 20,000 nested namespaces with one variable each: the whole names together have 2 × 10^8 parts.
#[test]
fn deep_namespaces_take_linear_time() {
    const DEPTH: u32 = 20_000;
    let level = |at: u32| [vec![NAMESPACE, b'n', 0], variable("x", &address(16 + 8 * at), FIRST)].concat();
    let mut entries: Vec<u8> = word().into_iter().chain((0..DEPTH).flat_map(level)).collect();
    entries.extend(vec![0; DEPTH as usize]);
    let found = statics_of(&entries);
    assert_eq!((found.len(), found[1].name.as_str()), (DEPTH as usize, "n::n::x"));
    assert_eq!(found[DEPTH as usize - 1].name, "n::".repeat(MAX_LEVELS) + "x");
}
