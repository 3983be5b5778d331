//! The flame graph of allocations.

use inferno::flamegraph;

use super::error::ReportError;
use crate::finding::Study;

/// Pixels. Without a fixed width, the graph takes the width of its container once, when it is loaded.
const WIDTH: usize = 1100;

/// A name without the characters that separate the parts of a line: a semicolon, and a space before a number.
fn plain(name: &str) -> String {
    let name = name.replace(';', ",");
    match name.rsplit_once(' ') {
        Some((first, last)) if last.starts_with(|letter: char| letter.is_ascii_digit()) => format!("{first}_{last}"),
        _ => name,
    }
}

/// A flame graph of the bytes in use, or of all allocated bytes if nothing stays in use. `None` if there are no call
/// stacks.
///
/// # Errors
/// If the graph cannot be drawn.
pub(super) fn svg(study: &Study) -> Result<Option<String>, ReportError> {
    if study.stacks.is_empty() {
        return Ok(None);
    }
    let stacks = study.full_stacks();
    let in_use = stacks.iter().any(|stack| stack.totals.inuse_space > 0);
    let lines: Vec<String> = stacks
        .iter()
        .filter_map(|stack| {
            let bytes = if in_use { stack.totals.inuse_space } else { stack.totals.alloc_space };
            // The outermost function first.
            let frames = stack.frames.iter().rev().map(|frame| plain(&frame.function));
            let class = std::iter::once(plain(&study.classes[stack.class].name()));
            (bytes > 0).then(|| format!("{} {bytes}", class.chain(frames).collect::<Vec<_>>().join(";")))
        })
        .collect();
    let mut options = flamegraph::Options::default();
    options.title = if in_use {
        "bytes allocated in the second round and still in use after it".to_owned()
    } else {
        "bytes allocated in two rounds; no block stays in use".to_owned()
    };
    options.count_name = "bytes".to_owned();
    options.image_width = Some(WIDTH);
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut svg)
        .map_err(|error| ReportError::content("flame.svg", error))?;
    String::from_utf8(svg).map(Some).map_err(|error| ReportError::content("flame.svg", error))
}
