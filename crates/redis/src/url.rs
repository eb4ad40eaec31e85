//! The URL that says where the store is.
//!
//! # Invariant
//!
//! Every part of a URL is used or refused, and no error shows what may be a password.

use std::net::Ipv6Addr;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};

use crate::settings::{Endpoint, Place};

/// The contents of a URL.
pub(crate) struct Target {
    pub(crate) endpoint: Endpoint,
    pub(crate) secure: bool,
    pub(crate) login: RedisConnectionInfo,
}

/// Reads `url`.
pub(crate) fn parse(url: &str) -> Result<Target, UrlError> {
    target(url).map_err(|fault| {
        let url = redacted(url);
        let fault = match fault {
            // The fault has the host alone; its message is to show the whole URL.
            UrlFault::Brackets { wrong, right } => UrlFault::Brackets {
                right: url.replacen(&wrong, &right, 1),
                wrong,
            },
            fault => fault,
        };
        UrlError { url, fault }
    })
}

/// Reads the parts of `url`, in an order in which no fault quotes a part of the password.
fn target(url: &str) -> Result<Target, UrlFault> {
    let (scheme, rest) = url.split_once("://").ok_or(UrlFault::Scheme)?;
    let (secure, form) = match scheme {
        "redis" | "valkey" => (false, Form::Tcp),
        "rediss" | "valkeys" => (true, Form::Tcp),
        "redis+unix" | "valkey+unix" | "unix" => (false, Form::Unix),
        "redis+sentinel" | "valkey+sentinel" => (false, Form::Sentinels),
        "rediss+sentinel" | "valkeys+sentinel" => (true, Form::Sentinels),
        "redis+cluster" | "valkey+cluster" => (false, Form::Cluster),
        "rediss+cluster" | "valkeys+cluster" => (true, Form::Cluster),
        _ => return Err(UrlFault::Scheme),
    };
    if secure && cfg!(not(feature = "tls")) {
        return Err(UrlFault::Tls);
    }
    match form {
        Form::Tcp => {
            let parts = Parts::of(rest)?;
            if parts.places.contains(',') {
                return Err(UrlFault::Hosts);
            }
            let path = parts.path.trim_matches('/');
            check_database(path)?;
            let info = read(&format!("redis://{}{}/{path}", parts.user, parts.places))?;
            Ok(Target {
                endpoint: Endpoint::Tcp(checked_place(parts.places, &info, SERVER_PORT)?),
                secure,
                login: parts.login(&info),
            })
        }
        Form::Unix => {
            check_unix(rest)?;
            let info = read(url)?;
            let ConnectionAddr::Unix(path) = info.addr() else {
                return Err(UrlFault::Malformed);
            };
            Ok(Target {
                endpoint: Endpoint::Unix(path.clone()),
                secure,
                login: info.redis_settings().clone(),
            })
        }
        Form::Sentinels => {
            let parts = Parts::of_many(rest)?;
            let path = parts.path.trim_start_matches('/');
            let (master, database) = path.split_once('/').unwrap_or((path, ""));
            let database = database.trim_end_matches('/');
            let sentinels = places(parts.places, SENTINEL_PORT)?;
            if master.is_empty() || !master.chars().all(may_name_a_master) {
                return Err(UrlFault::Master(master.to_owned()));
            }
            check_database(database)?;
            let info = read(&format!("redis://{}localhost/{database}", parts.user))?;
            Ok(Target {
                endpoint: Endpoint::Sentinels {
                    sentinels,
                    master: master.to_owned(),
                },
                secure,
                login: parts.login(&info),
            })
        }
        Form::Cluster => {
            let parts = Parts::of_many(rest)?;
            let seeds = places(parts.places, SERVER_PORT)?;
            let path = parts.path.trim_matches('/');
            if !path.is_empty() {
                return Err(UrlFault::ClusterDatabase(path.to_owned()));
            }
            let info = read(&format!("redis://{}localhost", parts.user))?;
            Ok(Target {
                endpoint: Endpoint::Cluster { seeds },
                secure,
                login: parts.login(&info),
            })
        }
    }
}

enum Form {
    Tcp,
    Unix,
    Sentinels,
    Cluster,
}

