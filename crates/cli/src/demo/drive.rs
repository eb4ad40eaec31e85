//! Runs a plan: all replicas at once, in this process or in one each.

use std::sync::Arc;

use leasehold::MemoryStore;
use leasehold::store::Store;

use crate::demo::company::{Company, Told};
use crate::demo::delayed_store::DelayedStore;
use crate::demo::error::DemoError;
use crate::demo::fleet::Fleet;
use crate::demo::plan::Plan;
use crate::demo::progress::Progress;
use crate::demo::replica::{Replica, offer};
use crate::demo::run::Run;
use crate::demo::server::Server;
use crate::demo::store::redis_store;
use crate::interrupt::Graceful;

/// Runs the plan. A signal ends it early, with what there is. Whatever happens, the keys that the
/// run made on a server are removed.
pub(crate) async fn run(plan: &Plan) -> Result<Run, DemoError> {
    // Held until the keys are gone.
    let _graceful = Graceful::begin();
    let Some(url) = &plan.redis else {
        return watch(plan).await;
    };
    let server = Server::connect(url, &plan.prefix).await?;
    let before = server.usage().await;
    let run = watch(plan).await;
    let after = server.usage().await;
    let left = server.remove_keys().await;
    let mut run = run?;
    match (before, after) {
        (Ok(before), Ok(after)) => match before.until(&after) {
            Some(used) => run.server = Some(used),
            None => run.incidents.push(RESTARTED.to_owned()),
        },
        (Err(error), _) | (_, Err(error)) => {
            run.incidents
                .push(format!("the server does not say what it did: {error}"));
        }
    }
    if let Err(error) = left {
        run.incidents.push(format!(
            "keys of this run may be left on the server, {}*: {error}",
            server.stem()
        ));
    }
    Ok(run)
}

async fn watch(plan: &Plan) -> Result<Run, DemoError> {
    let fleet = if plan.processes {
        let plans = vec![plan.clone(); plan.replicas as usize];
        Fleet::of_processes(&plans).await?
    } else {
        in_process(plan).await?
    };
    let name = if plan.central { "central" } else { "leased" };
    Ok(fleet.watch(Progress::start(name, plan.duration)).await)
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
            let end = match Replica::new(&plan, store) {
                Ok(it) => Ok(offer(it, &plan, replica, start_ns, stopped, sink).await),
                Err(error) => Err(error.to_string()),
            };
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

/// Whatever it counted before is lost.
const RESTARTED: &str =
    "the server was restarted or replaced in the meantime, so its own counts are not shown";
