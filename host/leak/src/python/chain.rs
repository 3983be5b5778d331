//! Chains of references, as a Python programmer would write them.

use std::fmt::Write as _;
use std::iter::Peekable;

use super::graph::{Graph, Steps};
use super::objects::Objects;
use super::references::{Edge, Step};
use super::types::Kind;
use plimsoll_runtime::text::{grouped, printable};

/// Maximum entries of a dict whose keys are shown: the keys of a larger one are data.
const MAX_NAMED_KEYS: u32 = 8;
/// Maximum bytes of a key that is shown.
const LONGEST_KEY: usize = 40;
/// The type of a function with `functools.lru_cache`. Its entries are in a dict that has no name in Python.
const LRU_CACHE: &str = "functools._lru_cache_wrapper";
/// Maximum steps that are shown of a chain.
const MAX_STEPS: usize = 24;

/// A chain of references to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path {
    /// The global that the chain begins with: `module.NAME`.
    pub(crate) root: String,
    /// The whole chain, for example `m.ERROR.__traceback__.tb_next × 168 .tb_frame → check: image (bytes, 14,373)`.
    pub(crate) text: String,
    /// The chain without the numbers of steps that are repeated: chains that differ in nothing else are alike.
    pub(crate) pattern: String,
    /// The steps, without the root, for a graph.
    pub(crate) steps: Vec<String>,
    /// How many steps the chain has.
    pub(crate) length: usize,
}

impl Graph<'_> {
    /// The chain that holds an object; `None` if nothing leads to it.
    pub(crate) fn path(&self, object: u32) -> Option<Path> {
        let Steps { root, length, early, left_out, late } = self.steps(object)?;
        let texts = |steps: &[Step]| -> Vec<String> {
            steps.iter().map(|step| step.text(&self.objects)).filter(|text| !text.is_empty()).collect()
        };
        let mut early = texts(&early).into_iter().peekable();
        let mut root = root.to_string();
        // The global is the first step from the module.
        if let Some(global) = early.next_if(|text| text.starts_with('.')) {
            root.push_str(&global);
        }
        let (mut shown, mut pattern) = (Vec::new(), vec![root.clone()]);
        merge_repeated(early, &mut shown, &mut pattern);
        if left_out > 0 {
            let space = if shown.last().is_some_and(|text| text.ends_with(' ')) { "" } else { " " };
            shown.push(format!("{space}… {left_out} steps … "));
            merge_repeated(texts(&late).into_iter().peekable(), &mut shown, &mut pattern);
            // What is repeated before and after is likely repeated in between.
            pattern.dedup();
        }
        let mut pattern = pattern.concat();
        if shown.len() > MAX_STEPS {
            let left_out = shown.len() - MAX_STEPS;
            shown.splice(MAX_STEPS / 2..MAX_STEPS / 2 + left_out, [format!(" … {left_out} steps … ")]);
        }
        let last = self.objects.describe(object);
        let _ = write!(pattern, " ({})", self.objects.type_name(object));
        let text = format!("{root}{} {last}", shown.concat().trim_end());
        shown.push(last);
        Some(Path { root, text, pattern, steps: shown, length })
    }
}

/// Adds the texts of steps, each with the number of times that it is repeated, and without it to the pattern.
fn merge_repeated(
    mut texts: Peekable<impl Iterator<Item = String>>,
    shown: &mut Vec<String>,
    pattern: &mut Vec<String>,
) {
    while let Some(text) = texts.next() {
        let mut times = 1;
        while texts.next_if(|next| *next == text).is_some() {
            times += 1;
        }
        pattern.push(text.clone());
        shown.push(if times > 1 { format!("{text} × {times} ") } else { text });
    }
}

impl Step {
    fn text(&self, objects: &Objects<'_>) -> String {
        match &self.edge {
            Edge::Namespace => String::new(),
            Edge::Attribute(name) => format!(".{}", objects.text(*name).unwrap_or_else(|| "?".to_owned())),
            Edge::Field(name) => name.to_string(),
            Edge::Element => "[…]".to_owned(),
            Edge::Item(key) => objects.key(self.from, *key),
            Edge::Local(code, index) => {
                let (function, name) = (objects.function(*code), objects.local(*code, *index));
                let ty = objects.types.of(self.to);
                let class = ty.filter(|ty| ty.is_heap_type && ty.kind == Kind::Other);
                let class = class.map_or_else(String::new, |ty| format!(" ({}) ", ty.name));
                format!(" → {function}: {name}{class}")
            }
            Edge::Hidden if objects.type_name(self.from) == LRU_CACHE => " (lru_cache)".to_owned(),
            Edge::Hidden | Edge::Loose => format!(" → {}", objects.type_name(self.to)),
        }
    }
}

impl Objects<'_> {
    /// The name of an object's type.
    pub(crate) fn type_name(&self, object: u32) -> String {
        self.types.of(object).map_or_else(|| "?".to_owned(), |ty| ty.name.clone())
    }

    /// The type and, if it says something, the length: `(bytes, 14,373)`.
    fn describe(&self, object: u32) -> String {
        match self.length(object) {
            Some(length) => format!("({}, {})", self.type_name(object), grouped(length.into())),
            None => format!("({})", self.type_name(object)),
        }
    }

    /// A key of a dict in brackets. Keys of large dicts are not shown, because they are data.
    fn key(&self, dict: u32, key: u32) -> String {
        let is_small = self.entry_count(dict).is_some_and(|count| count <= MAX_NAMED_KEYS);
        match self.text(key) {
            Some(text) if is_small && text.len() <= LONGEST_KEY => format!("['{text}']"),
            _ => "[…]".to_owned(),
        }
    }

    /// The name of a function, with its class: `Preprocess.run`.
    pub(super) fn function(&self, code: u32) -> String {
        let name = self.at(code, self.interpreter.offsets.code.qualname).and_then(|name| self.text(name));
        printable(&name.unwrap_or_else(|| "?".to_owned()), 200)
    }

    /// The name of a local variable.
    fn local(&self, code: u32, index: u32) -> String {
        let offsets = &self.interpreter.offsets;
        let names = self.at(code, offsets.code.local_names);
        let name = names.and_then(|names| self.at(names, offsets.tuple_items + 4 * index));
        name.and_then(|name| self.text(name)).unwrap_or_else(|| "?".to_owned())
    }
}