/// The parts of `user:password@places/path`. The user's part ends with its `@`.
struct Parts<'a> {
    user: &'a str,
    places: &'a str,
    path: &'a str,
}

impl<'a> Parts<'a> {
    fn of(rest: &'a str) -> Result<Self, UrlFault> {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        if tail.contains('@') {
            return Err(UrlFault::Unescaped);
        }
        let user_end = authority.rfind('@').map_or(0, |at| at + 1);
        let (user, places) = authority.split_at(user_end);
        check_user(user)?;
        let path_end = tail.find(['?', '#']).unwrap_or(tail.len());
        let (path, extra) = tail.split_at(path_end);
        if !matches!(extra, "" | "?") {
            return Err(UrlFault::Parameter(name_of(extra).to_owned()));
        }
        // The others are checked later; the first is checked here so that its faults come first.
        check_place(places.split(',').next().unwrap_or_default())?;
        Ok(Self { user, places, path })
    }

    /// Reads a URL with several hosts, where a comma in the credentials is probably one between
    /// hosts that each have their own.
    fn of_many(rest: &'a str) -> Result<Self, UrlFault> {
        let parts = Self::of(rest)?;
        let inside = parts.user.strip_suffix('@').unwrap_or_default();
        if inside.contains('@') {
            return Err(UrlFault::Credentials);
        }
        Ok(parts)
    }

    /// The login in `info`, with the empty password that the library's reader drops.
    fn login(&self, info: &ConnectionInfo) -> RedisConnectionInfo {
        let login = info.redis_settings().clone();
        if self.user.ends_with(":@") {
            return login.set_password("");
        }
        login
    }
}

/// Refuses credentials that cannot be used: a user without a password, and neither of both.
fn check_user(user: &str) -> Result<(), UrlFault> {
    let Some(credentials) = user.strip_suffix('@') else {
        return Ok(());
    };
    if credentials.contains(char::is_control) {
        return Err(UrlFault::Malformed);
    }
    match credentials.split_once(':') {
        None if !credentials.is_empty() => Err(UrlFault::NoPassword),
        None | Some(("", "")) => Err(UrlFault::EmptyCredentials),
        Some(_) => Ok(()),
    }
}

/// Several places, separated by commas.
fn places(text: &str, usual: u16) -> Result<Vec<Place>, UrlFault> {
    let place = |place: &str| {
        check_place(place)?;
        checked_place(place, &read(&format!("redis://{place}"))?, usual)
    };
    text.split(',').map(place).collect()
}

fn check_place(place: &str) -> Result<(), UrlFault> {
    if let Some(right) = in_brackets(place) {
        return Err(UrlFault::Brackets {
            wrong: place.to_owned(),
            right,
        });
    }
    let (host, port) = split_place(place);
    if host.is_empty() {
        return Err(UrlFault::Host);
    }
    if matches!(host, "0.0.0.0" | "[::]") {
        return Err(UrlFault::Wildcard(host.to_owned()));
    }
    if let Some(port) = port
        && port.parse::<u16>().unwrap_or(0) == 0
    {
        return Err(UrlFault::Port(port.to_owned()));
    }
    Ok(())
}

