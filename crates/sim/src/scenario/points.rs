//! The runs that one file asks for: its variants times the cross product of its sweep.

use std::path::Path;
use std::str::FromStr;

use serde::Deserialize;
use toml::{Table, Value};

use crate::scenario::{Scenario, ScenarioError, with_proposal};

/// A scenario file with all its points.
#[derive(Clone, Debug)]
pub struct Points {
    /// The file's name without its ending.
    pub name: String,
    /// The title.
    pub title: String,
    /// Each scenario to run, in order.
    pub points: Vec<Point>,
}

/// One scenario to run.
#[derive(Clone, Debug)]
pub struct Point {
    /// Field and value of all that varies here; empty if nothing does.
    pub settings: Vec<(String, String)>,
    /// The scenario.
    pub scenario: Scenario,
}

/// A field and the values that it takes, as on the command line: `replicas=1,2,5`.
#[derive(Clone, Debug, PartialEq)]
pub struct Vary {
    field: String,
    values: Vec<Value>,
}

impl Point {
    /// The settings that set it apart from the other points of its file.
    pub fn label(&self) -> String {
        label(&self.settings)
    }
}

fn label(settings: &[(String, String)]) -> String {
    let said = settings.iter().map(|(field, value)| match field.as_str() {
        VARIANT => value.clone(),
        field => format!("{field}={value}"),
    });
    said.collect::<Vec<_>>().join(" ")
}

impl Points {
    /// Reads a scenario file. Each of `vary` replaces what the file's sweep says of that field.
    ///
    /// # Errors
    ///
    /// [`ScenarioError`] if it cannot be read, or if one of its points cannot be run.
    pub fn parse(file: &str, text: &str, vary: &[Vary]) -> Result<Self, ScenarioError> {
        let error = |message: String| ScenarioError::new(file, message);
        // Read as a whole first: these errors know the line.
        let unread = |it: toml::de::Error| error(with_proposal(&it.to_string(), &[]));
        let whole: Scenario = toml::from_str(text).map_err(unread)?;
        let mut table: Table = toml::from_str(text).map_err(unread)?;
        table.remove("sweep");
        table.remove("variant");
        let mut bases = Vec::new();
        for variant in &whole.variants {
            let mut base = table.clone();
            for (field, value) in &variant.set {
                set(&mut base, field, value.clone()).map_err(error)?;
            }
            bases.push((vec![(VARIANT.to_owned(), variant.name.clone())], base));
        }
        if bases.is_empty() {
            bases.push((Vec::new(), table));
        }
        let axes = axes(&whole.sweep, vary).map_err(error)?;
        for Vary { field, values } in &axes {
            let mut next = Vec::new();
            for (settings, base) in &bases {
                for value in values {
                    let mut table = base.clone();
                    set(&mut table, field, value.clone()).map_err(error)?;
                    let setting = (field.clone(), shown(value));
                    next.push(([&settings[..], &[setting]].concat(), table));
                }
            }
            bases = next;
            if bases.len() > POINTS_MAX {
                let message = format!("the sweep has more than {POINTS_MAX} points");
                return Err(error(message));
            }
        }
        let points = bases.into_iter().map(|(settings, table)| {
            let at = |message: String| match settings.as_slice() {
                [] => error(message),
                settings => error(format!("with {}: {message}", label(settings))),
            };
            let short: Vec<&str> = SHORT_NAMES.iter().map(|(short, _)| *short).collect();
            let unread = |it: toml::de::Error| at(with_proposal(&it.to_string(), &short));
            let scenario = Scenario::deserialize(table).map_err(unread)?;
            scenario.check().map_err(at)?;
            Ok(Point { settings, scenario })
        });
        Ok(Self {
            name: stem(file),
            title: whole.title,
            points: points.collect::<Result<_, _>>()?,
        })
    }

    /// One scenario that no file says, as if `file` did.
    ///
    /// # Errors
    ///
    /// [`ScenarioError`] if it cannot be run.
    pub fn of(file: &str, scenario: Scenario) -> Result<Self, ScenarioError> {
        scenario
            .check()
            .map_err(|message| ScenarioError::new(file, message))?;
        Ok(Self {
            name: stem(file),
            title: scenario.title.clone(),
            points: vec![Point {
                settings: Vec::new(),
                scenario,
            }],
        })
    }
}

