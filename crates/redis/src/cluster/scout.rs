//! The scout: the one task that asks the nodes which of them serves which slot.
//!
//! # Invariant
//!
//! No exchange waits for the scout. It asks one node at a time, for no longer than that node's
//! timeout. It asks nodes that we are connected to first, and begins with a different one each
//! round. So neither a node that is gone nor one whose view is old delays a new map for long. While
//! all is well the scout asks once an interval; in doubt it asks at once, and then after growing,
//! random delays.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::backoff::{Backoff, random_seed};
use crate::cluster::view::View;
use crate::cluster::{Node, Shared};
use crate::connect::{Target, driven, reach, within};
use crate::error::{ConnectError, ConnectFault, LinkError, Stage};
use crate::settings::{Endpoint, Place};

/// The state of the scout task.
pub(crate) struct Scout {
    shared: Arc<Shared>,
    backoff: Backoff,
    /// How many rounds there were.
    rounds: usize,
    /// Whether the last round failed, of which a warning was logged.
    lost: bool,
}

impl Scout {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        let settings = &shared.settings;
        let backoff = Backoff::new(settings.backoff_min, settings.backoff_max, random_seed());
        Self {
            shared: Arc::clone(shared),
            backoff,
            rounds: 0,
            lost: false,
        }
    }

    pub(crate) async fn run(mut self) {
        loop {
            let learnt = self.learn().await;
            let well = learnt.is_ok() && self.shared.is_whole();
            self.report(learnt);
            let interval = self.shared.settings.cluster_interval;
            if well && timeout(interval, self.doubt()).await.is_err() {
                self.backoff.start_over();
            } else {
                tokio::time::sleep(self.backoff.next_delay()).await;
            }
        }
    }

    /// Asks one node after the other, until one gives a view that is not older than our map.
    pub(crate) async fn learn(&mut self) -> Result<(), ConnectError> {
        let mut deaf = Vec::new();
        let mut behind = false;
        for place in self.places() {
            match Box::pin(self.ask(&place)).await {
                Ok(view) if self.shared.adopt(&view) => return Ok(()),
                Ok(_) => behind = true,
                // The other nodes of the URL would say the same.
                Err(fault @ ConnectFault::NotCluster { .. }) if !self.shared.is_known() => {
                    let address = self.shared.settings.url_of(&place);
                    return Err(ConnectError { address, fault });
                }
                Err(fault) => deaf.push(format!("{place}: {fault}")),
            }
        }
        if behind {
            return Ok(());
        }
        Err(ConnectError {
            address: self.shared.settings.to_string(),
            fault: ConnectFault::Nodes {
                what: deaf.join("; "),
            },
        })
    }

    /// The nodes to ask, in order: those that we are connected to, other known ones, those of the
    /// URL.
    fn places(&mut self) -> Vec<Place> {
        let (mut places, mut others) = self.shared.known();
        for some in [&mut places, &mut others] {
            if !some.is_empty() {
                let first = self.rounds % some.len();
                some.rotate_left(first);
            }
        }
        self.rounds = self.rounds.wrapping_add(1);
        places.append(&mut others);
        let Endpoint::Cluster { seeds } = &self.shared.settings.endpoint else {
            unreachable!("a scout is a cluster's")
        };
        for seed in seeds {
            if !places.contains(seed) {
                places.push(seed.clone());
            }
        }
        places
    }

    /// Asks the node at `place` for its view, over our connection to it if there is one.
    async fn ask(&self, place: &Place) -> Result<View, ConnectFault> {
        let settings = &self.shared.settings;
        let live = self.shared.node(place).map(|node| node.link.wire());
        let view = if let Some(Ok(wire)) = live {
            View::of(&wire, place).await.map_err(fault)?
        } else {
            let deadline = Instant::now() + settings.connect_timeout;
            let target = Target::Tcp(place);
            let (wire, mut driver) = reach(settings, target, &settings.login, deadline).await?;
            let asked = async { View::of(&wire, place).await.map_err(fault) };
            let asked = driven(&mut driver, asked);
            within(deadline, Stage::Mapping, settings, asked).await?
        };
        if view.ranges.is_empty() {
            let what = "it knows of no node that serves slots; is the cluster set up?".to_owned();
            return Err(ConnectFault::NotRedis { what });
        }
        Ok(view)
    }

    /// Waits until there is doubt: an exchange failed, or a connection was lost.
    async fn doubt(&self) {
        let nodes = self.shared.nodes();
        tokio::select! {
            () = self.shared.suspicion.notified() => {}
            () = any_lost(&nodes) => {}
        }
    }

    fn report(&mut self, learnt: Result<(), ConnectError>) {
        let failed = learnt.is_err();
        if let Err(error) = learnt {
            if !self.lost {
                warn!(store = %self.shared.settings, %error, "no node says who serves what");
            }
            self.shared.handle_trouble(error);
        }
        self.lost = failed;
    }
}

/// Waits until one of the connections is lost.
async fn any_lost(nodes: &[Arc<Node>]) {
    let mut losses: Vec<_> = nodes
        .iter()
        .map(|node| Box::pin(node.link.down()))
        .collect();
    poll_fn(|context| {
        let mut losses = losses.iter_mut();
        if losses.any(|loss| loss.as_mut().poll(context).is_ready()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

fn fault(error: LinkError) -> ConnectFault {
    match error {
        LinkError::Refused { detail, .. } if detail.contains(NO_CLUSTER) => {
            ConnectFault::NotCluster { detail }
        }
        LinkError::Refused { code, detail } => ConnectFault::Rejected { code, detail },
        LinkError::TimedOut { after } => ConnectFault::TimedOut {
            after,
            stage: Stage::Mapping,
        },
        error => ConnectFault::NotRedis {
            what: error.to_string(),
        },
    }
}

/// How every version of Redis and Valkey says that it is not a node of a cluster.
const NO_CLUSTER: &str = "cluster support disabled";
