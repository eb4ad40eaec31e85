//! One run: all replicas at once, in this process or in one each, and what was seen of them.

use std::sync::Arc;
use std::time::Duration;

use leasehold::{MemoryStore, Store, machine_nanos};
use leasehold_redis::RedisStore;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::demo::DemoError;
use crate::demo::delayed_store::DelayedStore;
use crate::demo::plan::Plan;
use crate::demo::progress::Progress;
use crate::demo::replica::{Seen, Summary, offer};
use crate::demo::replica_process::ReplicaProcess;
use crate::demo::server::Server;
use crate::judge::record::Record;

/// What was seen of a run.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) records: Vec<Record>,
    /// Requests decided without waiting for the store.
    pub(crate) local: u64,
    /// How long each of the others took.
    pub(crate) waits_ns: Vec<u64>,
    pub(crate) summaries: Vec<(u32, Summary)>,
    /// Replicas that ended before their time, and how.
    pub(crate) lost: Vec<(u32, String)>,
    /// When load was first offered, on the machine's clock.
    pub(crate) start_ns: u64,
    /// Somebody had enough before the end.
    pub(crate) interrupted: bool,
    /// From the first request on.
    pub(crate) seconds: f64,
    /// What the server counted itself, if there is one.
    pub(crate) server: Option<ServerUse>,
}

/// What a run cost the server, by its own count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerUse {
    pub(crate) script_calls: u64,
    pub(crate) keys_read: u64,
    pub(crate) cpu_micros: u64,
}

/// What replicas tell while they run.
#[derive(Debug)]
pub(crate) enum Told {
    Seen(Seen),
    Ended {
        replica: u32,
        end: Result<Summary, String>,
    },
}

/// Runs the plan. An interrupt ends it early, with what there is.
pub(crate) async fn run(plan: &Plan) -> Result<Run, DemoError> {
    let mut server = Server::connect(plan.redis.as_deref()).await?;
    let before = server.usage().await?;
    let (tell, mut told) = mpsc::unbounded_channel();
    let (stop, stopped) = watch::channel(false);
    let start_ns;
    let mut replicas = JoinSet::new();
    if plan.processes {
        let mut started = Vec::new();
        for replica in 0..plan.replicas {
            started.push(ReplicaProcess::start(plan, replica).await?);
        }
        start_ns = machine_nanos() + HEAD_START;
        for process in started {
            replicas.spawn(process.watch(start_ns, tell.clone(), stopped.clone()));
        }
    } else {
        let stores = stores(plan).await?;
        start_ns = machine_nanos() + HEAD_START;
        for (replica, store) in (0..).zip(stores) {
            let (plan, tell, stopped) = (plan.clone(), tell.clone(), stopped.clone());
            replicas.spawn(async move {
                // The listener lives as long as the run.
                let sink = |seen| drop(tell.send(Told::Seen(seen)));
                let end = offer(&plan, replica, store, start_ns, stopped, sink).await;
                let end = end.map_err(|error| error.to_string());
                drop(tell.send(Told::Ended { replica, end }));
            });
        }
    }
    drop(tell);
    let mut run = Run::default();
    listen(plan, &mut run, &mut told, &stop).await;
    while replicas.join_next().await.is_some() {}
    run.start_ns = start_ns;
    run.seconds = seconds(&run.records, start_ns);
    run.server = match (before, server.usage().await?) {
        (Some(before), Some(after)) => Some(ServerUse {
            script_calls: after.script_calls - before.script_calls,
            keys_read: after.keys_read - before.keys_read,
            cpu_micros: after.cpu_micros - before.cpu_micros,
        }),
        _ => None,
    };
    Ok(run)
}

/// Collects what the replicas tell until all have ended.
async fn listen(
    plan: &Plan,
    run: &mut Run,
    told: &mut mpsc::UnboundedReceiver<Told>,
    stop: &watch::Sender<bool>,
) {
    let mut progress = Progress::start(plan);
    let mut tick = tokio::time::interval(PROGRESS_EVERY);
    loop {
        tokio::select! {
            heard = told.recv() => match heard {
                Some(Told::Seen(seen)) => {
                    let Record { start_ns, end_ns, .. } = seen.record;
                    if seen.local {
                        run.local += 1;
                    } else {
                        run.waits_ns.push(end_ns - start_ns);
                    }
                    run.records.push(seen.record);
                }
                Some(Told::Ended { replica, end: Ok(summary) }) => {
                    run.summaries.push((replica, summary));
                }
                Some(Told::Ended { replica, end: Err(how) }) => {
                    progress.note(&format!("replica {replica} {how}; the rest go on"));
                    run.lost.push((replica, how));
                }
                None => break,
            },
            _ = tick.tick() => progress.show(&run.records),
            _ = tokio::signal::ctrl_c(), if !run.interrupted => {
                run.interrupted = true;
                stop.send_replace(true);
                progress.note("interrupted: judging what there is");
            }
        }
    }
    progress.finish();
}

/// One way to the store for each replica.
async fn stores(plan: &Plan) -> Result<Vec<Arc<dyn Store>>, DemoError> {
    let mut stores: Vec<Arc<dyn Store>> = Vec::new();
    let embedded = Arc::new(MemoryStore::new());
    for _ in 0..plan.replicas {
        stores.push(match &plan.redis {
            Some(url) => Arc::new(redis_store(url, &plan.prefix).await?),
            None => Arc::new(DelayedStore::new(Arc::clone(&embedded), plan.store_latency)),
        });
    }
    Ok(stores)
}

pub(crate) async fn redis_store(url: &str, prefix: &str) -> Result<RedisStore, DemoError> {
    let settings = url.parse().map_err(DemoError::Url)?;
    RedisStore::connect_as(prefix, settings)
        .await
        .map_err(DemoError::Connect)
}

#[expect(clippy::cast_precision_loss, reason = "a time in seconds, to be shown")]
fn seconds(records: &[Record], start_ns: u64) -> f64 {
    let end = records.iter().map(|record| record.end_ns).max();
    end.map_or(0.0, |end| end.saturating_sub(start_ns) as f64 / 1e9)
}

/// Replicas are ready before the load begins.
const HEAD_START: u64 = 50_000_000;

const PROGRESS_EVERY: Duration = Duration::from_millis(200);
