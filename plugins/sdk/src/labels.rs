//! The label files of classifiers and detectors: one label a line, the first line being class 0.

use crate::assets;

/// The labels in the asset `name`. Blank lines at the end, a byte order mark and Windows line ends do not
/// count; a blank line between labels does, since later labels keep their index.
///
/// # Errors
/// A sentence with the name of the asset, when it is missing, holds no label or is no UTF-8.
pub fn read(name: &str) -> Result<Vec<String>, String> {
    let bytes = assets::read(name)?;
    let text = String::from_utf8(bytes).map_err(|error| format!("labels `{name}`: {error}"))?;
    let text = text.trim_start_matches('\u{feff}').trim_end();
    if text.is_empty() {
        return Err(format!("labels `{name}`: the file holds no label"));
    }
    Ok(text.lines().map(|line| line.trim().to_owned()).collect())
}
