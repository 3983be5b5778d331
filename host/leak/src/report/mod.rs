//! What a study leaves: a summary for the terminal, and files.
//!
//! | file | what |
//! | --- | --- |
//! | `report.html` | everything, in one page that needs nothing else |
//! | `report.json` | the [`Study`], for programs |
//! | `growth.csv`, `growth.svg` | every call with what was held after it; bytes over requests by class |
//! | `heap.pb.gz`, `flame.svg` | call stacks that allocated, for `pprof` and for the eye |
//! | `retention.dot` | who holds what survives, for Graphviz |

mod dot;
mod flame;
mod growth;
mod html;
mod pprof;
mod summary;

use std::path::Path;

pub use summary::summary;

use super::corpus::Sample;
use super::finding::Study;
use plimsoll_runtime::text::grouped;

/// Writes every file into a folder, which is made where it is missing.
///
/// # Errors
/// The file that cannot be written, and why.
pub fn write(study: &Study, samples: &[Sample], folder: &Path) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(|error| format!("{} cannot be written: {error}", path.display()))
    };
    let json = serde_json::to_vec_pretty(study).expect("plain data");
    let chart = growth::svg(study)?;
    let flame = flame::svg(study)?;
    let dot = dot::graph(study);
    put("report.json", &json)?;
    put("growth.csv", growth::csv(study, samples)?.as_bytes())?;
    put("growth.svg", chart.as_bytes())?;
    put("retention.dot", dot.as_bytes())?;
    // Without call stacks there is nothing to profile, and an old profile must not pass for a new one.
    for (name, bytes) in [("heap.pb.gz", pprof::profile(study)?), ("flame.svg", flame.clone().map(String::into_bytes))]
    {
        match bytes {
            Some(bytes) => put(name, &bytes)?,
            None => match std::fs::remove_file(folder.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(format!("the old {name} cannot be removed: {error}"));
                }
                _ => {}
            },
        }
    }
    put("report.html", html::page(study, &chart, flame.as_deref(), &dot).as_bytes())
}

/// Bytes per request with its confidence interval.
fn per_request(growth: &super::verdict::Growth) -> String {
    let sign = if growth.bytes <= -0.5 { "-" } else { "" };
    let mean = grouped(growth.bytes.abs().round() as u64);
    format!("{sign}{mean} ± {}", grouped(growth.bytes_within.round() as u64))
}
