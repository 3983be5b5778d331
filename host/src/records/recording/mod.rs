//! Recordings: inputs that set a new high-water mark, or ended in a memory limit, a deadline or a trap. They are kept on
//! disk with the facts of their request, so that `plimsoll replay` can run them again.
//!
//! A recording is two files with the same name, `ID.body` and `ID.json`. The latter is written last and by a rename, so if
//! it exists, the recording is complete. Names are generated here, so a caller cannot influence a path. Only the owner can
//! read the files, because they are callers' images.
//!
//! - [`facts`]: what is written next to a body. [`recorder`]: the queue and the writer thread. [`store`]: the folder.

pub mod facts;
pub mod recorder;
pub mod rules;
pub mod store;

pub use facts::{Facts, StageFacts, is_recorded};
pub use recorder::InputRecorder;
pub use rules::RecordingRules;