fn stem(file: &str) -> String {
    let stem = Path::new(file).file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// The sweep of the file, with what the command line says of it.
fn axes(sweep: &Table, vary: &[Vary]) -> Result<Vec<Vary>, String> {
    let mut axes = Vec::new();
    for (field, values) in sweep {
        let Value::Array(values) = values else {
            return Err(format!("[sweep] {field}: write a list of values"));
        };
        if values.is_empty() {
            return Err(format!("[sweep] {field}: the list is empty"));
        }
        axes.push(Vary {
            field: field.clone(),
            values: values.clone(),
        });
    }
    for new in vary {
        match axes
            .iter_mut()
            .find(|old| path(&old.field) == path(&new.field))
        {
            Some(old) => *old = new.clone(),
            None => axes.push(new.clone()),
        }
    }
    Ok(axes)
}

impl FromStr for Vary {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}`: write a field and its values, such as replicas=1,2,5");
        let (field, values) = text.split_once('=').ok_or_else(bad)?;
        let values: Vec<Value> = values.split(',').map(str::trim).map(value).collect();
        let empty = |value: &Value| value.as_str() == Some("");
        if field.trim().is_empty() || values.iter().any(empty) {
            return Err(bad());
        }
        Ok(Self {
            field: field.trim().to_owned(),
            values,
        })
    }
}

/// A value as it would stand in the file, quotes left out.
fn value(text: &str) -> Value {
    let as_is: Result<Table, _> = toml::from_str(&format!("value = {text}"));
    match as_is.ok().and_then(|mut table| table.remove("value")) {
        Some(value) => value,
        None => Value::String(text.to_owned()),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Puts a value at a field, which is a path such as `fleet.replicas` or `load.0.offered`. Tables
/// on the way that are not there yet are made.
fn set(table: &mut Table, field: &str, value: Value) -> Result<(), String> {
    let path = path(field);
    let (first, rest) = path.split_first().expect("a path has a first part");
    let mut place = table
        .entry(*first)
        .or_insert_with(|| Value::Table(Table::new()));
    for part in rest {
        place = match place {
            Value::Array(items) => {
                let index: Option<usize> = part.parse().ok();
                let item = index.and_then(|index| items.get_mut(index));
                item.ok_or_else(|| format!("{field}: there is no number {part}"))?
            }
            Value::Table(inner) => inner
                .entry(*part)
                .or_insert_with(|| Value::Table(Table::new())),
            other => return Err(format!("{field}: {other} has no field {part}")),
        };
    }
    *place = value;
    Ok(())
}

/// The parts of a field's path. A few fields have short names.
fn path(field: &str) -> Vec<&str> {
    let long = SHORT_NAMES.iter().find(|(short, _)| *short == field);
    long.map_or(field, |(_, long)| long).split('.').collect()
}

const SHORT_NAMES: &[(&str, &str)] = &[
    ("replicas", "fleet.replicas"),
    ("balance", "balance"),
    ("limit", "limit.0.limit"),
    ("policy", "limit.0.failure-policy"),
    ("offered", "load.0.offered"),
    ("arrivals", "load.0.arrivals"),
    ("keys", "load.0.keys.count"),
    ("zipf", "load.0.keys.zipf"),
    ("latency", "network.latency"),
    ("loss", "network.loss"),
    ("interval", "tuning.interval-max"),
    ("hold", "tuning.hold-max"),
    ("gap", "tuning.backoff-max"),
    ("lease", "tuning.lease-max"),
    ("call-gap", "tuning.call-gap"),
    ("ask-gap", "tuning.ask-gap"),
    ("lease-pays", "tuning.lease-pays"),
];

/// The name of a variant among the settings of a point.
const VARIANT: &str = "variant";

/// More runs than anybody waits for: a slip in a sweep.
const POINTS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
        schema = 1
        title = "two replicas"
        duration = "2s"
        [[limit]]
        limit = "100/s"
        [[load]]
        offered = "50/s"
        [fleet]
        replicas = 2
    "#;

    fn parse(more: &str, vary: &[&str]) -> Result<Points, ScenarioError> {
        let vary: Vec<Vary> = vary.iter().map(|text| text.parse().unwrap()).collect();
        Points::parse("dir/small.toml", &format!("{SMALL}{more}"), &vary)
    }

    fn labels(points: &Points) -> Vec<String> {
        points.points.iter().map(Point::label).collect()
    }

    #[test]
    fn without_a_sweep_there_is_one_point() {
        let points = parse("", &[]).unwrap();
        assert_eq!(points.name, "small");
        assert_eq!(labels(&points), [""]);
    }

    #[test]
    fn a_sweep_is_a_cross_product_and_the_command_line_may_replace_it() {
        let sweep = "[sweep]\nreplicas = [1, 3]\nlatency = [\"1ms\", \"5ms\"]\n";
        let points = parse(sweep, &[]).unwrap();
        let expected = [
            "latency=1ms replicas=1",
            "latency=1ms replicas=3",
            "latency=5ms replicas=1",
            "latency=5ms replicas=3",
        ];
        let mut found = labels(&points);
        found.sort();
        assert_eq!(found.len(), expected.len());
        let one = points
            .points
            .iter()
            .find(|it| it.label().contains("replicas=3"));
        assert_eq!(one.unwrap().scenario.fleet.replicas, 3);
        let points = parse(sweep, &["fleet.replicas=7", "offered=10/s,20/s"]).unwrap();
        assert_eq!(points.points.len(), 4);
        assert!(
            points
                .points
                .iter()
                .all(|it| it.scenario.fleet.replicas == 7)
        );
    }

    #[test]
    fn variants_are_named_changes() {
        let variants = "[[variant]]\nname = \"few\"\nset = { replicas = 1 }\n\
                        [[variant]]\nname = \"slow\"\nset = { \"network.latency\" = \"1s\" }\n";
        let points = parse(variants, &[]).unwrap();
        assert_eq!(labels(&points), ["few", "slow"]);
        assert_eq!(points.points[0].scenario.fleet.replicas, 1);
    }

    #[test]
    fn what_nobody_knows_is_answered_with_a_proposal() {
        let error = |more: &str, vary: &[&str]| parse(more, vary).unwrap_err().to_string();
        let proposed = |said: String, meant: &str| {
            let ending = format!("did you mean `{meant}`?");
            assert!(said.ends_with(&ending), "{said}");
        };
        proposed(error("[[limt]]\nlimit = \"1/s\"", &[]), "limit");
        proposed(error("[[limit]]\nlimt = \"1/s\"", &[]), "limit");
        proposed(error("[[limit]]\nlimit = \"1000/sx\"", &[]), "s");
        proposed(error("", &["replica=1,2"]), "replicas");
        proposed(error("", &["latencey=1ms"]), "latency");
        proposed(error("", &["fleet.replica=1"]), "replicas");
        proposed(error("", &["limit=10/s brust 5"]), "burst");
        assert!(!error("", &["colour=1"]).contains("did you mean"));
    }

    #[test]
    fn what_cannot_be_run_is_refused_with_its_place() {
        let error = |more: &str, vary: &[&str]| parse(more, vary).unwrap_err().to_string();
        let unknown = error("replica = 3", &[]);
        assert!(
            unknown.starts_with("dir/small.toml: TOML parse error at line"),
            "{unknown}"
        );
        assert!(error("[sweep]\nreplicas = 3", &[]).contains("write a list"));
        assert!(error("", &["load.3.offered=1/s"]).contains("there is no number 3"));
        assert!(error("", &["title.x=1"]).contains("has no field x"));
        assert!(error("", &["duration=0s"]).contains("above 0"));
        assert!(error("", &["schema=2"]).contains("schema = 1"));
        assert!(error("", &["replicas=many"]).contains("replicas"));
        assert!("replicas".parse::<Vary>().is_err());
        assert!("replicas=1,,2".parse::<Vary>().is_err());
    }
}
