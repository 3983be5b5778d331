//! The protocol's model repository extension: lists, loads and unloads models. The infer stage of a pipeline is loaded
//! and unloaded together with the pipeline.

use std::sync::Arc;

use plimsoll_runtime::text::shortened;
use serde::Serialize;
use utoipa::ToSchema;

use super::model::{names_of, pipeline_of};
use crate::deploy::Deployer;
use crate::serve::App;
use crate::serve::error::ServeError;

/// A version of a model in the index.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct IndexEntry {
    /// The name of the model.
    pub name: String,
    /// The version; absent if the model is unloaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `READY` or `UNAVAILABLE`.
    pub state: &'static str,
    /// The reason of the state: `unloaded`, or empty if the model is ready.
    pub reason: &'static str,
}

/// Lists the models. If `ready` is true, only the loaded models.
pub fn index(app: &App, ready: bool) -> Vec<IndexEntry> {
    let served = app.served().load();
    let mut entries = Vec::new();
    for route in served.routes.values() {
        for name in names_of(&route.stable) {
            for version in route.versions() {
                entries.push(IndexEntry { name: name.clone(), version: Some(version), state: "READY", reason: "" });
            }
        }
    }
    if !ready {
        let unloaded = served.unloaded.iter().flat_map(|(name, parts)| {
            let parts = parts.iter().map(move |part| format!("{name}.{part}"));
            std::iter::once(name.clone()).chain(parts)
        });
        entries.extend(unloaded.map(|name| IndexEntry {
            name,
            version: None,
            state: "UNAVAILABLE",
            reason: "unloaded",
        }));
    }
    entries
}

/// Loads a pipeline that was unloaded. A pipeline that is loaded is built again from the current files. `parameters`
/// are the names of the request's parameters; none are supported.
///
/// # Errors
/// If there is no such pipeline, the pipeline cannot be served, or there is a parameter.
pub async fn load(app: Arc<App>, name: String, parameters: &[String], by: &'static str) -> Result<(), ServeError> {
    if let Some(parameter) = parameters.first() {
        return Err(ServeError::invalid(format!(
            "parameter `{}` is not supported: models are defined in plimsoll.toml; edit that file instead",
            shortened(parameter)
        )));
    }
    let name = pipeline_name(&app, name)?;
    let load = app.deployments.clone().build(move |build| Deployer::make_load(build, &name, by));
    Ok(load.await?)
}

/// Unloads a pipeline.
///
/// # Errors
/// If there is no such pipeline.
pub async fn unload(app: Arc<App>, name: String, by: &'static str) -> Result<(), ServeError> {
    let name = pipeline_name(&app, name)?;
    let unload =
        app.deployments.clone().change(async move |serving, deployer| deployer.unload(serving, &name, by).await);
    Ok(unload.await?)
}

/// Checks that the name is not that of an infer stage, because a pipeline and its infer stage are loaded and unloaded
/// together, by the name of the pipeline.
fn pipeline_name(app: &App, name: String) -> Result<String, ServeError> {
    let served = app.served().load();
    let known = |name: &str| served.routes.contains_key(name) || served.unloaded.contains_key(name);
    match pipeline_of(&name) {
        Some(pipeline) if !known(&name) && known(pipeline) => Err(ServeError::invalid(format!(
            "model `{name}` is loaded and unloaded with its pipeline; use the name `{pipeline}`"
        ))),
        _ => Ok(name),
    }
}
