//! Damaged WebP files. Each file is either decoded to the same pixels as by Pillow (libwebp), or refused. A file that
//! Pillow refuses is refused here, too.
//!
//! The damage is random, but the same in each run. The environment variable `PLIMSOLL_DAMAGE` is the number of damaged files for each
//! of the 37 kinds.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use image_core::{Rejected, prepare, prepare_scalar};

use crate::image_fidelity::difference;
use crate::oip_conformance::environment;
use crate::preprocess::{bytes, settings};

/// The damaged files for each kind by default.
const SAMPLE: &str = "40";

#[test]
fn a_damaged_webp_has_the_pixels_of_libwebp_or_is_refused() {
    let Some(python) = environment("requirements-images.txt") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let count = std::env::var("PLIMSOLL_DAMAGE").unwrap_or_else(|_| SAMPLE.to_owned());
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/images/webp_damaged.py");
    let mut command = Command::new(python);
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONWARNINGS", "ignore");
    let output = command.arg(program).arg(folder.path()).args(["--count", &count]).output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let index = std::fs::read_to_string(folder.path().join("index.tsv")).expect("an index");
    let (mut wrong, mut table) = (Vec::new(), BTreeMap::<&str, [usize; 3]>::new());
    for line in index.lines().skip(1) {
        let fields: Vec<_> = line.split('\t').collect();
        let [name, what, width, height] = fields[..] else { panic!("{line}") };
        let (width, height): (u32, u32) = (width.parse().expect("a number"), height.parse().expect("a number"));
        let body = std::fs::read(folder.path().join(name)).expect("listed");
        let row = table.entry(what.split(' ').next().expect("a kind")).or_default();
        match prepare(&body, &settings(width.max(1), height.max(1))) {
            Ok(_) if width == 0 => wrong.push(format!("{name}, {what}: libwebp refuses it")),
            Ok((elements, context)) => {
                let expected = std::fs::read(folder.path().join(format!("{name}.rgb"))).expect("written");
                let ours = bytes(elements);
                let (mean, most) = difference(&ours, &expected);
                row[0] += 1;
                let scalar = prepare_scalar(&body, &settings(width, height)).map(|(elements, _)| bytes(elements));
                if scalar.as_ref() != Ok(&ours) {
                    wrong.push(format!("{name}, {what}: other pixels without vector instructions"));
                }
                if (context.width, context.height) != (width, height) || ours.len() != expected.len() || most > 0 {
                    wrong.push(format!("{name}, {what}: mean {mean:.3}, largest {most}"));
                }
            }
            Err(Rejected::Unknown(reason) | Rejected::Broken(reason) | Rejected::TooLarge(reason)) => {
                row[if width == 0 { 1 } else { 2 }] += 1;
                if what.ends_with(" whole") || reason.is_empty() {
                    wrong.push(format!("{name}, {what}: {reason}"));
                }
            }
        }
    }
    println!("{:<16}  equal  refused by both  refused by us only", "kind");
    for (kind, [equal, both, ours]) in &table {
        println!("{kind:<16}  {equal:5}  {both:15}  {ours:18}");
    }
    let [equal, _, ours] = table.values().fold([0; 3], |sum, row| [0, 1, 2].map(|at| sum[at] + row[at]));
    assert!(equal > 20 * ours, "too much is refused that libwebp reads");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
