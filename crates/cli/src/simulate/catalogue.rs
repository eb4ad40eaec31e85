//! The scenarios that are built in: those of `simulations/`, by their names there.

use std::path::{Component, Path};

use leasehold_sim::scenario::Points;

/// A scenario that is built in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BuiltIn {
    /// Its path below `simulations/`, without the ending: `behaviour/rivals`.
    pub(crate) name: &'static str,
    /// The file's text.
    pub(crate) text: &'static str,
}

/// All of them, by name.
pub(crate) fn all() -> impl Iterator<Item = BuiltIn> {
    let built_in = |(name, text): &(&'static str, &'static str)| BuiltIn { name, text };
    CATALOGUE.iter().map(built_in)
}

/// Those that `path` means: one by its name, or all of a folder. `simulations/` before the name and
/// `.toml` behind it may be left out.
pub(crate) fn found(path: &Path) -> Vec<BuiltIn> {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(part) => Some(part.to_string_lossy()),
        _ => None,
    });
    let name = parts.collect::<Vec<_>>().join("/");
    let name = name.strip_suffix(".toml").unwrap_or(&name);
    let name = match name.strip_prefix("simulations") {
        Some("") => "",
        Some(rest) if rest.starts_with('/') => &rest[1..],
        _ => name,
    };
    let meant = |known: &str| {
        let rest = known.strip_prefix(name);
        rest.is_some_and(|rest| name.is_empty() || rest.is_empty() || rest.starts_with('/'))
    };
    // A path from the root is none of ours.
    let built_in = all().filter(|it| path.is_relative() && meant(it.name));
    built_in.collect()
}

/// All names, and what each scenario shows, a line each.
pub(crate) fn listed() -> String {
    let line = |BuiltIn { name, text }| {
        let title = Points::parse(name, text, &[]).map(|points| points.title);
        format!("{name:32} {}", title.unwrap_or_default())
    };
    all().map(line).collect::<Vec<_>>().join("\n")
}

const CATALOGUE: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/catalogue.rs"));

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str) -> Vec<&'static str> {
        let found = found(Path::new(path));
        found.into_iter().map(|it| it.name).collect()
    }

    #[test]
    fn a_scenario_is_found_by_its_name_and_by_its_path() {
        for path in [
            "behaviour/rivals",
            "behaviour/rivals.toml",
            "simulations/behaviour/rivals.toml",
            "./simulations/behaviour/rivals",
        ] {
            assert_eq!(names(path), ["behaviour/rivals"], "{path}");
        }
        let behaviour = names("behaviour/");
        assert!(behaviour.len() > 1 && behaviour.contains(&"behaviour/overload"));
        assert!(behaviour.iter().all(|name| name.starts_with("behaviour/")));
        assert_eq!(names("simulations").len(), all().count());
        for path in ["behav", "behaviour/rival", "/behaviour/rivals", "rivals"] {
            assert_eq!(names(path), [""; 0], "{path}");
        }
    }

    #[test]
    fn all_of_the_folder_is_built_in_and_can_be_run() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../simulations");
        let mut files = Vec::new();
        crate::simulate::files::collect(&folder, &mut files).unwrap();
        assert_eq!(all().count(), files.len());
        for BuiltIn { name, text } in all() {
            Points::parse(name, text, &[]).unwrap_or_else(|error| panic!("{error}"));
            assert!(listed().contains(name));
        }
    }
}
