//! A world as the swarm draws it: parts that can be taken away one by one, and its scenario as
//! text.
//!
//! # Invariant
//!
//! The text is all there is to a world besides its seed: whoever runs the file runs the world.

use std::fmt::Write as _;

use leasehold_core::Limit;

use crate::scenario::{Points, Scenario};
use crate::units::Span;

/// A world, not yet written down.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Draft {
    pub(super) seed: u64,
    pub(super) phases: Phases,
    pub(super) replicas: u32,
    /// Further lines of `[fleet]`.
    pub(super) fleet: Vec<String>,
    /// The limits, each with whom it applies to.
    pub(super) limits: Vec<(Limit, String)>,
    /// The failure policy of all limits.
    pub(super) policy: Policy,
    pub(super) keys: u32,
    pub(super) zipf: f64,
    pub(super) cost: String,
    pub(super) mean_cost: f64,
    pub(super) loads: Vec<LoadDraft>,
    pub(super) balance: Option<String>,
    pub(super) latency: String,
    /// Further lines of `[network]`.
    pub(super) network: Vec<String>,
    pub(super) store: Vec<String>,
    pub(super) tuning: Vec<String>,
    pub(super) faults: Vec<FaultDraft>,
    /// The demands on it besides safety.
    pub(super) asks: Asks,
}

/// A failure policy, as far as a bound follows from it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Policy {
    #[default]
    Closed,
    Local,
    Open,
}

impl Policy {
    fn written(self) -> Option<&'static str> {
        match self {
            Self::Closed => None,
            Self::Local => Some("local"),
            Self::Open => Some("open"),
        }
    }
}

/// When what begins. Milliseconds.
#[expect(clippy::struct_field_names, reason = "integers end in their unit")]
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Phases {
    /// All faults are over, and more is asked for than there is.
    pub(super) heal_ms: u64,
    /// All has settled: from now on the limit is to be used.
    pub(super) busy_ms: u64,
    /// Less is asked for than there is.
    pub(super) lull_ms: u64,
    /// All has settled again: from now on nobody is to be denied.
    pub(super) calm_ms: u64,
    pub(super) end_ms: u64,
}

/// The demands on a world after it has healed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Asks {
    /// The least part of the ideal's tokens that is to be admitted while busy.
    pub(super) busy: f64,
    /// The least utilisation while calm.
    pub(super) calm: f64,
    /// The largest part of the requests that may wait while calm.
    pub(super) waits: Option<f64>,
}

/// One `[[load]]`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LoadDraft {
    pub(super) from_ms: u64,
    pub(super) until_ms: u64,
    pub(super) per_second: f64,
    /// Further lines of the fault.
    pub(super) lines: Vec<String>,
}

/// One `[[fault]]`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FaultDraft {
    pub(super) kind: &'static str,
    pub(super) at_ms: u64,
    pub(super) lines: Vec<String>,
}

impl Draft {
    /// The scenario as a file. `expect` is what its table of that name says.
    pub(super) fn text(&self, title: &str, expect: &[String]) -> String {
        let mut text = String::new();
        let mut line = |content: &str| {
            text.push_str(content);
            text.push('\n');
        };
        line("schema = 1");
        line(&format!("title = {title:?}"));
        line(&format!("duration = \"{}ms\"", self.phases.end_ms));
        line("seeds = 1");
        line(&format!("slice = \"{SLICE}\""));
        for (index, (limit, per)) in self.limits.iter().enumerate() {
            line("\n[[limit]]");
            line(&format!("name = \"{}\"", limit_name(index)));
            line(&format!("limit = \"{limit}\""));
            line(&format!("per = {per}"));
            if let Some(policy) = self.policy.written() {
                line(&format!("failure-policy = \"{policy}\""));
            }
        }
        for load in &self.loads {
            if load.from_ms >= self.phases.end_ms {
                continue;
            }
            line("\n[[load]]");
            line(&format!("offered = \"{}/s\"", load.per_second));
            line(&format!("from = \"{}ms\"", load.from_ms));
            line(&format!("until = \"{}ms\"", load.until_ms));
            line(&format!("cost = {}", self.cost));
            line(&format!(
                "keys = {{ count = {}, zipf = {:?} }}",
                self.keys, self.zipf
            ));
            for said in &load.lines {
                line(said);
            }
        }
        line("\n[fleet]");
        line(&format!("replicas = {}", self.replicas));
        for said in &self.fleet {
            line(said);
        }
        if let Some(balance) = &self.balance {
            // A table, so that it may stand below others.
            line("\n[balance]");
            line(&format!("policy = {balance}"));
        }
        line("\n[network]");
        line(&format!("latency = {}", self.latency));
        for said in &self.network {
            line(said);
        }
        for (table, lines) in [
            ("store", &self.store),
            ("tuning", &self.tuning),
            ("expect", &expect.to_vec()),
        ] {
            if !lines.is_empty() {
                line(&format!("\n[{table}]"));
                for said in lines {
                    line(said);
                }
            }
        }
        for fault in self.faults_in_time() {
            line("\n[[fault]]");
            line(&format!("kind = \"{}\"", fault.kind));
            line(&format!("at = \"{}ms\"", fault.at_ms));
            for said in &fault.lines {
                line(said);
            }
        }
        text
    }

    /// The scenario.
    ///
    /// # Errors
    ///
    /// What the scenario is refused for.
    pub(super) fn scenario(&self) -> Result<Scenario, String> {
        let text = self.text("A world of the swarm", &[]);
        let points = Points::parse("swarm", &text, &[]).map_err(|error| error.to_string())?;
        let point = points.points.into_iter().next();
        Ok(point.expect("a file without a sweep is one point").scenario)
    }

    /// Faults that begin before the end.
    pub(super) fn faults_in_time(&self) -> impl Iterator<Item = &FaultDraft> {
        let in_time = |fault: &&FaultDraft| fault.at_ms < self.phases.end_ms;
        self.faults.iter().filter(in_time)
    }

    /// A summary at a glance, for people.
    pub(super) fn summary(&self) -> String {
        let mut text = String::new();
        let limits: Vec<String> = self.limits.iter().map(|(it, _)| it.to_string()).collect();
        let _ = write!(
            text,
            "{} replicas, {} keys, {}",
            self.replicas,
            self.keys,
            limits.join(" and ")
        );
        for fault in self.faults_in_time() {
            let _ = write!(text, ", {} at {}ms", fault.kind, fault.at_ms);
        }
        text
    }
}

/// The name of a limit in a scenario of the swarm.
pub(super) fn limit_name(index: usize) -> String {
    format!("l{index}")
}

/// The length of a slice, by which demands are measured.
pub(super) const SLICE: Span = Span::from_millis(250);
