//! The folder of a new plugin in Python.

use plimsoll_runtime::kind::StageKind;

use super::{Parts, copied, template};
use crate::cli::commands::plugin::sdk;

pub(super) fn parts(kind: StageKind) -> Parts {
    const TEST: &str = "`python3 -m unittest` runs the tests of `compute.py` on this machine, without a host.\n\n";
    let (sources, test): (&[_], _) = match kind {
        StageKind::Preprocess => (
            &[
                ("plugin.py", template!("python/preprocess/plugin.py")),
                ("compute.py", template!("python/preprocess/compute.py")),
                ("test_compute.py", template!("python/preprocess/test_compute.py")),
            ],
            TEST,
        ),
        // An infer plugin only calls the host, so there is nothing to test without a host.
        StageKind::Infer | StageKind::Transform => (&[("plugin.py", template!("python/infer/plugin.py"))], ""),
        StageKind::Postprocess => (
            &[
                ("plugin.py", template!("python/postprocess/plugin.py")),
                ("compute.py", template!("python/postprocess/compute.py")),
                ("test_compute.py", template!("python/postprocess/test_compute.py")),
            ],
            TEST,
        ),
    };
    let manifests = [
        ("pyproject.toml", template!("python/pyproject.toml")),
        ("requirements.txt", template!("python/requirements.txt")),
    ];
    Parts {
        sources: sources.iter().copied().chain(manifests).collect(),
        copied: sdk::python().chain(sdk::wit()).map(|(path, text)| copied(path, text)).collect(),
        words: Vec::new(),
        build: template!("python/build.md"),
        test,
        sdk: template!("python/sdk.md"),
    }
}
