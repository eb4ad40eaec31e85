//! The settings of a store: where it is, how to reach it and how long to wait for it.
//!
//! # Invariant
//!
//! Nothing here prints a password: not `Display`, not `Debug`, not the error about a URL that
//! cannot be read. A URL with a part we would ignore is an error, never a surprise.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use redis::RedisConnectionInfo;

use crate::tls::TlsSettings;
use crate::url::{self, UrlError};

/// How to reach the store: one Redis or Valkey server, the primary that sentinels name, or the
/// nodes of a cluster. Parsed from a URL; the rest has defaults.
///
/// | URL | reaches |
/// |---|---|
/// | `redis://[[user]:password@]host[:6379][/database]` | one server |
/// | `redis+unix:///path[?db=..&user=..&pass=..]` | one server, over a Unix socket |
/// | `redis+sentinel://[[user]:password@]host[:26379][,host..]/NAME[/database]` | the primary `NAME`, wherever the sentinels say it is |
/// | `redis+cluster://[[user]:password@]host[:6379][,host..]` | a cluster, by any of its nodes |
///
/// A user comes with a password; write `user:@` for one that needs none (`nopass`). An IPv6
/// address stands in brackets: `redis://[::1]:6379`. `valkey` may stand for `redis`. `rediss://`,
/// `rediss+sentinel://` and `rediss+cluster://` (`valkeys…`) are the same over TLS;
/// [`tls`](Self::tls) says which servers to trust. User and password are those of the servers, not
/// of the sentinels, which have [their own](Self::sentinel_credentials).
///
/// A user of the server's needs no more than this, with the prefix of the store
/// ([`acl_rules`](crate::acl_rules) makes the rules for any):
///
/// ```text
/// ACL SETUSER leasehold on >PASSWORD resetchannels ~{leasehold:* -@all +evalsha +script|load +get +set +time +mget +mset +del +hget +hmget +hgetall +hset +hdel +pexpireat +info +ping +select +role +wait +cluster|slots +cluster|info +asking
/// ```
///
/// ```
/// use leasehold_redis::Settings;
///
/// let mut settings: Settings = "redis://:secret@localhost:6379/2".parse()?;
/// settings.response_timeout = std::time::Duration::from_millis(100);
/// assert_eq!(settings.to_string(), "redis://localhost:6379/2");
///
/// let mut settings: Settings = "rediss+sentinel://:secret@s1,s2,s3:5000/main".parse()?;
/// settings.tls.ca_file = Some("/etc/ssl/redis-ca.pem".into());
/// assert_eq!(settings.to_string(), "rediss+sentinel://s1:26379,s2:26379,s3:5000/main");
///
/// let settings: Settings = "redis+cluster://:secret@n1,n2:7000".parse()?;
/// assert_eq!(settings.to_string(), "redis+cluster://n1:6379,n2:7000");
/// # Ok::<(), leasehold_redis::UrlError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Settings {
    /// The longest one attempt to connect to one server may take: name look-up, connection,
    /// handshakes and greeting together. 250 ms by default, 500 ms over TLS. It applies to each
    /// sentinel that is asked, too.
    pub connect_timeout: Duration,
    /// The longest a request may wait for its answer.
    pub response_timeout: Duration,
    /// A connection idle for this long is probed.
    pub keep_alive_idle: Duration,
    /// Time between probes.
    pub keep_alive_interval: Duration,
    /// Ceiling of the delay before the first attempt to reconnect; it doubles with each attempt.
    pub backoff_min: Duration,
    /// Ceiling of the delay before any attempt to reconnect: 2 s by default, 500 ms
    /// with sentinels or a cluster.
    pub backoff_max: Duration,
    /// Timeouts in a row, each of a request begun after the one before, that end a connection.
    pub timeouts_before_drop: NonZeroU32,
    /// How many replicas of the server must acknowledge an exchange before its answer counts. By
    /// default 0: replicas are not asked. An exchange that fewer replicas acknowledge has failed,
    /// and nothing of its answer is used.
    ///
    /// With sentinels, 1 prevents that a primary which was cut off from its replicas and the
    /// primary promoted in its place lease out the same tokens. Each exchange then takes as long as
    /// the slowest replica that is needed, and nothing is leased while too few replicas are there.
    pub replicas_acknowledged: u32,
    /// How long an exchange may wait for its replicas: 50 ms by default, at least 1 ms, and at most
    /// half the response timeout.
    pub acknowledge_timeout: Duration,
    /// Which servers to trust over TLS, and the certificate to show. For URLs that ask for TLS
    /// only.
    pub tls: TlsSettings,
    /// Credentials for the sentinels. None by default: the URL's user and password are
    /// those of the servers behind them.
    pub sentinel_credentials: Option<Credentials>,
    /// While connected, a sentinel is asked this often whether the primary has moved, because a
    /// primary that was cut off from all sentinels goes on answering us. 1 s by default.
    pub sentinel_interval: Duration,
    /// While all is well, a node of a cluster is asked this often which node serves which slot,
    /// because a node that was cut off from the others goes on answering us for a while. 2 s by
    /// default. A node is also asked at once when another is lost or redirects an exchange.
    pub cluster_interval: Duration,
    pub(crate) endpoint: Endpoint,
    /// Whether the connections go over TLS.
    pub(crate) secure: bool,
    /// Database and credentials. Its `Debug` hides the password.
    pub(crate) login: RedisConnectionInfo,
}

