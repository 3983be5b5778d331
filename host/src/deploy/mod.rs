//! Deployment: how versions of plugins come and go while requests run.
//!
//! Every change goes one way, and one at a time: a [`release`] is admitted (compiled, fitted into its world, `init`
//! run, a sample answered), pipelines are built with it ([`workshop`], `building`), and the set of pipelines is exchanged
//! in one step. Requests hold the pipeline with which they began, so the old version goes when the last of them ends.
//! What is refused changes nothing.
//!
//! - [`release`], [`manifest`]: a version of a plugin, and its author's words about it.
//! - [`inbox`], [`watch`]: the plugin folder, and who looks at it when.
//! - [`deployer`]: a release is admitted; `withdrawal`: it is rolled back or retired; [`start`]: the first change, and a
//!   new configuration; `choice`: which release is served when there are several; `trials`: how a candidate's trial ends.
//! - [`loading`]: a pipeline is taken out of service, and comes back.
//! - [`smoke`], [`canary`]: what a version must show before and while it serves.
//! - [`catalog`], [`journal`]: what is known of every plugin; what of it survives the process.

mod building;
pub mod canary;
pub mod catalog;
mod choice;
pub mod deployer;
pub mod inbox;
pub mod journal;
pub mod loading;
pub mod manifest;
pub mod release;
pub mod smoke;
pub mod start;
mod trials;
pub mod watch;
mod withdrawal;
pub mod workshop;

pub use deployer::{ChangeError, Deployed, Deployer};
pub use release::{Release, Source};
