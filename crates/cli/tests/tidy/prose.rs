//! Sentences that a stranger understands at the first reading, as far as a program can tell: docs
//! name their noun first, and lines of prose and code end within 100 columns.

use std::path::Path;

use crate::files::File;

/// Doc comments that begin without the noun they are about.
pub(crate) fn headless(source: &File) -> Vec<String> {
    let mut violations = Vec::new();
    let mut in_docs = false;
    for (number, line) in source.text.lines().enumerate() {
        let docs = docs(line);
        if let Some(docs) = docs.filter(|_| !in_docs)
            && let Some(head) = HEADLESS.iter().find(|head| begins(docs.trim(), head))
        {
            violations.push(format!(
                "{}:{}: a doc comment begins with its noun, not with \"{head}\"",
                source.path,
                number + 1
            ));
        }
        in_docs = docs.is_some();
    }
    violations
}

/// Lines beyond 100 columns. Tables, links and fenced text may be longer, because breaking them
/// changes what they mean.
pub(crate) fn wide(file: &File) -> Vec<String> {
    let is_document = Path::new(&file.path)
        .extension()
        .is_some_and(|extension| extension == "md");
    let mut fenced = false;
    let mut violations = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        let prose = if is_document { Some(line) } else { docs(line) };
        fenced = match prose {
            Some(prose) => fenced ^ prose.trim_start().starts_with("```"),
            None => false,
        };
        let columns = line.chars().count();
        if columns > COLUMNS && !fenced && !may_be_wide(line, prose) {
            violations.push(format!(
                "{}:{}: {columns} columns; the most is {COLUMNS}",
                file.path,
                number + 1
            ));
        }
    }
    violations
}

fn may_be_wide(line: &str, prose: Option<&str>) -> bool {
    let is_table = prose.is_some_and(|prose| prose.trim_start().starts_with('|'));
    is_table || line.contains("://")
}

/// The text of a doc comment's line.
fn docs(line: &str) -> Option<&str> {
    ["///", "//!"]
        .iter()
        .find_map(|mark| line.trim_start().strip_prefix(mark))
}

fn begins(docs: &str, head: &str) -> bool {
    docs.strip_prefix(head)
        .is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
}

const HEADLESS: [&str; 6] = [
    "Who", "What", "The same", "Of these", "Of those", "Of which",
];

const COLUMNS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File {
            path: path.into(),
            text: text.into(),
        }
    }

    #[test]
    fn docs_without_their_noun_are_caught() {
        let bad = "/// What a store says.\nfn f() {}\n    //! Who asks.\n\n/// The same, later.\n";
        assert_eq!(headless(&file("x.rs", bad)).len(), 3);
        let good = "/// The store's answer.\n/// What follows is a second line.\nfn f() {}\n\
                    // What is no doc comment.\n/// Whoever asks.\n/// Whatever.\n";
        assert_eq!(headless(&file("x.rs", good)), Vec::<String>::new());
    }

    #[test]
    fn wide_lines_are_caught_unless_breaking_them_would_change_what_they_mean() {
        let long = "x".repeat(101);
        assert_eq!(wide(&file("x.rs", &long)).len(), 1);
        assert_eq!(wide(&file("x.md", &long)).len(), 1);
        let kept = format!(
            "| {long} |\n```\n{long}\n```\nhttps://{long}\n{}\n",
            &long[1..]
        );
        assert_eq!(wide(&file("x.md", &kept)), Vec::<String>::new());
        assert_eq!(
            wide(&file("x.rs", &format!("/// | {long} |"))),
            Vec::<String>::new()
        );
        assert_eq!(wide(&file("x.rs", &format!("```\n{long}"))).len(), 1);
    }
}
