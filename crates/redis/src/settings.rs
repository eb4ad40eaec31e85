//! Where the store is and how long to wait for it.
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

use redis::{ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo};

/// How to reach one Redis or Valkey server. Parsed from a URL; the rest has defaults.
///
/// ```
/// use leasehold_redis::Settings;
///
/// let mut settings: Settings = "redis://:secret@localhost:6379/2".parse()?;
/// settings.response_timeout = std::time::Duration::from_millis(100);
/// assert_eq!(settings.to_string(), "redis://localhost:6379/2");
/// # Ok::<(), leasehold_redis::UrlError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Settings {
    /// The longest one attempt to connect may take: name look-up, connection, handshake and
    /// greeting together.
    pub connect_timeout: Duration,
    /// The longest a request may wait for its answer.
    pub response_timeout: Duration,
    /// A connection idle for this long is probed.
    pub keep_alive_idle: Duration,
    /// Time between probes.
    pub keep_alive_interval: Duration,
    /// Ceiling of the delay before the first attempt to reconnect; it doubles with each attempt.
    pub backoff_min: Duration,
    /// Ceiling of the delay before any attempt to reconnect.
    pub backoff_max: Duration,
    /// Timeouts in a row, each of a request begun after the one before, that end a connection.
    pub timeouts_before_drop: NonZeroU32,
    pub(crate) endpoint: Endpoint,
    /// Database and credentials. Its `Debug` hides the password.
    pub(crate) login: RedisConnectionInfo,
}

/// What to open a socket to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Endpoint {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl Settings {
    /// How long the kernel lets sent bytes go unacknowledged before it gives the connection up:
    /// twice the response timeout. Linux only.
    pub fn user_timeout(&self) -> Duration {
        self.response_timeout * 2
    }
}

/// Reads `redis://[[user]:password@]host[:port][/database]` or
/// `redis+unix:///path[?db=..&user=..&pass=..]`; `valkey` may stand for `redis`.
impl FromStr for Settings {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        let blame = |fault| UrlError {
            url: redacted(url),
            fault,
        };
        check(url).map_err(blame)?;
        let info = url
            .into_connection_info()
            .map_err(|_| blame(UrlFault::Malformed))?;
        let endpoint = match info.addr() {
            ConnectionAddr::Tcp(host, port) => Endpoint::Tcp {
                host: host.clone(),
                port: *port,
            },
            ConnectionAddr::Unix(path) => Endpoint::Unix(path.clone()),
            _ => return Err(blame(UrlFault::Tls)),
        };
        Ok(Self {
            connect_timeout: CONNECT_TIMEOUT,
            response_timeout: RESPONSE_TIMEOUT,
            keep_alive_idle: KEEP_ALIVE_IDLE,
            keep_alive_interval: KEEP_ALIVE_INTERVAL,
            backoff_min: BACKOFF_MIN,
            backoff_max: BACKOFF_MAX,
            timeouts_before_drop: TIMEOUTS_BEFORE_DROP,
            endpoint,
            login: info.redis_settings().clone(),
        })
    }
}

/// The address as a URL, without credentials.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let database = self.login.db();
        match &self.endpoint {
            Endpoint::Tcp { host, port } => {
                let (open, close) = if host.contains(':') {
                    ("[", "]")
                } else {
                    ("", "")
                };
                write!(f, "redis://{open}{host}{close}:{port}")?;
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
        }
        Ok(())
    }
}

/// A URL that does not say where the store is.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("Redis URL {url:?}: {fault}")]
pub struct UrlError {
    /// The URL, with everything that may be a password replaced by `***`.
    pub url: String,
    /// What is wrong with it.
    pub fault: UrlFault,
}

