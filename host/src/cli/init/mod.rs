//! What `plimsoll init` works out about a model, in the order in which it does so.
//!
//! - [`image_input`]: name, size, layout and type of the input for images.
//! - [`probe`]: the backend that can run the model, and the shapes of its outputs.
//! - [`recognition`]: which [`task`] the model has, and so which postprocess plugin fits; [`detectors`]: the families of
//!   detectors; [`masks`]: masks of objects; [`single_output`]: the other tasks; [`labels`]: the names of classes.
//! - [`normalisation`]: how pixels become numbers.
//! - [`setting`]: a line of a table `config`, with its reason.
//! - [`folder`]: writes the folder.

pub(in crate::cli) mod detectors;
pub(in crate::cli) mod folder;
pub(in crate::cli) mod image_input;
pub(in crate::cli) mod labels;
pub(in crate::cli) mod masks;
pub(in crate::cli) mod normalisation;
pub(in crate::cli) mod probe;
pub(in crate::cli) mod recognition;
pub(in crate::cli) mod setting;
pub(in crate::cli) mod single_output;
pub(in crate::cli) mod task;
