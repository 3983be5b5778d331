//! `GET /v1/chips/compare`: how much the outputs of shadow chips differ. It needs the token of administration, because it
//! names requests.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::parameters::Parameters;
use crate::deploy::ServedPipeline;
use crate::deploy::shadow::Shadow;
use crate::serve::App;
use crate::serve::administrator::Administrator;
use crate::serve::error::ServeError;
use crate::serve::problem::Problem;

/// Compares the outputs of shadow chips with those of the chips that answered: `GET /v1/chips/compare?pipeline=…`.
#[utoipa::path(get, path = "/v1/chips/compare", tag = "reports", security(("token" = [])),
               params(("pipeline" = Option<String>, Query, description = "Only this pipeline")),
               responses((status = 200, description = "The shadows that are configured, and the differences of their outputs",
                          body = Object),
                         (status = "4XX", description = "Client error", body = Problem,
                          content_type = "application/problem+json")))]
pub(super) async fn compare_chips(
    State(app): State<Arc<App>>,
    _: Administrator,
    parameters: Parameters,
) -> Result<Response, ServeError> {
    let [pipeline] = parameters.named(["pipeline"])?;
    if let Some(name) = &pipeline {
        app.pipeline(name)?;
    }
    let served = app.served().load();
    let routes = served.routes.values().map(|route| &route.stable);
    let routes = routes.filter(|served| pipeline.as_ref().is_none_or(|name| *name == served.name));
    let of_pipeline = |served: &Arc<ServedPipeline>| {
        let shadow = |it: &Shadow| {
            json!({
                "pipeline": served.name, "stage": it.stage, "default_chip": served.default_chip, "shadow": it.chip,
                "share": it.share,
            })
        };
        served.shadows.iter().map(shadow).collect::<Vec<_>>()
    };
    let shadows = routes.flat_map(of_pipeline);
    let comparisons = app.records.shadows.report(pipeline.as_deref());
    Ok(Json(json!({ "shadows": shadows.collect::<Vec<_>>(), "comparisons": comparisons })).into_response())
}
