//! The folder of a new plugin in C or C++.

use plimsoll_runtime::kind::StageKind;

use super::{Parts, copied, template};
use crate::cli::commands::plugin::sdk;

/// The two languages that have the same SDK.
#[derive(Clone, Copy)]
pub(super) enum Dialect {
    C,
    Cpp,
}

pub(super) fn parts(kind: StageKind, dialect: Dialect) -> Parts {
    let (language, source) = match dialect {
        Dialect::C => ("c", "plugin.c"),
        Dialect::Cpp => ("c++", "plugin.cpp"),
    };
    let text = match (dialect, kind) {
        (Dialect::C, StageKind::Preprocess) => template!("c/preprocess/plugin.c"),
        (Dialect::C, StageKind::Infer | StageKind::Transform) => template!("c/infer/plugin.c"),
        (Dialect::C, StageKind::Postprocess) => template!("c/postprocess/plugin.c"),
        (Dialect::Cpp, StageKind::Preprocess) => template!("cpp/preprocess/plugin.cpp"),
        (Dialect::Cpp, StageKind::Infer | StageKind::Transform) => template!("cpp/infer/plugin.cpp"),
        (Dialect::Cpp, StageKind::Postprocess) => template!("cpp/postprocess/plugin.cpp"),
    };
    Parts {
        sources: vec![(source, text), ("plugin.toml", template!("c/plugin.toml"))],
        copied: sdk::c(kind).map(|(path, text)| copied(path, text)).collect(),
        words: vec![("language", language.to_owned()), ("source", source.to_owned())],
        build: template!("c/build.md"),
        test: "",
        sdk: template!("c/sdk.md"),
    }
}
