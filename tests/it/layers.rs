//! The layers of the code: a file imports only files of its own layer or of layers below it, and no files import each
//! other in a circle. Cargo enforces the direction between the crates `plimsoll`, `plimsoll-leak` and
//! `plimsoll-runtime`. These tests check the imports inside each crate.
//!
//! Every path that begins with `crate` or `super` counts, also inside macros. A name that a module re-exports counts as
//! an import of the file that defines it.

mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use imports::{Crate, File};

/// The layers of a crate from bottom to top, each with its top-level modules.
type Layers = &'static [&'static [&'static str]];

const SERVER: Layers = &[&["base"], &["records"], &["config"], &["deploy"], &["serve"], &["cli"]];
const RUNTIME: Layers = &[
    &["identity", "lack", "panics", "text"],
    &["kind", "outcome", "tensor"],
    &["comparison"],
    &["scheduling"],
    &["cap"],
    &["nn", "engine"],
    &["stage"],
    &["component"],
    &["pipeline"],
];

/// Imports from a lower to a higher layer, as `from → to`.
fn upward_imports(source: &Crate, layers: Layers) -> Vec<String> {
    let layer = |file: &File| {
        let module = file.module.first()?;
        let position = layers.iter().position(|layer| layer.contains(&module.as_str()));
        Some(position.unwrap_or_else(|| panic!("the module `{module}` of {} is in no layer", file.name)))
    };
    let mut found = Vec::new();
    for (from, to) in source.imports() {
        if let (Some(below), Some(above)) = (layer(from), layer(to))
            && below < above
        {
            found.push(format!("{} → {}", from.name, to.name));
        }
    }
    found
}

/// Groups of files that import each other in a circle.
fn circles(source: &Crate) -> Vec<BTreeSet<String>> {
    let mut imports: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to) in source.imports() {
        imports.entry(&from.name).or_default().insert(&to.name);
    }
    let reachable = |start: &str| {
        let mut reached = BTreeSet::new();
        let mut open = vec![start];
        while let Some(file) = open.pop() {
            for next in imports.get(file).into_iter().flatten() {
                if reached.insert(next.to_string()) {
                    open.push(next);
                }
            }
        }
        reached
    };
    let reached: BTreeMap<String, BTreeSet<String>> =
        imports.keys().map(|file| (file.to_string(), reachable(file))).collect();
    let mut circles = BTreeSet::new();
    for (file, others) in &reached {
        if others.contains(file) {
            let is_in_circle = |other: &&String| reached.get(*other).is_some_and(|back| back.contains(file));
            circles.insert(others.iter().filter(is_in_circle).cloned().collect());
        }
    }
    circles.into_iter().collect()
}

/// Reads the Rust files of a crate.
fn read(folder: &str) -> Crate {
    Crate::parse(&files(folder))
}

/// The Rust files of a folder of the repository, by their names.
fn files(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let mut files = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the repository") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).expect("below the root").display().to_string();
                files.push((name, std::fs::read_to_string(&path).expect("text")));
            }
        }
    }
    files.sort();
    assert!(!files.is_empty(), "{folder} has no Rust files");
    files
}

/// A panic while a lock is held poisons it. If another task then panics at the lock, one fault becomes many, and a panic in
/// `drop` ends the process. So the host takes a poisoned lock as it is (`PoisonError::into_inner`).
#[test]
fn no_lock_of_the_host_panics_because_another_panic_poisoned_it() {
    let panics = |text: &str| {
        // `cargo fmt` writes a long chain of calls in several lines.
        let text: String = text.split_whitespace().collect();
        ["lock", "read", "write"]
            .iter()
            .any(|call| [".unwrap()", ".expect("].iter().any(|end| text.contains(&format!(".{call}(){end}"))))
    };
    assert!(panics("self.state\n    .lock()\n    .expect(\"no panic\")") && panics("x.lock().unwrap()"));
    assert!(!panics("self.state.lock().unwrap_or_else(PoisonError::into_inner)"));
    let found = ["host/src", "host/runtime/src"].into_iter().flat_map(|folder| {
        let without_tests = |text: &str| text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
        let is_test = |name: &str| name.contains("tests");
        let files = files(folder).into_iter().filter(move |(name, _)| !is_test(name));
        files.filter(move |(_, text)| panics(&without_tests(text))).map(move |(name, _)| format!("{folder}/{name}"))
    });
    assert_eq!(found.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn no_layer_of_the_server_imports_a_layer_above_it() {
    assert_eq!(upward_imports(&read("host/src"), SERVER), [""; 0]);
}

#[test]
fn no_layer_of_the_runtime_imports_a_layer_above_it() {
    assert_eq!(upward_imports(&read("host/runtime/src"), RUNTIME), [""; 0]);
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    for folder in ["host/src", "host/runtime/src", "host/leak/src"] {
        let source = read(folder);
        assert!(source.imports().count() > 20, "{folder}: imports are not found");
        assert_eq!(circles(&source), [], "{folder}");
    }
}

/// A crate of three files; `records` gets an additional line.
fn example(line: &str) -> Crate {
    let files = [
        ("lib.rs", "pub mod base; pub mod records; pub mod serve;".to_owned()),
        ("base/mod.rs", "pub mod files; pub use files::stat;".to_owned()),
        ("base/files.rs", "pub fn stat() {}".to_owned()),
        ("records/mod.rs", format!("use crate::base::stat; fn count() {{ stat() }} {line}")),
        ("serve/mod.rs", "mod app; use crate::records; pub use app::App;".to_owned()),
        ("serve/app.rs", "use crate::records::count; pub struct App;".to_owned()),
    ];
    Crate::parse(&files.map(|(name, text)| (name.to_owned(), text)))
}

#[test]
fn an_import_added_by_hand_is_found() {
    const LAYERS: Layers = &[&["base"], &["records"], &["serve"]];
    let checked = |line: &str| {
        let source = example(line);
        (upward_imports(&source, LAYERS), circles(&source).len())
    };
    assert_eq!(checked(""), (vec![], 0));
    let upward = || vec!["records/mod.rs → serve/app.rs".to_owned()];
    assert_eq!(checked("use crate::serve::App;"), (upward(), 1));
    assert_eq!(checked("use crate::{base::files::stat as s, serve::{App as A}};"), (upward(), 1));
    assert_eq!(checked("fn f() { g!(crate::serve::App::new()) }"), (upward(), 1), "a path inside a macro");
    assert_eq!(checked("mod inner { use super::super::serve::App; }"), (upward(), 1), "a path from an inline module");
    assert_eq!(checked("#[cfg(test)] mod tests { use crate::serve::App; }"), (vec![], 0), "tests may import anything");
    assert_eq!(checked("// use crate::serve::App;"), (vec![], 0), "a comment");
}
