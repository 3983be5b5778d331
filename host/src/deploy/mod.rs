//! Deployment: how versions of plugins and configurations come and go while requests run.
//!
//! There is one way to make a change, and one change at a time: a [`release`] is admitted (compiled, checked against its
//! world, `init` run, a sample answered), pipelines are built with it, and the set of pipelines is replaced in one step.
//! Requests keep the pipeline that they began with, so an old version is dropped when its last request ends. A rejected
//! release leaves the running version in place.
//!
//! - [`deployments`]: what is served, and the lock for changes. [`serving`], [`served_pipeline`]: what is served. [`views`]: what is known of
//!   plugins, for the administration routes.
//! - [`release`], [`manifest`]: a version of a plugin, and its author's settings. [`catalog`]: all versions of every plugin.
//!   [`journal`]: what a restart remembers.
//! - [`deployer`]: admits a release. [`rollback`]: rolls back and retires. [`canary`], [`canary_decision`]: a new version on
//!   a share of the requests. [`model_repository`]: unloads and loads pipelines.
//! - [`start`]: the first deployment, and a new configuration. [`release_selection`]: which release serves if there are
//!   several.
//! - [`plugin_folder`], [`watch`]: the plugin folder, and when it is scanned.
//! - [`pipeline_builder`], [`pipeline_build`], [`build_state`], [`file_store`]: from the configuration to pipelines.
//!   [`sample`]: the sample that every new version must answer.

pub mod build_error;
pub mod build_state;
pub mod canary;
pub mod canary_decision;
pub mod catalog;
pub mod deployer;
pub mod deployments;
pub mod file_fingerprint;
pub mod file_store;
pub mod journal;
pub mod manifest;
pub mod model_repository;
pub mod needed;
pub mod pipeline_build;
pub mod pipeline_builder;
pub mod plugin_folder;
pub mod release;
pub mod release_selection;
pub mod rollback;
pub mod sample;
pub mod served_pipeline;
pub mod serving;
pub mod start;
pub mod views;
pub mod watch;

pub use deployer::{ChangeError, DeployedState, Deployer};
pub use deployments::Deployments;
pub use release::{Release, ReleaseSource};
pub use served_pipeline::{NotServed, ServedPipeline};
pub use serving::{Served, Serving};
