//! Findings of a row: its measurements, beside what was promised of them.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use serde::Serialize;

use super::bound::Circumstances;
use super::phases::{recovery, utilisation};
use super::rows::Row;
use super::setting::{BUDGET, limit, offered};
use super::tail::Tail;
use super::trial::Trial;
use crate::demo::probe;
use crate::demo::replica::{Summary, TokensGone};
use crate::demo::report::Percentiles;
use crate::demo::stalls::Stall;
use crate::limit_arguments::judged_limit;
use leasehold_judge::ideal::ideal;
use leasehold_judge::record::Record;
use leasehold_judge::{Arrivals, Judgement};
use leasehold_sim::numbers::{float, seconds};
use leasehold_sim::units::Span;

/// The measurements of a row. Times in which the machine stood still are left out where they
/// would decide whether a promise was kept.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Findings {
    pub(crate) offered_per_second: f64,
    pub(crate) admitted_tokens: u64,
    /// Requests of the probe, which asks without waiting, on a key of its own.
    pub(crate) try_acquire_asked: u64,
    pub(crate) try_acquire_admitted: u64,
    /// Tokens that may be admitted beyond burst + rate x window, in any window.
    pub(crate) bound_tokens: u64,
    /// Tokens that were admitted beyond it, in the worst window of the worst key.
    pub(crate) excess_tokens: u64,
    /// Share of the limit that requests used before the fault, while it was felt, and after it.
    pub(crate) utilisation_before: Option<f64>,
    pub(crate) utilisation_during: Option<f64>,
    pub(crate) utilisation_after: Option<f64>,
    pub(crate) fault_seconds: f64,
    /// From the end of the fault until the limit was used in full again.
    pub(crate) recovery_seconds: Option<f64>,
    /// From the end of the fault until the last replica heard the store again.
    pub(crate) store_heard_again_seconds: Option<f64>,
    /// The longest that a request may wait.
    pub(crate) deadline_ms: f64,
    pub(crate) longest_decision_ms: f64,
    /// The longest decision, stalls of its process included.
    pub(crate) longest_decision_with_stalls_ms: f64,
    /// The p99.9 of requests that may wait, while the fault was felt.
    pub(crate) acquire_p999_ms: f64,
    /// Times of requests that do not wait, before and while the fault was felt. None if there were
    /// too few to tell.
    pub(crate) try_acquire_before: Option<Tail>,
    pub(crate) try_acquire_during: Option<Tail>,
    /// The longest time in which a process did not get the processor, but for those that were
    /// stopped on purpose.
    pub(crate) longest_stall_ms: f64,
    /// Lines of log, of the replica with most.
    pub(crate) log_lines: u64,
    /// The most that the fault is worth.
    pub(crate) log_lines_most: u64,
    /// Tokens of all replicas, after all was given back.
    pub(crate) tokens: TokensGone,
    /// Tokens that were granted, and of which nobody knows what became.
    pub(crate) tokens_lost: u64,
    /// Requests admitted that no token was spent on.
    pub(crate) admitted_unpaid: u64,
}

