//! The nodes of a cluster, each with a connection of its own, and which node serves which
//! partition.
//!
//! # Invariant
//!
//! An exchange goes to the node that serves its partition, and waits for no other: a node that
//! hangs or is gone fails the exchanges of its own partitions and of no others. If the node
//! redirects the exchange, it is sent to the node named, and to no third one. So an exchange ends
//! within two response timeouts, plus one connect timeout if the second node is new to us.
//!
//! The client library's own cluster client is not used. It retries and repairs inside a call, for
//! seconds, while requests queue behind it. Here a call fails at once, the sync task sends a newer
//! one later, and [`Link`] repairs the connection.

mod map;
mod redirect;
mod scout;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leasehold::store::{Answer, Batch};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::info;

use self::map::Map;
use self::redirect::{Redirect, is_doubtful};
use self::scout::Scout;
use self::view::View;
use crate::context::StoreContext;
use crate::error::{ConnectError, ConnectFault, DownReason, LinkError};
use crate::link::Link;
use crate::server::Server;
use crate::settings::{Place, Settings};

/// A cluster that is followed wherever its slots go. Dropping it ends its connections.
#[derive(Debug)]
pub(crate) struct Cluster {
    shared: Arc<Shared>,
    scout: JoinHandle<()>,
}

/// A node, and our connection to it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) link: Arc<Link>,
    pub(crate) server: Arc<Server>,
    /// When a redirect last named the node: it may be needed before any map names it.
    sent: Mutex<Option<Instant>>,
}

/// The state that exchanges and the scout share.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    context: Arc<StoreContext>,
    state: Mutex<State>,
    /// Wakes the scout.
    suspicion: Notify,
}

#[derive(Debug)]
struct State {
    map: Option<Map>,
    /// The nodes that serve partitions, and those that a redirect named lately.
    nodes: BTreeMap<Place, Arc<Node>>,
    /// Since when there is no map, and why.
    lacking: (Instant, DownReason),
}

/// An exchange that failed, and at which node.
#[derive(Debug)]
pub(crate) struct Failure {
    at: Option<Place>,
    error: Box<LinkError>,
}

impl Cluster {
    /// Learns which node serves which partition, and connects to all of these nodes. Those that
    /// cannot be reached are tried again in the background.
    pub(crate) async fn connect(
        settings: Settings,
        context: &Arc<StoreContext>,
    ) -> Result<Self, ConnectError> {
        let shared = Arc::new(Shared::new(settings, context));
        let mut scout = Scout::new(&shared);
        scout.learn().await?;
        shared.tried().await?;
        Ok(Self::scouted(shared, scout))
    }

    /// Learns which node serves which partition in the background, and connects there.
    pub(crate) fn lazy(settings: Settings, context: &Arc<StoreContext>) -> Self {
        let shared = Arc::new(Shared::new(settings, context));
        let scout = Scout::new(&shared);
        Self::scouted(shared, scout)
    }

    fn scouted(shared: Arc<Shared>, scout: Scout) -> Self {
        let scout = tokio::spawn(scout.run());
        Self { shared, scout }
    }

    pub(crate) async fn exchange(&self, batch: &Batch) -> Result<Answer, Failure> {
        let result = self.followed(batch).await;
        if let Err(Failure { error, .. }) = &result
            && is_doubtful(error)
        {
            self.shared.suspicion.notify_one();
        }
        result
    }

    /// Sends `batch` to the node that serves its partition and, if that node redirects it, to one
    /// more.
    async fn followed(&self, batch: &Batch) -> Result<Answer, Failure> {
        let partition = batch.partition;
        let node = self.shared.owner(partition)?;
        let error = match node.exchange(batch, false).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let Some(redirect) = Redirect::of(&error, &node.place) else {
            return Err(node.failure(error));
        };
        let node = self.shared.follow(partition, &redirect);
        // This waits only if the node is new to us.
        let _ = node.link.tried().await;
        let answer = node.exchange(batch, redirect.asking).await;
        answer.map_err(|error| node.failure(error))
    }

    pub(crate) fn node_of(&self, partition: u32) -> Option<Arc<Node>> {
        self.shared.owner(partition).ok()
    }

    /// The nodes that serve partitions.
    pub(crate) fn nodes(&self) -> Vec<Arc<Node>> {
        self.shared.nodes()
    }

    /// The error of an exchange while no map is known.
    pub(crate) fn down(&self) -> LinkError {
        self.shared.state().down()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.scout.abort();
    }
}

impl Node {
    async fn exchange(&self, batch: &Batch, asking: bool) -> Result<Answer, LinkError> {
        self.server.exchange(&self.link, batch, asking).await
    }

    fn failure(&self, error: LinkError) -> Failure {
        Failure {
            at: Some(self.place.clone()),
            error: error.into(),
        }
    }

    fn is_remembered(&self, now: Instant) -> bool {
        let sent = *self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.is_some_and(|sent| now.duration_since(sent) < NODE_REMEMBERED)
    }
}

impl Shared {
    fn new(settings: Settings, context: &Arc<StoreContext>) -> Self {
        Self {
            settings,
            context: Arc::clone(context),
            state: Mutex::new(State {
                map: None,
                nodes: BTreeMap::new(),
                lacking: (Instant::now(), DownReason::Starting),
            }),
            suspicion: Notify::new(),
        }
    }

