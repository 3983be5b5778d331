//! The integration tests, in one binary. Each module tests through the door that users use.

mod cache;
mod canary;
mod cli;
mod compare;
mod config;
mod corpus;
mod demo;
mod deploy;
mod examples;
mod http;
mod images;
mod incident;
mod isolation;
mod lifecycle;
mod memory;
mod misbehaving;
mod models;
mod oci;
mod plugin_new;
mod readme;
mod recorder;
mod refusals;
mod reload;
mod report;
mod swap;
