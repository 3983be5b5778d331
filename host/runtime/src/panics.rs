//! Catches the panics of a future, and has the places where a test can cause one.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::OnceLock;
use std::task::Poll;

/// What a panic carries, usually its message.
pub type Payload = Box<dyn Any + Send>;

/// Runs a future. If it panics, it ends there, and what it held is dropped. State that it shares with others must be
/// valid after every step.
///
/// # Errors
/// The payload of the panic.
pub async fn catch<F: Future>(future: F) -> Result<F::Output, Payload> {
    let mut future = pin!(future);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(payload) => Poll::Ready(Err(payload)),
    })
    .await
}

/// What a test does at a place: it may panic. It gets the name of the place.
pub type Fault = fn(&'static str);

static FAULT: OnceLock<Fault> = OnceLock::new();

/// Sets what happens at every [`fault_point`] of this process. Only the program of the tests calls this. The first call
/// decides.
pub fn set_fault(fault: Fault) {
    let _ = FAULT.set(fault);
}

/// A place where a test can cause a panic, to show what the host does after it. The program `plimsoll` never sets a fault,
/// so in it nothing happens here.
pub fn fault_point(place: &'static str) {
    if let Some(fault) = FAULT.get() {
        fault(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_after_a_pause_is_caught_and_a_result_is_passed_on() {
        assert_eq!(catch(async { 7 }).await.ok(), Some(7));
        let panics = async {
            tokio::task::yield_now().await;
            panic!("boom");
        };
        let payload = catch::<_>(panics).await.expect_err("a panic");
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"boom"));
    }
}
