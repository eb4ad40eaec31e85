//! A server's health, as far as an operator should know it: whether it may evict the limiter's
//! keys.
//!
//! # Invariant
//!
//! A connection can be used whatever its server reports here: what a server does not say, or what
//! we may not ask, is unknown. An answer is input and never causes a panic.

use redis::{Pipeline, Value};

use crate::error::LinkError;
use crate::wire::Wire;

/// A server's health, as the server reports it; see
/// [`RedisStore::health`](crate::RedisStore::health).
///
/// What the server does not tell, or the user may not ask, is `None`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Health {
    /// The server's kind: `redis`, `valkey`.
    pub server: Option<String>,
    /// The server's version. For Valkey its own, not that of the Redis it is compatible with.
    pub version: Option<String>,
    /// The id of this run of the server's process; empty if it tells none. Another id is another
    /// server, or the same one restarted.
    pub run_id: String,
    /// `master` or `slave`, as the server puts it.
    pub role: Option<String>,
    /// Replicas that are connected to it.
    pub replicas: Option<u64>,
    /// Why keys may be evicted; none if they may not, or if that is not known.
    ///
    /// A bucket that was evicted counts as unused: its key may admit up to its capacity again. A
    /// limiter's store wants `maxmemory-policy noeviction`.
    pub eviction: Option<Eviction>,
    /// Keys of all users that were evicted since the server started.
    pub evicted_keys: Option<u64>,
}

/// How a server chooses the keys that it deletes when its memory is full.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Eviction {
    /// `maxmemory-policy`, as in `allkeys-lru`.
    pub policy: String,
    /// `maxmemory` in bytes, if known.
    pub memory_max_bytes: Option<u64>,
}

impl Health {
    /// Reads `server`, the answer to `INFO server`, and asks for the rest where permissions allow.
    pub(crate) async fn examined(wire: &Wire, server: &[u8]) -> Result<Self, LinkError> {
        let mut pipeline = Pipeline::new();
        for section in ["memory", "stats", "replication"] {
            pipeline.cmd("INFO").arg(section);
        }
        let answers = wire.pipeline(&pipeline).await?;
        // A section that our user may not ask for stays unknown.
        let known: Vec<String> = answers.into_iter().flatten().filter_map(text).collect();
        let known = format!("{}\n{}", String::from_utf8_lossy(server), known.join("\n"));
        let mut policy = field(&known, "maxmemory_policy");
        let mut memory_max = field(&known, "maxmemory");
        if policy.is_none() {
            let mut pipeline = Pipeline::new();
            for name in ["maxmemory-policy", "maxmemory"] {
                pipeline.cmd("CONFIG").arg("GET").arg(name);
            }
            let mut answers = wire.pipeline(&pipeline).await?.into_iter();
            let mut next = || configured(answers.next()?.ok()?);
            (policy, memory_max) = (next(), next());
        }
        let number = |name| field(&known, name)?.parse().ok();
        let evicted_keys = number("evicted_keys");
        let memory_max_bytes = memory_max.and_then(|bytes| bytes.parse().ok());
        Ok(Self {
            server: field(&known, "server_name").or_else(|| {
                let redis = field(&known, "redis_version");
                redis.map(|_| "redis".to_owned())
            }),
            version: field(&known, "valkey_version").or_else(|| field(&known, "redis_version")),
            run_id: field(&known, "run_id").unwrap_or_default(),
            role: field(&known, "role"),
            replicas: number("connected_slaves"),
            eviction: eviction(policy, memory_max_bytes, evicted_keys),
            evicted_keys,
        })
    }
}

/// The eviction that a server with these settings does. A server without a bound on its memory
/// evicts nothing; a server that has evicted keys has a bound, whatever it reports.
fn eviction(
    policy: Option<String>,
    memory_max_bytes: Option<u64>,
    evicted_keys: Option<u64>,
) -> Option<Eviction> {
    let policy = policy.filter(|policy| policy != "noeviction")?;
    let bounded = memory_max_bytes != Some(0) || evicted_keys.is_some_and(|keys| keys > 0);
    bounded.then_some(Eviction {
        policy,
        memory_max_bytes,
    })
}

/// Whether the server is a node of a cluster, by its answer to `INFO server`.
pub(crate) fn is_node(server: &[u8]) -> bool {
    let server = String::from_utf8_lossy(server);
    // Valkey calls the field `server_mode`.
    let mode = field(&server, "redis_mode").or_else(|| field(&server, "server_mode"));
    mode.as_deref() == Some("cluster")
}

fn field(info: &str, name: &str) -> Option<String> {
    let mut lines = info.lines().map(str::trim);
    lines.find_map(|line| {
        let (known, value) = line.split_once(':')?;
        (known == name).then(|| value.to_owned())
    })
}

/// The value in the answer to `CONFIG GET`: a list of a name and a value.
fn configured(answer: Value) -> Option<String> {
    match answer {
        Value::Array(values) => text(values.into_iter().nth(1)?),
        _ => None,
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Value::VerbatimString { text, .. } => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evicts(policy: &str, memory_max: Option<u64>, evicted: Option<u64>) -> bool {
        eviction(Some(policy.to_owned()), memory_max, evicted).is_some()
    }

    #[test]
    fn keys_may_be_evicted_where_memory_is_or_may_be_bounded() {
        assert!(evicts("allkeys-lru", Some(1), Some(0)));
        assert!(evicts("volatile-ttl", None, None));
        assert!(evicts("volatile-lru", Some(0), Some(3)));
        assert!(!evicts("volatile-lru", Some(0), Some(0)));
        assert!(!evicts("noeviction", Some(1), Some(0)));
        assert_eq!(eviction(None, Some(1), None), None);
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let info = "# Memory\r\nmaxmemory_policy:noeviction\r\nmaxmemory:7\r\n";
        assert_eq!(field(info, "maxmemory").as_deref(), Some("7"));
        assert_eq!(field(info, "memory"), None);
    }
}