impl Findings {
    pub(crate) fn of(row: &Row, trial: &Trial) -> Self {
        let Trial { run, phases } = trial;
        let judged = judged_limit(&limit()).expect("the limit is ours");
        let judgement = Judgement::of(&run.records, judged);
        let (mut probes, mut load): (Vec<Record>, Vec<Record>) = run
            .records
            .iter()
            .partition(|record| record.key == probe::KEY);
        probes.sort_by_key(|record| record.start_ns);
        load.sort_by_key(|record| record.start_ns);

        let ideally = ideal(&Arrivals::new(&load), judged).allowed;
        let requests: Vec<(Record, bool)> = load.iter().copied().zip(ideally).collect();
        let used = |phase| utilisation(&requests, &phase);
        let admitted = load.iter().filter(|record| record.admitted);
        let admitted: Vec<u64> = admitted.map(|record| record.start_ns).collect();
        let recovery = recovery(&admitted, judged, &phases.after());
        let felt = phases.begin_ns..phases.end_ns + recovery.map_or(0, |it| Span::from(it).0);

        let heard_ns = heard_again(trial);
        let circumstances = circumstances(trial, heard_ns);
        let stalls = Stalled::of(&run.summaries);
        let excused = |record: &Record| stalls.excused(record);
        let summaries = || run.summaries.iter().map(|(_, summary)| summary);
        let summed = summaries().fold(TokensGone::default(), |sum, it| sum + it.tokens);
        let put_aside: Vec<Stall> = summaries()
            .flat_map(|it| it.probe_put_aside.clone())
            .collect();
        let tail = |phase| Tail::of(probe::warm_times(&probes, &put_aside, phase));
        let (healthy, faulty) = (tail(&phases.before()), tail(&felt));
        Self {
            offered_per_second: offered(row.load),
            admitted_tokens: admitted.len() as u64,
            try_acquire_asked: probes.len() as u64,
            try_acquire_admitted: probes.iter().filter(|it| it.admitted).count() as u64,
            bound_tokens: row.bound.tokens(&limit(), circumstances),
            excess_tokens: judgement.overshoot.rounded_up(),
            utilisation_before: used(phases.before()),
            utilisation_during: used(phases.during()),
            utilisation_after: used(phases.after()),
            fault_seconds: seconds(phases.end_ns - phases.begin_ns),
            recovery_seconds: recovery.map(|time| time.as_secs_f64()),
            store_heard_again_seconds: heard_ns.map(|at| seconds(at - phases.end_ns)),
            deadline_ms: BUDGET.as_secs_f64() * 1e3,
            longest_decision_ms: millis(load.iter().map(excused).max().unwrap_or(0)),
            longest_decision_with_stalls_ms: millis(load.iter().map(took).max().unwrap_or(0)),
            acquire_p999_ms: millis(Percentiles::of(within(&load, &felt).map(excused)).p999),
            try_acquire_before: healthy,
            try_acquire_during: faulty,
            longest_stall_ms: millis(stalls.longest_not_meant(row)),
            log_lines_most: row.log_lines,
            log_lines: summaries().map(|it| it.log_lines).max().unwrap_or(0),
            tokens: summed,
            tokens_lost: summaries().map(|it| it.tokens.lost()).sum(),
            admitted_unpaid: (run.summaries.iter())
                .map(|(replica, it)| unpaid(*replica, it, &run.records))
                .sum(),
        }
    }

    /// The promises that were not kept, each in a few words. The bound comes first.
    pub(crate) fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        if !self.keeps_bound() {
            let (excess, bound) = (self.excess_tokens, self.bound_tokens);
            broken.push(format!("excess {excess} is above the bound, {bound}"));
        }
        let target = RECOVERY.as_secs_f64();
        match self.recovery_seconds {
            Some(time) if time <= target => {}
            Some(time) => broken.push(format!("recovery took {time:.2} s, not {target} s")),
            None => broken.push("the limit was not used in full again".to_owned()),
        }
        let most = self.deadline_ms + LONGER_MS;
        if self.longest_decision_ms > most {
            let longest = self.longest_decision_ms;
            broken.push(format!("a decision took {longest:.1} ms, not {most} ms"));
        }
        let most = self.deadline_ms + P999_LONGER_MS;
        if self.acquire_p999_ms > most {
            let p999 = self.acquire_p999_ms;
            broken.push(format!("acquire p99.9 was {p999:.1} ms, not {most} ms"));
        }
        if let (Some(before), Some(during)) = (&self.try_acquire_before, &self.try_acquire_during)
            && during.exceeds(before, TRY_TIMES, TRY_FLOOR_NS)
        {
            broken.push(format!("try_acquire p99.9 rose from {before} to {during}"));
        }
        let (lines, most) = (self.log_lines, self.log_lines_most);
        if lines > most {
            broken.push(format!("{lines} lines of log, not {most}"));
        }
        if self.tokens_lost > 0 {
            broken.push(format!("{} tokens unaccounted for", self.tokens_lost));
        }
        if self.admitted_unpaid > 0 {
            broken.push(format!("{} admitted without a token", self.admitted_unpaid));
        }
        broken
    }

    /// Whether what is counted exactly is as promised: all but times.
    pub(crate) fn keeps_counts(&self) -> bool {
        let none_lost = self.tokens_lost == 0 && self.admitted_unpaid == 0;
        self.keeps_bound() && none_lost && self.log_lines <= self.log_lines_most
    }

    pub(crate) fn keeps_bound(&self) -> bool {
        self.excess_tokens <= self.bound_tokens
    }
}

/// When the last replica that lives heard of the store for the first time after the fault. None
/// if one never did.
fn heard_again(Trial { run, phases }: &Trial) -> Option<u64> {
    let first = |summary: &Summary| {
        let after = summary.exchanges.iter();
        let after = after.filter(|exchange| exchange.sent_ns >= phases.end_ns);
        after.filter_map(|exchange| exchange.heard_ns).min()
    };
    let firsts = run.summaries.iter().map(|(_, summary)| first(summary));
    let firsts: Option<Vec<u64>> = firsts.collect();
    firsts?.into_iter().max()
}