/// What is wrong with a URL, and the mend.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlFault {
    /// It does not begin with a scheme we know.
    #[error("it must begin with redis:// or redis+unix://, as in redis://localhost:6379")]
    Scheme,
    /// It asks for TLS.
    #[error("TLS is not built in yet; use redis:// over a private network or a local TLS proxy")]
    Tls,
    /// An `@` stands behind what must be the end of the host.
    #[error(
        "an @ stands after the first / ? or #; \
         write these in a user name or password as %2F %3F %23 and @ as %40"
    )]
    Unescaped,
    /// There is no host.
    #[error("the host is missing; write redis://host:port")]
    Host,
    /// The port is no port.
    #[error("the port {0:?} is not a number from 1 to 65535")]
    Port(String),
    /// The path is no database number.
    #[error("the database {0:?} is not a number; write redis://host:port/0 or leave it out")]
    Database(String),
    /// A Unix socket without a path.
    #[error("the socket's path is missing or not absolute; write redis+unix:///run/redis.sock")]
    Path,
    /// A parameter or fragment that would be ignored.
    #[error("the parameter {0:?} is not known; leave it out")]
    Parameter(String),
    /// Anything else.
    #[error("it cannot be read; write redis://host:port/database, anything unusual as %XX")]
    Malformed,
}

/// Finds what is wrong with `url`, in an order in which no fault quotes a part of the password.
fn check(url: &str) -> Result<(), UrlFault> {
    let (scheme, rest) = url.split_once("://").ok_or(UrlFault::Scheme)?;
    match scheme {
        "redis" | "valkey" => check_tcp(rest),
        "redis+unix" | "valkey+unix" | "unix" => check_unix(rest),
        "rediss" | "valkeys" => Err(UrlFault::Tls),
        _ => Err(UrlFault::Scheme),
    }
}

fn check_tcp(rest: &str) -> Result<(), UrlFault> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    if tail.contains('@') {
        return Err(UrlFault::Unescaped);
    }
    let place = authority
        .rsplit_once('@')
        .map_or(authority, |(_, place)| place);
    // The colons of an IPv6 address stand in brackets.
    let host_end = place.find(']').map_or(0, |bracket| bracket + 1);
    let colon = place[host_end..].find(':').map(|at| host_end + at);
    let (host, port) = place.split_at(colon.unwrap_or(place.len()));
    if host.is_empty() {
        return Err(UrlFault::Host);
    }
    if let Some(port) = port.strip_prefix(':')
        && port.parse::<u16>().unwrap_or(0) == 0
    {
        return Err(UrlFault::Port(port.to_owned()));
    }
    let path_end = tail.find(['?', '#']).unwrap_or(tail.len());
    let (path, extra) = tail.split_at(path_end);
    let database = path.trim_matches('/');
    if !database.is_empty() && database.parse::<u32>().is_err() {
        return Err(UrlFault::Database(database.to_owned()));
    }
    match extra {
        "" | "?" => Ok(()),
        extra => Err(UrlFault::Parameter(name_of(extra).to_owned())),
    }
}

