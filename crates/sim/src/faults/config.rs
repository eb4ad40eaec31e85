//! Faults as scenarios write them.

use leasehold_core::Limit;
use serde::Deserialize;
use toml::{Table, Value};

use crate::faults::values::{Lasting, Step, Targets};
use crate::network::Direction;
use crate::units::{Share, Span};

/// One `[[fault]]`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(try_from = "Table")]
pub struct FaultConfig {
    /// When it first happens.
    pub at: Span,
    /// `for`: how long it lasts.
    pub lasting: Option<Lasting>,
    /// How long after each time it happens again.
    pub every: Option<Span>,
    /// The kind of the fault.
    pub kind: FaultKind,
}

/// The kind of the fault.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(tag = "kind", deny_unknown_fields, rename_all = "kebab-case")]
pub enum FaultKind {
    /// Nothing passes between some replicas and the store.
    Partition {
        /// Whose messages.
        #[serde(default)]
        replicas: Targets,
        /// Which way.
        #[serde(default)]
        direction: Direction,
    },
    /// Messages are lost.
    Loss {
        /// How many.
        share: Share,
        /// Whose.
        #[serde(default)]
        replicas: Targets,
        /// Which way.
        #[serde(default)]
        direction: Direction,
    },
    /// Messages take longer.
    SlowNetwork {
        /// By this factor.
        times: f64,
        /// Whose.
        #[serde(default)]
        replicas: Targets,
        /// Which way.
        #[serde(default)]
        direction: Direction,
    },
    /// The server is killed, and started again.
    #[serde(rename_all = "kebab-case")]
    StoreDown {
        /// With what data.
        #[serde(default)]
        then: Restart,
        /// For how long it then loads, and refuses.
        #[serde(default)]
        loading: Span,
        /// Whether the machine is gone with it, so that nobody even hears that it is down.
        #[serde(default)]
        silent: bool,
    },
    /// Another server takes over.
    FailOver {
        /// Writes of so much time before are lost; `"0s"` loses nothing.
        lost: Option<Span>,
        /// Everything is lost.
        #[serde(default)]
        empty: bool,
        /// How long there is no server.
        #[serde(default)]
        down: Span,
        /// Whether nobody hears anything meanwhile.
        #[serde(default)]
        silent: bool,
    },
    /// Another server takes over, and the old one does not know.
    SplitBrain {
        /// The replicas that go on talking to the old one.
        replicas: Targets,
        /// Writes of so much time before are unknown to the new one.
        #[serde(default)]
        lost: Span,
    },
    /// The running server forgets all data.
    Flush {},
    /// The running server forgets its scripts.
    ScriptFlush {},
    /// The server stands still.
    Hang {},
    /// The server takes longer.
    SlowStore {
        /// By this factor.
        times: f64,
    },
    /// The server's clock jumps.
    StoreClock {
        /// How far.
        step: Step,
    },
    /// Replicas are killed.
    #[serde(rename_all = "kebab-case")]
    Crash {
        /// Which.
        replicas: Targets,
        /// When they start again, with nothing remembered.
        restart_after: Option<Span>,
    },
    /// Replicas stand still.
    Pause {
        /// Which.
        replicas: Targets,
    },
    /// A limit is changed.
    Limit {
        /// The new one.
        limit: Limit,
        /// Which of the scenario's limits; its only one if it has no name.
        name: Option<String>,
        /// The replicas that hear of it.
        #[serde(default)]
        replicas: Targets,
    },
    /// One of several.
    Mishaps {
        /// Which, and how often.
        pick: Vec<Mishap>,
    },
    /// Nothing.
    Nothing {},
}

/// The memory of a server that starts again.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Restart {
    /// Everything: each write was saved before it was answered.
    #[default]
    Kept,
    /// Nothing: it does not save.
    Empty,
    /// The memory that it had saved so long before it was killed.
    Lost(Span),
}

/// One of several faults.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(try_from = "Table")]
pub struct Mishap {
    /// The weight by which the mishap is drawn, relative to the others.
    pub weight: u32,
    /// `for`: how long it lasts.
    pub lasting: Option<Lasting>,
    /// The kind of the fault.
    pub kind: FaultKind,
}

