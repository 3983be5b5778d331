//! The imports between the files of a crate, read from their tokens.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The files of a crate by module.
pub(super) struct Crate {
    files: BTreeMap<Vec<String>, File>,
}

/// A file.
pub(super) struct File {
    /// The path below the crate's `src`.
    pub name: String,
    /// The path of its module, without `crate`.
    pub module: Vec<String>,
    /// Absolute paths that the file uses.
    uses: BTreeSet<Vec<String>>,
    /// Names that the file re-exports, with their absolute paths.
    reexports: BTreeMap<String, Vec<String>>,
}

impl Crate {
    /// Parses files: the path below `src`, and the text.
    pub(super) fn parse(files: &[(String, String)]) -> Self {
        let parse = |(name, text): &(String, String)| {
            let module = module(name);
            let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
            let mut file =
                File { name: name.clone(), module: module.clone(), uses: BTreeSet::new(), reexports: BTreeMap::new() };
            file.walk(&tokens.into_iter().collect::<Vec<_>>(), &module);
            (module, file)
        };
        Self { files: files.iter().map(parse).collect() }
    }

    /// Every import: the file, and the file that it imports.
    pub(super) fn imports(&self) -> impl Iterator<Item = (&File, &File)> {
        let of_file = |from| File::imports(from, self);
        self.files.values().flat_map(of_file)
    }

    /// The file that defines what a path names.
    fn resolve(&self, path: &[String]) -> Option<&File> {
        let length = (0..=path.len()).rev().find(|&length| self.files.contains_key(&path[..length]))?;
        let file = &self.files[&path[..length]];
        match path.get(length).and_then(|name| file.reexports.get(name)) {
            Some(target) if target != path => self.resolve(target),
            _ => Some(file),
        }
    }
}

impl File {
    fn imports<'a>(&'a self, source: &'a Crate) -> impl Iterator<Item = (&'a Self, &'a Self)> {
        let targets = self.uses.iter().filter_map(|path| source.resolve(path));
        targets.filter(|target| target.name != self.name).map(move |target| (self, target))
    }

    /// Collects the paths of some tokens inside the module `module`.
    fn walk(&mut self, tokens: &[TokenTree], module: &[String]) {
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Punct(punct) if punct.as_char() == '#' && is_cfg_test(tokens.get(at + 1)) => {
                    at = end_of_item(tokens, at + 2);
                    continue;
                }
                TokenTree::Ident(ident) if ident == "mod" => {
                    // An inline module: `super` in it is this module.
                    if let Some(body) = tokens.iter().skip(at + 1).take(4).position(is_braces) {
                        let mut inner = module.to_vec();
                        inner.push(format!("inline {}", tokens[at + 1]));
                        self.walk(&inside(&tokens[at + 1 + body]), &inner);
                        at += body + 2;
                        continue;
                    }
                }
                TokenTree::Ident(ident) if ident == "use" => {
                    let is_public = at > 0 && is_visibility(tokens, at);
                    let mut paths = Vec::new();
                    let end = tree(tokens, at + 1, Vec::new(), &mut paths);
                    for (path, name) in paths {
                        self.add(&path, name, module, is_public);
                    }
                    at = end;
                    continue;
                }
                TokenTree::Ident(ident) if (ident == "crate" || ident == "super") && is_path(tokens, at + 1) => {
                    let mut paths = Vec::new();
                    let end = tree(tokens, at, Vec::new(), &mut paths);
                    for (path, name) in paths {
                        self.add(&path, name, module, false);
                    }
                    at = end.max(at + 1);
                    continue;
                }
                TokenTree::Group(_) => self.walk(&inside(&tokens[at]), module),
                _ => {}
            }
            at += 1;
        }
    }

    fn add(&mut self, path: &[String], name: String, module: &[String], is_reexport: bool) {
        let Some(absolute) = absolute(path, module) else { return };
        if is_reexport {
            self.reexports.insert(name, absolute);
        } else if matches!(path.first().map(String::as_str), Some("crate" | "super"))
            || absolute.len() > module.len() + 1
        {
            self.uses.insert(absolute);
        }
    }
}

/// The module of a file by its path below `src`.
fn module(name: &str) -> Vec<String> {
    let mut module: Vec<String> = name.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        module.pop();
    }
    module
}

/// A path from the root of the crate. A path that begins with neither `crate`, `super` nor `self` may name a child
/// module.
fn absolute(path: &[String], module: &[String]) -> Option<Vec<String>> {
    let mut base = module.to_vec();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => {
            base.clear();
            rest = &path[1..];
        }
        "self" => rest = &path[1..],
        _ => {}
    }
    while rest.first().is_some_and(|first| first == "super") {
        base.pop()?;
        rest = &rest[1..];
    }
    base.retain(|segment| !segment.starts_with("inline "));
    base.extend(rest.iter().cloned());
    Some(base)
}

/// Parses a path or a use tree from `at`. Adds each path with the name that it gets; returns the end.
fn tree(tokens: &[TokenTree], mut at: usize, prefix: Vec<String>, paths: &mut Vec<(Vec<String>, String)>) -> usize {
    let mut path = prefix;
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(ident)) => {
                path.push(ident.to_string());
                at += 1;
            }
            Some(token @ TokenTree::Group(_)) if is_braces(token) => {
                let inner = inside(token);
                for item in inner.split(is_comma).filter(|item| !item.is_empty()) {
                    tree(item, 0, path.clone(), paths);
                }
                return at + 1;
            }
            _ => break,
        }
        if !is_path(tokens, at) {
            break;
        }
        at += 2;
    }
    if path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let mut name = path.last().cloned().unwrap_or_default();
    if let (Some(TokenTree::Ident(alias)), Some(TokenTree::Ident(new))) = (tokens.get(at), tokens.get(at + 1))
        && alias == "as"
    {
        name = new.to_string();
        at += 2;
    }
    paths.push((path, name));
    at
}

fn is_path(tokens: &[TokenTree], at: usize) -> bool {
    let is_colon = |token: Option<&TokenTree>| matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    is_colon(tokens.get(at)) && is_colon(tokens.get(at + 1))
}

fn is_comma(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',')
}

fn is_braces(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

fn is_cfg_test(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Group(group)) if group.stream().to_string().replace(' ', "") == "cfg(test)")
}

/// Returns true if `pub`, perhaps with a restriction, is before `at`.
fn is_visibility(tokens: &[TokenTree], at: usize) -> bool {
    let before = |distance: usize| at.checked_sub(distance).and_then(|at| tokens.get(at));
    let is_pub = |token: Option<&TokenTree>| matches!(token, Some(TokenTree::Ident(ident)) if ident == "pub");
    is_pub(before(1)) || (matches!(before(1), Some(TokenTree::Group(_))) && is_pub(before(2)))
}

/// The end of the item that begins at `at`: after its body, or after a semicolon.
fn end_of_item(tokens: &[TokenTree], at: usize) -> usize {
    let is_end =
        |token: &TokenTree| is_braces(token) || matches!(token, TokenTree::Punct(punct) if punct.as_char() == ';');
    tokens.iter().skip(at).position(is_end).map_or(tokens.len(), |end| at + end + 1)
}

fn inside(token: &TokenTree) -> Vec<TokenTree> {
    match token {
        TokenTree::Group(group) => group.stream().into_iter().collect(),
        _ => Vec::new(),
    }
}
