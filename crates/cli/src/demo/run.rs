//! One run: all replicas at once, in this process or in one each, and what was seen of them.

use std::sync::Arc;

use leasehold::{MemoryStore, Store};
use leasehold_redis::RedisStore;

use crate::demo::DemoError;
use crate::demo::delayed_store::DelayedStore;
use crate::demo::fleet::{Company, Fleet, Told};
use crate::demo::plan::Plan;
use crate::demo::progress::Progress;
use crate::demo::replica::{Summary, offer};
use crate::demo::server::Server;
use leasehold_judge::record::Record;

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
    pub(crate) keys_written: u64,
    pub(crate) cpu_micros: u64,
}

/// Runs the plan. An interrupt ends it early, with what there is.
pub(crate) async fn run(plan: &Plan) -> Result<Run, DemoError> {
    let mut server = Server::connect(plan.redis.as_deref()).await?;
    let before = server.usage().await?;
    let fleet = if plan.processes {
        let plans = vec![plan.clone(); plan.replicas as usize];
        Fleet::of_processes(&plans).await?
    } else {
        in_process(plan).await?
    };
    let name = if plan.central { "central" } else { "leased" };
    let mut run = fleet.watch(Progress::start(name, plan.duration)).await;
    run.server = match (before, server.usage().await?) {
        (Some(before), Some(after)) => Some(ServerUse {
            script_calls: after.script_calls - before.script_calls,
            keys_written: after.keys_written - before.keys_written,
            cpu_micros: after.cpu_micros - before.cpu_micros,
        }),
        _ => None,
    };
    Ok(run)
}

async fn in_process(plan: &Plan) -> Result<Fleet, DemoError> {
    let stores = stores(plan).await?;
    let (mut fleet, company) = Fleet::gather();
    for (replica, store) in (0..).zip(stores) {
        let (plan, company) = (plan.clone(), company.clone());
        fleet.join(async move {
            let Company {
                start_ns,
                tell,
                stopped,
            } = company;
            // The listener lives as long as the run.
            let sink = |seen| drop(tell.send(Told::Seen(seen)));
            let end = offer(&plan, replica, store, start_ns, stopped, sink).await;
            let end = end.map_err(|error| error.to_string());
            drop(tell.send(Told::Ended { replica, end }));
        });
    }
    Ok(fleet)
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
