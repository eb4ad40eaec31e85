//! Relative links in documents, and the headings they name.

use std::collections::BTreeSet;
use std::fs;

use crate::files::{self, File};

/// The relative links whose file, or heading in it, does not exist.
pub(crate) fn broken(document: &File, lead: &dyn Fn(&str) -> Target) -> Vec<String> {
    let mut violations = Vec::new();
    for (number, link) in links(&document.text) {
        let has_scheme = link
            .split_once(':')
            .is_some_and(|(scheme, _)| !scheme.contains('/'));
        if has_scheme {
            continue;
        }
        let (path, heading) = link.split_once('#').unwrap_or((&link, ""));
        let target = match path {
            "" => Target::Document(document.text.clone()),
            path => lead(&resolve(&document.path, path)),
        };
        let wrong = match target {
            Target::Nothing => "leads nowhere",
            Target::Document(text) if !heading.is_empty() && !anchors(&text).contains(heading) => {
                "names a heading that is not there"
            }
            Target::Document(_) | Target::Other => continue,
        };
        violations.push(format!(
            "{}:{number}: the link {link} {wrong}",
            document.path
        ));
    }
    violations
}

/// The end of a link.
pub(crate) enum Target {
    Nothing,
    Document(String),
    Other,
}

/// The end of a path from the root of the project; outside of the project there is nothing.
pub(crate) fn target(path: &str) -> Target {
    let root = files::root()
        .canonicalize()
        .expect("the project has a directory");
    match root.join(path).canonicalize() {
        Ok(path) if !path.starts_with(root) => Target::Nothing,
        Ok(path) if path.extension().is_some_and(|extension| extension == "md") => {
            fs::read_to_string(path).map_or(Target::Nothing, Target::Document)
        }
        Ok(_) => Target::Other,
        Err(_) => Target::Nothing,
    }
}

/// The destinations of `[text](destination "title")` and `[label]: destination`, with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (number, line) in prose(text) {
        let definition = line
            .trim_start()
            .strip_prefix('[')
            .and_then(|rest| rest.split_once("]: "));
        let inline = line.match_indices("](").map(|(at, _)| &line[at + 2..]);
        let inline = inline.filter_map(|rest| rest.split_once(')'));
        let destinations = definition.map(|(_, destination)| destination).into_iter();
        for destination in destinations.chain(inline.map(|(destination, _)| destination)) {
            let destination = destination.split_whitespace().next().unwrap_or_default();
            links.push((number, destination.trim_matches(['<', '>']).to_owned()));
        }
    }
    links
}

/// The anchors of the headings, made as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = unfenced(text).filter_map(|(_, line)| line.strip_prefix('#'));
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let dashed = words.replace(' ', "-");
        dashed.replace(|c: char| !c.is_alphanumeric() && c != '-' && c != '_', "")
    };
    headings.map(anchor).collect()
}

/// Numbered lines without code, neither fenced nor inline.
fn prose(text: &str) -> impl Iterator<Item = (usize, String)> {
    let outside = |line: &str| line.split('`').step_by(2).collect::<Vec<_>>().join("``");
    unfenced(text).map(move |(number, line)| (number, outside(line)))
}

/// Numbered lines outside of fenced code.
fn unfenced(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fence && !fenced
    })
}

/// A link of the document `from`, as a path from the root of the project.
fn resolve(from: &str, link: &str) -> String {
    match (link.strip_prefix('/'), from.rsplit_once('/')) {
        (Some(from_root), _) => from_root.to_owned(),
        (None, Some((directory, _))) => format!("{directory}/{link}"),
        (None, None) => link.to_owned(),
    }
}

mod planted {
    use super::*;

    #[test]
    fn a_link_to_nothing_is_caught() {
        let text = "# Two words\n[a](../LICENSE), [b](gone.md \"why\")\n\n[c]: gone.txt\n\
            [d](#two-words) [e](#three) [f](there.md#it-is) [g](there.md#it-is-not)\n\
            [h](https://example.org/x#y) `[i](code.md)` [j](/README)\n```\n[k](fenced.md)\n```\n";
        let lead = |path: &str| match path {
            "docs/../LICENSE" | "README" => Target::Other,
            "docs/there.md" => Target::Document("## `It` is".into()),
            _ => Target::Nothing,
        };
        let document = File {
            path: "docs/a.md".into(),
            text: text.into(),
        };
        assert_eq!(
            broken(&document, &lead),
            [
                "docs/a.md:2: the link gone.md leads nowhere",
                "docs/a.md:4: the link gone.txt leads nowhere",
                "docs/a.md:5: the link #three names a heading that is not there",
                "docs/a.md:5: the link there.md#it-is-not names a heading that is not there",
            ]
        );
    }
}
