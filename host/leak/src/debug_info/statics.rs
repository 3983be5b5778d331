//! Variables with a fixed address, read from the DWARF of each unit.

use gimli::{AttributeValue, DebuggingInformationEntry, Dwarf, EndianSlice, LittleEndian, Operation, Unit};
use plimsoll_runtime::text::printable;

use crate::symbols::LONGEST_NAME;

/// Maximum statics, and maximum pieces of one of them. Each has a name of its own, which can be much longer than its entry.
const MAX_STATICS: usize = 1 << 18;
const MAX_PIECES: usize = 64;
/// Maximum levels of a static's name.
const MAX_LEVELS: usize = 64;
/// Maximum entries that are read of an array's type.
const MAX_ARRAY_ENTRIES: usize = 16;

/// The contents of a debug section.
pub(super) type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// A variable with a fixed address.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Static {
    /// The name with its namespaces, for example `leaker::FAILED`.
    pub name: String,
    /// The address in linear memory.
    pub address: u32,
    /// Bytes; 0 if not known.
    pub size: u32,
}

/// Finds the variables of all units whose location is a fixed address.
pub(super) fn statics(dwarf: &Dwarf<Slice<'_>>) -> gimli::Result<Vec<Static>> {
    let mut found = Vec::new();
    let mut units = dwarf.units();
    while let Some(header) = units.next()?
        && found.len() < MAX_STATICS
    {
        let unit = dwarf.unit(header)?;
        let mut namespaces: Vec<(isize, Option<String>)> = Vec::new();
        let mut entries = unit.entries();
        while let Some(entry) = entries.next_dfs()?
            && found.len() < MAX_STATICS
        {
            let depth = entry.depth();
            while namespaces.last().is_some_and(|(level, _)| *level >= depth) {
                namespaces.pop();
            }
            match entry.tag() {
                gimli::DW_TAG_variable => {
                    add_variable(dwarf, &unit, entry, &namespaces, &mut found)?;
                }
                // The name of a static inside a function includes the function.
                gimli::DW_TAG_namespace | gimli::DW_TAG_subprogram | gimli::DW_TAG_structure_type => {
                    namespaces.push((depth, text(dwarf, &unit, entry, gimli::DW_AT_name)?));
                }
                _ => {}
            }
        }
    }
    found.sort_by_key(|known| (known.address, known.size));
    found.dedup_by_key(|known| known.address);
    Ok(found)
}

/// Adds a variable: as one static, or as several if optimisation split it into pieces.
fn add_variable(
    dwarf: &Dwarf<Slice<'_>>,
    unit: &Unit<Slice<'_>>,
    entry: &DebuggingInformationEntry<Slice<'_>>,
    namespaces: &[(isize, Option<String>)],
    found: &mut Vec<Static>,
) -> gimli::Result<()> {
    let Some(AttributeValue::Exprloc(expression)) = entry.attr_value(gimli::DW_AT_location) else { return Ok(()) };
    let pieces = addresses(expression, unit)?;
    if pieces.is_empty() {
        return Ok(());
    }
    let Some(name) = text(dwarf, unit, entry, gimli::DW_AT_name)? else { return Ok(()) };
    let namespaces = &namespaces[namespaces.len().saturating_sub(MAX_LEVELS)..];
    let path = namespaces.iter().filter_map(|(_, name)| name.as_deref()).chain([name.as_str()]);
    let name = path.filter(|name| !is_noise(name)).collect::<Vec<_>>().join("::");
    let name = printable(&name, LONGEST_NAME);
    let whole = match entry.attr_value(gimli::DW_AT_type) {
        Some(AttributeValue::UnitRef(offset)) => size_of(unit, offset, 0)?,
        _ => 0,
    };
    for (address, size) in pieces {
        // The linker sets the address of removed variables to 0 or to the highest address.
        if let Some(address) = u32::try_from(address).ok().filter(|&address| address != 0 && address != u32::MAX) {
            found.push(Static { name: name.clone(), address, size: size.unwrap_or(whole) });
        }
    }
    Ok(())
}

/// Returns true for the levels that `thread_local!` adds between a thread-local's name and its storage.
fn is_noise(name: &str) -> bool {
    name.starts_with('{') || name == "__RUST_STD_INTERNAL_VAL" || name == "__rust_std_internal_init_fn"
}

