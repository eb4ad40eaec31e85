//! The nodes of a cluster, each with a connection of its own, and who of them serves what.
//!
//! # Invariant
//!
//! An exchange goes to one node, that which serves its bin, and waits for no other: a node that
//! hangs or is gone fails the exchanges of its own bins and of no others. A node that says that it
//! is another is believed, and that one is asked, once: so an exchange ends within two response
//! timeouts, and one connect timeout if it leads to a node that is new to us.
//!
//! The client library's own cluster client is not used. It retries and repairs inside a call, for
//! seconds, with requests queueing behind it; here a call that fails now is sent again later, as a
//! newer one, and [`Link`] is what mends a connection anyway.

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
use crate::error::{ConnectError, ConnectFault, DownReason, LinkError};
use crate::link::Link;
use crate::settings::{Place, Settings};
use crate::shop::{Server, Shop};

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
    /// When we were last sent to it: it may be needed before any map names it.
    sent: Mutex<Option<Instant>>,
}

/// The state that exchanges and the scout share.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    shop: Arc<Shop>,
    state: Mutex<State>,
    /// Wakes the scout.
    suspicion: Notify,
}

#[derive(Debug)]
struct State {
    map: Option<Map>,
    /// Those that serve us, and those that we were sent to of late.
    nodes: BTreeMap<Place, Arc<Node>>,
    /// Since when, and why, there is no map.
    lacking: (Instant, DownReason),
}

/// An exchange that failed, and where.
#[derive(Debug)]
pub(crate) struct Failure {
    at: Option<Place>,
    error: Box<LinkError>,
}

impl Cluster {
    /// Learns who serves what, and connects to them all; those that cannot be reached are tried
    /// again in the background.
    pub(crate) async fn connect(
        settings: Settings,
        shop: &Arc<Shop>,
    ) -> Result<Self, ConnectError> {
        let shared = Arc::new(Shared::new(settings, shop));
        let mut scout = Scout::new(&shared);
        scout.learn().await?;
        shared.tried().await?;
        Ok(Self::scouted(shared, scout))
    }

    /// Looks at the map again in the background.
    pub(crate) fn lazy(settings: Settings, shop: &Arc<Shop>) -> Self {
        let shared = Arc::new(Shared::new(settings, shop));
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

    /// Sends `batch` to the node that serves it and, if that one sends us on, to one more.
    async fn followed(&self, batch: &Batch) -> Result<Answer, Failure> {
        let bin = batch.partition;
        let node = self.shared.owner(bin)?;
        let error = match node.exchange(batch, false).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let Some(redirect) = Redirect::of(&error, &node.place) else {
            return Err(node.failure(error));
        };
        let node = self.shared.follow(bin, &redirect);
        // Only if it is new to us is there anything to wait for.
        let _ = node.link.tried().await;
        let answer = node.exchange(batch, redirect.asking).await;
        answer.map_err(|error| node.failure(error))
    }

    pub(crate) fn node_of(&self, bin: u32) -> Option<Arc<Node>> {
        self.shared.owner(bin).ok()
    }

    /// Those that serve us.
    pub(crate) fn nodes(&self) -> Vec<Arc<Node>> {
        self.shared.nodes()
    }

    /// Why there is nobody to ask.
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
    fn new(settings: Settings, shop: &Arc<Shop>) -> Self {
        Self {
            settings,
            shop: Arc::clone(shop),
            state: Mutex::new(State {
                map: None,
                nodes: BTreeMap::new(),
                lacking: (Instant::now(), DownReason::Starting),
            }),
            suspicion: Notify::new(),
        }
    }

    /// The node that serves `bin`.
    fn owner(&self, bin: u32) -> Result<Arc<Node>, Failure> {
        let state = self.state();
        let error = match &state.map {
            None => state.down(),
            Some(map) => match map.owner(bin).and_then(|place| state.nodes.get(place)) {
                Some(node) => return Ok(Arc::clone(node)),
                None => LinkError::Unserved {
                    slot: self.shop.names.slot(bin),
                },
            },
        };
        Err(Failure {
            at: None,
            error: error.into(),
        })
    }

    /// Goes where we were sent.
    fn follow(&self, bin: u32, to: &Redirect) -> Arc<Node> {
        let mut state = self.state();
        if let Some(map) = &mut state.map
            && !to.asking
        {
            map.handle_moved(bin, &to.place);
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
        let map = Map::new(view, &self.shop.names, now);
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

    /// Whether there is somebody to serve each bin, and a connection to him.
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

    /// Those that serve us.
    fn nodes(&self) -> Vec<Arc<Node>> {
        let state = self.state();
        let owners: BTreeSet<_> = state.map.iter().flat_map(Map::owners).flatten().collect();
        let nodes = owners
            .into_iter()
            .filter_map(|place| state.nodes.get(place));
        nodes.cloned().collect()
    }

    /// All that the cluster has, as far as known: those that we are connected to, and the others.
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

    /// The node at `place`, connected to from now on if it is new.
    fn entered<'a>(
        &self,
        nodes: &'a mut BTreeMap<Place, Arc<Node>>,
        place: &Place,
    ) -> &'a Arc<Node> {
        nodes.entry(place.clone()).or_insert_with(|| {
            let server = Arc::new(Server::new(&self.shop));
            let link = Link::lazy(self.settings.at(place), Arc::clone(&server));
            Arc::new(Node {
                place: place.clone(),
                link: Arc::new(link),
                server,
                sent: Mutex::new(None),
            })
        })
    }

    /// Waits until all have been tried to connect to, and says why none is there, if none is.
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

/// A node that is being given its first slots is in nobody's map until it has one.
const NODE_REMEMBERED: Duration = Duration::from_secs(60);
