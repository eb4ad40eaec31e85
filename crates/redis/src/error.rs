//! Errors between a replica and the store, and whether the store may have executed the request.

use std::convert::Infallible;
use std::time::Duration;

use crate::acl::{kept_from, login_mend, mend};
use crate::tls::TlsFault;
use crate::url::{UrlError, UrlFault};

/// An error of a request to a server: there is no answer, or none that may be used.
#[derive(Clone, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// There is no connection. The request failed at once; nothing was sent.
    #[error("no connection since {down_for:.1?}: {reason}")]
    Down {
        /// How long there has been no connection.
        down_for: Duration,
        /// Why: the last attempt to connect that failed or, before the first attempt has ended,
        /// how the connection was lost.
        reason: DownReason,
    },
    /// No answer came within the response timeout. The server may still execute the request.
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
    /// The server answered with an error. If a permission is missing, the message names it and the
    /// command that grants it.
    #[error("the server refused: {code} {detail}{}", mend(code, detail))]
    Refused {
        /// Redis' word for it, as in `NOSCRIPT`, `READONLY`, `OOM`, `NOPERM`.
        code: String,
        /// The rest of the server's message.
        detail: String,
    },
    /// The answer came, but too few replicas of the server acknowledged the change. The answer must
    /// not be used, because the server may be a primary that was cut off and replaced.
    #[error("{acknowledged} of {wanted} replicas of the server acknowledged the exchange in time")]
    Unacknowledged {
        /// How many replicas had to acknowledge.
        wanted: u32,
        /// How many replicas acknowledged.
        acknowledged: u64,
    },
    /// The server is a node of a cluster, but the URL names it as a single server. All keys would
    /// be asked of this node, until the cluster moves their slot to another one.
    #[error("it is a node of a cluster; write redis+cluster:// in the URL, with any of its nodes")]
    InCluster,
    /// No node of the cluster is known to serve the slot; nothing was sent.
    #[error("no node of the cluster serves slot {slot}")]
    Unserved {
        /// The slot in which the keys lie.
        slot: u16,
    },
    /// The answer does not fit the request.
    #[error("the answer makes no sense: {what}")]
    Garbled {
        /// The part that does not fit.
        what: String,
    },
}

/// Whether the server may have executed a request that failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Executed {
    /// The server has not executed the request, and never will.
    No,
    /// The server may have executed the request, or may do so later.
    Maybe,
}

impl LinkError {
    /// The error of an answer that makes no sense, as `error` says.
    pub(crate) fn garbled(error: impl std::fmt::Display) -> Self {
        Self::Garbled {
            what: error.to_string(),
        }
    }

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

    /// The error that the server answered with, `reply`. Redis before 7 wraps the error that ended
    /// a script in an `ERR` of its own; the code is then that of the inner error.
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
    /// A sentinel names another server, and that server says that it is the primary.
    #[error("the sentinels moved the primary from {from} to {to}")]
    Moved {
        /// The address of the server that was in use.
        from: String,
        /// The address of the primary.
        to: String,
    },
    /// Several requests in a row got no answer, so the connection was given up.
    #[error("{timeouts} requests in a row got no answer")]
    Silent {
        /// Requests without an answer, one begun after the other.
        timeouts: u32,
    },
    /// The server answered with an error that makes it useless for now, as `READONLY` after a
    /// failover.
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
    /// The address, without credentials.
    pub address: String,
    /// The fault.
    pub fault: ConnectFault,
}

/// A fault while connecting. Its message says how to mend it where that is known.
#[derive(Clone, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectFault {
    /// The host has no address.
    #[error("the host name does not resolve: {what}")]
    Name {
        /// The system's error.
        what: String,
    },
    /// No process listens at the address.
    #[error("nothing listens there; is the server running?")]
    Refused,
    /// The system could not open the connection.
    #[error("{what}")]
    Unreachable {
        /// The system's error.
        what: String,
    },
    /// The attempt took too long.
    #[error("timed out after {after:?} {stage}")]
    TimedOut {
        /// The timeout that ended it: the connect timeout, or the response timeout if shorter.
        after: Duration,
        /// How far it got.
        stage: Stage,
    },
    /// The server wants a password, or another password, or none.
    #[error("{code} {detail} ({})", login_mend(code, detail))]
    Password {
        /// `NOAUTH`, `WRONGPASS`, or what else the server calls it.
        code: String,
        /// The rest of the server's message.
        detail: String,
    },
    /// The server refused a command of the handshake.
    #[error("the server refused: {code} {detail}{}", mend(code, detail))]
    Rejected {
        /// Redis' word for it, as in `LOADING`.
        code: String,
        /// The rest of the server's message.
        detail: String,
    },
    /// The process that listens at the address does not speak the protocol of Redis.
    #[error("no Redis answers there ({what}); if it wants TLS, write rediss:// in the URL")]
    NotRedis {
        /// Its answer.
        what: String,
    },
    /// The URL cannot be read.
    #[error("{0}")]
    Url(UrlFault),
    /// TLS failed, or the server is not trusted.
    #[error("TLS: {0}")]
    Tls(#[from] TlsFault),
    /// A sentinel names a server as the primary, and that server says that it is none.
    #[error("the sentinels call it the primary, but its own word for its role is {role:?}")]
    NotPrimary {
        /// The role that the server reports.
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
        /// Each sentinel, and what is wrong with it.
        what: String,
    },
    /// The URL names a cluster, and the server is not a node of one.
    #[error("it is no node of a cluster ({detail}); write redis:// in the URL")]
    NotCluster {
        /// The server's message.
        detail: String,
    },
    /// No node of the cluster told which node serves which slot.
    #[error("no node of the cluster says who serves what: {what}")]
    Nodes {
        /// Each node, and what is wrong with it.
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
    /// The connection was open, but the TLS handshake had not ended yet.
    Securing,
    /// The connection was open, but the server had not answered yet.
    Handshake,
    /// The server answered, but had not told its role yet; or a sentinel answered, but had not
    /// told yet where the primary is.
    Routing,
    /// The node answered, but had not told yet which node serves which slot.
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

/// Whether the server refuses with this error before it executes anything. An error from inside a
/// script may be that of its second command, after the first was executed.
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