/// `place` with its IPv6 address in brackets; `None` if they are there, or if it has no such
/// address.
fn in_brackets(place: &str) -> Option<String> {
    if place.contains(']') {
        return None;
    }
    let text = place.strip_prefix('[').unwrap_or(place);
    let is_address = |text: &str| text.parse::<Ipv6Addr>().is_ok();
    // What follows the last colon may belong to the address or be the port.
    let with_port = text.rsplit_once(':').filter(|(address, port)| {
        let likely = port.len() >= LIKELY_PORT_DIGITS || !is_address(text);
        likely && is_address(address) && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    match with_port {
        Some((address, port)) => Some(format!("[{address}]:{port}")),
        None => is_address(text).then(|| format!("[{text}]")),
    }
}

/// The host and, if there is one, the port.
fn split_place(place: &str) -> (&str, Option<&str>) {
    // The colons of an IPv6 address stand in brackets.
    let host_end = place.find(']').map_or(0, |bracket| bracket + 1);
    let colon = place[host_end..].find(':').map(|at| host_end + at);
    let (host, port) = place.split_at(colon.unwrap_or(place.len()));
    (host, port.strip_prefix(':'))
}

/// The place that `info` was read from.
fn checked_place(place: &str, info: &ConnectionInfo, usual: u16) -> Result<Place, UrlFault> {
    let ConnectionAddr::Tcp(host, port) = info.addr() else {
        return Err(UrlFault::Malformed);
    };
    let (_, named) = split_place(place);
    Ok(Place {
        host: host.clone(),
        port: named.map_or(usual, |_| *port),
    })
}

fn check_database(database: &str) -> Result<(), UrlFault> {
    if database.is_empty() || database.parse::<u32>().is_ok() {
        return Ok(());
    }
    Err(UrlFault::Database(database.to_owned()))
}

/// The characters that sentinels allow in the name of a primary.
fn may_name_a_master(character: char) -> bool {
    character.is_ascii_alphanumeric() || ".-_".contains(character)
}

fn read(url: &str) -> Result<ConnectionInfo, UrlFault> {
    url.into_connection_info().map_err(|_| UrlFault::Malformed)
}

fn check_unix(rest: &str) -> Result<(), UrlFault> {
    if !rest.starts_with('/') || rest.len() == 1 {
        return Err(UrlFault::Path);
    }
    let (_, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let mut seen = Vec::new();
    for parameter in parameters
        .split('&')
        .filter(|parameter| !parameter.is_empty())
    {
        match (name_of(parameter), parameter.split_once('=')) {
            ("db", Some((_, database))) if database.parse::<u32>().is_err() => {
                // The text after an unexpected character may be a password.
                let shown = database.chars().take_while(|it| it.is_alphanumeric());
                return Err(UrlFault::Database(shown.collect()));
            }
            (name @ ("db" | "user" | "pass"), Some((_, value))) => {
                if seen.iter().any(|(other, _)| *other == name) {
                    return Err(UrlFault::Twice(name.to_owned()));
                }
                seen.push((name, value));
            }
            (name, _) => return Err(UrlFault::Parameter(name.to_owned())),
        }
    }
    let value = |name| seen.iter().find(|(other, _)| *other == name);
    match (value("user"), value("pass")) {
        (Some((_, "")), _) | (None, Some((_, ""))) => Err(UrlFault::EmptyCredentials),
        (Some(_), None) => Err(UrlFault::NoPassword),
        _ => Ok(()),
    }
}

/// The name of a parameter, without its value, which may be a secret.
fn name_of(parameter: &str) -> &str {
    let name = parameter.trim_start_matches('?');
    name.split_once('=').map_or(name, |(name, _)| name)
}

/// `url` without what may be a password: all before the last `@`, and all parameters. The text
/// before `://` is shown only if it could be a scheme, because without one it may be anything.
fn redacted(url: &str) -> String {
    let in_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) if scheme.chars().all(in_scheme) => (scheme, rest),
        _ => ("", url),
    };
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

/// A URL that does not say where the store is.
#[derive(Clone, Eq, PartialEq, thiserror::Error)]
#[error("Redis URL {url:?}: {fault}")]
pub struct UrlError {
    /// The URL, with everything that may be a password replaced by `***`.
    pub url: String,
    /// The fault.
    pub fault: UrlFault,
}

/// A fault of a URL. Its message says how to mend it.
#[derive(Clone, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlFault {
    /// It does not begin with a scheme we know.
    #[error(
        "it must begin with redis://, rediss:// (TLS), redis+unix://, redis+sentinel:// or \
         redis+cluster://, as in redis://localhost:6379"
    )]
    Scheme,
    /// It asks for TLS, and this program was built without the feature `tls`.
    #[error("this program was built without TLS; build it with `--features tls`")]
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
    /// There are several hosts, and neither sentinels nor a cluster.
    #[error(
        "there are several hosts; only redis+sentinel://host1,host2/NAME and \
         redis+cluster://host1,host2 take more than one"
    )]
    Hosts,
    /// An IPv6 address stands without brackets, so that its colons look like that of a port.
    #[error("an IPv6 address stands in brackets; write {right}")]
    Brackets {
        /// The host, and the port if there is one, as it stands.
        wrong: String,
        /// The URL as it should be, with everything that may be a password replaced by `***`.
        right: String,
    },
    /// The host is an address that servers listen on, and that no client can connect to.
    #[error("{0} is no address to connect to; write 127.0.0.1, or the server's own address")]
    Wildcard(String),
    /// There is a user, or a password without the `:` before it.
    #[error(
        "there is a user without a password; write redis://user:password@host, \
         redis://:password@host if it is the password, or \
         redis://user:@host for a user that needs none (for Unix sockets ?user=..&pass=..)"
    )]
    NoPassword,
    /// There is a place for user and password, and nothing in it.
    #[error(
        "user and password are empty; leave them and the @ out for a server that wants none, \
         or write redis://:password@host (for Unix sockets ?pass=..)"
    )]
    EmptyCredentials,
    /// Several hosts have credentials, or one has an `@` in them.
    #[error("user and password stand once, before the first host; write @ in a password as %40")]
    Credentials,
    /// A parameter stands more than once.
    #[error("the parameter {0:?} stands there twice; leave one out")]
    Twice(String),
    /// The port is no port.
    #[error("the port {0:?} is not a number from 1 to 65535")]
    Port(String),
    /// The path is no database number.
    #[error("the database {0:?} is not a number; write redis://host:port/0 or leave it out")]
    Database(String),
    /// A cluster with a database.
    #[error("a cluster has only one database, so {0:?} cannot be one; leave it out")]
    ClusterDatabase(String),
    /// The path names no primary for the sentinels to find.
    #[error(
        "{0:?} cannot be the name of a primary; \
         write redis+sentinel://host1,host2,host3/NAME, with the name the sentinels know it by"
    )]
    Master(String),
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

