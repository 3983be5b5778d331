//! The crate `image-core` natively on the files of `image_fidelity`. The pixels are those of the plugin in wasm, because all
//! vector instructions give the same bits; natively, all files take minutes and not an hour. Prints the table of
//! `host/docs/fidelity.md`.

use std::collections::{BTreeMap, BTreeSet};

use image_core::{Channels, Mode, Settings, prepare};

use crate::image_fidelity::{File, LIMITS, difference, generate, index, references};
use crate::preprocess::bytes;

/// A row of the table: a format.
#[derive(Default)]
struct Row {
    kinds: BTreeSet<String>,
    files: usize,
    refused: usize,
    mean: f64,
    most: u8,
}

/// The settings of a target, from the keys of the plugin's configuration.
fn settings(text: &str) -> Settings {
    let value = |key: &str| text.split(", ").find_map(|pair| pair.strip_prefix(key)?.strip_prefix(" = "));
    let number = |key: &str| value(key).map(|number| number.parse::<u32>().expect("a number"));
    let side = |key: &str| number(key).expect("a side");
    let mut settings = crate::preprocess::settings(side("width"), side("height"));
    settings.target.mode = match value("resize") {
        Some("\"stretch\"") => Mode::Stretch,
        Some("\"letterbox\"") => Mode::Letterbox,
        Some("\"crop\"") => Mode::Crop,
        other => panic!("{other:?}"),
    };
    settings.target.shorter = number("resize_shorter");
    settings.pack.pad = number("pad").map_or(0, |pad| pad as u8);
    if value("channels") == Some("\"gray\"") {
        settings.pack.order = Channels::Gray;
    }
    settings
}

/// Compares a file with the references of its targets. Counts it in the row of its format.
fn check(folder: &std::path::Path, file: &File, row: &mut Row) -> Vec<String> {
    let body = std::fs::read(folder.join(&file.name)).expect("listed");
    let references = references(folder, file);
    let (mut wrong, mut refused) = (Vec::new(), 0);
    for (text, expected) in file.settings.iter().zip(&references) {
        let mut fails = |what: String| wrong.push(format!("{} ({text}): {what}", file.name));
        match prepare(&body, &settings(text)) {
            Ok(_) if file.must_be_refused => fails("answered, but it must be refused".to_owned()),
            Ok((elements, context)) => {
                let ours = bytes(elements);
                let (mean, most) = difference(&ours, expected);
                row.mean = row.mean.max(mean);
                row.most = row.most.max(most);
                let size = (u64::from(context.width), u64::from(context.height));
                if size != file.size || ours.len() != expected.len() || mean > LIMITS.0 || most > LIMITS.1 {
                    fails(format!("{size:?}, mean {mean:.3}, largest {most}"));
                }
            }
            Err(_) if file.must_be_refused => refused += 1,
            Err(rejected) => fails(format!("{rejected:?}")),
        }
    }
    row.files += 1;
    row.refused += usize::from(refused > 0);
    wrong
}

#[test]
fn generated_images_have_the_pixels_of_pillow_natively() {
    let Some(folder) = generate() else { return };
    let files = index(folder.path());
    assert!(files.len() >= 150, "{} files", files.len());
    let (mut table, mut wrong): (BTreeMap<&str, Row>, Vec<String>) = Default::default();
    for file in &files {
        let (format, kind) = file.kind.split_once('/').expect("a format and a feature");
        let row = table.entry(format).or_default();
        row.kinds.insert(kind.to_owned());
        wrong.extend(check(folder.path(), file, row));
    }
    println!("format  kinds  files  refused  worst mean  largest  of 255");
    for (format, row) in &table {
        let Row { kinds, files, refused, mean, most } = row;
        println!("{format:6}  {:5}  {files:5}  {refused:7}  {mean:10.3}  {most:7}", kinds.len());
    }
    assert!(wrong.is_empty(), "{} of {} results:\n{}", wrong.len(), 3 * files.len(), wrong.join("\n"));
}
