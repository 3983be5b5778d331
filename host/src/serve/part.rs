//! The parts of the server, which may have different addresses (`[admin] listen`).

/// The routes of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All routes.
    All,
    /// Only the routes of callers.
    Callers,
    /// Only administration, reports and metrics.
    Administration,
}

impl Part {
    /// True if the part has the routes of callers.
    pub fn serves_callers(self) -> bool {
        self != Self::Administration
    }

    /// True if the part has administration, reports and metrics.
    pub fn administers(self) -> bool {
        self != Self::Callers
    }
}