impl FaultKind {
    /// As scenarios name it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Partition { .. } => "partition",
            Self::Loss { .. } => "loss",
            Self::SlowNetwork { .. } => "slow-network",
            Self::StoreDown { .. } => "store-down",
            Self::FailOver { .. } => "fail-over",
            Self::SplitBrain { .. } => "split-brain",
            Self::Flush {} => "flush",
            Self::ScriptFlush {} => "script-flush",
            Self::Hang {} => "hang",
            Self::SlowStore { .. } => "slow-store",
            Self::StoreClock { .. } => "store-clock",
            Self::Crash { .. } => "crash",
            Self::Pause { .. } => "pause",
            Self::Limit { .. } => "limit",
            Self::Mishaps { .. } => "mishaps",
            Self::Nothing {} => "nothing",
        }
    }

    /// Whether there can be such a fault, of one among `replicas`.
    pub(crate) fn check(&self, lasting: Option<Lasting>, replicas: u32) -> Result<(), String> {
        self.check_lasting(lasting)?;
        self.check_factor()?;
        match self {
            Self::FailOver {
                lost: None,
                empty: false,
                ..
            } => Err(
                "say what the new server lacks: `lost = \"500ms\"`, or `empty = true`".to_owned(),
            ),
            Self::FailOver {
                lost: Some(_),
                empty: true,
                ..
            } => Err("`lost` means nothing if the new server is `empty`: leave one out".to_owned()),
            Self::SlowNetwork {
                replicas: targets, ..
            }
            | Self::Partition {
                replicas: targets, ..
            }
            | Self::Loss {
                replicas: targets, ..
            }
            | Self::SplitBrain {
                replicas: targets, ..
            }
            | Self::Crash {
                replicas: targets, ..
            }
            | Self::Pause { replicas: targets }
            | Self::Limit {
                replicas: targets, ..
            } => targets.check(replicas),
            Self::Mishaps { pick } => Self::check_mishaps(pick, replicas),
            _ => Ok(()),
        }
    }

    fn check_lasting(&self, lasting: Option<Lasting>) -> Result<(), String> {
        match self {
            Self::StoreDown { .. }
            | Self::SplitBrain { .. }
            | Self::Hang {}
            | Self::Pause { .. }
                if lasting.is_none() =>
            {
                Err("say how long it lasts: `for = \"5s\"`".to_owned())
            }
            Self::Crash { .. } if lasting.is_some() => Err(
                "has no `for`; replicas start again `restart-after` they were killed".to_owned(),
            ),
            Self::FailOver { .. } if lasting.is_some() => {
                Err("has no `for`; there is no server while it is `down`".to_owned())
            }
            Self::Mishaps { .. } if lasting.is_some() => {
                Err("has no `for`; each of those in `pick` has its own".to_owned())
            }
            Self::Flush {}
            | Self::ScriptFlush {}
            | Self::StoreClock { .. }
            | Self::Limit { .. }
            | Self::Nothing {}
                if lasting.is_some() =>
            {
                Err("happens at once, and has no `for`".to_owned())
            }
            _ => lasting.map_or(Ok(()), Lasting::check),
        }
    }

    fn check_factor(&self) -> Result<(), String> {
        match self {
            Self::SlowNetwork { times, .. } | Self::SlowStore { times }
                if !(*times > 0.0 && *times <= TIMES_MAX) =>
            {
                Err(format!(
                    "`times` is {times}: more than 0 and up to {TIMES_MAX} is possible"
                ))
            }
            _ => Ok(()),
        }
    }

    fn check_mishaps(pick: &[Mishap], replicas: u32) -> Result<(), String> {
        if pick.iter().all(|mishap| mishap.weight == 0) {
            return Err("`pick` has nothing to pick: give something a weight".to_owned());
        }
        for (index, mishap) in pick.iter().enumerate() {
            let at = |problem: String| {
                format!(
                    "number {} of `pick` (`{}`): {problem}",
                    index + 1,
                    mishap.kind.name()
                )
            };
            if matches!(mishap.kind, Self::Mishaps { .. }) {
                return Err(at("mishaps do not hold mishaps".to_owned()));
            }
            mishap.kind.check(mishap.lasting, replicas).map_err(at)?;
        }
        Ok(())
    }

    /// The longest time from its beginning to its end.
    pub(crate) fn longest_ns(&self, lasting: Option<Lasting>) -> u64 {
        let lasts_ns = lasting.map_or(0, |lasting| lasting.bounds()[1].0);
        match self {
            Self::StoreDown { loading, .. } => lasts_ns.saturating_add(loading.0),
            Self::FailOver { down, .. } => down.0,
            Self::Mishaps { pick } => {
                let each = |mishap: &Mishap| mishap.kind.longest_ns(mishap.lasting);
                pick.iter().map(each).max().unwrap_or(0)
            }
            _ => lasts_ns,
        }
    }

    /// Whether, without a `for`, it lasts to the end of the run.
    pub(crate) fn may_last_for_ever(&self) -> bool {
        match self {
            Self::Partition { .. }
            | Self::Loss { .. }
            | Self::SlowNetwork { .. }
            | Self::SlowStore { .. } => true,
            Self::Mishaps { pick } => pick
                .iter()
                .any(|mishap| mishap.lasting.is_none() && mishap.kind.may_last_for_ever()),
            _ => false,
        }
    }
}

