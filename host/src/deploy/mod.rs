//! Deployment: changes versions of plugins and configurations while requests run.
//!
//! All changes are made in the same way, one at a time. A [`release`] is admitted: it is compiled and checked against
//! its world, `init` runs, and it answers a sample. Pipelines are built with it, and the set of pipelines is replaced
//! in one step. Requests keep the pipeline that they began with, so an old version is dropped when its last request
//! ends. A rejected release leaves the running version in place.
//!
//! - [`deployments`]: the served state, and the lock for changes. [`serving`], [`served_pipeline`]: its content.
//!   [`shadow`]: the chips that also compute a share of the requests.
//!   [`views`]: plugins as the administration routes show them.
//! - [`release`], [`manifest`]: a version of a plugin, and its author's settings. [`catalog`]: all versions of every
//!   plugin. [`journal`], [`journal_state`]: the state that is kept across restarts.
//!   [`journal_log`]: the lines of its file; `journal_file`: appends to it.
//!   `journal_writer`: writes it beside the changes; [`journal_error`]: why that is not possible.
//!   `folder_lock`: only one process uses it. `staged_copy`: a copy that is written before a change; `durable_file`: files
//!   that survive a crash.
//!   [`upload`]: a release that came over HTTP.
//! - `freed_memory`: when memory goes back to the operating system.
//! - `rehearsal`, `rehearsed`: the slow parts of a change, done before it and without the lock.
//! - [`deployer`]: admits a release; [`change_error`]: why it rejects one. [`rollback`]: rolls back and retires; `undo`: takes a deployment back. `previous`: the versions that served before.
//!   [`canary`], [`canary_decision`], [`canary_progress`]: a new version on a share of the requests. `canary_verdict`,
//!   `canary_evidence`: what its figures mean. [`fleet`], [`fleet_report`], `canary_peers`, `fleet_canaries`: several servers decide it together.
//!   [`model_repository`]: unloads and loads
//!   pipelines.
//! - [`start`]: the deployment at start; `restored`: the versions of the journal. `reload`: the change to a new configuration. `pull`, `pending_reload`: pulls the
//!   components that it names, before the change; `pull_again`: asks registries again that could not be asked. [`release_selection`]: selects the release that serves if there are several; `hold_back`: puts it on canary first. [`version_order`], [`newest_file`],
//!   `newest_release`: which of several files is the newest.
//! - [`folder_look`], [`plugin_folder`]: the plugin folder and its changes. [`scan`], [`watch`]: one scan, and when.
//!   `many_files`: deploys the files of a scan. `file_deployment`, `file_order`: what a new file does, and when it may
//!   replace the version that serves.
//!   [`unreadable`]: the files and folders that cannot be read. [`durability`], [`lost_copies`]: whether a restart
//!   remembers a change. [`forget`]: forgets what no longer exists.
//! - [`pipeline_builder`], [`pipeline_build`], `step_build`, `stages`, [`build_state`]: build pipelines from the configuration.
//!   `built_pipelines`, `known_stages`: what they need not build again.
//!   [`file_store`]: the files that it names; `model_files`: those of a model; `manifest_assets`: those of a manifest;
//!   `read_ahead`: reads them before a change; `file_store_error`: why one cannot be used. [`trial_load`]: loads a model in
//!   a process of its own first.
//!   [`build_progress`]: log lines about slow steps. [`sample`]: the sample that every new version must answer.

pub mod build_error;
pub mod build_progress;
pub mod build_state;
mod built_pipelines;
pub mod canary;
pub mod canary_decision;
mod canary_events;
mod canary_evidence;
mod canary_peers;
pub mod canary_progress;
mod canary_verdict;
pub mod capture;
pub mod catalog;
pub mod change_error;
pub mod deployer;
pub mod deployments;
pub mod durability;
mod durable_file;
mod file_deployment;
pub mod file_fingerprint;
mod file_order;
pub mod file_store;
mod file_store_error;
pub mod fleet;
mod fleet_canaries;
pub mod fleet_report;
mod folder_lock;
pub mod folder_look;
pub mod forget;
mod freed_memory;
mod hold_back;
pub mod journal;
pub mod journal_error;
mod journal_file;
pub mod journal_log;
pub mod journal_state;
pub mod journal_writer;
mod known_stages;
pub mod lost_copies;
pub mod manifest;
mod manifest_assets;
mod many_files;
mod model_files;
mod model_load;
pub mod model_repository;
pub mod needed;
pub mod newest_file;
mod newest_release;
mod pending_reload;
pub mod pipeline_build;
pub mod pipeline_builder;
mod pipeline_chips;
pub mod plugin_folder;
mod previous;
mod pull;
mod pull_again;
mod read_ahead;
mod rehearsal;
mod rehearsed;
pub mod release;
pub mod release_selection;
mod reload;
mod request_share;
mod restored;
pub mod rollback;
pub mod sample;
pub mod scan;
pub mod served_pipeline;
pub mod serving;
pub mod shadow;
mod staged_copy;
mod stages;
pub mod start;
mod step_build;
pub mod trial_load;
mod undo;
pub mod unreadable;
pub mod upload;
pub mod version_order;
pub mod views;
pub mod watch;

pub use deployer::{ChangeError, DeployedState, Deployer};
pub use deployments::Deployments;
pub use release::{Release, ReleaseSource};
pub use served_pipeline::{NotServed, ServedPipeline};
pub use serving::{Served, Serving};
