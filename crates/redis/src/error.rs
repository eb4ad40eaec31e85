//! Errors between a replica and the store, and whether the store may have executed the request.

use std::convert::Infallible;
use std::time::Duration;

use crate::acl::{kept_from, login_mend, mend};
use crate::tls::TlsFault;
use crate::url::{UrlError, UrlFault};

/// A request without an answer to use.
#[derive(Clone, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// There is no connection. The request failed at once; nothing was sent.
    #[error("no connection since {down_for:.1?}: {reason}")]
    Down {
        /// How long there has been none.
        down_for: Duration,
        /// Why, as far as known: the last failed attempt, or else how the connection ended.
        reason: DownReason,
    },
    /// No answer came in time. It may still be on its way.
    #[error("no answer within {after:?}")]
    TimedOut {
        /// The response timeout.
        after: Duration,
    },
    /// The connection ended before the answer came.
    #[error("the connection was lost before the answer came: {what}")]
    Dropped {
        /// The system's error.
        what: String,
    },
    /// The server answered with an error. Where a permission is missing, it is named, with the line
    /// that grants it.
    #[error("the server refused: {code} {detail}{}", mend(code, detail))]
    Refused {
        /// Redis' word for it, as in `NOSCRIPT`, `READONLY`, `OOM`, `NOPERM`.
        code: String,
        /// The rest of the server's message.
        detail: String,
    },
    /// The answer came, but too few replicas of the server have what it changed. It is not to be
    /// used: the server may be one that was cut off and replaced.
    #[error("{acknowledged} of {wanted} replicas of the server acknowledged the exchange in time")]
    Unacknowledged {
        /// How many had to.
        wanted: u32,
        /// How many did.
        acknowledged: u64,
    },
    /// The server is a node of a cluster, and the URL says that it is a server by itself. It would
    /// keep all keys until its part of them moves.
    #[error("it is a node of a cluster; write redis+cluster:// in the URL, with any of its nodes")]
    InCluster,
    /// No node of the cluster is known to serve the slot; nothing was sent.
    #[error("no node of the cluster serves slot {slot}")]
    Unserved {
        /// The slot in which the keys lie.
        slot: u16,
    },
    /// The answer is not one to this question.
    #[error("the answer makes no sense: {what}")]
    Garbled {
        /// The part that does not fit.
        what: String,
    },
}

/// Whether the server may have executed a request that failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Executed {
    /// It has not, and never will.
    No,
    /// It may have, or may yet. Accounts must allow for both.
    Maybe,
}

impl LinkError {
    /// Whether the request may have been executed. In doubt, [`Executed::Maybe`].
    pub fn executed(&self) -> Executed {
        match self {
            Self::Down { .. } | Self::Unserved { .. } => Executed::No,
            Self::Refused { code, detail } if refused_before_running(code, detail) => Executed::No,
            _ => Executed::Maybe,
        }
    }

    /// The server's code, if it answered with an error.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// The meaning of the server's error `reply`. Redis before 7 wraps the error that ended a
    /// script in an `ERR` of its own; the code is that of the inner one then.
    pub(crate) fn refused(reply: &redis::ServerError) -> Self {
        let detail = reply.details().unwrap_or_default();
        let inner = detail.split_once(" -").and_then(|(_, inner)| {
            let (code, _) = inner.split_once(' ')?;
            code.bytes()
                .all(|byte| byte.is_ascii_uppercase())
                .then_some(code)
        });
        let code = match (reply.code(), inner) {
            ("ERR", _) if kept_from(detail) => "NOPERM",
            ("ERR", Some(inner)) if detail.contains(IN_SCRIPT) => inner,
            (code, _) => code,
        };
        Self::Refused {
            code: code.to_owned(),
            detail: detail.to_owned(),
        }
    }
}

impl From<redis::RedisError> for LinkError {
    fn from(error: redis::RedisError) -> Self {
        match redis::ServerError::try_from(error) {
            Ok(reply) => Self::refused(&reply),
            Err(error) if error.is_io_error() => Self::Dropped {
                what: error.to_string(),
            },
            Err(error) => Self::Garbled {
                what: error.to_string(),
            },
        }
    }
}

