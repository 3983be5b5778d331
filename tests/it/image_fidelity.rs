//! Compares `image-preprocess` with Pillow on the generated suite of `tests/conformance/images`.
//!
//! By default one file of each kind is compared; with the variable `PLIMSOLL_FIDELITY=all`, the whole suite.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::stage::{Request, RunLog};
use plimsoll_tests::{Server, TempDir, guests_config};
use serde_json::Value;

use crate::image_server::with_configurations;
use crate::oip_conformance::{environment, skip};

/// The number of files that are compared by default: one of each of the 495 kinds, and some more.
const SAMPLE: usize = 520;
/// The largest mean difference of an image and the largest difference of an element, of 255. Rounding alone gives a mean
/// of a quarter.
pub(crate) const LIMITS: (f64, u8) = (0.5, 4);
/// Each pipeline has a snapshot of the plugin, which has to be compiled.
const PIPELINES_PER_SERVER: usize = 8;

/// A line of the index.
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) must_be_refused: bool,
    /// Width and height after the orientation is applied.
    pub(crate) size: (u64, u64),
    /// The configuration for the smaller, the equal and the larger target.
    pub(crate) settings: [String; 3],
}

/// A row of the table.
#[derive(Default)]
struct Row {
    files: usize,
    refused: usize,
    mean: f64,
    most: u8,
}

/// Runs the generator. Returns its folder, or `None` if Python is missing.
pub(crate) fn generate() -> Option<TempDir> {
    let python = environment("requirements-images.txt")?;
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(python);
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONWARNINGS", "ignore");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/images")).arg(folder.path());
    if std::env::var("PLIMSOLL_FIDELITY").is_ok_and(|value| value == "all") {
        println!("all files");
    } else {
        command.args(["--count", &SAMPLE.to_string()]);
    }
    let output = command.output().expect("it starts");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("{}{log}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{log}");
    // A program that writes images is missing.
    if let Some(line) = log.lines().find(|line| line.starts_with("SKIPPED")) {
        skip::<()>(line);
    }
    Some(folder)
}

pub(crate) fn index(folder: &Path) -> Vec<File> {
    let text = std::fs::read_to_string(folder.join("index.tsv")).expect("an index");
    let mut lines = text.lines();
    let head = ["file", "kind", "expectation", "width", "height", "smaller", "equal", "larger"].join("\t");
    assert_eq!(lines.next(), Some(head.as_str()));
    let file = |line: &str| {
        let fields: Vec<_> = line.split('\t').map(str::to_owned).collect();
        let [name, kind, expectation, width, height, settings @ ..] = fields.as_slice() else { panic!("{line}") };
        assert!(["decode", "refuse"].contains(&expectation.as_str()), "{line}");
        File {
            name: name.clone(),
            kind: kind.clone(),
            must_be_refused: expectation == "refuse",
            size: (width.parse().expect("a number"), height.parse().expect("a number")),
            settings: settings.to_vec().try_into().expect("three targets"),
        }
    };
    lines.map(file).collect()
}

/// The references for the three targets: one after the other, in the file. The lengths follow from the settings.
pub(crate) fn references(folder: &Path, file: &File) -> [Vec<u8>; 3] {
    let compressed = std::fs::File::open(folder.join(format!("{}.ref", file.name))).expect("a reference");
    let mut all = Vec::new();
    flate2::read::ZlibDecoder::new(compressed).read_to_end(&mut all).expect("a whole reference");
    let mut rest = all.as_slice();
    let references = file.settings.each_ref().map(|settings| {
        let side = |key: &str| -> usize {
            let value = settings.split(", ").find_map(|pair| pair.strip_prefix(key)?.strip_prefix(" = "));
            value.expect("a side").parse().expect("a number")
        };
        let channels = if settings.contains("channels = \"gray\"") { 1 } else { 3 };
        let (this, after) = rest.split_at(channels * side("width") * side("height"));
        rest = after;
        this.to_vec()
    });
    assert!(rest.is_empty(), "{}: {} bytes too many", file.name, rest.len());
    references
}

/// Runs the preprocess stage of a pipeline once, like a request does. Returns the elements and the size of the image,
/// or the outcome and the message.
async fn run(server: &Server, pipeline: &str, body: &[u8]) -> Result<(Vec<u8>, (u64, u64)), (Outcome, String)> {
    let pipeline = server.app.pipeline(pipeline).expect("configured");
    let request = Request { id: String::new(), content_type: None, parameters: Vec::new() };
    let mut log = RunLog::new(Duration::from_secs(60));
    let (tensors, context) = match pipeline.preprocess.run(&mut log, &request, body).await {
        Ok(prepared) => prepared,
        Err(error) => return Err((error.outcome, format!("{} {}", error.public, error.detail))),
    };
    let context: Value = serde_json::from_slice(&context).expect("JSON");
    let side = |key: &str| context[key].as_u64().expect("a number");
    Ok((tensors[0].1.data.to_vec(), (side("width"), side("height"))))
}

