//! Turns a panic into a rejected model.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::rejected::Rejected;

/// Runs a part of this crate on a model. A panic is a fault of this crate, and must not end a host that serves other
/// models; the panic hook of the host reports it. In a component a panic is a trap, as always.
pub(crate) fn rejected<T>(work: impl FnOnce() -> Result<T, Rejected>) -> Result<T, Rejected> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Rejected::model(
            "the model could not be analysed: the analysis panicked, which is a fault of Plimsoll; please report it \
             with the model"
                .into(),
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_rejects_the_model() {
        let result: Result<(), _> = rejected(|| panic!("index out of bounds"));
        assert!(result.is_err_and(|error| error.to_string().contains("fault of Plimsoll")));
        assert_eq!(rejected(|| Ok(1)).ok(), Some(1));
    }
}
