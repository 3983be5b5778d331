//! The languages whose memory is freed by a collector, as a component names them in its `producers` sections. A stripped
//! component has no such section, but functions with the names of the collector, or the engine of JavaScript in its memory.

use wasmparser::{KnownCustom, Parser, Payload};

use super::javascript::Engine;
use super::module::CoreModule;

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

/// How functions of collectors begin.
const COLLECTORS: [(&str, &str); 3] = [("Go", "runtime.gcStart"), ("Go", "runtime.runGC"), ("C#", "mono_gc_")];

/// The language in which a plugin is written, if its memory is freed by a collector. Python is found in memory instead.
pub(crate) fn collected_language(component: &[u8], module: &CoreModule) -> Option<&'static str> {
    named_language(component)
        .or_else(|| Engine::find(&module.initial_memory()).map(|_| "JavaScript"))
        .or_else(|| language_of_functions(module.functions.iter().map(|function| function.name.as_str())))
}

/// The language of a collector's functions.
fn language_of_functions<'a>(mut names: impl Iterator<Item = &'a str>) -> Option<&'static str> {
    names.find_map(|name| {
        let found = COLLECTORS.iter().find(|(_, collector)| name.trim_start_matches("(*").starts_with(collector));
        found.map(|(language, _)| *language)
    })
}

fn named_language(component: &[u8]) -> Option<&'static str> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_known_by_its_functions() {
        assert_eq!(language_of_functions(["main", "runtime.gcStart"].into_iter()), Some("Go"));
        assert_eq!(language_of_functions(["mono_gc_collect"].into_iter()), Some("C#"));
        assert_eq!(language_of_functions(["malloc", "my_runtime.gcStart"].into_iter()), None);
    }
}
