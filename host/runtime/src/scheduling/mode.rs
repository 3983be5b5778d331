//! The switch of the scheduling heuristics.

/// Whether the scheduling heuristics are on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scheduling {
    /// All three heuristics are on.
    #[default]
    Fair,
    /// All three heuristics are off.
    Off,
}
