//! Finds the newest of several files of one plugin, by the versions in their names.

use std::collections::BTreeMap;
use std::fmt;

use super::folder_look::ComponentFile;
use super::version_order::VersionOrder;

/// Several files of a plugin, none of which is the newest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct NoNewest {
    files: Vec<String>,
    why: String,
}

impl fmt::Display for NoNewest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "it cannot be decided which of the files `{}` is the newest: {}; keep only one of them, or give all of them \
             different versions of numbers, such as `name@1.10.0.wasm`",
            self.files.join("`, `"),
            self.why
        )
    }
}

/// Finds the newest of the files of one plugin. A file without a version in its name is older than all others. Returns
/// `None` if there are no files.
///
/// # Errors
/// If there are several files, and their versions have no order, or two files have the highest version.
pub fn newest(files: &[ComponentFile]) -> Result<Option<&ComponentFile>, NoNewest> {
    let ([] | [_]) = files else { return newest_of_many(files).map(Some) };
    Ok(files.first())
}

fn newest_of_many(files: &[ComponentFile]) -> Result<&ComponentFile, NoNewest> {
    let refused = |why: String| {
        let name = |found: &ComponentFile| found.path.file_name().map(|name| name.to_string_lossy().into_owned());
        NoNewest { files: files.iter().filter_map(name).collect(), why }
    };
    let mut ordered = Vec::new();
    for found in files {
        let order = found.version.as_deref().map(|version| {
            VersionOrder::parse(version).ok_or_else(|| refused(format!("the version `{version}` has no order")))
        });
        ordered.push((order.transpose()?, found));
    }
    ordered.sort_by(|(a, _), (b, _)| a.cmp(b));
    match ordered.as_slice() {
        [.., (second, _), (first, _)] if first == second => Err(refused("two of their versions are equal".into())),
        [.., (_, newest)] => Ok(newest),
        [] => Err(refused("there are none".into())),
    }
}

/// Removes from `files` those of plugins that have no newest file. Returns them, each with the reason.
pub fn take_undecided(files: &mut Vec<ComponentFile>) -> Vec<(ComponentFile, String)> {
    let mut plugins: BTreeMap<String, Vec<ComponentFile>> = BTreeMap::new();
    for found in files.iter() {
        plugins.entry(found.name.clone()).or_default().push(found.clone());
    }
    let mut undecided = Vec::new();
    for found in plugins.into_values() {
        if let Err(reason) = newest(&found) {
            undecided.extend(found.into_iter().map(|found| (found, reason.to_string())));
        }
    }
    files.retain(|found| !undecided.iter().any(|(undecided, _)| undecided == found));
    undecided
}
