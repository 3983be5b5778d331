//! The documents: README.md and the pages of `host/docs`. Every link has a target, the README stays short, and examples of
//! configurations have no unknown keys. The other tests of documents use the functions of this file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use plimsoll::config::Config;

/// The most lines of the README, of the list of commands, and of any other page.
const MOST_LINES: [usize; 3] = [250, 800, 600];

/// A page.
pub(crate) struct Page {
    /// The path below the repository.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// A fenced block of code.
pub(crate) struct Block<'a> {
    /// The word after the fence; may be empty.
    pub(crate) language: &'a str,
    /// The line of the fence, from 1.
    pub(crate) line: usize,
    /// The content, without the indentation of the fence.
    pub(crate) text: String,
    /// True if only blank lines are between the block before and this one.
    pub(crate) follows: bool,
}

pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

impl Page {
    pub(crate) fn read(name: &str) -> Self {
        let text = std::fs::read_to_string(repository().join(name));
        Self { name: name.to_owned(), text: text.unwrap_or_else(|error| panic!("{name}: {error}")) }
    }

    /// The blocks of code.
    pub(crate) fn blocks(&self) -> Vec<Block<'_>> {
        let mut found: Vec<Block> = Vec::new();
        let (mut open, mut follows) = (None, false);
        for (number, line) in self.text.lines().enumerate() {
            let rest = line.trim_start();
            match (&open, rest.strip_prefix("```")) {
                (None, Some(language)) => {
                    open = Some(line.len() - rest.len());
                    found.push(Block { language, line: number + 1, text: String::new(), follows });
                }
                (Some(_), Some("")) => (open, follows) = (None, true),
                (Some(indent), _) => {
                    let block = found.last_mut().expect("it is open");
                    block.text += line.get(*indent..).unwrap_or_default();
                    block.text.push('\n');
                }
                (None, None) => follows &= rest.is_empty(),
            }
        }
        assert!(open.is_none(), "{}: a block of code is not closed", self.name);
        found
    }

    /// The page without its blocks of code.
    pub(crate) fn prose(&self) -> String {
        let mut is_code = false;
        let mut prose = String::new();
        for line in self.text.lines() {
            let is_fence = line.trim_start().starts_with("```");
            is_code ^= is_fence;
            if !is_code && !is_fence {
                prose += line;
                prose.push('\n');
            }
        }
        prose
    }

    /// The rows of all tables, as their cells.
    pub(crate) fn rows(&self) -> Vec<Vec<String>> {
        let prose = self.prose();
        let rows = prose.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |").map(str::to_owned));
        rows.map(|row| row.split(" | ").map(|cell| cell.trim().to_owned()).collect()).collect()
    }

    /// The anchors of the headings, as GitHub makes them.
    fn anchors(&self) -> BTreeSet<String> {
        let prose = self.prose();
        let headings =
            prose.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
        let mut anchors = BTreeSet::new();
        for heading in headings {
            let heading = heading.to_lowercase();
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
            let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
            assert!(anchors.insert(anchor), "{}: the heading {heading:?} is there twice", self.name);
        }
        anchors
    }
}

