//! The tests of the crate: what the engine computes for prepared models, and what the crate says about models.

mod attention;
mod checks;
mod damaged;
mod converted;
mod divisions;
mod engine;
mod exact;
mod filled;
mod fixed;
mod graphs;
mod node_tests;
mod old;
mod growth;
mod rows;
mod run_shapes;
mod run_size;
mod shapes;
mod zeros;
mod unwritten;
