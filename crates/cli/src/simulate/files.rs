//! Which files a path on the command line means, and what they read besides.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use leasehold_sim::load::{ArrivalsConfig, Traces};
use leasehold_sim::scenario::{Points, nearest};
use leasehold_sim::trace::Trace;

use super::catalogue::{self, BuiltIn};
use super::error::SimulateError;

/// A scenario that can be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Source {
    /// Its file; of one that is built in, its name.
    pub(crate) path: PathBuf,
    /// The scenario's text, if it is built in.
    built_in: Option<&'static str>,
}

impl Source {
    /// A file on the disk.
    pub(crate) fn file(path: PathBuf) -> Self {
        let built_in = None;
        Self { path, built_in }
    }

    /// The scenario's text.
    pub(crate) fn text(&self) -> Result<String, SimulateError> {
        match self.built_in {
            Some(text) => Ok(text.to_owned()),
            None => fs::read_to_string(&self.path).map_err(|error| read_error(&self.path, error)),
        }
    }
}

impl From<BuiltIn> for Source {
    fn from(BuiltIn { name, text }: BuiltIn) -> Self {
        Self {
            path: name.into(),
            built_in: Some(text),
        }
    }
}

/// The scenarios of all paths: a file is itself, a folder all `*.toml` below it by name, and what
/// is neither is looked for among the scenarios that are built in.
pub(crate) fn scenarios(paths: &[PathBuf]) -> Result<Vec<Source>, SimulateError> {
    let mut sources = Vec::new();
    for path in paths {
        if path.is_dir() {
            let mut files = Vec::new();
            collect(path, &mut files)?;
            if files.is_empty() {
                return Err(SimulateError::NoScenarios(path.clone()));
            }
            sources.extend(files.into_iter().map(Source::file));
            continue;
        }
        let built_in = if path.exists() {
            Vec::new()
        } else {
            catalogue::found(path)
        };
        if built_in.is_empty() && !path.exists() {
            return Err(unknown(path));
        }
        if built_in.is_empty() {
            sources.push(Source::file(path.clone()));
        }
        sources.extend(built_in.into_iter().map(Source::from));
    }
    Ok(sources)
}

fn unknown(path: &Path) -> SimulateError {
    let names: Vec<&str> = catalogue::all().map(|it| it.name).collect();
    let text = path.to_string_lossy();
    let name = text
        .trim_start_matches("simulations/")
        .trim_end_matches(".toml");
    let meant = nearest(name, &names).map(|name| format!("did you mean {name}? "));
    SimulateError::Unknown {
        path: path.to_owned(),
        meant: meant.unwrap_or_default(),
    }
}

pub(crate) fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), SimulateError> {
    let failed = |error| read_error(folder, error);
    let entries = fs::read_dir(folder).map_err(failed)?;
    let mut entries = entries.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // A link to a folder is not followed: it might lead back here.
        if entry.file_type().map_err(failed)?.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "toml") {
            files.push(path);
        }
    }
    Ok(())
}

/// Reads the traces that the points of `file` replay, which they name relative to it. From now on
/// the points name them by the path that was read, as two scenarios may mean different files by
/// one name.
pub(crate) fn read_traces(
    file: &Path,
    points: &mut Points,
    traces: &mut Traces,
) -> Result<(), SimulateError> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let scenarios = points.points.iter_mut().map(|point| &mut point.scenario);
    for load in scenarios.flat_map(|scenario| &mut scenario.loads) {
        let ArrivalsConfig::Trace(config) = &mut load.arrivals else {
            continue;
        };
        let path = folder.join(&config.path);
        config.path = path.to_string_lossy().into_owned();
        if !traces.contains_key(&config.path) {
            traces.insert(config.path.clone(), Arc::new(trace(&path)?));
        }
    }
    Ok(())
}

/// Reads a trace.
pub(crate) fn trace(file: &Path) -> Result<Trace, SimulateError> {
    let bytes = fs::read(file).map_err(|error| read_error(file, error))?;
    Trace::parse(&bytes).map_err(|error| SimulateError::Trace {
        file: file.to_owned(),
        message: error.to_string(),
    })
}

fn read_error(file: &Path, error: std::io::Error) -> SimulateError {
    SimulateError::Read {
        file: file.to_owned(),
        error,
    }
}

/// No traces yet.
pub(crate) const fn no_traces() -> Traces {
    BTreeMap::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_all_its_scenarios_by_name_and_below() {
        let folder = std::env::temp_dir().join(format!("leasehold-files-{}", std::process::id()));
        fs::create_dir_all(folder.join("b")).unwrap();
        for name in ["c.toml", "a.toml", "b/z.toml", "b/notes.txt"] {
            fs::write(folder.join(name), "").unwrap();
        }
        let found = scenarios(std::slice::from_ref(&folder)).unwrap();
        let names: Vec<_> = found
            .iter()
            .map(|source| source.path.strip_prefix(&folder).unwrap().to_owned())
            .collect();
        assert_eq!(names, ["a.toml", "b/z.toml", "c.toml"].map(PathBuf::from));
        fs::create_dir_all(folder.join("empty")).unwrap();
        assert!(scenarios(&[folder.join("empty")]).is_err());
        let error = scenarios(&["behaviour/rivls".into()])
            .unwrap_err()
            .to_string();
        assert!(error.contains("did you mean behaviour/rivals?"), "{error}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