fn circumstances(Trial { run, phases }: &Trial, heard_ns: Option<u64>) -> Circumstances {
    let until = heard_ns.unwrap_or(phases.stop_ns);
    let mut asked: HashMap<u32, u64> = HashMap::new();
    for record in within(&run.records, &(phases.begin_ns..until)) {
        *asked.entry(record.key).or_default() += u64::from(record.cost);
    }
    Circumstances {
        away: Duration::from_nanos(until - phases.begin_ns),
        return_lag: Duration::from_nanos(until - phases.end_ns),
        asked: asked.into_values().max().unwrap_or(0),
    }
}

/// When which replica did not get the processor.
struct Stalled<'a>(HashMap<u32, &'a [Stall]>);

impl<'a> Stalled<'a> {
    fn of(summaries: &'a [(u32, Summary)]) -> Self {
        let stalls = summaries.iter();
        Self(
            stalls
                .map(|(replica, it)| (*replica, &it.stalls[..]))
                .collect(),
        )
    }

    /// The time of a decision, without the stalls of its process. A process that was killed did
    /// not report any.
    fn excused(&self, record: &Record) -> u64 {
        if took(record) < LOOK_FROM_NS {
            return took(record);
        }
        let stalls = self.0.get(&record.replica).copied().unwrap_or_default();
        // In order of time, and few.
        let first = stalls.partition_point(|stall| stall.until_ns <= record.start_ns);
        let overlapping = stalls[first..]
            .iter()
            .take_while(|stall| stall.from_ns < record.end_ns);
        let stalled: u64 = overlapping
            .map(|stall| stall.within(record.start_ns, record.end_ns))
            .sum();
        took(record) - stalled
    }

    fn longest_not_meant(&self, row: &Row) -> u64 {
        let meant = |replica: u32| row.stops_victim && replica == super::world::VICTIM;
        let stalls = self.0.iter().filter(|(replica, _)| !meant(**replica));
        let stalls = stalls.flat_map(|(_, stalls)| stalls.iter());
        stalls.map(|it| it.until_ns - it.from_ns).max().unwrap_or(0)
    }
}

/// Requests that a replica admitted, beyond the tokens that it counts as spent.
fn unpaid(replica: u32, summary: &Summary, records: &[Record]) -> u64 {
    let admitted = records
        .iter()
        .filter(|record| record.replica == replica && record.admitted);
    let admitted: u64 = admitted.map(|record| u64::from(record.cost)).sum();
    admitted.saturating_sub(summary.tokens.spent)
}

fn within<'a>(records: &'a [Record], phase: &Range<u64>) -> impl Iterator<Item = &'a Record> {
    let phase = phase.clone();
    records
        .iter()
        .filter(move |record| phase.contains(&record.start_ns))
}

fn took(record: &Record) -> u64 {
    record.end_ns - record.start_ns
}

fn millis(nanos: u64) -> f64 {
    float(nanos) / 1e6
}

/// The limit is used in full again within this.
pub(crate) const RECOVERY: Duration = Duration::from_secs(2);

/// By how much a decision may outlast its deadline.
pub(crate) const LONGER_MS: f64 = 5.0;

/// By how much one decision in a thousand may outlast its deadline.
const P999_LONGER_MS: f64 = 1.0;

/// A decision that does not wait takes no more than so many times what it takes in health.
const TRY_TIMES: u64 = 2;

/// Below this, differences are those of a processor that had other things to do.
const TRY_FLOOR_NS: u64 = 5000;