/// The mean and the largest difference.
pub(crate) fn difference(ours: &[u8], expected: &[u8]) -> (f64, u8) {
    let each = ours.iter().zip(expected).map(|(ours, expected)| ours.abs_diff(*expected));
    let sum: u64 = each.clone().map(u64::from).sum();
    (sum as f64 / expected.len() as f64, each.max().unwrap_or(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_images_have_the_pixels_of_pillow() {
    let Some(folder) = tokio::task::spawn_blocking(generate).await.expect("no panic") else { return };
    let files = index(folder.path());
    assert!(files.len() >= SAMPLE, "{} files", files.len());
    let kinds: BTreeSet<_> = files.iter().map(|file| &file.kind).collect();
    assert!(kinds.len() < files.len(), "there are more kinds than files: raise SAMPLE");

    let mut by_settings: BTreeMap<&str, Vec<(usize, usize)>> = BTreeMap::new();
    for (index, file) in files.iter().enumerate() {
        for (target, settings) in file.settings.iter().enumerate() {
            by_settings.entry(settings).or_default().push((index, target));
        }
    }
    let mut table: BTreeMap<&str, Row> = BTreeMap::new();
    for file in &files {
        table.entry(&file.kind).or_default().files += 1;
    }
    let mut refusals = vec![0; files.len()];
    let mut wrong = Vec::new();
    let settings: Vec<_> = by_settings.keys().copied().collect();
    for some in settings.chunks(PIPELINES_PER_SERVER) {
        let server = with_configurations(some).await;
        for (pipeline, settings) in some.iter().enumerate() {
            for &(index, target) in &by_settings[settings] {
                let file = &files[index];
                let body = std::fs::read(folder.path().join(&file.name)).expect("listed");
                let row = table.get_mut(file.kind.as_str()).expect("counted");
                let mut fails = |what: String| wrong.push(format!("{} ({settings}): {what}", file.name));
                match run(&server, &format!("t{pipeline}"), &body).await {
                    Ok(_) if file.must_be_refused => fails("answered, but it must be refused".to_owned()),
                    Ok((ours, size)) => {
                        let expected = &references(folder.path(), file)[target];
                        let (mean, most) = difference(&ours, expected);
                        row.mean = row.mean.max(mean);
                        row.most = row.most.max(most);
                        if size != file.size || ours.len() != expected.len() {
                            fails(format!("{size:?} instead of {:?}, {} elements", file.size, ours.len()));
                        } else if mean > LIMITS.0 || most > LIMITS.1 {
                            fails(format!("mean {mean:.3}, largest {most}"));
                        }
                    }
                    Err((Outcome::UnsupportedMediaType | Outcome::InvalidInput | Outcome::TooLarge, text)) => {
                        refusals[index] += 1;
                        if !file.must_be_refused {
                            fails(format!("refused: {text}"));
                        }
                    }
                    Err((outcome, text)) => fails(format!("{outcome:?}: {text}")),
                }
            }
        }
        server.stop().await;
    }
    // Whether an image is refused does not depend on the target.
    for (file, refusals) in files.iter().zip(refusals) {
        table.get_mut(file.kind.as_str()).expect("counted").refused += usize::from(refusals > 0);
        if refusals != 0 && refusals != file.settings.len() {
            wrong.push(format!("{}: refused for {refusals} of {} targets", file.name, file.settings.len()));
        }
    }

    println!("{:<48} files  refused  worst mean  largest  of 255, compared with Pillow", "kind");
    for (kind, row) in &table {
        println!("{kind:<48} {:5}  {:7}  {:10.3}  {:7}", row.files, row.refused, row.mean, row.most);
    }
    println!("{} files of {} kinds, {} configurations", files.len(), table.len(), settings.len());
    assert!(wrong.is_empty(), "{} of {} results:\n{}", wrong.len(), 3 * files.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rounding_of_a_crop_is_configured() {
    let mut body = std::io::Cursor::new(Vec::new());
    image::GrayImage::new(641, 480).write_to(&mut body, image::ImageFormat::Png).expect("written");
    let crop = "width = 224, height = 224, resize = \"crop\", resize_shorter = 235";
    let configurations = ["", ", crop_rounding = \"torchvision\"", ", crop_rounding = \"nearest\""]
        .map(|rounding| format!("{crop}, dtype = \"u8\"{rounding}"));
    let server = with_configurations(&configurations.each_ref().map(String::as_str)).await;
    // 641 x 235 / 480 is 313.8.
    for (pipeline, (full, left)) in [("t0", (313.0, -44.0)), ("t1", (313.0, -44.0)), ("t2", (314.0, -45.0))] {
        let reply = server.infer(pipeline, "?post=data", body.get_ref().clone()).await;
        let context = reply.json()["context"].clone();
        let scale = context["scale_x"].as_f64().expect("a number");
        assert!((scale * 641.0 - full).abs() < 1e-6 && context["offset_x"] == left, "{pipeline}: {context}");
    }
    server.stop().await;
    for (config, words) in [
        ("width = 9, height = 9, crop_rounding = \"nearest\"", "`crop_rounding` can only be used with"),
        ("width = 9, height = 9, dtype = \"u8\", scale = 2", "`scale` can only be used with a `dtype` of `f32`, `f16`"),
        ("width = 9, height = 9, dtype = \"f16\", scale = 300", "an element could be 76500, but `dtype = \"f16\"` has"),
        ("width = 9, height = 9, dtype = \"f8\"", "`dtype`"),
        ("width = 9, height = 9, resize = \"crop\", crop_rounding = \"up\"", "torchvision, nearest"),
    ] {
        let toml = guests_config("tester", &format!("config = {{ {config} }}"))
            .replace("plugin = \"tester\"", "plugin = \"image-preprocess\"");
        let message = Server::rejection(&toml).await;
        assert!(message.contains(words), "{message}");
    }
}
