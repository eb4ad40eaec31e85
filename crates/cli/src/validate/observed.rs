//! A real run: what came, what was measured, and what the simulator needs to know of it.
//!
//! # Invariant
//!
//! Everything counts from the start of the load to its planned end, whether requests or exchanges:
//! what replicas do when they leave is not among it.

use leasehold_sim::numbers::{float, seconds};
use leasehold_sim::trace::TracedRequest;

use super::figures::{Figures, quantile};
use crate::demo::arrivals::Arrivals;
use crate::demo::plan::Plan;
use crate::demo::run::Run;
use crate::demo::timed_store::Exchange;
use crate::limit_arguments::judged_limit;
use leasehold_judge::Judgement;
use leasehold_judge::record::Record;

/// A real run.
#[derive(Debug)]
pub(crate) struct Observed {
    pub(crate) figures: Figures,
    /// The requests of each replica, in the order in which it saw them.
    pub(crate) arrivals: Vec<Vec<TracedRequest>>,
    /// Times of exchanges, sorted.
    pub(crate) exchanges_ns: Vec<u64>,
    /// How much later than planned requests came: 99 % of them no more than this. A machine that
    /// has no time to send its load has none to run the limiter either.
    pub(crate) lateness_p99_ns: u64,
}

impl Observed {
    pub(crate) fn new(plan: &Plan, run: &Run) -> Self {
        let start_ns = run.start_ns;
        let end_ns = start_ns + duration_ns(plan);
        let mut records: Vec<Record> = run.records.clone();
        records.retain(|record| (start_ns..end_ns).contains(&record.start_ns));
        records.sort_by_key(|record| record.start_ns);
        let summaries = run.summaries.iter().map(|(_, summary)| summary);
        let exchanges: Vec<Exchange> = summaries
            .flat_map(|summary| summary.exchanges.iter().copied())
            .filter(|exchange| (start_ns..end_ns).contains(&exchange.sent_ns))
            .collect();
        let mut exchanges_ns: Vec<u64> = exchanges
            .iter()
            .filter_map(|exchange| Some(exchange.heard_ns? - exchange.sent_ns))
            .collect();
        exchanges_ns.sort_unstable();
        Self {
            figures: figures(plan, run, &records, &exchanges, &exchanges_ns),
            arrivals: arrivals(plan, &records, start_ns),
            exchanges_ns,
            lateness_p99_ns: lateness_p99_ns(plan, &records, start_ns),
        }
    }
}

fn figures(
    plan: &Plan,
    run: &Run,
    records: &[Record],
    exchanges: &[Exchange],
    exchanges_ns: &[u64],
) -> Figures {
    let limit = judged_limit(&plan.limit).expect("checked when the setting was read");
    let judged = Judgement::of(records, limit);
    let requests = judged.offered.requests;
    let lasted = plan.duration.as_secs_f64();
    let calls = exchanges.iter().map(|exchange| u64::from(exchange.keys));
    let unanswered = exchanges.len() - exchanges_ns.len();
    let mut waits_ns = run.waits_ns.clone();
    waits_ns.sort_unstable();
    Figures {
        requests: float(requests),
        admitted: float(judged.admitted.tokens),
        overshoot: judged.overshoot.as_f64(),
        local: float(run.local) / float(run.records.len() as u64),
        store_calls: float(calls.sum()) / lasted,
        round_trips: float(exchanges.len() as u64) / lasted,
        unanswered: float(unanswered as u64),
        exchange_p50: seconds(quantile(exchanges_ns, 0.5)),
        exchange_p99: seconds(quantile(exchanges_ns, 0.99)),
        wait_p50: seconds(quantile(&waits_ns, 0.5)),
        wait_p99: seconds(quantile(&waits_ns, 0.99)),
    }
}

fn arrivals(plan: &Plan, records: &[Record], start_ns: u64) -> Vec<Vec<TracedRequest>> {
    let mut arrivals = vec![Vec::new(); plan.replicas as usize];
    for record in records {
        arrivals[record.replica as usize].push(TracedRequest {
            time_ns: record.start_ns - start_ns,
            key: record.key,
            cost: record.cost,
        });
    }
    arrivals
}

/// Requests of one replica come in the order of their plan.
fn lateness_p99_ns(plan: &Plan, records: &[Record], start_ns: u64) -> u64 {
    let mut late = Vec::with_capacity(records.len());
    for replica in 0..plan.replicas {
        let came = records.iter().filter(|record| record.replica == replica);
        for (record, planned) in came.zip(Arrivals::new(plan, replica)) {
            let planned_ns = u64::try_from(planned.after.as_nanos()).unwrap_or(u64::MAX);
            late.push((record.start_ns - start_ns).saturating_sub(planned_ns));
        }
    }
    late.sort_unstable();
    quantile(&late, 0.99)
}

pub(crate) fn duration_ns(plan: &Plan) -> u64 {
    u64::try_from(plan.duration.as_nanos()).expect("runs last seconds")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::replica::Summary;
    use crate::validate::setting::Setting;

    #[test]
    fn only_the_time_of_the_load_counts() {
        let mut setting = Setting::built_in().swap_remove(0);
        setting.limit = "1/s burst 1".parse().unwrap();
        let plan = setting.plan("redis://nowhere", 1);
        let start_ns = 1000;
        let end_ns = start_ns + duration_ns(&plan);
        let record = |at_ns, took_ns, replica| Record {
            start_ns: at_ns,
            end_ns: at_ns + took_ns,
            replica,
            key: 0,
            cost: 1,
            admitted: true,
        };
        let exchange = |sent_ns, took_ns: Option<u64>| Exchange {
            sent_ns,
            heard_ns: took_ns.map(|took| sent_ns + took),
            keys: 2,
        };
        let exchanges = vec![
            exchange(start_ns, Some(30)),
            exchange(start_ns + 9, Some(10)),
            exchange(start_ns + 10, None),
            exchange(end_ns, Some(999)),
        ];
        let summary = Summary {
            exchanges,
            ..Summary::default()
        };
        let records = vec![
            record(start_ns + 5, 100, 1),
            record(start_ns, 1, 1),
            record(start_ns + 2, 1, 0),
            record(end_ns, 1, 0),
        ];
        let run = Run {
            records,
            local: 3,
            waits_ns: vec![100],
            summaries: vec![(0, summary)],
            start_ns,
            ..Run::default()
        };
        let observed = Observed::new(&plan, &run);
        assert_eq!(observed.exchanges_ns, [10, 30]);
        let times = |replica: usize| {
            let times = observed.arrivals[replica].iter();
            times.map(|request| request.time_ns).collect::<Vec<_>>()
        };
        assert_eq!((times(0), times(1)), (vec![2], vec![0, 5]));
        let Figures {
            requests,
            admitted,
            store_calls,
            unanswered,
            ..
        } = observed.figures;
        assert_eq!(
            [requests, admitted, unanswered].map(f64::to_bits),
            [3.0, 3.0, 1.0].map(f64::to_bits)
        );
        assert!((store_calls - 0.6).abs() < 1e-9, "{store_calls}");
        assert!((observed.figures.overshoot - 2.0).abs() < 1e-6);
        assert!((observed.figures.wait_p50 - 1e-7).abs() < 1e-12);
    }
}
