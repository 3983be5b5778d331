//! The folder of a new plugin in JavaScript.

use std::path::PathBuf;

use plimsoll_runtime::kind::StageKind;

use super::{Parts, copied, template};
use crate::cli::commands::plugin::sdk;

pub(super) fn parts(kind: StageKind, name: &str) -> Parts {
    const TEST: &str = "`node --test` runs the tests of `compute.js` on this machine, without a host.\n\n";
    let (sources, test): (&[_], _) = match kind {
        StageKind::Preprocess => (
            &[
                ("plugin.js", template!("javascript/preprocess/plugin.js")),
                ("compute.js", template!("javascript/preprocess/compute.js")),
                ("compute.test.js", template!("javascript/preprocess/compute.test.js")),
            ],
            TEST,
        ),
        // An infer plugin only calls the host, so there is nothing to test without a host.
        StageKind::Infer | StageKind::Transform => (&[("plugin.js", template!("javascript/infer/plugin.js"))], ""),
        StageKind::Postprocess => (
            &[
                ("plugin.js", template!("javascript/postprocess/plugin.js")),
                ("compute.js", template!("javascript/postprocess/compute.js")),
                ("compute.test.js", template!("javascript/postprocess/compute.test.js")),
            ],
            TEST,
        ),
    };
    let manifests = [("package.json", template!("javascript/package.json"))];
    // The dependencies are those of the example plugin, with the same versions.
    let lock = (PathBuf::from("package-lock.json"), sdk::NODE_LOCK.replace("js-preprocess", name).into_bytes());
    Parts {
        sources: sources.iter().copied().chain(manifests).collect(),
        copied: sdk::javascript().chain(sdk::wit()).map(|(path, text)| copied(path, text)).chain([lock]).collect(),
        words: Vec::new(),
        build: template!("javascript/build.md"),
        test,
        sdk: template!("javascript/sdk.md"),
    }
}
