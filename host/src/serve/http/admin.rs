//! Administration: the routes that list and change the plugins that are served.
//!
//! All of them need the token of administration ([`Administrator`]). The lists too, because they name files and show the
//! messages of plugins.

use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use plimsoll_runtime::identity::{Identity, check_plugin_name};
use plimsoll_runtime::text::shortened;
use serde_json::{Value, json};

use super::body::{self, Limits};
use super::encoding;
use super::parameters::{NoParameters, Parameters, PluginName};
use crate::deploy::durability::{Durability, NotRemembered};
use crate::deploy::release::FileError;
use crate::deploy::rollback::check_expected;
use crate::deploy::upload::{Upload, UploadError};
use crate::deploy::{ChangeError, DeployedState};
use crate::serve::administrator::Administrator;
use crate::serve::error::{ErrorKind, ServeError};
use crate::serve::problem::Problem;
use crate::serve::{App, blocking};

/// Lists the plugins and their versions.
#[utoipa::path(get, path = "/v1/plugins", tag = "administration", security(("token" = [])),
               responses((status = 200, description = "The plugins and their versions", body = Object),
                         (status = "4XX", description = "Client error", body = Problem,
                          content_type = "application/problem+json")))]
pub(super) async fn list(State(app): State<Arc<App>>, _: Administrator, _: NoParameters) -> Response {
    Json(json!({ "plugins": app.serving().plugin_views() })).into_response()
}

/// Returns one plugin with its versions.
#[utoipa::path(get, path = "/v1/plugins/{name}", tag = "administration", security(("token" = [])),
               params(("name" = String, Path, description = "The plugin")),
               responses((status = 200, description = "The plugin and its versions", body = Object),
                         (status = "4XX", description = "There is no such plugin, or the token is missing", body = Problem,
                          content_type = "application/problem+json")))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    _: Administrator,
    PluginName(name): PluginName,
    _: NoParameters,
) -> Response {
    match app.serving().plugin_views().into_iter().find(|view| view.name == name) {
        Some(view) => Json(view).into_response(),
        None => ServeError::not_found(format!("there is no plugin `{}`", shortened(&name))).into_response(),
    }
}

/// Deploys the component in the body. Replies when the component serves or is rejected.
#[utoipa::path(put, path = "/v1/plugins/{name}", tag = "administration", security(("token" = [])),
               params(("name" = String, Path, description = "The plugin"),
                      ("sha256" = Option<String>, Query, description = "The digest that the body must have"),
                      ("version" = Option<String>, Query, description = "The version; default the component's"),
                      ("expect" = Option<String>, Query,
                       description = "The first digits of the digest of the version that serves, or `none`: if another \
                                      one serves, or there is a canary, nothing is changed")),
               request_body(content = Vec<u8>, content_type = "application/wasm", description = "The component"),
               responses((status = 200, description = "The version and its state", body = Object),
                         (status = "4XX", description = "The change is rejected", body = Problem,
                          content_type = "application/problem+json"),
                         (status = 507, description = "A restart would forget it (`deploy.require_durable`)",
                          body = Problem, content_type = "application/problem+json")))]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    Administrator { by }: Administrator,
    PluginName(name): PluginName,
    parameters: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ServeError> {
    let [sha256, version, expect] = parameters.named(["sha256", "version", "expect"])?;
    encoding::refuse_packed(&headers)?;
    let rejected = |detail: String| ServeError::new(ErrorKind::PluginRejected, detail);
    check_plugin_name(&name).map_err(|error| rejected(error.to_string()))?;
    let current = || {
        let name = name.clone();
        Arc::clone(&app.deployments).change(async move |serving, deployer| {
            let catalog = serving.catalog();
            let release = catalog.get(&name).and_then(|plugin| plugin.serving.as_ref());
            let manifest = release.and_then(|release| release.manifest.file()).map(Path::to_owned);
            (deployer.config().clone(), manifest)
        })
    };
    let (config, _) = current().await;
    let limits = Limits {
        size: config.deploy.max_plugin.as_u64(),
        size_key: "deploy.max_plugin",
        time: config.deploy.upload_timeout,
        time_key: "deploy.upload_timeout",
        deadline: None,
    };
    // The bytes are counted until the component is deployed or rejected.
    let (bytes, _counted) = body::receive_within(&app, &headers, body, &limits, app.admission.upload()).await?;
    let turn = app.deployments.upload_turn(&name).await;
    // A reload or a deployment may have changed them during the upload.
    let (config, manifest) = current().await;
    let upload = Upload { name, version, sha256, bytes };
    let release = blocking::run(blocking::LARGE, move || upload.into_release(&config, manifest.as_deref())).await;
    let release = release.map_err(|error| match error {
        UploadError::Manifest(error) if error.is_temporary() => {
            ServeError::new(ErrorKind::Overloaded, error.to_string())
        }
        UploadError::Manifest(FileError::Unreadable { .. }) | UploadError::NoFolder(_) => {
            ServeError::new(ErrorKind::Internal, error.to_string())
        }
        error => rejected(error.to_string()),
    })?;
    let identity = release.artifact.identity.clone();
    let manifest = release.manifest.file().map(|file| file.display().to_string());
    let deploy = app.deployments.clone().build(move |build| {
        // The next upload of this plugin comes after this one, also if the caller disconnects.
        let _turn = turn;
        let rehearsed = release.clone();
        build.make(
            &async |serving, deployer| deployer.rehearse_deploy(serving, &rehearsed).await,
            async |serving, deployer| {
                let name = Arc::clone(&release.artifact.identity.name);
                if let Err(conflict) = check_expected(serving, &name, expect.as_deref()) {
                    // It was compiled for the rehearsal, and is not deployed.
                    if let Some(plugin) = serving.catalog().get_mut(&*name) {
                        plugin.compiling = None;
                    }
                    return Err(conflict);
                }
                let state = deployer.deploy(serving, release, by).await?;
                Ok::<_, ChangeError>((state, deployer.durability(serving, &name)))
            },
        )
    });
    let (state, durability) = deploy.await?;
    let reply = manifest.map_or_else(|| json!({}), |file| json!({ "manifest": file }));
    Ok(state_reply(reply, &identity, state, durability).await)
}

