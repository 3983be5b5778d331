//! The protocol's statistics extension: counts and times per model and version.

use super::model::{Model, names_of};
use crate::deploy::serving::Route;
use crate::records::statistics::ModelStatistics;
use crate::serve::App;
use crate::serve::error::ServeError;

/// Returns the statistics of one version of a model, of all its served versions if no version is given, or of all
/// models if no name is given.
///
/// # Errors
/// If there is no such model or version.
pub fn list(app: &App, name: Option<&str>, version: Option<&str>) -> Result<Vec<ModelStatistics>, ServeError> {
    let served = app.served().load();
    let of = |name: &str, version: &str| app.records.statistics.of(name, version);
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        let rows = served.routes.values().flat_map(|route| {
            names_of(&route.stable)
                .into_iter()
                .flat_map(|name| route.versions().into_iter().map(move |version| (name.clone(), version)))
        });
        return Ok(rows.map(|(name, version)| of(&name, &version)).collect());
    };
    let model = Model::lookup(app, name, version)?;
    let versions = match version.filter(|version| !version.is_empty()) {
        Some(version) => vec![version.to_owned()],
        None => served.routes.get(&model.pipeline.name).map_or_else(Vec::new, Route::versions),
    };
    Ok(versions.iter().map(|version| of(name, version)).collect())
}