/// Why there is no connection.
#[derive(Clone, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DownReason {
    /// The first attempt is under way.
    #[error("the first attempt to connect is under way")]
    Starting,
    /// The last attempt failed.
    #[error(transparent)]
    Unconnected(#[from] ConnectError),
    /// The peer, or the system, closed the connection.
    #[error("the connection was closed")]
    Closed,
    /// The sentinels name another server now, which agrees.
    #[error("the sentinels moved the primary from {from} to {to}")]
    Moved {
        /// Where we were.
        from: String,
        /// Where it is.
        to: String,
    },
    /// The connection went quiet and was given up.
    #[error("{timeouts} requests in a row got no answer")]
    Silent {
        /// Requests without an answer, one begun after the other.
        timeouts: u32,
    },
    /// The server said that it is of no use to us now, as with `READONLY` after a failover.
    #[error("the server is of no use: {code} {detail}")]
    Useless {
        /// Redis' word for it.
        code: String,
        /// The rest of the server's message.
        detail: String,
    },
}

/// An attempt to connect that failed.
#[derive(Clone, Eq, PartialEq, thiserror::Error)]
#[error("cannot connect to {address}: {fault}")]
pub struct ConnectError {
    /// Where to, without credentials.
    pub address: String,
    /// The fault.
    pub fault: ConnectFault,
}

/// A fault while connecting and, where there is one, its mend.
#[derive(Clone, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectFault {
    /// The host has no address.
    #[error("the host name does not resolve: {what}")]
    Name {
        /// The system's error.
        what: String,
    },
    /// Nobody listens there.
    #[error("nothing listens there; is the server running?")]
    Refused,
    /// The system could not open the connection.
    #[error("{what}")]
    Unreachable {
        /// The system's error.
        what: String,
    },
    /// It took too long.
    #[error("timed out after {after:?} {stage}")]
    TimedOut {
        /// The timeout that ended it: the connect timeout, or the response timeout if shorter.
        after: Duration,
        /// How far it got.
        stage: Stage,
    },
    /// The server wants a password, or another one, or none.
    #[error("{code} {detail} ({})", login_mend(code, detail))]
    Password {
        /// `NOAUTH`, `WRONGPASS`, or what else the server calls it.
        code: String,
        /// The rest of the server's message.
        detail: String,
    },
    /// The server does not want us, or not now.
    #[error("the server refused: {code} {detail}{}", mend(code, detail))]
    Rejected {
        /// Redis' word for it, as in `LOADING`.
        code: String,
        /// The rest of the server's message.
        detail: String,
    },
    /// The listener at that address does not speak the protocol of Redis.
    #[error("no Redis answers there ({what}); if it wants TLS, write rediss:// in the URL")]
    NotRedis {
        /// Its answer.
        what: String,
    },
    /// The URL does not say where to.
    #[error("{0}")]
    Url(UrlFault),
    /// There is no trust over TLS.
    #[error("TLS: {0}")]
    Tls(#[from] TlsFault),
    /// Sentinels sent us to a server that does not take itself for a primary.
    #[error("the sentinels call it the primary, but its own word for its role is {role:?}")]
    NotPrimary {
        /// Its message.
        role: String,
    },
    /// The sentinels watch no primary of that name.
    #[error("the sentinels know no primary called {name:?}; they know: {known}")]
    UnknownPrimary {
        /// The name in the URL.
        name: String,
        /// The names they know, or why that is not known.
        known: String,
    },
    /// No sentinel could be asked.
    #[error("no sentinel answers: {what}")]
    Sentinels {
        /// Each, and what is wrong with it.
        what: String,
    },
    /// The URL says that it is a node of a cluster, and it is none.
    #[error("it is no node of a cluster ({detail}); write redis:// in the URL")]
    NotCluster {
        /// Its message.
        detail: String,
    },
    /// No node of the cluster told who serves what.
    #[error("no node of the cluster says who serves what: {what}")]
    Nodes {
        /// Each, and what is wrong with it.
        what: String,
    },
    /// The server is there but the owner's [`Greeting`](crate::Greeting) failed.
    #[error("the greeting failed: {0}")]
    Greeting(Box<LinkError>),
}