/// The addresses in a location expression, each with its size in bytes if it is a piece of the variable. In
/// position-independent code an address is the sum of the module's load address (a global, 0 in a component) and an
/// offset. The address of a thread-local is a constant, because without threads it is a static. A piece that is computed
/// from a word in memory (the optimiser stored a flag instead of a whole value) is where that word is. Other pieces have no
/// address.
fn addresses(
    expression: gimli::Expression<Slice<'_>>,
    unit: &Unit<Slice<'_>>,
) -> gimli::Result<Vec<(u64, Option<u32>)>> {
    let mut operations = expression.operations(unit.encoding());
    let mut pieces = Vec::new();
    let mut address = None;
    let mut stored: Option<(u64, u32)> = None;
    let mut is_known = true;
    loop {
        // gimli 0.33 multiplies the size by 8 without a check.
        if is_impossible_piece(&expression.0.slice()[operations.offset_from(&expression)..]) {
            return Ok(pieces);
        }
        let Some(operation) = operations.next()?.filter(|_| pieces.len() < MAX_PIECES) else { break };
        match operation {
            Operation::Piece { size_in_bits, .. } => {
                match (address.take(), stored.take()) {
                    (_, Some((address, size))) => pieces.push((address, Some(size))),
                    (Some(address), None) if is_known => pieces.push((address, Some(narrow(size_in_bits / 8)))),
                    _ => {}
                }
                is_known = true;
            }
            Operation::Deref { size, .. } => stored = stored.or(address.map(|address| (address, u32::from(size)))),
            // What is computed from a stored word.
            _ if stored.is_some() => {}
            Operation::Address { address: part } | Operation::UnsignedConstant { value: part } => {
                address = Some(address.unwrap_or(0u64).wrapping_add(part));
            }
            Operation::PlusConstant { value } => address = address.map(|address| address.wrapping_add(value)),
            Operation::WasmGlobal { .. } | Operation::Plus | Operation::TLS => {}
            _ => is_known = false,
        }
    }
    match (address, stored) {
        (_, Some((address, size))) => pieces.push((address, Some(size))),
        (Some(address), None) if is_known => pieces.push((address, None)),
        _ => {}
    }
    Ok(pieces)
}

/// Returns true if the next operation is a piece whose size in bits has more than 64 bits.
fn is_impossible_piece(operations: &[u8]) -> bool {
    let [operation, size @ ..] = operations else { return false };
    *operation == gimli::DW_OP_piece.0
        && gimli::leb128::read::unsigned(&mut Slice::new(size, LittleEndian)).is_ok_and(|bytes| bytes > u64::MAX / 8)
}

/// Bytes of a type; 0 if not known.
fn size_of(unit: &Unit<Slice<'_>>, offset: gimli::UnitOffset, depth: usize) -> gimli::Result<u32> {
    const MAX_DEPTH: usize = 16;
    let entry = unit.entry(offset)?;
    if let Some(size) = entry.attr_value(gimli::DW_AT_byte_size).and_then(|value| value.udata_value()) {
        return Ok(narrow(size));
    }
    if entry.tag() == gimli::DW_TAG_pointer_type {
        return Ok(u32::from(unit.encoding().address_size));
    }
    let Some(AttributeValue::UnitRef(inner)) = entry.attr_value(gimli::DW_AT_type) else { return Ok(0) };
    if depth == MAX_DEPTH {
        return Ok(0);
    }
    let element = size_of(unit, inner, depth + 1)?;
    if entry.tag() != gimli::DW_TAG_array_type {
        return Ok(element);
    }
    // The entries inside the array's are its dimensions.
    let mut entries = unit.entries_at_offset(offset)?;
    let mut count = 1u64;
    for read in 0..=MAX_ARRAY_ENTRIES {
        let Some(entry) = entries.next_dfs()? else { break };
        match (read, entry.depth()) {
            (0, _) => continue,
            (_, ..=0) => break,
            (_, 1) => {}
            _ => continue,
        }
        let number = |at| entry.attr_value(at).and_then(|value: AttributeValue<Slice<'_>>| value.udata_value());
        // A last index of -1 is that of an array without elements.
        let length =
            number(gimli::DW_AT_count).or_else(|| number(gimli::DW_AT_upper_bound).map(|last| last.wrapping_add(1)));
        count = count.saturating_mul(length.unwrap_or(1));
    }
    Ok(narrow(u64::from(element).saturating_mul(count)))
}

/// A size in linear memory.
fn narrow(size: u64) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

/// The beginning of an attribute's string, if the entry has that attribute.
fn text(
    dwarf: &Dwarf<Slice<'_>>,
    unit: &Unit<Slice<'_>>,
    entry: &DebuggingInformationEntry<Slice<'_>>,
    attribute: gimli::DwAt,
) -> gimli::Result<Option<String>> {
    let Some(value) = entry.attr_value(attribute) else { return Ok(None) };
    // Many entries can have the same string, however long it is.
    let text = dwarf.attr_string(unit, value)?.slice();
    let beginning = &text[..text.len().min(LONGEST_NAME + 4)];
    Ok(Some(String::from_utf8_lossy(beginning).into_owned()))
}

#[cfg(test)]
mod tests;
