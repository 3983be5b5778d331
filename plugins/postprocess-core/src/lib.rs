//! Code that the shipped postprocess plugins share.
//!
//! - [`outputs`]: finds the outputs of a model and checks their types and numbers.
//! - [`geometry`]: from the model's input to the caller's image; [`boxes`]: boxes and points between them.
//! - [`select`]: which of many boxes are reported.
//! - [`npy`]: the file format of numpy.

pub mod boxes;
pub mod geometry;
pub mod npy;
pub mod outputs;
pub mod select;
