//! Plugins in Python whose interpreter says that it is another version than 3.14.

use std::ops::Range;
use std::path::{Path, PathBuf};

use plimsoll_tests::TempDir;

use crate::leak::{Laboratory, broken, text};

/// Fields of the interpreter's table: the version, a thread's field after its current frame, and the end of a generator's.
const VERSION: usize = 1;
const AFTER_CURRENT_FRAME: usize = 27;
const END_OF_GENERATOR: usize = 87;

/// A component with another version in its interpreter's table. `added`: fields that threads have in addition.
fn with_version(plugin: &Path, version: u8, added: usize, folder: &Path) -> PathBuf {
    let mut bytes = std::fs::read(plugin).expect("a component");
    let mut changed = 0;
    for at in 0..bytes.len() - 16 {
        // After the cookie is the version, 64 bits: 3.14 and its micro version.
        if bytes[at..].starts_with(b"xdebugpy") && bytes[at + 10..at + 16] == [0x0E, 3, 0, 0, 0, 0] {
            let field = |number: usize| at + 8 * number;
            bytes[field(VERSION) + 2] = version;
            // What comes after the generator is not read.
            bytes.copy_within(field(AFTER_CURRENT_FRAME)..field(END_OF_GENERATOR), field(AFTER_CURRENT_FRAME + added));
            changed += 1;
        }
    }
    assert!(changed > 0, "the component has no table of offsets");
    let file = folder.join("other.wasm");
    std::fs::write(&file, bytes).expect("written");
    file
}

/// The same interpreter, whose table says that it is another version: a later one is read by the structures of its table.
/// The objects of an earlier one cannot be read, so the verdict is by bytes.
pub(crate) fn check(plugin: &Path, expected: Range<f64>) {
    let corpus = broken();
    let arguments = ["--rounds", "4", "--no-trace", "--parameter", "case=module_dict"];
    for (version, added, is_read) in [(0x0F, 2, true), (0x0D, 0, false)] {
        let folder = TempDir::new().expect("a folder");
        let file = with_version(plugin, version, added, folder.path());
        let laboratory = Laboratory::new();
        let output = laboratory.run(&file, corpus.path(), &arguments);
        let summary = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{summary}{}", text(&output.stderr));
        assert_eq!(summary.contains(&format!("CPython 3.{version}")), !is_read, "{summary}");
        assert_eq!(summary.contains("BY_NUMBER"), is_read, "{summary}");
        let report = laboratory.report();
        assert_eq!(report["python"]["is_known"], is_read, "{summary}");
        assert!(report["python"]["version"].as_str().expect("text").starts_with(&format!("3.{version}.")), "{summary}");
        let bytes = report["all"]["growth"]["bytes"].as_f64().expect("a number");
        assert!(expected.contains(&bytes), "{bytes}: {summary}");
    }
}
