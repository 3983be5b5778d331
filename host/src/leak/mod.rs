//! The leak laboratory.

pub mod allocations;
pub mod census;
pub mod corpus;
pub mod debug_info;
pub mod heap;
pub mod module;
pub mod report;
pub mod retention;
pub mod run;
pub mod study;
pub mod subject;
pub mod verdict;