fn check_unix(rest: &str) -> Result<(), UrlFault> {
    if !rest.starts_with('/') || rest.len() == 1 {
        return Err(UrlFault::Path);
    }
    let (_, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    for parameter in parameters
        .split('&')
        .filter(|parameter| !parameter.is_empty())
    {
        match (name_of(parameter), parameter.split_once('=')) {
            ("db", Some((_, database))) if database.parse::<u32>().is_err() => {
                return Err(UrlFault::Database(database.to_owned()));
            }
            ("db" | "user" | "pass", Some(_)) => {}
            (name, _) => return Err(UrlFault::Parameter(name.to_owned())),
        }
    }
    Ok(())
}

/// The name of a parameter, without its value, which may be a secret.
fn name_of(parameter: &str) -> &str {
    let name = parameter.trim_start_matches('?');
    name.split_once('=').map_or(name, |(name, _)| name)
}

/// `url` without what may be a password: all before the last `@`, all of the parameters.
fn redacted(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (hidden, rest) = match rest.rsplit_once('@') {
        Some((_, rest)) => ("***@", rest),
        None => ("", rest),
    };
    let (place, extra) = match rest.split_once(['?', '#']) {
        Some((place, _)) => (place, "?***"),
        None => (rest, ""),
    };
    let separator = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{separator}{hidden}{place}{extra}")
}

/// Twice a slow round trip between regions, with room for the handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);
/// Far above a healthy round trip, well below the time a lease lives.
const RESPONSE_TIMEOUT: Duration = Duration::from_millis(250);
/// Below the idle time after which load balancers and firewalls forget a connection.
const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// A restarted proxy is back within this.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// The longest a replica may take to notice that the store is back.
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// One timeout is a hiccup and two a coincidence; three at the default take under a second.
const TIMEOUTS_BEFORE_DROP: NonZeroU32 = NonZeroU32::new(3).expect("3 is not 0");

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(url: &str) -> UrlFault {
        url.parse::<Settings>().expect_err(url).fault
    }

    #[test]
    fn an_address_is_shown_without_its_credentials() {
        for (url, shown) in [
            ("redis://localhost", "redis://localhost:6379"),
            ("valkey://u:secret@h:1/3", "redis://h:1/3"),
            ("redis://:se%2Fcret@[::1]:7", "redis://[::1]:7"),
            ("redis+unix:///tmp/a@b.sock", "redis+unix:///tmp/a@b.sock"),
            (
                "redis+unix:///r.sock?db=2&pass=secret",
                "redis+unix:///r.sock?db=2",
            ),
        ] {
            let settings: Settings = url.parse().expect(url);
            assert_eq!(settings.to_string(), shown);
            let debug = format!("{settings:?}");
            assert!(!debug.contains("cret"), "{debug}");
        }
    }

    #[test]
    fn credentials_are_decoded() {
        let settings: Settings = "redis://me:a%2Fb%40c@h/4".parse().unwrap();
        assert_eq!(settings.login.username(), Some("me"));
        assert_eq!(settings.login.password(), Some("a/b@c"));
        assert_eq!(settings.login.db(), 4);
    }

    #[test]
    fn a_bad_url_is_told_apart() {
        assert_eq!(fault("localhost:6379"), UrlFault::Scheme);
        assert_eq!(fault("http://localhost"), UrlFault::Scheme);
        assert_eq!(fault("rediss://localhost"), UrlFault::Tls);
        assert_eq!(fault("redis://"), UrlFault::Host);
        assert_eq!(fault("redis://:secret@"), UrlFault::Host);
        assert_eq!(fault("redis://:secret@:6379"), UrlFault::Host);
        assert_eq!(fault("redis://h:port"), UrlFault::Port("port".to_owned()));
        assert_eq!(fault("redis://h:0"), UrlFault::Port("0".to_owned()));
        assert_eq!(
            fault("redis://[::1]:99999"),
            UrlFault::Port("99999".to_owned())
        );
        assert_eq!(
            fault("redis://h/zero"),
            UrlFault::Database("zero".to_owned())
        );
        assert_eq!(
            fault("redis://h?timeout=1"),
            UrlFault::Parameter("timeout".to_owned())
        );
        assert_eq!(fault("redis+unix://r.sock"), UrlFault::Path);
        assert_eq!(fault("unix:///r?db=x"), UrlFault::Database("x".to_owned()));
        assert_eq!(fault("redis://a b"), UrlFault::Malformed);
    }

    #[test]
    fn an_error_never_shows_the_password() {
        for url in [
            "redis://:secret@",
            "redis://:secret@h:port",
            "redis://:secret/cret@h",
            "redis://:sec#ret@h",
            "redis://u:6379?secret@h",
            "redis://u:secret/@h:1/2",
            "redis://h?pass=secret",
            "redis:u:secret@h",
            "rediss://:secret@h",
            "http://:secret@h",
            "redis+unix:///r.sock?pass=secret&password=secret",
            "redis+unix://:secret@/r.sock",
        ] {
            let error = url.parse::<Settings>().expect_err(url);
            for shown in [error.to_string(), format!("{error:?}")] {
                assert!(!shown.contains("sec") && !shown.contains("ret"), "{shown}");
            }
        }
    }

    #[test]
    fn an_error_says_what_where_and_the_mend() {
        let error = "redis://:secret@h:port".parse::<Settings>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "Redis URL \"redis://***@h:port\": the port \"port\" is not a number from 1 to 65535"
        );
    }
}
