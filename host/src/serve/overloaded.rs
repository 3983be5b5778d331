//! A request for which the host has no room now.

use super::error::{ErrorKind, ServeError};

/// A limit was reached.
#[derive(Debug, thiserror::Error)]
pub enum Overloaded {
    /// A byte budget.
    #[error("the host is busy: {0} is spent; try again in a moment")]
    Budget(&'static str),
    /// The bytes of one connection.
    #[error("the bodies on this connection hold as many bytes as one connection may; use more connections")]
    Connection,
    /// The queue.
    #[error("the host is busy: {0}; try again in a moment")]
    Queue(String),
    /// The operating system gave no memory.
    #[error("the host has no memory for the request; try again in a moment")]
    Memory,
    /// The body never fits into the budget.
    #[error("the body needs {0} bytes in memory, which is more than {1}")]
    TooLarge(u64, &'static str),
}

impl Overloaded {
    /// The budget of replies is spent.
    pub(super) fn replies() -> Self {
        Self::Budget("the byte budget for replies (`server.reply_budget`)")
    }
}

impl From<Overloaded> for ServeError {
    fn from(error: Overloaded) -> Self {
        let kind = match error {
            Overloaded::TooLarge(..) => ErrorKind::BodyTooLarge,
            _ => ErrorKind::Overloaded,
        };
        Self::new(kind, error.to_string())
    }
}
