//! The paths in `host/docs/architecture.md` are shortened to their end. Each must be the end of exactly one file of the
//! repository, so that a reader finds it by a search for file names.

use std::path::Path;

use crate::documents::{Page, repository};

/// Paths of files that are not in the repository, or that stand for several files.
const EXCEPT: [&str; 3] = ["plimsoll.toml", "plugins.json", "../deploy/README.md"];
const ENDINGS: [&str; 8] = [".rs", ".js", ".mjs", ".py", ".md", ".toml", ".wit", ".json"];

/// Appends all files below a folder, as paths below the repository.
fn collect(folder: &Path, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
        let (path, kind) = (entry.path(), entry.file_type().expect("a type"));
        let name = entry.file_name().into_string().expect("a name");
        // A link leads to files that are found elsewhere.
        if kind.is_dir() && name != "target" && !name.starts_with('.') {
            collect(&path, files);
        } else if kind.is_file() {
            let below = path.strip_prefix(repository()).expect("below the repository");
            files.push(below.to_str().expect("a path").to_owned());
        }
    }
}

/// The words of a page that look like paths of files.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "/._-*".contains(letter);
    let words = text.split(move |letter| !is_part(letter)).map(|word| word.trim_end_matches('.'));
    words.filter(|word| {
        let is_file = ENDINGS.iter().any(|end| word.strip_suffix(end).is_some_and(|stem| !stem.ends_with(['/', '.'])));
        // A path that begins with a slash is a route.
        is_file && !word.contains('*') && !word.starts_with("target/") && !word.starts_with('/')
    })
}

#[test]
fn each_path_in_the_architecture_page_is_the_end_of_one_file() {
    let mut files = Vec::new();
    collect(repository(), &mut files);
    let page = Page::read("host/docs/architecture.md");
    let mut faults = Vec::new();
    for path in paths(&page.text).filter(|path| !EXCEPT.contains(path) && !path.is_empty()) {
        let end = format!("/{path}");
        let found: Vec<_> = files.iter().filter(|file| *file == path || file.ends_with(&end)).collect();
        if found.len() != 1 {
            faults.push(format!("`{path}` is the end of {} files: {found:?}", found.len()));
        }
    }
    assert!(faults.is_empty(), "host/docs/architecture.md:\n{}", faults.join("\n"));
}