/// The digits from which on the end of an IPv6 address without brackets is taken for a port.
const LIKELY_PORT_DIGITS: usize = 4;
/// The default port of servers.
const SERVER_PORT: u16 = 6379;
/// The default port of sentinels.
const SENTINEL_PORT: u16 = 26379;

leasehold_core::debug_by_display!(UrlError, UrlFault);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn fault(url: &str) -> UrlFault {
        url.parse::<Settings>().expect_err(url).fault
    }

    #[test]
    fn a_bad_url_is_told_apart() {
        assert_eq!(fault("localhost:6379"), UrlFault::Scheme);
        assert_eq!(fault("http://localhost"), UrlFault::Scheme);
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
        let master = |name: &str| UrlFault::Master(name.to_owned());
        assert_eq!(fault("redis+sentinel://a,b"), master(""));
        assert_eq!(fault("redis+sentinel://a,b/my%20set"), master("my%20set"));
        assert_eq!(fault("redis+sentinel://a,,b/main"), UrlFault::Host);
        let port = UrlFault::Port("x".to_owned());
        assert_eq!(fault("redis+sentinel://a,b:x/main"), port);
        let database = UrlFault::Database("x".to_owned());
        assert_eq!(fault("redis+sentinel://a/main/x"), database);
        assert_eq!(fault("redis://a:1,b"), UrlFault::Hosts);
        let database = |path: &str| UrlFault::ClusterDatabase(path.to_owned());
        assert_eq!(fault("redis+cluster://a,b/0"), database("0"));
        assert_eq!(fault("rediss+cluster://a,b:1/main"), database("main"));
        assert_eq!(fault("redis+cluster://a,,b"), UrlFault::Host);
        let port = UrlFault::Port("x".to_owned());
        assert_eq!(fault("redis+cluster://a,b:x"), port);
    }

    /// Redis knows no user without a password, so the name would be dropped and the connection be
    /// that of the user `default`.
    #[test]
    fn a_user_without_a_password_is_refused_in_every_form() {
        for url in [
            "redis://secret@h",
            "valkey://secret@h:1/2",
            "redis://se%63ret@h",
            "redis+sentinel://secret@a,b/main",
            "redis+cluster://secret@a,b",
            "redis+unix:///r.sock?user=secret",
            "unix:///r.sock?db=1&user=secret",
        ] {
            let error = url.parse::<Settings>().expect_err(url);
            assert_eq!(error.fault, UrlFault::NoPassword, "{url}");
            assert!(error.to_string().contains("redis://user:password@host"));
        }
        #[cfg(feature = "tls")]
        assert_eq!(fault("rediss://alice@h"), UrlFault::NoPassword);
    }

    #[test]
    fn credentials_that_are_empty_are_refused_and_an_empty_password_of_a_user_is_used() {
        for url in [
            "redis://:@h",
            "redis://@h",
            "redis+sentinel://:@a/main",
            "redis+cluster://@a",
            "redis+unix:///r?pass=",
            "redis+unix:///r?user=&pass=x",
        ] {
            assert_eq!(fault(url), UrlFault::EmptyCredentials, "{url}");
        }
        for url in [
            "redis://alice:@h",
            "redis+sentinel://alice:@h/main",
            "redis+cluster://alice:@h",
            "redis+unix:///r?user=alice&pass=",
        ] {
            let login = url.parse::<Settings>().expect(url).login;
            assert_eq!(login.username(), Some("alice"), "{url}");
            assert_eq!(login.password(), Some(""), "{url}");
        }
    }

    #[test]
    fn credentials_are_read_as_they_are_written_or_refused() {
        for (url, user, password) in [
            ("redis://alice:a:b@h", Some("alice"), "a:b"),
            ("redis://:p@ss@h", None, "p@ss"),
            ("redis://:100%25@h", None, "100%"),
            ("redis://a%3Ab:%20@h", Some("a:b"), " "),
        ] {
            let login = url.parse::<Settings>().expect(url).login;
            assert_eq!((login.username(), login.password()), (user, Some(password)));
        }
        // The reader of URLs would drop these signs.
        assert_eq!(fault("redis://:a\tb@h"), UrlFault::Malformed);
        // Otherwise the password would be "p@a,u:p", and b the only host.
        for url in [
            "redis+sentinel://u:p@a,u:p@b/main",
            "redis+cluster://:p@a,:p@b",
        ] {
            assert_eq!(fault(url), UrlFault::Credentials, "{url}");
        }
        let twice = UrlFault::Twice("pass".to_owned());
        assert_eq!(fault("unix:///r?pass=a&pass=b"), twice);
    }

    #[test]
    fn an_address_without_brackets_is_shown_with_them() {
        for (url, right) in [
            ("redis://::1:6379", "redis://[::1]:6379"),
            ("redis://::1", "redis://[::1]"),
            ("redis://u:secret@::1:6379/2", "redis://***@[::1]:6379/2"),
            ("valkey://2001:db8::7", "valkey://[2001:db8::7]"),
            ("redis://1:2:3:4:5:6:7:8:9", "redis://[1:2:3:4:5:6:7:8]:9"),
            ("redis://[::1:6379", "redis://[::1]:6379"),
            ("redis://::ffff:10.0.0.1:80", "redis://[::ffff:10.0.0.1]:80"),
            (
                "redis+sentinel://a,fe80::1:26379/main",
                "redis+sentinel://a,[fe80::1]:26379/main",
            ),
            ("redis+cluster://::1:7000,b", "redis+cluster://[::1]:7000,b"),
        ] {
            let error = url.parse::<Settings>().expect_err(url).to_string();
            let mend = format!("an IPv6 address stands in brackets; write {right}");
            assert!(error.ends_with(&mend), "{error}");
            assert!(!error.contains("secret"), "{error}");
            if !right.contains('*') {
                right.parse::<Settings>().expect("the mend is a mend");
            }
        }
        let wildcard = UrlFault::Wildcard("0.0.0.0".to_owned());
        assert_eq!(fault("redis://0.0.0.0:6379"), wildcard);
        assert_eq!(fault("redis://[::]"), UrlFault::Wildcard("[::]".to_owned()));
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
            "rediss://:secret@h:x",
            "http://:secret@h",
            "/r.sock?pass=secret&then=redis://h",
            "u:secret@h/redis://h",
            "redis+unix:///r.sock?pass=secret&password=secret",
            "redis+unix:///r.sock?db=1?pass=secret",
            "redis+unix://:secret@/r.sock",
            "redis+sentinel://:secret@a",
            "redis+sentinel://:secret@a,b:0/main",
            "redis+sentinel://u:secret/@a,b/main",
            "redis+cluster://:secret@a,b:0",
            "redis+cluster://u:secret/@a,b",
            "redis://secret@h",
            "redis://secret@::1",
            "redis+cluster://u:secret@a,u:secret@b",
            "redis+unix:///r.sock?user=secret",
            "redis+unix:///r.sock?pass=secret&pass=secret",
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
