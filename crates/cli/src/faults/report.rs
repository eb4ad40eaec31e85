//! The fault matrix as a table for people and one JSON object for machines.

use leasehold_sim::numbers::{float, whole};
use serde::Serialize;

use super::findings::Findings;
use super::pace::REPLICAS;
use super::rows::Row;
use super::setting::{BUDGET, LEASE_MAX, LIMIT};
use super::tail::Tail;
use crate::machine::Machine;
use crate::output::{right, table};
use crate::simulate::number::{count, plural};

/// All rows that were tried.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Every row kept what was promised.
    pub(crate) kept: bool,
    server: String,
    machine: Machine,
    limit: &'static str,
    replicas: u32,
    lease_max_seconds: f64,
    quick: bool,
    /// A signal ended it: the rows after these were not tried.
    interrupted: bool,
    pub(super) rows: Vec<Tried>,
    #[serde(skip)]
    planned: usize,
}

/// A row, and what it came to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Tried {
    pub(super) name: &'static str,
    title: &'static str,
    policy: &'static str,
    bound: String,
    pub(crate) verdict: Verdict,
    /// The promises that were not kept, or why the row could not be tried.
    pub(crate) broken: Vec<String>,
    /// Targets of time that were missed when it was tried first, if it was tried twice.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missed_at_first: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) findings: Option<Findings>,
}

/// The verdict on a row.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// All was kept.
    Kept,
    /// The bound was kept, something else was not.
    Missed,
    /// More was admitted than may be.
    Exceeded,
    /// The row could not be tried.
    Failed,
}

impl Tried {
    pub(crate) fn new(row: &Row, findings: Result<Findings, String>) -> Self {
        let broken = match &findings {
            Ok(findings) => findings.broken(),
            Err(why) => vec![why.clone()],
        };
        let verdict = match &findings {
            Err(_) => Verdict::Failed,
            Ok(findings) if !findings.keeps_bound() => Verdict::Exceeded,
            Ok(_) if broken.is_empty() => Verdict::Kept,
            Ok(_) => Verdict::Missed,
        };
        Self {
            name: row.name,
            title: row.title,
            policy: row.policy.name(),
            bound: row.bound.formula(),
            verdict,
            broken,
            missed_at_first: Vec::new(),
            findings: findings.ok(),
        }
    }

    /// Whether a target of time was missed, while everything that is counted exactly was kept and
    /// the limit was used again.
    pub(crate) fn misses_only_times(&self) -> bool {
        let found = self.findings.as_ref();
        let exact = found.is_some_and(|it| it.keeps_counts() && it.recovery_seconds.is_some());
        self.verdict == Verdict::Missed && exact
    }

    /// The second of two tries.
    pub(crate) fn after(mut self, first: &Self) -> Self {
        self.missed_at_first.clone_from(&first.broken);
        self
    }

    /// One line, for those who wait.
    pub(crate) fn line(&self) -> String {
        let Self { name, verdict, .. } = self;
        let why = self.broken.join("; ");
        let colon = if why.is_empty() { "" } else { ": " };
        let first = self.missed_at_first.join("; ");
        let again = if first.is_empty() {
            String::new()
        } else {
            format!(" the second time (the first: {first})")
        };
        format!("{name}: {}{again}{colon}{why}", verdict.word())
    }

    /// The row of the table below [`HEADER`].
    pub(super) fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.name.to_owned(), self.policy.to_owned()];
        let Some(found) = &self.findings else {
            cells.resize(HEADER.len() - 1, String::new());
            cells.push(self.verdict.word().to_owned());
            return cells;
        };
        let recovery = found.recovery_seconds;
        cells.extend([
            count(whole(found.offered_per_second)),
            count(found.admitted_tokens),
            count(found.bound_tokens),
            count(found.excess_tokens),
            used(found),
            recovery.map_or("never".to_owned(), |time| format!("{time:.2} s")),
            format!("{:.1} ms", found.longest_decision_ms),
            tries(found),
            self.verdict.word().to_owned(),
        ]);
        cells
    }
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Missed => "MISSED",
            Self::Exceeded => "EXCEEDED",
            Self::Failed => "FAILED",
        }
    }
}

impl Report {
    /// A report of `rows`, of as many as were planned.
    pub(crate) fn new(
        server: String,
        machine: Machine,
        quick: bool,
        rows: Vec<Tried>,
        planned: usize,
    ) -> Self {
        Self {
            kept: rows.iter().all(|row| row.verdict == Verdict::Kept),
            server,
            machine,
            limit: LIMIT,
            replicas: REPLICAS,
            lease_max_seconds: LEASE_MAX.as_secs_f64(),
            quick,
            interrupted: rows.len() < planned,
            rows,
            planned,
        }
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report is plain data")
    }

    pub(crate) fn text(&self) -> String {
        let mut table = table(HEADER);
        for row in &self.rows {
            let cells = row.cells().into_iter().zip(HEADER);
            table.add_row(cells.map(|(cell, head)| match head {
                "fault" | "policy" | "" => cell.into(),
                _ => right(cell),
            }));
        }
        let mut lines = vec![self.about(), table.to_string()];
        lines.extend(self.broken());
        lines.push(self.verdict());
        lines.join("\n")
    }

