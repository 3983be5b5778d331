//! For tests of `image-preprocess`: one server with many configurations of the plugin. The server compiles the plugin
//! once for all of them, and once more for the snapshot of each.

use plimsoll_tests::{Server, guests_config};

/// A server with one pipeline for each text of `[pipelines.NAME.preprocess]`, named `t0`, `t1` and so on.
pub(crate) async fn with_stages(stages: &[String]) -> Server {
    let mut toml = guests_config("tester", "");
    for (index, stage) in stages.iter().enumerate() {
        toml += &format!(
            "[pipelines.t{index}.preprocess]\nplugin = \"image-preprocess\"\n{stage}\n\
             [pipelines.t{index}.chips.echo]\nplugin = \"echo-infer\"\n\
             [pipelines.t{index}.postprocess]\nplugin = \"echo-postprocess\"\n"
        );
    }
    Server::start(&toml).await
}

/// A server with one pipeline for each configuration of the plugin, named `t0`, `t1` and so on.
pub(crate) async fn with_configurations(configurations: &[&str]) -> Server {
    let stages: Vec<_> = configurations.iter().map(|configuration| format!("config = {{ {configuration} }}")).collect();
    with_stages(&stages).await
}
