//! `GET /v1/models`: the models that pipelines use, and where they run.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use plimsoll_runtime::nn::{Agreement, LoadedModel};
use serde_json::{Value, json};

use super::parameters::NoParameters;
use crate::records::shadow::report::ScoresReport;
use crate::serve::App;

/// Lists the models that are served: backend, target, memory on the device, batches, and the nodes of each execution
/// provider.
#[utoipa::path(get, path = "/v1/models", tag = "administration",
               responses((status = 200, description = "The models, with the devices that compute them and the memory that they hold there", body = Object)))]
pub(super) async fn models(State(app): State<Arc<App>>, _: NoParameters) -> Response {
    let served = app.served().load();
    let mut models: BTreeMap<&str, Value> = BTreeMap::new();
    let pipelines = served.routes.values().map(|route| &route.stable);
    for (_, stage) in pipelines.clone().flat_map(|pipeline| pipeline.stages()) {
        let environment = stage.environment();
        if let (Some((name, _)), Some(model)) = (environment.model_digest(), environment.model()) {
            models.insert(name, described(name, model));
        }
    }
    Json(json!({ "models": models.into_values().collect::<Vec<_>>() })).into_response()
}

fn described(name: &str, model: &LoadedModel) -> Value {
    let rules = model.batch_rules();
    let memory = model.memory().map(|memory| {
        json!({
            "admitted": memory.admitted,
            "bytes": memory.now,
            "high_water": memory.high_water,
            "source": memory.source.as_str(),
        })
    });
    let nodes = model.placement().iter().map(|placement| {
        json!({ "provider": placement.provider, "nodes": placement.nodes, "operators": placement.operators })
    });
    let agreement = model.agreement().map(|Agreement { runs, figures, keeps_not_finite }| {
        let scores = figures.scores.map(ScoresReport::from);
        json!({
            "runs": runs,
            "absolute": figures.absolute,
            "relative": figures.relative,
            "cosine_distance": figures.cosine_distance,
            "scores": scores,
            "keeps_not_finite": keeps_not_finite,
        })
    });
    json!({
        "name": name,
        "digest": model.digest(),
        "backend": model.backend(),
        "target": model.target(),
        "in_service": model.is_in_service(),
        "memory": memory,
        "max_batch": rules.map(|rules| rules.max_batch),
        "providers": nodes.collect::<Vec<_>>(),
        "bound_to": model.bound_to(),
        "input_with_new_shapes": model.input_with_new_shapes(),
        "compared_with_cpu": agreement,
        "differences": model.differences(),
    })
}