impl From<UrlError> for ConnectError {
    fn from(error: UrlError) -> Self {
        Self {
            address: error.url,
            fault: ConnectFault::Url(error.fault),
        }
    }
}

/// Settings become settings without fail.
impl From<Infallible> for ConnectError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// How far an attempt to connect got.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// The connection was not open yet.
    Opening,
    /// Open, but TLS was not agreed upon yet.
    Securing,
    /// Open, but the server had not answered yet.
    Handshake,
    /// The server answered, but had not told its role or, a sentinel, where the primary is.
    Routing,
    /// The node answered, but had not told who serves what.
    Mapping,
    /// The server answered, but the greeting had not ended yet.
    Greeting,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Opening => "while opening the connection",
            Self::Securing => {
                "in the TLS handshake (does the server speak TLS there? if not, write redis://)"
            }
            Self::Routing => "asking for the primary",
            Self::Mapping => "asking who serves what",
            Self::Handshake => "waiting for the first answer",
            Self::Greeting => "in the greeting",
        })
    }
}

/// Whether the server refuses with this before it runs anything. A script may get an error from its
/// second command, so what a script ended with says nothing about its first.
fn refused_before_running(code: &str, detail: &str) -> bool {
    BEFORE_RUNNING.contains(&code) && !detail.contains(IN_SCRIPT)
}

/// How every version of Redis and Valkey names a line of a script in an error.
const IN_SCRIPT: &str = "@user_script";

const BEFORE_RUNNING: [&str; 16] = [
    "NOSCRIPT",
    "READONLY",
    "LOADING",
    "NOAUTH",
    "WRONGPASS",
    "NOPERM",
    "OOM",
    "BUSY",
    "MISCONF",
    "MASTERDOWN",
    "NOREPLICAS",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "CROSSSLOT",
    "MOVED",
    "ASK",
];

leasehold_core::debug_by_display!(LinkError, DownReason, ConnectError, ConnectFault);

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(reply: &[u8]) -> LinkError {
        let value = redis::parse_redis_value(reply).expect("a reply");
        match value {
            redis::Value::ServerError(reply) => LinkError::refused(&reply),
            other => panic!("{other:?} is no error"),
        }
    }

    #[test]
    fn a_refusal_before_the_script_ran_was_not_executed() {
        let error = refused(b"-NOSCRIPT No matching script.\r\n");
        assert_eq!(error.code(), Some("NOSCRIPT"));
        assert_eq!(error.executed(), Executed::No);
        let error = refused(b"-READONLY You can't write against a read only replica.\r\n");
        assert_eq!(error.executed(), Executed::No);
    }

    #[test]
    fn a_refusal_from_inside_a_script_may_have_been_executed() {
        // Redis 7 and Valkey.
        let error = refused(b"-NOPERM No permission script: 1b9d, on @user_script:3.\r\n");
        assert_eq!(error.code(), Some("NOPERM"));
        assert_eq!(error.executed(), Executed::Maybe);
        // Redis 6, where a failover would go unnoticed if the outer code were taken.
        let error = refused(
            b"-ERR Error running script (call to f_1b9d): @user_script:1: @user_script: 1: \
              -READONLY You can't write against a read only replica.\r\n",
        );
        assert_eq!(error.code(), Some("READONLY"));
        assert_eq!(error.executed(), Executed::Maybe);
    }

    #[test]
    fn what_is_not_known_to_have_failed_may_have_been_executed() {
        let after = Duration::from_millis(1);
        assert_eq!(LinkError::TimedOut { after }.executed(), Executed::Maybe);
        let error = refused(b"-ERR value is not an integer\r\n");
        assert_eq!(error.executed(), Executed::Maybe);
    }
}
