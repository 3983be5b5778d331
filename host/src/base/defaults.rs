//! Limits that hold where the configuration says nothing.

use std::time::Duration;

/// A stage's cap: room for a 12-megapixel photo.
pub const MAX_MEMORY: u64 = 256 << 20;
/// A stage's time.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// A reply's bytes.
pub const MAX_OUTPUT: u64 = 16 << 20;
/// The time of `init`: it reads weights.
pub const INIT_DEADLINE: Duration = Duration::from_secs(30);
/// A request's time.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(30);
