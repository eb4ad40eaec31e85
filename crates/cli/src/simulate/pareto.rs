//! Which settings nobody need regret: the Pareto front of store calls against error.
//!
//! # Invariant
//!
//! Only what could be chosen instead is compared. How many replicas there are or how much is
//! offered is not a choice, so each such circumstance has a front of its own.

use leasehold_sim::metrics;
use leasehold_sim::report::{LimiterReport, PointReport, ScenarioReport};

/// A limiter's two costs: calls of the store, and distance from the ideal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cost {
    /// Store calls per second, mean over seeds.
    pub(crate) calls: f64,
    /// The larger of the worst overshoot, as a share of the burst, and the mean deficit.
    pub(crate) error: f64,
}

/// Points that differ only in what can be chosen.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// The settings that its points have in common; empty if nothing else varies.
    pub(crate) label: String,
    /// One per point and limiter.
    pub(crate) members: Vec<Member>,
}

/// A limiter at a point.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// The point's position in the scenario.
    pub(crate) point: usize,
    /// The limiter's position in the point.
    pub(crate) limiter: usize,
    pub(crate) cost: Cost,
    /// Whether nothing in the group is better in one respect and as good in the other.
    pub(crate) best: bool,
}

impl Cost {
    /// `None` where the run has no such measures.
    pub(crate) fn of(limiter: &LimiterReport) -> Option<Self> {
        let spread = |name: &str| limiter.spread(metrics::find(name).expect("a measure of ours"));
        let overshoot = spread("overshoot-share")?.max;
        // Nothing was admitted ideally: then nothing can be missing.
        let deficit = spread("deficit").map_or(0.0, |deficit| deficit.mean);
        let cost = Self {
            calls: spread("store-calls")?.mean,
            error: overshoot.max(deficit).max(0.0),
        };
        (cost.calls.is_finite() && cost.error.is_finite()).then_some(cost)
    }

    fn beats(self, other: Self) -> bool {
        let as_good = self.calls <= other.calls && self.error <= other.error;
        as_good && self != other
    }
}

/// The groups of a scenario in order of their first points, each with its front.
pub(crate) fn groups(scenario: &ScenarioReport) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (index, point) in scenario.points.iter().enumerate() {
        let label = circumstances(point);
        let known = groups.iter().position(|group| group.label == label);
        let position = known.unwrap_or_else(|| {
            let members = Vec::new();
            groups.push(Group { label, members });
            groups.len() - 1
        });
        groups[position].members.extend(members(index, point));
    }
    for group in &mut groups {
        group.mark();
    }
    groups
}

/// The settings of a point that are no choice, in words.
fn circumstances(point: &PointReport) -> String {
    let settings = point.settings.iter();
    let settings = settings.filter(|(field, _)| !is_choice(field));
    let said = settings.map(|(field, value)| format!("{field}={value}"));
    said.collect::<Vec<_>>().join(" ")
}

/// Whether an operator is free to set a field.
fn is_choice(field: &str) -> bool {
    let is_tuned = ["tuning.", "rivals."]
        .iter()
        .any(|table| field.starts_with(table));
    is_tuned || CHOICES.contains(&field)
}

fn members(index: usize, point: &PointReport) -> impl Iterator<Item = Member> {
    let limiters = point.limiters.iter().enumerate();
    limiters.filter_map(move |(limiter, report)| {
        let cost = Cost::of(report)?;
        Some(Member {
            point: index,
            limiter,
            cost,
            best: false,
        })
    })
}

impl Group {
    fn mark(&mut self) {
        let costs: Vec<Cost> = self.members.iter().map(|member| member.cost).collect();
        for member in &mut self.members {
            member.best = !costs.iter().any(|other| other.beats(member.cost));
        }
    }
}

/// Short names of tuned fields.
const CHOICES: &[&str] = &["interval", "hold", "gap", "lease", "call-gap", "lease-pays"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::samples::{limiter, point, scenario};

    fn best(groups: &[Group]) -> Vec<(usize, usize)> {
        let members = groups.iter().flat_map(|group| &group.members);
        let best = members.filter(|member| member.best);
        best.map(|member| (member.point, member.limiter)).collect()
    }

    #[test]
    fn the_front_is_what_nothing_beats() {
        // Calls and error: the second is beaten by the first, the last two are equal.
        let costs = [
            (10.0, 0.5),
            (20.0, 0.5),
            (30.0, 0.1),
            (40.0, 0.0),
            (40.0, 0.0),
        ];
        let limiters = costs.map(|(calls, error)| limiter("x", calls, error));
        let scenario = scenario(vec![point(&[], limiters.into())]);
        assert_eq!(best(&groups(&scenario)), [(0, 0), (0, 2), (0, 3), (0, 4)]);
    }

    #[test]
    fn only_choices_compete() {
        let at = |replicas, interval, calls| {
            let settings = [("replicas", replicas), ("interval", interval)];
            point(&settings, vec![limiter("leased", calls, 0.0)])
        };
        let points = vec![at("1", "10ms", 9.0), at("1", "1s", 1.0), at("9", "1s", 5.0)];
        let groups = groups(&scenario(points));
        let labels: Vec<&str> = groups.iter().map(|group| &*group.label).collect();
        assert_eq!(labels, ["replicas=1", "replicas=9"]);
        assert_eq!(best(&groups), [(1, 0), (2, 0)]);
    }

    #[test]
    fn the_larger_error_counts() {
        let error = |report: &LimiterReport| Cost::of(report).map(|cost| cost.error);
        let mut report = limiter("leased", 1.0, 0.25);
        assert_eq!(error(&report), Some(0.25));
        report.runs[0].summary.deficit = Some(0.75);
        assert_eq!(error(&report), Some(0.75));
    }
}
