//! The repository extension: which models there are, and loading and unloading them. Its models are the pipelines;
//! the infer stage of one comes and goes with it.

use std::sync::Arc;

use plimsoll_runtime::text::shortened;
use serde::Serialize;
use utoipa::ToSchema;

use super::model::{INFER, names};
use crate::serve::App;
use crate::serve::error::ServeError;

/// A version of a model in the index.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct IndexEntry {
    /// The model.
    pub name: String,
    /// The version; absent where it is unloaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `READY` or `UNAVAILABLE`.
    pub state: &'static str,
    /// Why it is in that state, where that needs a reason.
    pub reason: &'static str,
}

/// The models, loaded or not; `ready`: only those that are.
pub fn index(app: &App, ready: bool) -> Vec<IndexEntry> {
    let served = app.served().load();
    let mut entries = Vec::new();
    for (pipeline, route) in &served.routes {
        for name in names(std::slice::from_ref(pipeline)) {
            for version in route.versions() {
                entries.push(IndexEntry { name: name.clone(), version: Some(version), state: "READY", reason: "" });
            }
        }
    }
    if !ready {
        let unloaded: Vec<_> = served.unloaded.iter().cloned().collect();
        entries.extend(names(&unloaded).into_iter().map(|name| IndexEntry {
            name,
            version: None,
            state: "UNAVAILABLE",
            reason: "unloaded",
        }));
    }
    entries
}

/// Loads a pipeline, or loads it anew. `parameters` are the names of those that the caller gave.
///
/// # Errors
/// When there is no such pipeline, it cannot be served, or a parameter asks for what cannot be.
pub async fn load(app: Arc<App>, name: String, parameters: &[String], by: &'static str) -> Result<(), ServeError> {
    if let Some(parameter) = parameters.first() {
        return Err(ServeError::invalid(format!(
            "parameter `{}` is not supported: models are defined in plimsoll.toml; edit that file instead",
            shortened(parameter)
        )));
    }
    let name = pipeline_name(&app, name)?;
    let load = app.deployments.clone().change(async move |serving, deployer| deployer.load(serving, &name, by).await);
    Ok(load.await?)
}

/// Unloads a pipeline.
///
/// # Errors
/// When there is no such pipeline.
pub async fn unload(app: Arc<App>, name: String, by: &'static str) -> Result<(), ServeError> {
    let name = pipeline_name(&app, name)?;
    let unload =
        app.deployments.clone().change(async move |serving, deployer| deployer.unload(serving, &name, by).await);
    Ok(unload.await?)
}

/// An infer stage is loaded and unloaded by its pipeline's name only.
fn pipeline_name(app: &App, name: String) -> Result<String, ServeError> {
    let served = app.served().load();
    let known = |name: &str| served.routes.contains_key(name) || served.unloaded.contains(name);
    match name.strip_suffix(INFER) {
        Some(pipeline) if !known(&name) && known(pipeline) => Err(ServeError::invalid(format!(
            "model `{name}` comes and goes with its pipeline; name the model `{pipeline}`"
        ))),
        _ => Ok(name),
    }
}
