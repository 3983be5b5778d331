//! Recordings: inputs that set a new high-water mark, or ended in a memory limit, a deadline or a trap. They are kept
//! on disk with the facts of their request, so that `plimsoll replay` can run them again.
//!
//! A recording consists of two files, `ID.body` and `ID.json`. `ID.json` is written last and with a rename, so the
//! recording is complete if it exists. The host generates the names, so a caller cannot influence a path. Only the
//! owner can read the files, because they contain callers' images. A capture, which is one of a share of all requests, also
//! has `ID.reply`.
//!
//! - `kept_input`: the input of a request that runs. [`facts`]: the data of `ID.json`. [`rules`]: the limits.
//!   [`recorder`]: the queue and the writer thread. `room`: the limits of the queue. [`store`]: the folder.

pub mod facts;
pub(in crate::records) mod kept_input;
pub mod recorder;
mod room;
pub mod rules;
pub mod store;

pub use facts::{Facts, ReplyFacts, StageFacts, is_recorded};
pub use kept_input::Recording;
pub use recorder::InputRecorder;
pub use rules::RecordingRules;