/// Retires a plugin.
#[utoipa::path(delete, path = "/v1/plugins/{name}", tag = "administration", security(("token" = [])),
               params(("name" = String, Path, description = "The plugin"),
                      ("expect" = Option<String>, Query,
                       description = "The first digits of the digest of the version that serves, or `none`: if another \
                                      one serves, or there is a canary, nothing is changed")),
               responses((status = 200, description = "The plugin is retired", body = Object),
                         (status = "4XX", description = "The change is rejected", body = Problem,
                          content_type = "application/problem+json")))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Administrator { by }: Administrator,
    PluginName(name): PluginName,
    parameters: Parameters,
) -> Result<Response, ServeError> {
    let [expect] = parameters.named(["expect"])?;
    let retired = name.clone();
    let retire = app.deployments.clone().change(async move |serving, deployer| {
        check_expected(serving, &retired, expect.as_deref())?;
        deployer.retire(serving, &retired, by)?;
        Ok::<_, ChangeError>(deployer.durability(serving, &retired))
    });
    let durability = retire.await?;
    Ok(with_durability(json!({ "name": name, "state": "retired" }), durability.confirmed().await))
}

/// Rolls a plugin back to a previous version.
#[utoipa::path(post, path = "/v1/plugins/{name}/rollback", tag = "administration", security(("token" = [])),
               params(("name" = String, Path, description = "The plugin"),
                      ("to" = Option<String>, Query, description = "A version, or the first digits of its digest"),
                      ("canary" = Option<String>, Query,
                       description = "The first digits of the digest of the canary that is to end, and nothing else"),
                      ("undo" = Option<String>, Query,
                       description = "The first digits of the digest of the serving version, or of the canary, which is \
                                      forgotten"),
                      ("expect" = Option<String>, Query,
                       description = "The first digits of the digest of the version that serves, or `none`: if another \
                                      one serves, or there is a canary, nothing is changed")),
               responses((status = 200, description = "The version and its state", body = Object),
                         (status = "4XX", description = "The change is rejected", body = Problem,
                          content_type = "application/problem+json")))]
pub(super) async fn rollback(
    State(app): State<Arc<App>>,
    Administrator { by }: Administrator,
    PluginName(name): PluginName,
    parameters: Parameters,
) -> Result<Response, ServeError> {
    let [to, canary, undo, expect] = parameters.named(["to", "canary", "undo", "expect"])?;
    if canary.is_some() && (to.is_some() || undo.as_ref().is_some_and(|undo| canary.as_ref() != Some(undo))) {
        let both = "`canary` excludes `to`, and an `undo` of another version: it names the canary that is to end, `to` a \
                    previous version, and `undo` the version that is to be forgotten";
        return Err(ServeError::new(ErrorKind::InvalidParameter, both));
    }
    let (rehearsed_name, rehearsed_to) = (name.clone(), to.clone());
    let rollback = app.deployments.clone().rehearsed_change(
        async move |serving, deployer| {
            deployer.rehearse_rollback(serving, &rehearsed_name, rehearsed_to.as_deref()).await;
        },
        async move |serving, deployer| {
            check_expected(serving, &name, expect.as_deref())?;
            let identity = match (&canary, &undo) {
                (Some(canary), undo) => deployer.end_this_canary(serving, &name, canary, (undo.is_some(), by)).await?,
                (None, Some(undo)) => deployer.undo(serving, &name, to.as_deref(), (undo, by)).await?,
                (None, None) => deployer.rollback(serving, &name, to.as_deref(), by).await?,
            };
            Ok::<_, ChangeError>((identity, deployer.durability(serving, &name)))
        },
    );
    let (identity, durability) = rollback.await?;
    Ok(state_reply(json!({}), &identity, DeployedState::Serving, durability).await)
}

/// Adds the version and its state to the reply to a change.
async fn state_reply(mut reply: Value, identity: &Identity, state: DeployedState, durability: Durability) -> Response {
    let Identity { name, version, digest } = identity;
    for (key, value) in [("name", name), ("version", version), ("digest", digest)] {
        reply[key] = (&**value).into();
    }
    reply["state"] = state.as_str().into();
    with_durability(reply, durability.confirmed().await)
}

/// Adds to a reply whether a restart remembers the change, and a warning if it does not.
fn with_durability(mut reply: Value, durability: Result<(), NotRemembered>) -> Response {
    reply["durable"] = durability.is_ok().into();
    if let Err(reason) = durability {
        reply["warning"] = format!("a restart forgets this change: {reason}").into();
    }
    Json(reply).into_response()
}
