//! What the shipped postprocess plugins share.
//!
//! - [`outputs`]: finds the outputs of a model and checks their types and numbers.
//! - [`geometry`]: from the model's input to the caller's image.
//! - [`npy`]: the file format of numpy.

pub mod geometry;
pub mod npy;
pub mod outputs;