/// A user and a password. `Debug` hides the password.
#[derive(Clone, Eq, PartialEq)]
pub struct Credentials {
    /// The user; without one, the server's default user.
    pub username: Option<String>,
    /// The password.
    pub password: String,
}

/// How many replicas must have an exchange, and how long to wait for them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Acknowledgement {
    pub(crate) replicas: u32,
    pub(crate) timeout_ms: u64,
}

/// The address to connect to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Endpoint {
    Tcp(Place),
    Unix(PathBuf),
    Sentinels {
        /// At least one.
        sentinels: Vec<Place>,
        /// The name of the primary among the sentinels.
        master: String,
    },
    Cluster {
        /// The nodes to ask first, at least one.
        seeds: Vec<Place>,
    },
}

/// A host and a port.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Place {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Settings {
    /// How long sent bytes may stay unacknowledged before the kernel closes the connection: twice
    /// the response timeout. Linux only.
    pub fn user_timeout(&self) -> Duration {
        self.response_timeout * 2
    }

    /// The acknowledgement that an exchange waits for, if any.
    pub(crate) fn acknowledgement(&self) -> Option<Acknowledgement> {
        let timeout = self.acknowledge_timeout.min(self.response_timeout / 2);
        (self.replicas_acknowledged > 0).then(|| Acknowledgement {
            replicas: self.replicas_acknowledged,
            // 0 would be for ever.
            timeout_ms: u64::try_from(timeout.as_millis())
                .unwrap_or(u64::MAX)
                .max(1),
        })
    }

    /// The address of one server as a URL, without credentials.
    pub(crate) fn url_of(&self, place: &Place) -> String {
        let scheme = if self.secure { "rediss" } else { "redis" };
        format!("{scheme}://{place}")
    }

    /// Settings for the one server at `place`.
    pub(crate) fn at(&self, place: &Place) -> Self {
        Self {
            endpoint: Endpoint::Tcp(place.clone()),
            ..self.clone()
        }
    }

    fn new(target: url::Target) -> Self {
        let elsewhere = matches!(
            target.endpoint,
            Endpoint::Sentinels { .. } | Endpoint::Cluster { .. }
        );
        Self {
            connect_timeout: if target.secure {
                CONNECT_TIMEOUT_TLS
            } else {
                CONNECT_TIMEOUT
            },
            response_timeout: RESPONSE_TIMEOUT,
            keep_alive_idle: KEEP_ALIVE_IDLE,
            keep_alive_interval: KEEP_ALIVE_INTERVAL,
            backoff_min: BACKOFF_MIN,
            backoff_max: if elsewhere {
                BACKOFF_MAX_ELSEWHERE
            } else {
                BACKOFF_MAX
            },
            timeouts_before_drop: TIMEOUTS_BEFORE_DROP,
            replicas_acknowledged: 0,
            acknowledge_timeout: ACKNOWLEDGE_TIMEOUT,
            tls: TlsSettings::default(),
            sentinel_credentials: None,
            sentinel_interval: SENTINEL_INTERVAL,
            cluster_interval: CLUSTER_INTERVAL,
            endpoint: target.endpoint,
            secure: target.secure,
            login: target.login,
        }
    }
}

/// Reads a URL as in the table above.
impl FromStr for Settings {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        url::parse(url).map(Self::new)
    }
}

impl TryFrom<&str> for Settings {
    type Error = UrlError;

    fn try_from(url: &str) -> Result<Self, UrlError> {
        url.parse()
    }
}

impl TryFrom<&String> for Settings {
    type Error = UrlError;

    fn try_from(url: &String) -> Result<Self, UrlError> {
        url.parse()
    }
}