    /// The setting that all rows share, and the machine.
    pub(super) fn about(&self) -> String {
        let (server, machine) = (&self.server, self.machine);
        let load = machine.load_before;
        let load = load.map_or_else(String::new, |load| format!(", load {load:.2} before"));
        format!(
            "{REPLICAS} processes share {LIMIT}; leases of {LEASE_MAX:?} at most; requests \
             wait {BUDGET:?} at most; {server}, {} cores{load}",
            machine.cores
        )
    }

    /// The rows that were not kept, or not at once, a line each.
    pub(super) fn broken(&self) -> impl Iterator<Item = String> {
        let is_plain =
            |row: &&Tried| row.verdict == Verdict::Kept && row.missed_at_first.is_empty();
        let broken = self.rows.iter().filter(move |row| !is_plain(row));
        broken.map(Tried::line)
    }

    /// The verdict on all rows.
    pub(super) fn verdict(&self) -> String {
        let with = |verdict| {
            self.rows
                .iter()
                .filter(|row| row.verdict == verdict)
                .count()
        };
        let all = self.rows.len();
        let verdict = match (with(Verdict::Exceeded), with(Verdict::Kept)) {
            (0, 1) if all == 1 => "The row kept its bound and its targets.".to_owned(),
            (0, kept) if kept == all => {
                format!("All {all} rows kept their bounds and their targets.")
            }
            (0, kept) => format!(
                "No bound was exceeded; {} of {} missed something.",
                all - kept,
                plural(all, "row")
            ),
            (exceeded, _) => {
                format!(
                    "A BOUND WAS EXCEEDED in {exceeded} of {}.",
                    plural(all, "row")
                )
            }
        };
        if self.interrupted {
            let planned = plural(self.planned, "row");
            return format!("{verdict}\nINTERRUPTED: {all} of {planned} were tried.");
        }
        verdict
    }
}

/// Parts of the limit that were used before, while and after.
fn used(found: &Findings) -> String {
    let parts = [
        found.utilisation_before,
        found.utilisation_during,
        found.utilisation_after,
    ];
    let parts = parts.map(|part| part.map_or("-".to_owned(), |part| format!("{part:.2}")));
    parts.join(" / ")
}

fn tries(found: &Findings) -> String {
    let shown = |tail: &Option<Tail>| match tail {
        Some(tail) => format!("{:.1}", float(tail.p999_ns) / 1e3),
        None => "-".to_owned(),
    };
    let before = shown(&found.try_acquire_before);
    format!("{before} / {}", shown(&found.try_acquire_during))
}

pub(super) const HEADER: [&str; 11] = [
    "fault",
    "policy",
    "offered/s",
    "admitted",
    "bound",
    "excess",
    "used before / during / after",
    "recovery",
    "longest decision",
    "try p99.9 us, before / during",
    "",
];

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::faults::findings::tests::kept;
    use crate::faults::rows::ROWS;

    pub(crate) fn report(tried: &[Tried]) -> Report {
        let machine = Machine {
            cores: 2,
            load_before: None,
        };
        Report::new(
            "a server".to_owned(),
            machine,
            false,
            tried.to_vec(),
            tried.len(),
        )
    }

    pub(crate) fn tried(findings: Result<Findings, String>) -> Tried {
        Tried::new(&ROWS[0], findings)
    }

    #[test]
    fn one_row_that_is_not_kept_spoils_the_matrix() {
        let kept_row = tried(Ok(kept()));
        assert_eq!(kept_row.verdict, Verdict::Kept);
        assert!(report(&[kept_row.clone(), kept_row.clone()]).kept);

        let mut exceeding = kept();
        exceeding.excess_tokens = 3;
        let mut slow = kept();
        slow.recovery_seconds = Some(9.0);
        for (findings, verdict, says) in [
            (
                Ok(exceeding),
                Verdict::Exceeded,
                "A BOUND WAS EXCEEDED in 1 of 2",
            ),
            (Ok(slow), Verdict::Missed, "No bound was exceeded; 1 of 2"),
            (Err("no server".to_owned()), Verdict::Failed, "no server"),
        ] {
            let row = tried(findings);
            assert_eq!(row.verdict, verdict);
            let report = report(&[kept_row.clone(), row]);
            assert!(!report.kept, "{verdict:?}");
            assert!(report.text().contains(says), "{}", report.text());
        }
    }

    #[test]
    fn only_who_was_late_has_a_second_try_and_the_first_is_told() {
        let mut slow = kept();
        slow.recovery_seconds = Some(9.0);
        let late = tried(Ok(slow.clone()));
        assert!(late.misses_only_times());
        for change in [
            (|it| it.excess_tokens = 3) as fn(&mut Findings),
            |it| it.tokens_lost = 1,
            |it| it.admitted_unpaid = 1,
            |it| it.recovery_seconds = None,
            |it| it.log_lines = it.log_lines_most + 1,
        ] {
            let mut worse = slow.clone();
            change(&mut worse);
            assert!(!tried(Ok(worse)).misses_only_times());
        }
        assert!(!tried(Ok(kept())).misses_only_times());
        assert!(!tried(Err("no server".to_owned())).misses_only_times());

        let again = tried(Ok(kept())).after(&late);
        let says = "kept the second time (the first: recovery took 9.00 s";
        assert!(again.line().contains(says), "{}", again.line());
        let report = report(&[again]);
        assert!(report.kept);
        assert!(report.text().contains(says), "{}", report.text());
        assert!(report.json().contains("recovery took 9.00 s"));
    }
}