impl TryFrom<Table> for FaultConfig {
    type Error = String;

    fn try_from(mut table: Table) -> Result<Self, String> {
        let at = taken(&mut table, "at")?;
        let lasting = taken(&mut table, "for")?;
        let every = taken(&mut table, "every")?;
        let kind = kind_of(table)?;
        Ok(Self {
            at: at.ok_or_else(|| format!("`{}` has no time: say `at = \"20s\"`", kind.name()))?,
            lasting,
            every,
            kind,
        })
    }
}

impl TryFrom<Table> for Mishap {
    type Error = String;

    fn try_from(mut table: Table) -> Result<Self, String> {
        let weight = taken(&mut table, "weight")?;
        let lasting = taken(&mut table, "for")?;
        Ok(Self {
            weight: weight.unwrap_or(1),
            lasting,
            kind: kind_of(table)?,
        })
    }
}

/// Takes one field, so that the rest can be held against the fields of its kind alone: serde
/// cannot both share fields among variants and refuse what is none.
fn taken<'de, T: Deserialize<'de>>(table: &mut Table, field: &str) -> Result<Option<T>, String> {
    let value = table.remove(field).map(Value::try_into);
    value
        .transpose()
        .map_err(|error| format!("`{field}`: {}", plain(&error)))
}

fn kind_of(table: Table) -> Result<FaultKind, String> {
    let name = match table.get("kind") {
        Some(Value::String(name)) => format!("`{name}`: "),
        _ => String::new(),
    };
    let kind = Value::Table(table).try_into();
    kind.map_err(|error| format!("{name}{}", plain(&error)))
}

/// The message without its place, which is that of a value taken out of its file.
fn plain(error: &toml::de::Error) -> String {
    error.message().trim().to_owned()
}