/// The texts between backticks.
pub(crate) fn codes(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// README.md and the pages of `host/docs`.
pub(crate) fn pages() -> Vec<Page> {
    let folder = std::fs::read_dir(repository().join("host/docs")).expect("the documents");
    let mut names: Vec<String> = folder
        .map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8"))
        .filter(|name| name.ends_with(".md"))
        .map(|name| format!("host/docs/{name}"))
        .collect();
    names.push("README.md".into());
    names.sort();
    names.iter().map(|name| Page::read(name)).collect()
}

/// The targets of the links in a text.
fn links(text: &str) -> Vec<String> {
    let without_code: String = text.split('`').step_by(2).collect();
    let parts = without_code.split("](").skip(1);
    parts.map(|part| part.split(')').next().expect("a part").to_owned()).collect()
}

#[test]
fn every_link_of_the_documents_has_a_target() {
    let more = ["host/deploy", "plugins/examples", "tests/guests", "tests/leaks", "tests/benches/http"];
    let more = more.iter().map(|folder| Page::read(&format!("{folder}/README.md")));
    let mut anchors: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
    let (mut checked, mut broken) = (0, Vec::new());
    for page in pages().into_iter().chain(more) {
        let path = repository().join(&page.name);
        for link in links(&page.prose()).into_iter().filter(|link| !link.contains("://")) {
            checked += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().expect("a folder").join(file) };
            let Ok(target) = target.canonicalize() else {
                broken.push(format!("{}: {link}: there is no such file", page.name));
                continue;
            };
            if anchor.is_empty() {
                continue;
            }
            let known = anchors.entry(target.clone()).or_insert_with(|| {
                let text = std::fs::read_to_string(&target).expect("a page");
                Page { name: target.display().to_string(), text }.anchors()
            });
            if !known.contains(anchor) {
                broken.push(format!("{}: {link}: there is no such heading", page.name));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(checked > 60, "{checked} links");
}

#[test]
fn the_readme_is_short_and_leads_to_every_page() {
    let pages = pages();
    for page in &pages {
        let most =
            MOST_LINES[["README.md", "host/docs/cli.md"].iter().position(|name| *name == page.name).unwrap_or(2)];
        let lines = page.text.lines().count();
        assert!(lines <= most, "{} has {lines} lines, but at most {most} are allowed", page.name);
    }
    let readme = pages.iter().find(|page| page.name == "README.md").expect("the README");
    let links = links(&readme.text);
    for page in pages.iter().filter(|page| page.name != "README.md") {
        assert!(links.contains(&page.name), "the README does not lead to {}", page.name);
    }
    for heading in [
        "Install",
        "Quick start",
        "Your own model",
        "Your own plugin",
        "Configuration",
        "HTTP API",
        "Metrics",
        "Leaks",
        "Troubleshooting",
        "Documentation",
    ] {
        assert!(readme.text.contains(&format!("\n## {heading}\n")), "the README has no heading {heading:?}");
    }
    // `plimsoll` is installed before it is used.
    let blocks = readme.blocks();
    assert_eq!(blocks[0].text, "cargo install --path host --locked\n");
}

#[test]
fn the_examples_of_configurations_are_valid() {
    let mut checked = 0;
    for page in pages() {
        for block in page.blocks().iter().filter(|block| block.language == "ini") {
            let mut text = block.text.clone();
            if !text.contains("[pipelines.") {
                text += "[pipelines.example]\npreprocess = { plugin = \"a\" }\nchips.c = { plugin = \"b\" }\n\
                         postprocess = { plugin = \"c\" }\n";
            }
            let path = Path::new("plimsoll.toml");
            let parsed = Config::parse(&text, path);
            assert!(parsed.is_ok(), "{}, line {}: {}", page.name, block.line, parsed.expect_err("not valid"));
            checked += 1;
        }
    }
    assert!(checked >= 3, "{checked} examples");
}

/// The words after `option` in calls of cargo on a page, up to the next space or backtick.
fn words_after<'a>(text: &'a str, option: &'a str) -> impl Iterator<Item = &'a str> {
    let ends = |c: char| c.is_whitespace() || c == '`' || c == '(' || c == ')';
    text.split(option).skip(1).filter_map(move |rest| rest.split(ends).next()).filter(|word| !word.is_empty())
}

#[test]
fn the_tests_and_benchmarks_of_the_documents_exist() {
    let folders = ["tests/it", "host/onnx/tests/it"];
    let tests = folders.iter().flat_map(|folder| std::fs::read_dir(repository().join(folder)).expect("tests"));
    let sources = tests.map(|entry| entry.expect("readable").path()).filter(|path| path.is_file());
    let names: String = sources
        .map(|path| format!("{}::{}", path.display(), std::fs::read_to_string(&path).expect("a source")))
        .collect();
    let manifest = std::fs::read_to_string(repository().join("tests/Cargo.toml")).expect("a manifest");
    let mut checked = 0;
    for page in pages() {
        for test in words_after(&page.text, "--test it ").chain(words_after(&page.text, "cargo test --workspace ")) {
            assert!(names.contains(test) || test.starts_with("--"), "{}: there is no test {test}", page.name);
            checked += 1;
        }
        for bench in words_after(&page.text, "cargo bench --bench ").filter(|bench| *bench != "NAME") {
            assert!(manifest.contains(&format!("name = \"{bench}\"")), "{}: no benchmark {bench}", page.name);
            checked += 1;
        }
    }
    assert!(checked > 20, "{checked} calls");
}
