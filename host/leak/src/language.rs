//! The languages whose memory is freed by a collector, as a component names them in its `producers` sections.

use wasmparser::{KnownCustom, Parser, Payload};

/// A language with a collector, and what compilers and languages in `producers` are called.
const COLLECTED: [(&str, &[&str]); 9] = [
    ("JavaScript", &["JavaScript", "ComponentizeJS", "StarlingMonkey", "jco"]),
    ("Go", &["Go", "TinyGo"]),
    ("C#", &["C#", "dotnet", ".NET"]),
    ("Kotlin", &["Kotlin"]),
    ("Java", &["Java", "TeaVM"]),
    ("Dart", &["Dart"]),
    ("OCaml", &["OCaml"]),
    ("Ruby", &["Ruby", "ruby.wasm"]),
    ("AssemblyScript", &["AssemblyScript"]),
];

/// The language in which a plugin is written, if its memory is freed by a collector. Python is found in memory instead.
pub(crate) fn collected_language(component: &[u8]) -> Option<&'static str> {
    let mut names = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        let Ok(Payload::CustomSection(section)) = payload else { continue };
        let KnownCustom::Producers(fields) = section.as_known() else { continue };
        for field in fields.into_iter().flatten() {
            names.extend(field.values.into_iter().flatten().map(|value| value.name));
        }
    }
    let is_named = |known: &&str| names.iter().any(|name| name.eq_ignore_ascii_case(known));
    COLLECTED.iter().find(|(_, known)| known.iter().any(is_named)).map(|(language, _)| *language)
}
