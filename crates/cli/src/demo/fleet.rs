//! Replicas that are under way, each on its own, and what they tell until all have ended.

use std::pin::pin;
use std::time::Duration;

use leasehold::machine_nanos;
use leasehold_sim::numbers;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::demo::company::{Company, Told};
use crate::demo::error::DemoError;
use crate::demo::plan::Plan;
use crate::demo::progress::Progress;
use crate::demo::replica_process::ReplicaProcess;
use crate::demo::run::Run;
use crate::interrupt::asked_to_end;
use leasehold_judge::record::Record;

/// Replicas under way.
pub(crate) struct Fleet {
    /// When load is first offered, on the machine's clock.
    pub(crate) start_ns: u64,
    /// The process of each replica; none if they share this one.
    pub(crate) process_ids: Vec<u32>,
    replicas: JoinSet<()>,
    told: mpsc::UnboundedReceiver<Told>,
    stop: watch::Sender<bool>,
}

impl Fleet {
    /// Starts a process for each plan; replicas are numbered in this order.
    pub(crate) async fn of_processes(plans: &[Plan]) -> Result<Self, DemoError> {
        let mut started = Vec::new();
        for (replica, plan) in (0..).zip(plans) {
            started.push(ReplicaProcess::start(plan, replica).await?);
        }
        let (mut fleet, company) = Self::gather();
        for process in started {
            fleet.process_ids.extend(process.id());
            fleet.replicas.spawn(process.watch(company.clone()));
        }
        Ok(fleet)
    }

    /// A fleet without replicas yet, and what they need to join it.
    pub(crate) fn gather() -> (Self, Company) {
        let (tell, told) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(false);
        let start_ns = machine_nanos() + HEAD_START;
        let fleet = Self {
            start_ns,
            process_ids: Vec::new(),
            replicas: JoinSet::new(),
            told,
            stop,
        };
        let company = Company {
            start_ns,
            tell,
            stopped,
        };
        (fleet, company)
    }

    /// Lets a replica of this process run.
    pub(crate) fn join(&mut self, replica: impl Future<Output = ()> + Send + 'static) {
        self.replicas.spawn(replica);
    }

    /// Collects what the replicas tell until all have ended. An interrupt ends them early.
    pub(crate) async fn watch(mut self, mut progress: Progress) -> Run {
        let mut run = Run {
            start_ns: self.start_ns,
            ..Run::default()
        };
        let mut tick = tokio::time::interval(PROGRESS_EVERY);
        let mut asked = pin!(asked_to_end());
        loop {
            tokio::select! {
                heard = self.told.recv() => match heard {
                    Some(told) => hear(told, &mut run, &progress),
                    None => break,
                },
                _ = tick.tick() => progress.show(&run.records),
                _ = &mut asked, if !run.interrupted => {
                    run.interrupted = true;
                    self.stop.send_replace(true);
                    progress.note("interrupted: judging what there is; once more ends at once");
                }
            }
        }
        progress.finish();
        while self.replicas.join_next().await.is_some() {}
        run.seconds = seconds(&run.records, self.start_ns);
        run
    }
}

fn hear(told: Told, run: &mut Run, progress: &Progress) {
    match told {
        Told::Seen(seen) => {
            let Record {
                start_ns, end_ns, ..
            } = seen.record;
            if seen.local {
                run.local += 1;
            } else {
                run.waits_ns.push(end_ns - start_ns);
            }
            run.records.push(seen.record);
        }
        Told::Ended {
            replica,
            end: Ok(summary),
        } => run.summaries.push((replica, summary)),
        Told::Ended {
            replica,
            end: Err(how),
        } => {
            progress.note(&format!("replica {replica} {how}; the rest go on"));
            run.lost.push((replica, how));
        }
    }
}

fn seconds(records: &[Record], start_ns: u64) -> f64 {
    let end = records.iter().map(|record| record.end_ns).max();
    numbers::seconds(end.map_or(0, |end| end.saturating_sub(start_ns)))
}

/// Replicas are ready before the load begins.
const HEAD_START: u64 = 50_000_000;

const PROGRESS_EVERY: Duration = Duration::from_millis(200);
