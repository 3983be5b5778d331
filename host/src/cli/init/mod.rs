//! What `plimsoll init` works out about a model, in the order in which it does so.
//!
//! - [`image_input`]: name, size, layout and type of the input for images.
//! - [`probe`]: the backend that can run the model, and the shapes of its outputs.
//! - [`trial`]: the bundled sample in the written pipeline; [`values`]: whether its outputs look like probabilities.
//! - [`recognition`]: which [`task`] the model has, and so which postprocess plugin fits; [`detectors`]: the families of
//!   detectors; [`masks`]: masks of objects; [`pictures`]: images; [`single_output`]: the other tasks; [`labels`]: the names of classes, `python_names`
//!   those in the form of Python.
//! - [`normalisation`]: how pixels become numbers.
//! - [`plan`]: what is written, and what is decided by the outputs for the bundled sample.
//! - [`setting`]: a line of a table `config`, with its reason.
//! - [`questions`]: what a user on a terminal is asked.
//! - [`folder`]: writes the folder.

pub(in crate::cli) mod detectors;
pub(in crate::cli) mod folder;
pub(in crate::cli) mod image_input;
pub(in crate::cli) mod labels;
pub(in crate::cli) mod masks;
pub(in crate::cli) mod normalisation;
pub(in crate::cli) mod pictures;
pub(in crate::cli) mod plan;
pub(in crate::cli) mod probe;
mod python_names;
pub(in crate::cli) mod questions;
pub(in crate::cli) mod recognition;
pub(in crate::cli) mod setting;
pub(in crate::cli) mod single_output;
pub(in crate::cli) mod task;
pub(in crate::cli) mod trial;
pub(in crate::cli) mod values;
