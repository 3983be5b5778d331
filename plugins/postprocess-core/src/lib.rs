//! Code that the shipped postprocess plugins and those of kind `transform` share.
//!
//! - [`outputs`]: finds the outputs of a model and checks their types and numbers.
//! - [`geometry`]: from the model's input to the caller's image; [`boxes`]: checks boxes and points, and converts them so.
//! - [`box_output`]: outputs of boxes with keypoints or masks.
//! - [`select`]: which of many boxes are reported.
//! - [`merge`]: the same for boxes of several parts of a picture.
//! - [`classes`]: the configuration of classes; [`shape`], [`scores`]: their scores.
//! - [`items`]: the reply of a step that gathers items.
//! - [`npy`]: the file format of numpy.

pub mod box_output;
pub mod boxes;
pub mod classes;
pub mod geometry;
pub mod items;
pub mod merge;
mod neighbours;
pub mod npy;
pub mod outputs;
pub mod scores;
pub mod select;
pub mod shape;
mod soft;
#[cfg(test)]
mod tests;