/// A millisecond becomes a quarter of an hour.
const TIMES_MAX: f64 = 1e6;

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Result<FaultConfig, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    fn check(text: &str) -> Result<(), String> {
        let fault = fault(text).unwrap();
        fault.kind.check(fault.lasting, 10)
    }

    /// One of each kind, as scenarios write them.
    const ALL: [&str; 18] = [
        "at = \"1s\"\nkind = \"partition\"\nreplicas = [0, 1]\ndirection = \"to-store\"\n\
         for = \"5s\"",
        "at = \"1s\"\nkind = \"partition\"",
        "at = \"1s\"\nkind = \"loss\"\nshare = \"30%\"\nreplicas = 2",
        "at = \"1s\"\nkind = \"slow-network\"\ntimes = 10\ndirection = \"to-replica\"",
        "at = \"1s\"\nkind = \"store-down\"\nfor = \"5s\"\nthen = \"empty\"\nloading = \"2s\"",
        "at = \"1s\"\nkind = \"store-down\"\nfor = [\"0s\", \"60s\"]\nthen = { lost = \"500ms\" }\n\
         silent = true",
        "at = \"1s\"\nkind = \"fail-over\"\nlost = \"500ms\"\ndown = \"3s\"\nevery = \"20s\"",
        "at = \"1s\"\nkind = \"fail-over\"\nempty = true",
        "at = \"1s\"\nkind = \"split-brain\"\nfor = \"5s\"\nreplicas = \"50%\"\nlost = \"1s\"",
        "at = \"1s\"\nkind = \"flush\"",
        "at = \"1s\"\nkind = \"script-flush\"",
        "at = \"1s\"\nkind = \"hang\"\nfor = \"2s\"",
        "at = \"1s\"\nkind = \"slow-store\"\ntimes = 2.5",
        "at = \"1s\"\nkind = \"store-clock\"\nstep = \"-5s\"",
        "at = \"1s\"\nkind = \"crash\"\nreplicas = [3]\nrestart-after = \"1s\"",
        "at = \"1s\"\nkind = \"pause\"\nreplicas = 1\nfor = \"5s\"",
        "at = \"1s\"\nkind = \"limit\"\nlimit = \"300/s burst 30\"\nname = \"api\"\n\
         replicas = \"30%\"",
        "at = \"1s\"\nkind = \"mishaps\"\nevery = \"60s\"\n\
         pick = [{ weight = 3, kind = \"flush\" }, \
         { kind = \"nothing\" }, { weight = 2, kind = \"hang\", for = [\"1s\", \"9s\"] }]",
    ];

    #[test]
    fn each_kind_can_be_written() {
        for text in ALL {
            let fault = fault(text).unwrap();
            assert_eq!(fault.at, Span::from_secs(1));
            assert_eq!(fault.kind.check(fault.lasting, 10), Ok(()), "{text}");
            assert!(
                text.contains(&format!("\"{}\"", fault.kind.name())),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_misspelt_or_missing_is_named() {
        let error = |text: &str| fault(text).unwrap_err();
        let named = |text: &str, words: &[&str]| {
            let error = error(text);
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        };
        named("kind = \"flush\"", &["`flush` has no time", "at ="]);
        named("at = \"1s\"", &["kind"]);
        named("at = \"1s\"\nkind = \"flood\"", &["flood", "store-down"]);
        named("at = \"1s\"\nkind = \"loss\"", &["`loss`", "share"]);
        named(
            "at = \"1s\"\nkind = \"loss\"\nshare = 0.1\nshares = 2",
            &["`shares`", "direction"],
        );
        named("at = \"1s\"\nkind = \"flush\"\nwhen = 2", &["`when`"]);
        named("at = \"1s\"\nkind = \"crash\"", &["replicas"]);
        named("at = 5\nkind = \"flush\"", &["`at`", "1.5ms"]);
        named(
            "at = \"1s\"\nkind = \"hang\"\nfor = 5",
            &["`for`", "a time such as"],
        );
        named(
            "at = \"1s\"\nkind = \"store-clock\"\nstep = \"5s\"",
            &["`+5s`"],
        );
        named(
            "at = \"1s\"\nkind = \"store-down\"\nthen = \"lost\"",
            &["store-down"],
        );
        named("at = \"1s\"\nkind = \"limit\"\nlimit = \"fast\"", &["fast"]);
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_mend() {
        let refused = |text: &str, mend: &str| {
            let error = check(&format!("at = \"1s\"\nkind = {text}")).unwrap_err();
            assert!(error.contains(mend), "{error}");
        };
        refused("\"hang\"", "`for = \"5s\"`");
        refused("\"store-down\"", "`for = \"5s\"`");
        refused("\"pause\"\nreplicas = 1", "`for = \"5s\"`");
        refused("\"split-brain\"\nreplicas = 1", "`for = \"5s\"`");
        refused("\"hang\"\nfor = \"0s\"", "no time");
        refused("\"hang\"\nfor = [\"2s\", \"1s\"]", "shorter");
        refused("\"flush\"\nfor = \"5s\"", "at once");
        refused("\"crash\"\nreplicas = 1\nfor = \"5s\"", "restart-after");
        refused("\"fail-over\"\nempty = true\nfor = \"5s\"", "`down`");
        refused("\"fail-over\"", "`lost = ");
        refused(
            "\"fail-over\"\nlost = \"1s\"\nempty = true",
            "leave one out",
        );
        refused("\"slow-store\"\ntimes = 0", "more than 0");
        refused("\"slow-network\"\ntimes = nan", "more than 0");
        refused("\"partition\"\nreplicas = [10]", "no replica 10");
        refused("\"mishaps\"\npick = []", "nothing to pick");
        refused(
            "\"mishaps\"\npick = [{ kind = \"hang\" }]",
            "number 1 of `pick` (`hang`)",
        );
        refused(
            "\"mishaps\"\npick = [{ kind = \"mishaps\", pick = [] }]",
            "do not hold mishaps",
        );
    }
}
