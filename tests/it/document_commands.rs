//! Runs the commands of the documents: every block in the language `sh` of README.md and of `host/docs`, in the order of
//! the page, in one folder. If a block `text` follows at once, the commands must print it; `…` stands for any text.
//!
//! `PLIMSOLL_WRITE_DOCS=1` writes what the commands print into the pages instead of comparing it.

use std::path::Path;
use std::process::Command;

use plimsoll_tests::{Site, TempDir, data, guest, shared_cache, stamped};

use crate::cli::{Served, text};
use crate::document_outputs::differences;
use crate::documents::{Block, Page, pages, repository};
use crate::plugin_new::OUTER_BUILD;

/// The pages whose commands are run, each by a test below.
const RUN: [&str; 10] = [
    "README.md",
    "host/docs/cli.md",
    "host/docs/configuration.md",
    "host/docs/deploying.md",
    "host/docs/leaks.md",
    "host/docs/migrating.md",
    "host/docs/models.md",
    "host/docs/operating.md",
    "host/docs/plugins.md",
    "host/docs/protocol.md",
];

/// Blocks that are not run: the page, how the block begins (or nothing, for all of the page), and the reason.
const NOT_RUN: [(&str, &str, &str); 9] = [
    ("README.md", "cargo install", "it installs a program for the user, and compiles everything again"),
    ("host/docs/cli.md", "cargo install", "as in the README"),
    ("host/docs/plugins.md", "cargo build --release --target", "the test `readme` runs it"),
    ("host/docs/protocol.md", "mlserver infer", "tests/conformance runs it; it needs the program mlserver"),
    ("host/docs/fidelity.md", "", "they are tests, which need data from PyPI or run for hours"),
    ("host/docs/fuzzing.md", "", "fuzzing takes hours"),
    ("host/docs/dependencies.md", "cargo install", "`.ci/run` runs cargo deny"),
    ("host/docs/performance.md", "cargo test --workspace --test it -- gate::", "the test `gate` is one of the tests"),
    ("host/docs/migrating.md", "uvicorn", "the test `migrating` runs it"),
];

fn is_commands(block: &Block) -> bool {
    ["sh", "console", "bash", "shell"].contains(&block.language)
}

fn is_left_out(page: &Page, block: &Block) -> bool {
    NOT_RUN.iter().any(|(name, start, _)| *name == page.name && block.text.starts_with(start))
}

#[test]
fn every_block_of_commands_is_run_or_has_a_reason() {
    let mut reasons = NOT_RUN.to_vec();
    for page in pages() {
        for block in page.blocks().iter().filter(|block| is_commands(block)) {
            let place = format!("{}, line {}", page.name, block.line);
            if is_left_out(&page, block) {
                reasons.retain(|(name, start, _)| *name != page.name || !block.text.starts_with(start));
            } else {
                assert!(RUN.contains(&page.name.as_str()), "{place}: add the page to RUN, or the block to NOT_RUN");
                assert_eq!(block.language, "sh", "{place}: only blocks in the language `sh` are run");
            }
        }
    }
    assert!(reasons.is_empty(), "there are no such blocks: {reasons:?}");
}

/// A folder in which the commands of a page run, one block after the other.
struct Session {
    folder: TempDir,
    /// The folder of the program `plimsoll`.
    programs: TempDir,
    /// The server that a command started last.
    server: Option<Served>,
}

impl Session {
    /// A folder with the files that the pages name.
    fn new(folder: TempDir) -> Self {
        let link = |from: &Path, to: &Path| std::os::unix::fs::symlink(from, to).expect("linked");
        let path = |name: &str| folder.path().join(name);
        let programs = TempDir::new().expect("a folder");
        link(Path::new(env!("CARGO_BIN_EXE_plimsoll-under-test")), &programs.path().join("plimsoll"));
        link(&repository().join("tests"), &path("tests"));
        // Compiled plugins of a server without a configuration.
        std::fs::create_dir_all(path(".plimsoll")).expect("made");
        std::fs::create_dir_all(shared_cache()).expect("made");
        link(&shared_cache(), &path(".plimsoll/cache"));
        std::fs::create_dir(path("images")).expect("made");
        let demo = repository().join("host/demo");
        for (from, to) in [
            (demo.join("digits.onnx"), "model.onnx"),
            (demo.join("digits-labels.txt"), "labels.txt"),
            (data("digits/7.jpg"), "photo.jpg"),
            (data("digits/7.jpg"), "images/7.jpg"),
            (data("digits/8.png"), "images/8.png"),
            (guest("steady"), "plugin.wasm"),
        ] {
            std::fs::copy(&from, path(to)).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        }
        Self { folder, programs, server: None }
    }

    /// A command of the shell.
    fn shell(&self, line: &str) -> Command {
        let line = match &self.server {
            Some(server) => line.replace("127.0.0.1:8080", server.url.trim_start_matches("http://")),
            None => line.to_owned(),
        };
        let mut command = Command::new("bash");
        let path = std::env::var("PATH").unwrap_or_default();
        command.args(["-euo", "pipefail", "-c", &line]).current_dir(self.folder.path());
        command.env("PATH", format!("{}:{path}", self.programs.path().display())).env_remove("RUST_LOG");
        // Dependencies of new plugins are compiled once.
        command.env("CARGO_TARGET_DIR", repository().join("target/documents"));
        let inherited = std::env::vars_os().map(|(name, _)| name);
        for name in inherited.filter(|name| name.to_str().is_some_and(|name| name.starts_with("PLIMSOLL_"))) {
            command.env_remove(name);
        }
        for name in OUTER_BUILD {
            command.env_remove(name);
        }
        if let Some(server) = &self.server {
            command.env("PLIMSOLL_SERVER", &server.url);
        }
        command
    }

