//! Circles of files: those that cannot be read one after the other, as each needs the others.
//!
//! A file needs another if it names something in it by a path that begins with `crate`, `self` or
//! `super`. That a file declares a module, or that its tests name something, does not count.

use std::collections::{BTreeMap, BTreeSet};

use crate::files::File;
use crate::purity::shipped_code;

/// The module of a file, by the parts of its path within the crate; empty for the root.
type Module = Vec<String>;

/// A line for each circle among `sources`, which are below `directory`.
pub(crate) fn circles(directory: &str, sources: &[File]) -> Vec<String> {
    let modules: BTreeMap<Module, &File> = sources
        .iter()
        .map(|source| (module(directory, &source.path), source))
        .collect();
    let needs: BTreeMap<&Module, BTreeSet<&Module>> = modules
        .iter()
        .map(|(module, source)| (module, needed(module, source, &modules)))
        .collect();
    let mut lines = Vec::new();
    let mut told = BTreeSet::new();
    for from in modules.keys() {
        // Those in a circle with it are those that it reaches and that reach it.
        let there = reached(from, &needs);
        if !there.contains(from) || told.contains(from) {
            continue;
        }
        let circle = there.iter().filter(|to| reached(to, &needs).contains(from));
        let circle: Vec<&Module> = circle.copied().collect();
        told.extend(circle.iter().copied());
        let paths: Vec<&str> = circle.iter().map(|it| &*modules[*it].path).collect();
        lines.push(format!(
            "{}: a circle of files, each of which needs the others",
            paths.join(", ")
        ));
    }
    lines
}

/// All that `from` needs, and what that needs, and so on.
fn reached<'m>(
    from: &Module,
    needs: &BTreeMap<&'m Module, BTreeSet<&'m Module>>,
) -> BTreeSet<&'m Module> {
    let mut reached = BTreeSet::new();
    let mut unread: Vec<&Module> = needs[from].iter().copied().collect();
    while let Some(module) = unread.pop() {
        if reached.insert(module) {
            unread.extend(&needs[module]);
        }
    }
    reached
}

fn module(directory: &str, path: &str) -> Module {
    let path = path.strip_prefix(directory).unwrap_or(path);
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let mut parts: Module = path
        .split('/')
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect();
    if parts
        .last()
        .is_some_and(|last| ["mod", "lib", "main"].contains(&&**last))
    {
        parts.pop();
    }
    parts
}

/// The modules that `source` names something of.
fn needed<'m>(
    here: &Module,
    source: &File,
    modules: &'m BTreeMap<Module, &File>,
) -> BTreeSet<&'m Module> {
    let code = shipped_code(&source.text);
    let found = paths(&code).into_iter().filter_map(|path| {
        let mut full = resolved(here, &path)?;
        // The longest beginning that is a file has the item.
        loop {
            if let Some((module, _)) = modules.get_key_value(&full) {
                return Some(module);
            }
            full.pop()?;
        }
    });
    found.filter(|module| *module != here).collect()
}

/// `path`, seen from the root of the crate; `None` if it leads out of it.
fn resolved(here: &Module, path: &[String]) -> Option<Module> {
    let (first, rest) = path.split_first()?;
    let mut full = match first.as_str() {
        "crate" => Vec::new(),
        "self" => here.clone(),
        "super" => here[..here.len().checked_sub(1)?].to_vec(),
        _ => return None,
    };
    for part in rest {
        if part == "super" {
            full.pop()?;
        } else {
            full.push(part.clone());
        }
    }
    Some(full)
}

/// All paths that begin with `crate`, `self` or `super`, those of a `use` with braces one by one.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut words = words(code);
    let mut found = Vec::new();
    words.reverse();
    while let Some(word) = words.pop() {
        let starts = ["crate", "self", "super"].contains(&&*word);
        if starts && words.last().is_some_and(|next| next == "::") {
            tree(vec![word], &mut words, &mut found);
        }
    }
    found
}

/// Reads on behind the first words of a path, which may fork at braces.
fn tree(mut path: Vec<String>, words: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    while words.last().is_some_and(|word| word == "::") {
        words.pop();
        match words.pop() {
            Some(word) if word == "{" => {
                while let Some(word) = words.pop() {
                    match word.as_str() {
                        "}" => return,
                        "," => {}
                        "as" => drop(words.pop()),
                        "self" => found.push(path.clone()),
                        _ => tree([path.clone(), vec![word]].concat(), words, found),
                    }
                }
                return;
            }
            Some(word) => path.push(word),
            None => break,
        }
    }
    found.push(path);
}

/// Names, `::`, and other signs each by itself.
fn words(code: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut goes_on = false;
    for sign in code.chars() {
        let in_name = sign.is_alphanumeric() || sign == '_';
        match words.last_mut() {
            Some(last) if goes_on && in_name => last.push(sign),
            Some(last) if sign == ':' && last == ":" => last.push(sign),
            _ if sign.is_whitespace() => {}
            _ => words.push(sign.into()),
        }
        goes_on = in_name;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let file = |(path, text): &(&str, &str)| File {
            path: format!("src/{path}"),
            text: (*text).into(),
        };
        let files: Vec<File> = files.iter().map(file).collect();
        circles("src", &files)
    }

    #[test]
    fn a_circle_is_found_however_it_is_written() {
        let lines = found(&[
            ("lib.rs", "mod a;\nmod b;"),
            ("a.rs", "use crate::b::{self, deep::{C as D}};"),
            ("b/mod.rs", "mod deep;\nfn f() { deep::g() }"),
            ("b/deep.rs", "fn g() { super::super::a::f() }"),
        ]);
        let circle = "src/a.rs, src/b/deep.rs: a circle of files, each of which needs the others";
        assert_eq!(lines, [circle]);
        assert_eq!(
            found(&[("main.rs", "use a::X;"), ("a.rs", "use super::X;")]),
            [""; 0]
        );
        let both = [("main.rs", "use self::a::X;"), ("a.rs", "use super::X;")];
        assert_eq!(found(&both).len(), 1);
    }

    #[test]
    fn what_tests_and_comments_name_does_not_count() {
        let lines = found(&[
            ("a.rs", "use crate::b::B;"),
            (
                "b.rs",
                "//! See [`crate::a`].\n#[cfg(test)]\nmod tests { use crate::a::A; }\n",
            ),
        ]);
        assert_eq!(lines, [""; 0]);
    }
}
