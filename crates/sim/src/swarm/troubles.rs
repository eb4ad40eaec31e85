//! Draws what goes wrong in a world until it heals.
//!
//! Each kind of fault exists in half of the worlds, with a weight of its own. All that has an end
//! ends before the world heals.

use std::ops::Range;

use rand::RngExt;

use super::draft::{Draft, FaultDraft, limit_name};
use super::draw::{log, millis, whole};
use crate::numbers::{float, per_second};
use crate::stream::Stream;

/// Adds faults to a world.
pub(super) fn draw(draft: &mut Draft, random: &mut Stream) {
    let mut on = Vec::new();
    for kind in KINDS {
        let weight = random.random_range(0.05..1.0);
        if random.random_bool(0.5) {
            on.push((kind, weight));
        }
    }
    let mut planner = Planner {
        from_ms: 3000,
        heal_ms: draft.phases.heal_ms,
        splits: Vec::new(),
        random,
    };
    if planner.random.random_bool(0.3) {
        let share = log(planner.random, 0.001, 0.3);
        draft.faults.push(FaultDraft {
            kind: "loss",
            at_ms: 0,
            lines: vec![
                format!("share = {share:?}"),
                format!("for = \"{}ms\"", draft.phases.heal_ms),
            ],
        });
    }
    let faults = planner.random.random_range(0..=12);
    for _ in 0..faults {
        if let Some(kind) = planner.pick(&on) {
            let fault = planner.fault(kind, draft);
            draft.faults.extend(fault);
        }
    }
    heal_limits(draft);
}

/// Limits that were changed are again what they were.
fn heal_limits(draft: &mut Draft) {
    let is_changed = |index: &usize| {
        let name = format!("name = \"{}\"", limit_name(*index));
        let mut faults = draft.faults.iter().filter(|it| it.kind == "limit");
        faults.any(|fault| fault.lines[0] == name)
    };
    let changed: Vec<usize> = (0..draft.limits.len()).filter(is_changed).collect();
    for index in changed {
        let lines = limit_lines(index, &draft.limits[index].0.to_string(), "\"all\"");
        draft.faults.push(FaultDraft {
            kind: "limit",
            at_ms: draft.phases.heal_ms - 1,
            lines,
        });
    }
}

fn limit_lines(index: usize, limit: &str, replicas: &str) -> Vec<String> {
    vec![
        format!("name = \"{}\"", limit_name(index)),
        format!("limit = \"{limit}\""),
        format!("replicas = {replicas}"),
    ]
}

struct Planner<'r> {
    from_ms: u64,
    heal_ms: u64,
    /// When the store is split: there cannot be two splits at a time.
    splits: Vec<Range<u64>>,
    random: &'r mut Stream,
}

impl Planner<'_> {
    fn pick(&mut self, on: &[(&'static str, f64)]) -> Option<&'static str> {
        let all: f64 = on.iter().map(|(_, weight)| weight).sum();
        let mut place = self.random.random_range(0.0..1.0) * all;
        for (kind, weight) in on {
            place -= weight;
            if place <= 0.0 {
                return Some(kind);
            }
        }
        None
    }

    fn fault(&mut self, kind: &'static str, draft: &Draft) -> Option<FaultDraft> {
        let at_ms = self.random.random_range(self.from_ms..self.heal_ms - 500);
        let most = (self.heal_ms - at_ms - 200).min(8000);
        let mut lasts_ms = whole(log(self.random, 50.0, float(most)));
        let lasting = format!("for = \"{lasts_ms}ms\"");
        if kind == "split-brain" {
            let span = at_ms..at_ms + lasts_ms + 1;
            let meets = |other: &Range<u64>| span.start < other.end && other.start < span.end;
            if self.splits.iter().any(meets) {
                return None;
            }
            self.splits.push(span);
        }
        let random = &mut *self.random;
        let lines = match kind {
            "partition" => vec![lasting, struck(random), direction(random)],
            "loss" => vec![
                lasting,
                struck(random),
                direction(random),
                format!("share = {:?}", log(random, 0.05, 1.0)),
            ],
            "slow-network" => vec![
                lasting,
                struck(random),
                direction(random),
                format!("times = {:?}", log(random, 1.5, 50.0)),
            ],
            "store-down" => {
                let loading = random.random_range(0..=lasts_ms / 2);
                lasts_ms -= loading;
                vec![
                    format!("for = \"{lasts_ms}ms\""),
                    format!("loading = \"{loading}ms\""),
                    format!("silent = {}", random.random_bool(0.5)),
                    match random.random_range(0..3) {
                        0 => "then = \"kept\"".to_owned(),
                        1 => "then = \"empty\"".to_owned(),
                        _ => format!("then = {{ lost = {} }}", millis(log(random, 1.0, 2000.0))),
                    },
                ]
            }
            "fail-over" => vec![
                format!("down = \"{lasts_ms}ms\""),
                format!("silent = {}", random.random_bool(0.5)),
                if random.random_bool(0.3) {
                    "empty = true".to_owned()
                } else {
                    format!("lost = {}", millis(log(random, 1.0, 2000.0)))
                },
            ],
            "split-brain" => {
                vec![
                    lasting,
                    struck(random),
                    format!("lost = {}", millis(log(random, 1.0, 2000.0))),
                ]
            }
            "hang" => vec![lasting],
            "slow-store" => vec![lasting, format!("times = {:?}", log(random, 1.5, 100.0))],
            "store-clock" => {
                let sign = if random.random_bool(0.5) { "+" } else { "-" };
                let step = whole(log(random, 1e2, 3e6));
                vec![format!("step = \"{sign}{step}us\"")]
            }
            "crash" => {
                let mut lines = vec![struck(random)];
                if random.random_bool(0.7) {
                    lines.push(format!("restart-after = \"{lasts_ms}ms\""));
                } else {
                    // Somebody is to live.
                    "replicas = \"30%\"".clone_into(&mut lines[0]);
                    if draft.replicas < 3 {
                        return None;
                    }
                }
                lines
            }
            "pause" => vec![lasting, struck(random)],
            "limit" => {
                let index = random.random_range(0..draft.limits.len());
                let to = if random.random_bool(0.5) {
                    "\"all\"".to_owned()
                } else {
                    format!("{:?}", random.random_range(0.1..0.9))
                };
                let limit = draft.limits[index].0;
                // With the rate as it was, a forgotten charge cannot pass for a higher rate.
                let faster = if random.random_bool(0.5) {
                    1.0
                } else {
                    log(random, 0.5, 2.0)
                };
                let rate = per_second(limit.rate()) * faster;
                let burst = float(limit.burst()) * log(random, 0.5, 2.0);
                let text = format!("{}/1000s burst {}", whole(rate * 1e3), whole(burst));
                limit_lines(index, &text, &to)
            }
            _ => Vec::new(),
        };
        Some(FaultDraft { kind, at_ms, lines })
    }
}

fn struck(random: &mut Stream) -> String {
    if random.random_bool(0.4) {
        "replicas = \"all\"".to_owned()
    } else {
        format!("replicas = {:?}", random.random_range(0.05..1.0))
    }
}

fn direction(random: &mut Stream) -> String {
    let way = ["both", "to-store", "to-replica"][random.random_range(0..3)];
    format!("direction = \"{way}\"")
}

/// All kinds but those that are put together from others.
pub(super) const KINDS: [&str; 14] = [
    "partition",
    "loss",
    "slow-network",
    "store-down",
    "fail-over",
    "split-brain",
    "flush",
    "script-flush",
    "hang",
    "slow-store",
    "store-clock",
    "crash",
    "pause",
    "limit",
];