impl TryFrom<String> for Settings {
    type Error = UrlError;

    fn try_from(url: String) -> Result<Self, UrlError> {
        url.parse()
    }
}

/// The address as a URL, without credentials.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let database = self.login.db();
        match &self.endpoint {
            Endpoint::Tcp(place) => {
                f.write_str(&self.url_of(place))?;
                if database != 0 {
                    write!(f, "/{database}")?;
                }
            }
            Endpoint::Unix(path) => {
                write!(f, "redis+unix://{}", path.display())?;
                if database != 0 {
                    write!(f, "?db={database}")?;
                }
            }
            Endpoint::Sentinels { sentinels, master } => {
                let scheme = if self.secure { "rediss" } else { "redis" };
                write!(f, "{scheme}+sentinel://{}/{master}", list(sentinels))?;
                if database != 0 {
                    write!(f, "/{database}")?;
                }
            }
            Endpoint::Cluster { seeds } => {
                let scheme = if self.secure { "rediss" } else { "redis" };
                write!(f, "{scheme}+cluster://{}", list(seeds))?;
            }
        }
        Ok(())
    }
}

fn list(places: &[Place]) -> String {
    let places: Vec<String> = places.iter().map(Place::to_string).collect();
    places.join(",")
}

/// As in a URL: an IPv6 address stands in brackets.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("password", &"***")
            .finish()
    }
}

/// Twice a slow round trip between regions, with room for the handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);
/// TLS adds up to two round trips and the arithmetic of both sides.
const CONNECT_TIMEOUT_TLS: Duration = Duration::from_millis(500);
/// Far above a healthy round trip, well below the time a lease lives.
const RESPONSE_TIMEOUT: Duration = Duration::from_millis(250);
/// Below the idle time after which load balancers and firewalls forget a connection.
const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// A restarted proxy is back within this.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// The longest a replica may take to notice that the store is back.
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// Asking a sentinel or a node costs little, and our waiting should not lengthen a failover.
const BACKOFF_MAX_ELSEWHERE: Duration = Duration::from_millis(500);
/// Sentinels take at least as long to notice that a primary is gone, and asking one costs only a
/// short connection.
const SENTINEL_INTERVAL: Duration = Duration::from_secs(1);
/// A cluster takes many times as long to replace a node, and the answer costs the asked node about
/// 100 us.
const CLUSTER_INTERVAL: Duration = Duration::from_secs(2);
/// Many times what a replica in the same region takes.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_millis(50);
/// One timeout is a hiccup and two a coincidence; three at the default take under a second.
const TIMEOUTS_BEFORE_DROP: NonZeroU32 = NonZeroU32::new(3).expect("3 is not 0");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_credentials() {
        for (url, shown) in [
            ("redis://localhost", "redis://localhost:6379"),
            ("valkey://u:secret@h:1/3", "redis://h:1/3"),
            ("redis://:se%2Fcret@[::1]:7", "redis://[::1]:7"),
            ("valkeys://:secret@h", "rediss://h:6379"),
            ("redis+unix:///tmp/a@b.sock", "redis+unix:///tmp/a@b.sock"),
            (
                "redis+unix:///r.sock?db=2&pass=secret",
                "redis+unix:///r.sock?db=2",
            ),
            (
                "valkey+sentinel://u:secret@a,[::1]:7,c:1/main.set/3",
                "redis+sentinel://a:26379,[::1]:7,c:1/main.set/3",
            ),
            ("rediss+sentinel://a/main", "rediss+sentinel://a:26379/main"),
            (
                "valkeys+cluster://u:secret@a,[::1]:7",
                "rediss+cluster://a:6379,[::1]:7",
            ),
            ("valkey+cluster://:secret@a/", "redis+cluster://a:6379"),
        ] {
            let mut settings: Settings = url.parse().expect(url);
            assert_eq!(settings.to_string(), shown);
            settings.sentinel_credentials = Some(Credentials {
                username: None,
                password: "secret".to_owned(),
            });
            let debug = format!("{settings:?}");
            assert!(!debug.contains("cret"), "{debug}");
        }
    }

    #[test]
    fn credentials_are_decoded() {
        for url in [
            "redis://me:a%2Fb%40c@h/4",
            "redis+sentinel://me:a%2Fb%40c@h,i/main/4",
        ] {
            let settings: Settings = url.parse().unwrap();
            assert_eq!(settings.login.username(), Some("me"));
            assert_eq!(settings.login.password(), Some("a/b@c"));
            assert_eq!(settings.login.db(), 4);
        }
    }
}