    /// The node that serves `partition`.
    fn owner(&self, partition: u32) -> Result<Arc<Node>, Failure> {
        let state = self.state();
        let error = match &state.map {
            None => state.down(),
            Some(map) => match map
                .owner(partition)
                .and_then(|place| state.nodes.get(place))
            {
                Some(node) => return Ok(Arc::clone(node)),
                None => LinkError::Unserved {
                    slot: self.context.names.slot(partition),
                },
            },
        };
        Err(Failure {
            at: None,
            error: error.into(),
        })
    }

    /// The node that the redirect `to` names for `partition`, connected to if it is new.
    fn follow(&self, partition: u32, to: &Redirect) -> Arc<Node> {
        let mut state = self.state();
        if let Some(map) = &mut state.map
            && !to.asking
        {
            map.handle_moved(partition, &to.place);
            self.suspicion.notify_one();
        }
        let node = Arc::clone(self.entered(&mut state.nodes, &to.place));
        let mut sent = node.sent.lock().unwrap_or_else(PoisonError::into_inner);
        *sent = Some(Instant::now());
        drop(sent);
        node
    }

    /// Takes the map from `view`, unless ours is newer.
    fn adopt(&self, view: &View) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        if state
            .map
            .as_ref()
            .is_some_and(|map| map.is_newer_than(view, now))
        {
            return false;
        }
        let map = Map::new(view, &self.context.names, now);
        let moved = state
            .map
            .as_ref()
            .map_or(0, |before| map.moved_since(before));
        if moved > 0 {
            info!(store = %self.settings, partitions = moved, "partitions moved to other nodes");
        }
        for place in map.owners().flatten() {
            self.entered(&mut state.nodes, place);
        }
        let serves = |place: &Place| map.owners().flatten().any(|owner| owner == place);
        state
            .nodes
            .retain(|place, node| serves(place) || node.is_remembered(now));
        state.map = Some(map);
        true
    }

    fn handle_trouble(&self, error: ConnectError) {
        self.state().lacking.1 = error.into();
    }

    /// Whether each partition has a node that serves it, and a connection to that node.
    fn is_whole(&self) -> bool {
        let state = self.state();
        let Some(map) = &state.map else { return false };
        let mut owners = map.owners();
        owners.all(|place| {
            let node = place.and_then(|place| state.nodes.get(place));
            node.is_some_and(|node| node.link.wire().is_ok())
        })
    }

    /// Whether there is a map.
    fn is_known(&self) -> bool {
        self.state().map.is_some()
    }

    /// The nodes that serve partitions.
    fn nodes(&self) -> Vec<Arc<Node>> {
        let state = self.state();
        let owners: BTreeSet<_> = state.map.iter().flat_map(Map::owners).flatten().collect();
        let nodes = owners
            .into_iter()
            .filter_map(|place| state.nodes.get(place));
        nodes.cloned().collect()
    }

    /// All known nodes of the cluster: those that we are connected to, and the others.
    fn known(&self) -> (Vec<Place>, Vec<Place>) {
        let state = self.state();
        let nodes = state
            .map
            .as_ref()
            .map_or(&[][..], Map::nodes)
            .iter()
            .cloned();
        nodes.partition(|place| {
            let node = state.nodes.get(place);
            node.is_some_and(|node| node.link.wire().is_ok())
        })
    }

    fn node(&self, place: &Place) -> Option<Arc<Node>> {
        self.state().nodes.get(place).cloned()
    }

    /// The node at `place`. If it is new, a connection to it is begun.
    fn entered<'a>(
        &self,
        nodes: &'a mut BTreeMap<Place, Arc<Node>>,
        place: &Place,
    ) -> &'a Arc<Node> {
        nodes.entry(place.clone()).or_insert_with(|| {
            let server = Arc::new(Server::new(&self.context));
            let link = Link::lazy(self.settings.at(place), Arc::clone(&server));
            Arc::new(Node {
                place: place.clone(),
                link: Arc::new(link),
                server,
                sent: Mutex::new(None),
            })
        })
    }

    /// Waits until the first attempt to connect to each node has ended. Fails if none succeeded.
    async fn tried(&self) -> Result<(), ConnectError> {
        let (mut any, mut failed) = (false, None);
        for node in self.nodes() {
            match node.link.tried().await {
                Ok(()) => any = true,
                Err(DownReason::Unconnected(error)) => failed = Some(error),
                Err(reason) => {
                    let address = self.settings.url_of(&node.place);
                    let what = reason.to_string();
                    let fault = ConnectFault::Unreachable { what };
                    failed = Some(ConnectError { address, fault });
                }
            }
        }
        match failed {
            Some(error) if !any => Err(error),
            _ => Ok(()),
        }
    }

    /// A panic elsewhere leaves the state whole: each change is one step.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn down(&self) -> LinkError {
        let (since, reason) = &self.lacking;
        LinkError::Down {
            down_for: since.elapsed(),
            reason: reason.clone(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.at {
            write!(f, "node {place}: ")?;
        }
        self.error.fmt(f)
    }
}

/// How long a node that no map names is remembered after a redirect to it. A node that is being
/// given its first slots appears in maps only once it has one.
const NODE_REMEMBERED: Duration = Duration::from_secs(60);
