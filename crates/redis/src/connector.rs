//! Finds the server to use and connects to it: the one of the URL, the primary that sentinels name,
//! or any node of a cluster.
//!
//! # Invariant
//!
//! A connection that comes out is greeted. With sentinels, its server has also said that it is a
//! primary: sentinels learn of a failover one after the other, and a sentinel that was cut off may
//! name the old primary for ever. So the word of one sentinel is never enough to use a server, and
//! never enough to leave one.

use tokio::time::{Instant, sleep};

use crate::connect::{Driver, Greeting, Target, greet, reach};
use crate::error::{ConnectError, ConnectFault};
use crate::sentinel::{self, Told};
use crate::settings::{Endpoint, Place, Settings};
use crate::wire::Wire;

/// Makes one connection each time it is asked to.
#[derive(Debug)]
pub(crate) struct Connector<G> {
    settings: Settings,
    greeting: G,
    /// The sentinel to ask first: the last one that led to a primary.
    preferred: usize,
}

/// A connection that is up.
pub(crate) struct Live {
    pub(crate) wire: Wire,
    pub(crate) driver: Driver,
    /// The address of the server, without credentials.
    pub(crate) address: String,
}

impl<G: Greeting> Connector<G> {
    pub(crate) fn new(settings: Settings, greeting: G) -> Self {
        Self {
            settings,
            greeting,
            preferred: 0,
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Connects once.
    pub(crate) async fn connect(&mut self) -> Result<Live, ConnectError> {
        let (target, address) = match &self.settings.endpoint {
            Endpoint::Sentinels { .. } => return Box::pin(self.connect_by_sentinels()).await,
            Endpoint::Cluster { .. } => return Box::pin(self.connect_to_any()).await,
            Endpoint::Tcp(place) => (Target::Tcp(place), self.settings.to_string()),
            Endpoint::Unix(path) => (Target::Unix(path), self.settings.to_string()),
        };
        // Boxed: the future takes 25 kB, which the callers' futures would contain.
        let connected = Box::pin(self.connect_to(target, &address, false)).await;
        connected.map_err(|fault| ConnectError { address, fault })
    }

    /// Asks one sentinel after the other, until one names a server that says it is a primary.
    async fn connect_by_sentinels(&mut self) -> Result<Live, ConnectError> {
        let Endpoint::Sentinels { sentinels, master } = &self.settings.endpoint else {
            unreachable!("there are sentinels")
        };
        let mut tried: Vec<Place> = Vec::new();
        let mut failed: Option<ConnectError> = None;
        let (mut unknown, mut deaf) = (None, Vec::new());
        for turn in 0..sentinels.len() {
            let number = (self.preferred + turn) % sentinels.len();
            let place = match sentinel::ask(&self.settings, &sentinels[number], master).await {
                Ok(Told::Primary(place)) if tried.contains(&place) => continue,
                Ok(Told::Primary(place)) => place,
                Ok(Told::Unknown { known }) => {
                    unknown = Some(known);
                    continue;
                }
                Err(fault) => {
                    deaf.push(complaint(&sentinels[number], &fault));
                    continue;
                }
            };
            let address = self.settings.url_of(&place);
            match self.connect_to(Target::Tcp(&place), &address, true).await {
                Ok(live) => {
                    self.preferred = number;
                    return Ok(live);
                }
                Err(fault) => {
                    let address = format!("{address}, which {} names", sentinels[number]);
                    failed.get_or_insert(ConnectError { address, fault });
                }
            }
            tried.push(place);
        }
        let address = self.settings.to_string();
        Err(failed.unwrap_or_else(|| ConnectError {
            address,
            fault: match unknown {
                Some(known) => ConnectFault::UnknownPrimary {
                    name: master.clone(),
                    known,
                },
                None => ConnectFault::Sentinels {
                    what: deaf.join("; "),
                },
            },
        }))
    }

    /// Tries one node of a cluster after the other.
    async fn connect_to_any(&self) -> Result<Live, ConnectError> {
        let Endpoint::Cluster { seeds } = &self.settings.endpoint else {
            unreachable!("there is a cluster")
        };
        let mut deaf = Vec::new();
        for place in seeds {
            let address = self.settings.url_of(place);
            match self.connect_to(Target::Tcp(place), &address, false).await {
                Ok(live) => return Ok(live),
                Err(fault) => deaf.push(format!("{place}: {fault}")),
            }
        }
        Err(ConnectError {
            address: self.settings.to_string(),
            fault: ConnectFault::Nodes {
                what: deaf.join("; "),
            },
        })
    }

    /// Connects to one server. If it `must_be_primary`, it is asked for its role.
    async fn connect_to(
        &self,
        target: Target<'_>,
        address: &str,
        must_be_primary: bool,
    ) -> Result<Live, ConnectFault> {
        let settings = &self.settings;
        let deadline = Instant::now() + settings.connect_timeout;
        let (wire, mut driver) = reach(settings, target, &settings.login, deadline).await?;
        if must_be_primary {
            sentinel::check_role(settings, &wire, &mut driver, deadline).await?;
        }
        greet(settings, &wire, &mut driver, &self.greeting, deadline).await?;
        Ok(Live {
            wire,
            driver,
            address: address.to_owned(),
        })
    }

    /// Waits until a sentinel names another server than the one at `address`, and that server says
    /// that it is a primary; returns its address. A primary that was cut off from its sentinels
    /// goes on answering us, because it does not know that it was replaced.
    pub(crate) async fn moved(&self, address: &str) -> String {
        let Endpoint::Sentinels { sentinels, master } = &self.settings.endpoint else {
            return std::future::pending().await;
        };
        for number in (0..sentinels.len()).cycle().skip(self.preferred) {
            sleep(self.settings.sentinel_interval).await;
            let asked = sentinel::ask(&self.settings, &sentinels[number], master);
            if let Ok(Told::Primary(place)) = Box::pin(asked).await
                && self.settings.url_of(&place) != address
                && Box::pin(self.is_primary(&place)).await
            {
                return self.settings.url_of(&place);
            }
        }
        unreachable!("there is at least one sentinel")
    }

    async fn is_primary(&self, place: &Place) -> bool {
        let settings = &self.settings;
        let deadline = Instant::now() + settings.connect_timeout;
        let login = &settings.login;
        let Ok((wire, mut driver)) = reach(settings, Target::Tcp(place), login, deadline).await
        else {
            return false;
        };
        sentinel::check_role(settings, &wire, &mut driver, deadline)
            .await
            .is_ok()
    }
}

/// A message: what is wrong with the sentinel at `place`, and how to mend it.
fn complaint(place: &Place, fault: &ConnectFault) -> String {
    match fault {
        ConnectFault::Password { code, detail } => format!(
            "{place}: {code} {detail} (what the sentinels want belongs into \
             Settings::sentinel_credentials)"
        ),
        fault => format!("{place}: {fault}"),
    }
}
