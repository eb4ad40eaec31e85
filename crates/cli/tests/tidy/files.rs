//! The files of the project, read where they lie: a checkout without git will do.

use std::fs;
use std::path::Path;

/// A file, its path written from the root of the project.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    /// Whether some directory on its path has this name.
    pub(crate) fn is_in(&self, directory: &str) -> bool {
        let parents = Path::new(&self.path)
            .parent()
            .into_iter()
            .flat_map(Path::components);
        parents
            .into_iter()
            .any(|name| name.as_os_str() == directory)
    }
}

/// The sources that a crate ships; modules that hold only its tests are left out.
pub(crate) fn shipped(directory: &str) -> Vec<File> {
    let mut sources = below(directory, "rs");
    sources.retain(|source| !source.is_in("tests") && !source.path.ends_with("/tests.rs"));
    sources
}

/// All files with this extension in a directory and below it, in order.
///
/// # Panics
///
/// If there is none: a rule that reads nothing would pass for ever.
pub(crate) fn below(directory: &str, extension: &str) -> Vec<File> {
    let mut found = Vec::new();
    let mut unread = vec![root().join(directory)];
    while let Some(directory) = unread.pop() {
        let entries = fs::read_dir(&directory);
        for entry in entries.unwrap_or_else(|error| panic!("{}: {error}", directory.display())) {
            let path = entry.expect("a directory can be listed to its end").path();
            let skipped = [".git", "target"].iter().any(|name| path.ends_with(name));
            if path.is_dir() && !path.is_symlink() && !skipped {
                unread.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(read(&path));
            }
        }
    }
    assert!(
        !found.is_empty(),
        "no *.{extension} in {directory}/: the rules look in the wrong place"
    );
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn read(path: &Path) -> File {
    let text = fs::read_to_string(path);
    let relative = path
        .strip_prefix(root())
        .expect("only files of the project are read");
    File {
        path: relative.to_string_lossy().replace('\\', "/"),
        text: text.unwrap_or_else(|error| panic!("{}: {error}", path.display())),
    }
}

/// The directory of the whole project.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .expect("this package lies two levels below the root")
}
