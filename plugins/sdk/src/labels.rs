//! Reads the label files of classifiers and detectors: one label per line; the first line is class 0.

use crate::assets;

/// The labels in the asset `name`. Blank lines at the end, a byte order mark and Windows line ends are ignored. A blank
/// line between labels counts as a label, so that the later labels keep their index.
///
/// # Errors
/// If the asset is missing, contains no label or is not UTF-8. The message contains the name of the asset.
pub fn read(name: &str) -> Result<Vec<String>, String> {
    let bytes = assets::read(name)?;
    let text = String::from_utf8(bytes).map_err(|error| format!("labels `{name}`: {error}"))?;
    let text = text.trim_start_matches('\u{feff}').trim_end();
    if text.is_empty() {
        return Err(format!("labels `{name}`: the file contains no label"));
    }
    Ok(text.lines().map(|line| line.trim().to_owned()).collect())
}
