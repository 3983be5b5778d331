//! Decides if a new file of the plugin folder may replace the version that serves. An older file, or one whose version
//! cannot be compared, does not replace it while the newer file exists.

use std::cmp::Ordering;
use std::path::Path;
use std::sync::Arc;

use plimsoll_runtime::component::artifact::UNVERSIONED;

use super::catalog::CatalogEntry;
use super::folder_look::ComponentFile;
use super::release::{Release, ReleaseSource};
use super::version_order::VersionOrder;

/// Why a file must not replace the version that serves, and how to deploy it anyway.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotNewer(String);

/// Checks that no version of the plugin that serves or is on canary is newer than the release of a file. A version
/// whose own file was overwritten or removed may be replaced by every file, also by an older one. The same holds for a
/// bundled version.
///
/// # Errors
/// If the release must not replace it.
pub(super) fn check_order(
    plugin: &CatalogEntry,
    release: &Release,
    is_gone: impl Fn(&Path) -> bool,
) -> Result<(), NotNewer> {
    let ReleaseSource::File(file) = &release.source else { return Ok(()) };
    let new = &*release.artifact.identity.version;
    for (known, state) in
        plugin.candidate.iter().map(|it| (it, "is on canary")).chain(plugin.serving.iter().map(|it| (it, "serves")))
    {
        let file_of_known = match &known.source {
            ReleaseSource::Bundled | ReleaseSource::Oci(_) => continue,
            ReleaseSource::File(other) if other == file || is_gone(other) => continue,
            ReleaseSource::File(other) => Some(other),
            ReleaseSource::Http => None,
        };
        let old = &*known.artifact.identity.version;
        let is_same = known.artifact.identity.digest == release.artifact.identity.digest;
        let why = match compare(new, old) {
            Some(Ordering::Greater) => continue,
            Some(Ordering::Equal) if is_same || file_of_known.is_none() => continue,
            Some(Ordering::Equal) => format!("its version `{new}` equals the version `{old}`"),
            Some(Ordering::Less) if new == UNVERSIONED && file_of_known.is_none() => continue,
            Some(Ordering::Less) if new == UNVERSIONED => {
                format!("it has no version, so it counts as older than the version `{old}`")
            }
            Some(Ordering::Less) => format!("its version `{new}` is older than the version `{old}`"),
            None => format!("its version `{new}` cannot be compared with the version `{old}`"),
        };
        let remove = match file_of_known {
            Some(other) => format!(", or replace {} by it", other.display()),
            None => String::new(),
        };
        return Err(NotNewer(format!(
            "{why}, which {state} and stays in place; to deploy this file anyway, run `plimsoll plugin deploy {}`{remove}",
            file.display()
        )));
    }
    Ok(())
}

/// Returns true if a file has the bytes that serve, while a newer version is on canary. If its manifest has changed, it is
/// deployed if the canary is rolled back.
pub(super) fn waits_for_canary(plugin: &CatalogEntry, release: &Release) -> bool {
    let serves = |serving: &Arc<Release>| serving.artifact.identity == release.artifact.identity;
    plugin.candidate.is_some() && plugin.serving.as_ref().is_some_and(serves)
}

/// Says why a file whose bytes were handled before is not deployed.
pub(super) fn log_skipped(found: &ComponentFile, release: &Release) {
    let identity = &release.artifact.identity;
    tracing::info!(
        plugin = %identity.name, digest = %identity.digest,
        "{} has bytes that were rolled back, replaced or rejected before, so it is not deployed; `plimsoll plugin \
         deploy` deploys it",
        found.path.display()
    );
}

/// Compares the version of a new file with one that is known. A file without a version is older than all others. Of two
/// names without an order, the one that came later is the newer one. `None` if only one of them has an order.
fn compare(new: &str, old: &str) -> Option<Ordering> {
    match (new == UNVERSIONED, old == UNVERSIONED) {
        (_, true) => return Some(Ordering::Greater),
        (true, false) => return Some(Ordering::Less),
        (false, false) => {}
    }
    match (VersionOrder::parse(new), VersionOrder::parse(old)) {
        (Some(new), Some(old)) => Some(new.cmp(&old)),
        (None, None) => Some(Ordering::Greater),
        _ => None,
    }
}
