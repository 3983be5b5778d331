//! The integration tests, in one binary. Each module tests through the door that users use.

mod cli;
mod config;
mod corpus;
mod demo;
mod http;
mod images;
mod incident;
mod isolation;
mod lifecycle;
mod memory;
mod misbehaving;
mod models;
mod readme;
