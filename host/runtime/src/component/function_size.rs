//! Limits on the functions of a component. The memory of the compiler grows with the size of a function, and its time with
//! the product of local variables and blocks. So without a limit, a component of less than a megabyte could keep the compiler
//! busy for hours, and take gigabytes of memory, while every other deployment waits.

use wasmparser::{FunctionBody, Operator, Parser, Payload};

/// Maximum bytes of a function. The compiler needs up to 300 times as much memory.
const MAX_BYTES: usize = 2 << 20;
/// Maximum product of the local variables and the blocks of a function. Interpreters, which have the largest functions, stay
/// far below.
const MAX_PRODUCT: u64 = 50_000_000;

/// A function that is not compiled.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooLargeFunction {
    /// It has too many bytes.
    #[error(
        "its function {index} has {bytes} bytes, but {MAX_BYTES} are allowed; divide it, move tables of values into data, or \
         inline less"
    )]
    Bytes {
        /// The index of the function among those of its module that have a body.
        index: usize,
        /// Bytes of its body.
        bytes: usize,
    },
    /// It has too many local variables for its blocks.
    #[error(
        "its function {index} has {locals} local variables and {blocks} blocks, which would keep the compiler busy for long \
         (their product may be at most {MAX_PRODUCT}); divide it, or build it with optimisation"
    )]
    Locals {
        /// The index of the function among those of its module that have a body.
        index: usize,
        /// Local variables.
        locals: u64,
        /// Blocks, loops and conditions.
        blocks: u64,
    },
}

/// Checks all functions of a component. Bytes that are not valid are accepted: the compiler reports them.
///
/// # Errors
/// If a function is too large.
pub(super) fn check(component: &[u8]) -> Result<(), TooLargeFunction> {
    let mut index = 0;
    for payload in Parser::new(0).parse_all(component) {
        match payload {
            Ok(Payload::CodeSectionStart { .. }) => index = 0,
            Ok(Payload::CodeSectionEntry(body)) => {
                check_function(&body, index)?;
                index += 1;
            }
            Ok(_) => {}
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}

fn check_function(body: &FunctionBody<'_>, index: usize) -> Result<(), TooLargeFunction> {
    let bytes = body.range().len();
    if bytes > MAX_BYTES {
        return Err(TooLargeFunction::Bytes { index, bytes });
    }
    let Ok(locals) = body.get_locals_reader() else { return Ok(()) };
    let locals: u64 = locals.into_iter().map_while(Result::ok).map(|(count, _)| u64::from(count)).sum();
    // A block has at least three bytes, so most functions need not be read.
    if locals * (bytes as u64 / 3) <= MAX_PRODUCT {
        return Ok(());
    }
    let Ok(operators) = body.get_operators_reader() else { return Ok(()) };
    let is_block = |operator: &Operator<'_>| {
        matches!(
            operator,
            Operator::Block { .. }
                | Operator::Loop { .. }
                | Operator::If { .. }
                | Operator::Else
                | Operator::TryTable { .. }
                | Operator::BrIf { .. }
                | Operator::BrTable { .. }
        )
    };
    let blocks = operators.into_iter().map_while(Result::ok).filter(is_block).count() as u64;
    if locals * blocks > MAX_PRODUCT {
        return Err(TooLargeFunction::Locals { index, locals, blocks });
    }
    Ok(())
}
