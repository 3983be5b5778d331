//! `plimsoll.toml`: the user's configuration. Every table rejects unknown keys.
//!
//! [`file`](mod@file): the whole file and where it came from. `load` reads it, and `checks` finds settings
//! that parse but are not valid. [`environment`]: settings of environment variables. [`effective`]: the
//! settings with their sources. `otel_variables`: those of OpenTelemetry. `secrets`, `shown`: what readers may see. `pulled_models`, `stored_models`: models of
//! registries. `schema`: the JSON Schema; `texts`: values that are texts. The other modules have one table each.

pub mod admin;
pub mod auth;
pub mod backends;
pub mod canary;
mod checks;
pub mod chips;
pub mod deploy;
pub mod effective;
pub mod environment;
pub mod error;
pub mod file;
pub mod fleet;
mod host_name;
pub mod listen;
mod load;
pub mod memory;
pub mod model;
mod otel_variables;
pub mod pipeline;
pub mod plugin;
pub mod pulled_models;
mod schema;
mod secrets;
pub mod server;
pub mod shadow;
mod share;
pub mod shown;
pub mod stage;
pub mod step;
mod step_checks;
mod stored_models;
pub mod telemetry;
mod texts;
pub mod tls;

pub use admin::{Admin, TOKEN_FILE, TOKEN_VARIABLE};
pub use auth::Auth;
pub use canary::{CanaryBy, CanaryRules};
pub use chips::ChipSettings;
pub use deploy::Deploy;
pub use error::ConfigError;
pub use file::{Config, DEMO, Overrides, ReadError};
pub use fleet::Fleet;
pub use host_name::{HostName, InvalidHostName};
pub use listen::{InvalidAddress, Listen, ListenAddress};
pub use memory::{Capture, Memory, Record};
pub use model::Model;
pub use pipeline::Pipeline;
pub use pulled_models::{PullError, PulledModels};
pub use schema::SCHEMA_FILE;
pub use server::Server;
pub use shadow::ShadowRules;
pub use stage::{Stage, text_of};
pub use step::Step;
pub use telemetry::Telemetry;
pub use tls::Tls;