/// Decisions that are faster were not stalled to speak of.
const LOOK_FROM_NS: u64 = 1_000_000;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::demo::run::Run;
    use crate::demo::timed_store::Exchange;
    use crate::faults::phases::Phases;
    use crate::faults::rows::ROWS;

    const MS: u64 = 1_000_000;

    /// A row that kept all that was promised.
    pub(crate) fn kept() -> Findings {
        Findings {
            recovery_seconds: Some(1.9),
            deadline_ms: 50.0,
            longest_decision_ms: 54.9,
            acquire_p999_ms: 50.9,
            try_acquire_before: Some(Tail::exactly(4000)),
            try_acquire_during: Some(Tail::exactly(8000)),
            log_lines: 20,
            log_lines_most: 20,
            ..Findings::default()
        }
    }

    #[test]
    fn each_promise_that_is_broken_is_named() {
        assert_eq!(kept().broken(), [""; 0]);
        let broken = |change: fn(&mut Findings), says: &str| {
            let mut findings = kept();
            change(&mut findings);
            let broken = findings.broken();
            assert_eq!(broken.len(), 1, "{broken:?}");
            assert!(broken[0].contains(says), "{broken:?}");
        };
        broken(|it| it.excess_tokens = 1, "above the bound");
        broken(|it| it.recovery_seconds = Some(2.1), "recovery took");
        broken(|it| it.recovery_seconds = None, "not used in full again");
        broken(|it| it.longest_decision_ms = 55.1, "a decision took");
        broken(|it| it.acquire_p999_ms = 51.1, "acquire p99.9");
        broken(
            |it| it.try_acquire_during = Some(Tail::exactly(8001)),
            "try_acquire p99.9",
        );
        broken(|it| it.log_lines = 21, "lines of log");
        broken(|it| it.tokens_lost = 1, "unaccounted");
        broken(|it| it.admitted_unpaid = 1, "without a token");
    }

    #[test]
    fn what_a_processor_does_besides_is_no_slower_decision() {
        let mut findings = kept();
        findings.try_acquire_before = Some(Tail::exactly(300));
        findings.try_acquire_during = Some(Tail::exactly(TRY_FLOOR_NS));
        assert_eq!(findings.broken(), [""; 0]);
        findings.try_acquire_during = None;
        assert_eq!(findings.broken(), [""; 0], "too few calls to tell");
    }

    fn request(at_ms: u64, took_ms: u64, replica: u32) -> Record {
        Record {
            start_ns: at_ms * MS,
            end_ns: (at_ms + took_ms) * MS,
            replica,
            key: 0,
            cost: 1,
            admitted: false,
        }
    }

    #[test]
    fn a_decision_is_not_blamed_for_the_stalls_of_its_process() {
        let stall = |from_ms: u64, until_ms: u64| Stall {
            from_ns: from_ms * MS,
            until_ns: until_ms * MS,
        };
        let summary = Summary {
            stalls: vec![stall(0, 5), stall(12, 15), stall(19, 100)],
            ..Summary::default()
        };
        let summaries = [(0, summary)];
        let stalled = Stalled::of(&summaries);
        assert_eq!(stalled.excused(&request(10, 10, 0)), 6 * MS);
        assert_eq!(stalled.excused(&request(10, 10, 1)), 10 * MS, "another's");
        assert_eq!(stalled.excused(&request(6, 3, 0)), 3 * MS);
    }

    /// Two requests a millisecond under a limit of two, all admitted and then every other, and
    /// after each another, which may be admitted too.
    fn planted(excess: bool) -> Trial {
        let mut run = Run::default();
        for at_ms in 0..10_000 {
            let half = at_ms >= 4000 && at_ms % 2 == 1;
            for extra in [false, false, true] {
                let admitted = if extra { excess } else { !half };
                let record = request(at_ms, 0, 0);
                run.records.push(Record { admitted, ..record });
            }
        }
        let exchange = |at_ms: u64| Exchange {
            sent_ns: at_ms * MS,
            heard_ns: Some((at_ms + 1) * MS),
            keys: 1,
        };
        let tokens = TokensGone {
            granted: 14_000,
            spent: 13_990,
            released: 0,
            expired: 0,
        };
        let summary = Summary {
            exchanges: vec![exchange(4000), exchange(5200), exchange(5300)],
            tokens,
            ..Summary::default()
        };
        run.summaries = vec![(0, summary)];
        let phases = Phases {
            warm_ns: 1000 * MS,
            begin_ns: 4000 * MS,
            end_ns: 5000 * MS,
            stop_ns: 10_000 * MS,
        };
        Trial { run, phases }
    }

    fn row(name: &str) -> &'static Row {
        ROWS.iter().find(|row| row.name == name).expect("is there")
    }

    #[test]
    fn a_planted_run_comes_to_what_was_planted() {
        let found = Findings::of(row("server-paused"), &planted(false));
        assert_eq!(found.admitted_tokens, 14_000);
        assert_eq!((found.excess_tokens, found.bound_tokens), (0, 0));
        assert_eq!((found.tokens_lost, found.admitted_unpaid), (10, 10));
        assert_eq!(found.recovery_seconds, None, "half of the limit is not all");
        let heard = found.store_heard_again_seconds.expect("it was");
        assert!((heard - 0.201).abs() < 1e-9, "{heard}");
        assert_eq!(found.utilisation_during, Some(0.5));
    }

    #[test]
    fn what_is_admitted_beyond_the_limit_is_held_against_the_bound_of_the_row() {
        let closed = Findings::of(row("server-paused"), &planted(true));
        // Three each millisecond from 0 to 4 s, both included, of which the rate yields 8000 and
        // the burst is 500.
        assert_eq!(closed.excess_tokens, 3 * 4001 - 8000 - 500);
        assert!(!closed.keeps_bound());
        // From the beginning of the fault until the store was heard again.
        let open = Findings::of(row("outage-open"), &planted(true));
        assert_eq!(open.bound_tokens, 3 * 1201);
        assert!(open.keeps_bound());
    }
}
