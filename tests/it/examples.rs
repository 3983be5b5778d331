//! The example plugins in JavaScript and Python: built by their script and copied to the plugin folder of a server.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use plimsoll_tests::{Server, TempDir, shared_cache};

use crate::leak::{Laboratory, corpus};

/// A digit 7 as a binary PGM (Netpbm), the format that the JavaScript plugin reads.
fn seven() -> Vec<u8> {
    // An 8×8 picture like those of the demo: bright strokes on a dark background.
    const ROWS: [&str; 8] =
        ["........", ".######.", ".######.", "....##..", "...##...", "...##...", "..##....", "..##...."];
    let pixels = ROWS.iter().flat_map(|row| row.bytes()).map(|byte| if byte == b'#' { 255 } else { 0 });
    b"P5 8 8 255\n".iter().copied().chain(pixels).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_in_javascript_and_python_are_deployed_from_the_folder_and_reply() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/examples/build.sh");
    let output = tokio::task::block_in_place(|| Command::new(&script).output()).expect("bash starts");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.code() == Some(3) {
        plimsoll_tests::skip(&text);
        return;
    }
    assert!(output.status.success(), "{text}");

    let folder = TempDir::new().expect("a folder");
    let plugins = folder.path().join("plugins");
    std::fs::create_dir(&plugins).expect("a folder");
    let config = folder.path().join("plimsoll.toml");
    let write = |preprocess: &str, postprocess: &str| {
        let text = format!(
            "cache_dir = {:?}\n[models.digits]\nfile = \"bundled:digits.onnx\"\n[pipelines.p]\nmodel = \"digits\"\n\
             [pipelines.p.preprocess]\nplugin = \"{preprocess}\"\nconfig = {{ width = 8, height = 8, channels = \"gray\", \
             scale = 0.00392156862745098 }}\n[pipelines.p.chips.native]\nplugin = \"infer-native\"\n\
             [pipelines.p.postprocess]\nplugin = \"{postprocess}\"\nconfig = {{ labels = \"labels.txt\", top_k = 3 }}\n\
             assets = {{ \"labels.txt\" = \"bundled:digits-labels.txt\" }}\n",
            shared_cache()
        );
        std::fs::write(&config, text).expect("written");
    };
    write("image-preprocess", "classify-postprocess");
    let mut loaded = plimsoll::config::Config::load(Some(&config)).expect("valid");
    loaded.data_dir = Some(folder.path().join(".plimsoll"));
    let server = Server::with_config(&loaded).await;

    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/examples");
    for name in ["js-preprocess", "py-postprocess"] {
        let file = format!("{name}.wasm");
        std::fs::copy(examples.join(&file), plugins.join(&file)).expect("copied");
    }
    write("js-preprocess", "py-postprocess");

    // Compiling an interpreter can take minutes.
    let until = Instant::now() + Duration::from_secs(300);
    let reply = loop {
        let reply = server.infer("p", "", seven()).await;
        if reply.status == 200 && reply.headers["x-plimsoll-plugins"].to_str().expect("text").contains("js-preprocess")
        {
            break reply;
        }
        assert!(Instant::now() < until, "{}", reply.text);
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert_eq!(reply.json()["predictions"][0]["label"], "7", "{}", reply.text);
    println!("high-water marks: {}", reply.headers["x-plimsoll-memory"].to_str().expect("text"));
    println!("timing: {}", reply.headers["server-timing"].to_str().expect("text"));
    let reply = server.infer("p", "", "no picture").await;
    assert_eq!(reply.code(), "unsupported_media_type", "{}", reply.text);
    server.stop().await;

    // The plugin in Python does not leak, on what the shipped plugins before it make of pictures.
    write("image-preprocess", "py-postprocess");
    let (laboratory, corpus) = (Laboratory::new(), corpus());
    let config = config.to_str().expect("text");
    let arguments = ["--config", config, "--pipeline", "p", "--rounds", "4", "--no-trace"];
    let plugin = examples.join("py-postprocess.wasm");
    let output = tokio::task::block_in_place(|| laboratory.run(&plugin, corpus.path(), &arguments));
    let summary = crate::leak::text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{summary}{}", crate::leak::text(&output.stderr));
    assert_eq!(laboratory.report()["all"]["verdict"], "steady", "{summary}");
}
