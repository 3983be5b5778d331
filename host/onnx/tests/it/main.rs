//! The tests of the crate: what the engine computes for prepared models, and what the crate says about models.

mod attention;
mod checks;
mod converted;
mod damaged;
mod divisions;
mod engine;
mod engine_alone;
mod exact;
mod filled;
mod fixed;
mod graphs;
mod growth;
mod loading;
mod node_tests;
mod old;
mod openvino;
mod rows;
mod run_shapes;
mod run_size;
mod shapes;
mod unwritten;
mod zeros;
