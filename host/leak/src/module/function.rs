//! A function, and the places in it where the tracer stops.

use wasmparser::Operator;

/// A function that the module defines.
#[derive(Debug, Default, Clone)]
pub struct Function {
    /// The demangled name from the name section; `func[N]` if there is none.
    pub name: String,
    /// Offset of the first instruction.
    pub entry: u32,
    /// Offsets of all instructions that leave the function: each `return`, and the last `end`.
    pub exits: Vec<u32>,
    /// Offsets of the instructions that grow a memory.
    pub grows: Vec<u32>,
    /// Offset after the last instruction.
    pub end: u32,
    /// The numbers of parameters and results.
    pub arity: (usize, usize),
}

/// Reads the offsets of a function. It has no name yet.
pub(super) fn read_function(
    body: &wasmparser::FunctionBody<'_>,
    arity: (usize, usize),
) -> wasmparser::Result<Function> {
    let mut reader = body.get_operators_reader()?;
    let entry = reader.original_position() as u32;
    let (mut exits, mut grows) = (Vec::new(), Vec::new());
    let mut last = entry;
    while !reader.eof() {
        let (operator, offset) = reader.read_with_offset()?;
        last = offset as u32;
        match operator {
            Operator::Return => exits.push(last),
            Operator::MemoryGrow { .. } => grows.push(last),
            _ => {}
        }
    }
    exits.push(last);
    Ok(Function { name: String::new(), entry, exits, grows, end: body.range().end as u32, arity })
}
