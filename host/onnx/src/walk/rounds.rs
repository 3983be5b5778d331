//! The body of a loop, which is corrected for all rounds.

use rten_onnx::onnx::{DataType, GraphProto, NodeProto};

use super::Walk;
use crate::rejected::Rejected;
use crate::types::{Info, Values};

/// After so many bodies that were corrected again, nothing is assumed about the sizes of states: loops in loops in loops
/// would be corrected without end.
const MOST_REPEATED: usize = 64;

/// The number of the iteration and the condition, which a body gets before the states of its loop.
const BEFORE_STATES: usize = 2;

impl Walk {
    /// Corrects the body of a loop. What a round returns is what the next one takes, so the body is corrected again if it
    /// returns a state of which less is known. `given` is what the first round gets, and then what is true in all rounds.
    pub(super) fn rounds(
        &mut self,
        body: &mut GraphProto,
        outer: &Values,
        given: &mut [Info],
    ) -> Result<Vec<Info>, Rejected> {
        loop {
            if self.repeated >= MOST_REPEATED {
                for state in given.iter_mut().skip(BEFORE_STATES) {
                    (state.is_dependent, state.is_inexact_half) = (true, true);
                }
            }
            let original = body.clone();
            let outputs = self.graph(body, outer, Some(given))?;
            let mut is_known = true;
            // The condition is before the states.
            for (state, returned) in given.iter_mut().skip(BEFORE_STATES).zip(outputs.iter().skip(1)) {
                is_known &= state.is_dependent || !returned.is_dependent;
                is_known &= state.is_inexact_half || !returned.is_inexact_half || is_half(returned);
                state.is_dependent |= returned.is_dependent;
                state.is_inexact_half |= returned.is_inexact_half;
            }
            if is_known {
                return Ok(outputs);
            }
            *body = original;
            self.repeated += 1;
        }
    }
}

/// A state of FLOAT16 is never exact.
fn is_half(state: &Info) -> bool {
    state.ty == Some(DataType::FLOAT16)
}

/// The inputs of a loop's body in the first round: the number of the iteration, the condition, and what the loop starts
/// with.
pub(super) fn first_inputs(node: &NodeProto, values: &Values) -> Vec<Info> {
    let start = |name: &String| values.get(name).cloned().unwrap_or_else(Info::unknown);
    let scalar = |ty: DataType| Info::of_type(Some(ty), Some(0));
    [scalar(DataType::INT64), scalar(DataType::BOOL)].into_iter().chain(node.input.iter().skip(2).map(start)).collect()
}