    /// Starts a server with a command line of a page, in the place of the one before.
    fn serve(&mut self, line: &str) {
        self.server = None;
        let mut command = self.shell(&format!("exec {line}"));
        self.server = Some(Served::spawn(command.env("PLIMSOLL_LISTEN", "127.0.0.1:0").env("PLIMSOLL_LOG", "json")));
    }

    /// Runs a block, which must succeed. Returns what it prints to stdout.
    fn run(&mut self, place: &str, block: &str) -> String {
        let (mut printed, mut pending) = (String::new(), String::new());
        for line in block.lines().map(Some).chain([None]) {
            let serves = line.filter(|line| line.starts_with("plimsoll serve") && !line.ends_with(" -h"));
            if let (Some(line), None) = (line, serves) {
                pending += line;
                pending.push('\n');
                continue;
            }
            let output = self.shell(&std::mem::take(&mut pending)).output().expect("bash starts");
            assert!(output.status.success(), "{place}: {}\n{}", text(&output.stdout), text(&output.stderr));
            printed += &text(&output.stdout);
            if let Some(line) = serves {
                self.serve(line);
            }
        }
        match &self.server {
            Some(server) => printed.replace(server.url.trim_start_matches("http://"), "127.0.0.1:8080"),
            None => printed,
        }
    }
}

/// Runs the commands of a page, after `first`.
fn run_page(name: &str, folder: TempDir, first: &[&str]) {
    assert!(RUN.contains(&name));
    let page = Page::read(name);
    let has_curl = || Command::new("curl").arg("--version").output().is_ok();
    if page.text.contains("\ncurl ") && !has_curl() {
        return plimsoll_tests::skip(&format!("the commands of {name} need curl"));
    }
    let mut session = Session::new(folder);
    for line in first {
        session.serve(line);
    }
    let blocks = page.blocks();
    let mut wrong = Vec::new();
    let mut written: Vec<(&Block, String)> = Vec::new();
    for (at, block) in blocks.iter().enumerate().filter(|(_, block)| is_commands(block) && !is_left_out(&page, block)) {
        let place = format!("{name}, line {}", block.line);
        let printed = session.run(&place, &block.text);
        let Some(expected) = blocks.get(at + 1).filter(|next| next.language == "text" && next.follows) else {
            continue;
        };
        if let Some(difference) = differences(&expected.text, &printed) {
            wrong.push(format!("{place}: {difference}\nit prints:\n{printed}"));
            // What an ellipsis stands for is the choice of the author.
            if !expected.text.contains('…') {
                written.push((expected, printed));
            }
        }
    }
    if std::env::var_os("PLIMSOLL_WRITE_DOCS").is_some() && wrong.len() == written.len() {
        return write(&page, &written);
    }
    assert!(
        wrong.is_empty(),
        "{}\nPLIMSOLL_WRITE_DOCS=1 writes what is printed into the blocks without an ellipsis",
        wrong.join("\n")
    );
}

/// Writes what commands print into the blocks of a page.
fn write(page: &Page, written: &[(&Block, String)]) {
    let mut lines: Vec<&str> = page.text.lines().collect();
    for (block, printed) in written.iter().rev() {
        lines.splice(block.line..block.line + block.text.lines().count(), printed.lines().map(str::trim_end));
    }
    std::fs::write(repository().join(&page.name), lines.join("\n") + "\n").expect("written");
}

fn empty() -> TempDir {
    TempDir::new().expect("a folder")
}

#[test]
fn the_commands_of_the_readme_do_what_it_says() {
    run_page("README.md", empty(), &[]);
}

#[test]
fn the_help_of_every_command_is_in_the_documents() {
    run_page("host/docs/cli.md", empty(), &[]);
    let page = Page::read("host/docs/cli.md");
    let mut open = vec![String::new()];
    let mut known = 0;
    // A block has the help of each command that the help of another one lists.
    while let Some(path) = open.pop() {
        let call = format!("plimsoll {path} -h\n").replace("  ", " ");
        let blocks = page.blocks();
        let at = blocks.iter().position(|block| block.text == call);
        let at = at.unwrap_or_else(|| panic!("host/docs/cli.md has no block {call:?}"));
        let help = &blocks[at + 1].text;
        let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        let names =
            listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).filter(|name| !name.is_empty());
        open.extend(names.filter(|name| *name != "help").map(|name| format!("{path} {name}").trim().to_owned()));
        known += 1;
    }
    let calls = page.blocks().iter().filter(|block| block.text.ends_with(" -h\n")).count();
    assert_eq!(known, calls, "the page has the help of a command that does not exist");
}

#[test]
fn the_commands_of_deploying_do_what_the_page_says() {
    let site = Site::new("");
    let config = std::fs::read_to_string(&site.config).expect("a configuration");
    plimsoll_tests::replace_file(&site.config, config.replace("\"stamp\"", "\"brightness\"")).expect("written");
    site.drop_in("brightness.wasm", &stamped(1));
    std::fs::write(site.folder.path().join("brightness.wasm"), stamped(2)).expect("written");
    run_page("host/docs/deploying.md", site.folder, &["plimsoll serve --config plimsoll.toml"]);
}

#[test]
fn the_commands_of_the_other_pages_do_what_they_say() {
    run_page("host/docs/configuration.md", empty(), &[]);
    run_page("host/docs/leaks.md", empty(), &[]);
    run_page("host/docs/migrating.md", empty(), &[]);
    run_page("host/docs/models.md", empty(), &[]);
    run_page("host/docs/operating.md", empty(), &["plimsoll serve"]);
    run_page("host/docs/plugins.md", empty(), &[]);
    run_page("host/docs/protocol.md", empty(), &["plimsoll serve"]);
}
