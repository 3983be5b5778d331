//! Default limits, used if the configuration sets none.

use std::time::Duration;

/// The cap of a stage in bytes: room for a 12-megapixel photo.
pub const MAX_MEMORY: u64 = 256 << 20;
/// The deadline of a stage run.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// Maximum size of a reply in bytes.
pub const MAX_OUTPUT: u64 = 16 << 20;
/// The most bytes that all instances and tensors of a request to a pipeline with steps hold together.
pub const MAX_REQUEST_MEMORY: u64 = 1 << 30;
/// The deadline of `init`. It is longer than that of a stage run, because `init` reads weights.
pub const INIT_DEADLINE: Duration = Duration::from_secs(30);
/// The deadline of a whole request.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(30);
