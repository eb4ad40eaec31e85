//! The context that all servers of a store share: the names of the keys, the script, and how an
//! exchange is acknowledged.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use leasehold::store::{Answer, Batch, key_hash};
use leasehold_core::{Micros, Reply, Status, StoreTime};
use tokio::time::Instant;
use tracing::warn;

use crate::codec::{self, EXCHANGE, Names, RunId};
use crate::error::LinkError;
use crate::script::Script;
use crate::settings::{Acknowledgement, Endpoint, Settings};

/// The context that all servers of a store share.
#[derive(Debug)]
pub(crate) struct StoreContext {
    pub(crate) names: Names,
    pub(crate) exchange: Script,
    /// The acknowledgement that an exchange waits for, if any.
    pub(crate) acknowledgement: Option<Acknowledgement>,
    /// Whether the servers are nodes of a cluster.
    pub(crate) in_cluster: bool,
    /// When the last warning about an unreadable key was logged.
    warned: Mutex<Option<Instant>>,
}

impl StoreContext {
    pub(crate) fn new(prefix: &str, settings: &Settings) -> Self {
        let in_cluster = matches!(settings.endpoint, Endpoint::Cluster { .. });
        Self {
            names: if in_cluster {
                Names::spread(prefix)
            } else {
                Names::new(prefix)
            },
            exchange: Script::new(EXCHANGE),
            acknowledgement: settings.acknowledgement(),
            in_cluster,
            warned: Mutex::new(None),
        }
    }

    pub(crate) fn round_trips(&self) -> u64 {
        self.exchange.round_trips()
    }

    /// Encodes `batch` for the server whose process is `server`.
    pub(crate) fn encode(&self, batch: &Batch, server: RunId) -> Encoded {
        let partition = batch.partition;
        let marker = self.names.marker(partition);
        // A birth that no store can have, and a quarantine longer than any lease, are as good as
        // any other such number.
        let known = batch.known_birth.as_micros().min(codec::SENT_MAX);
        let quarantine = Micros(batch.quarantine.0.min(codec::SENT_MAX));
        let known = StoreTime::from_micros(known);
        let call = codec::Call::new(marker, known, quarantine, server);
        let mut call = call.expect("neither is larger than what can be sent");
        if let Some(enroll) = &batch.enroll {
            call.enroll(enroll);
        }
        // Neighbours mostly share a limit.
        let mut last = None;
        let mut sent = Vec::with_capacity(batch.calls.len());
        for asked in &batch.calls {
            let (named, key) = (batch.limit_of(asked), asked.key());
            let (_, buckets) = match last.take() {
                Some((limit, buckets)) if limit == key.limit => last.insert((limit, buckets)),
                _ => last.insert((key.limit, self.names.buckets(partition, &named.name))),
            };
            let pushed = call.push(buckets.of(key.subject), &named.limit, &asked.request);
            sent.push(pushed.is_ok());
        }
        Encoded { call, sent }
    }

    /// Logs a warning, at most once a minute, if `replies` to `batch` say that what is stored under
    /// a key cannot be read. The warning has the key's hash, because a user's key is never logged.
    pub(crate) fn warn_unreadable(&self, batch: &Batch, replies: &[Reply]) {
        let answered = batch.calls.iter().zip(replies);
        let unreadable = answered.filter(|(_, reply)| reply.status == Status::Unreadable);
        let keys = unreadable.clone().count();
        let Some((call, _)) = unreadable.into_iter().next() else {
            return;
        };
        let now = Instant::now();
        {
            // A panic elsewhere leaves the value whole: it is written in one step.
            let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
            if warned.is_some_and(|warned| now.duration_since(warned) < WARN_EVERY) {
                return;
            }
            *warned = Some(now);
        }
        let limit = &*batch.limit_of(call).name;
        let key_hash = key_hash(limit, call.key().subject);
        warn!(
            limit,
            key_hash = format_args!("{key_hash:016x}"),
            keys,
            "what is stored under a key was not written by this version, and is left as it is: the \
             failure policy of the limit decides for the key until somebody deletes the value \
             or it expires; docs/OPERATING.md says how to find it"
        );
    }
}

/// A batch, encoded for the script. A request with a number that the codec refuses is not sent.
pub(crate) struct Encoded {
    pub(crate) call: codec::Call,
    /// Whether each request of the batch is sent, in their order.
    sent: Vec<bool>,
}

impl Encoded {
    /// The answer to the batch: the script's replies to the requests that were sent, and
    /// [`Status::Uncountable`] to the others.
    pub(crate) fn decode(&self, answer: &[u8]) -> Result<Answer, LinkError> {
        let decoded = self.call.decode(answer).map_err(LinkError::garbled)?;
        let mut replies = decoded.replies.into_iter();
        let unsent = Reply::unserved(Status::Uncountable, decoded.now);
        let reply = |sent: &bool| {
            let mut next = || replies.next().expect("one for each request that was sent");
            if *sent { next() } else { unsent }
        };
        Ok(Answer {
            birth: decoded.birth,
            seat: decoded.seat,
            replies: self.sent.iter().map(reply).collect(),
        })
    }
}

/// The least time between two warnings about unreadable keys.
const WARN_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use leasehold::store::{Call, NamedLimit};
    use leasehold::{FailurePolicy, LimitId};
    use leasehold_core::{Instant as LeaseInstant, Request};

    use super::*;

    fn batch(requests: &[Request]) -> Batch {
        let limit = NamedLimit {
            name: "api".into(),
            limit: "10/s".parse().expect("a limit"),
            policy: FailurePolicy::Closed,
        };
        let key = || (LimitId(0), "somebody").into();
        Batch {
            replica: 1,
            partition: 0,
            known_birth: StoreTime::from_micros(u64::MAX),
            quarantine: Micros(u64::MAX),
            enroll: None,
            limits: [limit].into(),
            calls: requests
                .iter()
                .map(|request| Call::new(key(), *request))
                .collect(),
            sent: LeaseInstant::ORIGIN,
        }
    }

    /// One request of a custom caller failed the batch, with the requests for all other keys.
    #[test]
    fn a_request_that_cannot_be_encoded_is_the_only_one_that_is_not_sent() {
        let settings = "redis://localhost".parse().expect("a URL");
        let context = StoreContext::new("test", &settings);
        let (good, bad) = (
            Request::Spend { cost: 1 },
            Request::Spend { cost: u64::MAX },
        );
        for requests in [
            vec![],
            vec![bad],
            vec![bad, bad],
            vec![good, bad],
            vec![bad, good, bad, good, good, bad],
        ] {
            let encoded = context.encode(&batch(&requests), RunId::from_info(b""));
            let sent = requests.iter().filter(|request| **request == good).count();
            assert_eq!(encoded.call.len(), sent);
            let mut numbers = vec![7.0, 0.0, 9.0];
            numbers.extend([0.0; 5]);
            for _ in 0..sent {
                numbers.extend([4.0, 0.0, 0.0, 0.0, 9.0, 1.0, 0.0, 0.0, 0.0]);
            }
            let bytes: Vec<u8> = numbers.into_iter().flat_map(f64::to_le_bytes).collect();
            let answer = encoded.decode(&bytes).expect("it is an answer");
            assert_eq!(answer.replies.len(), requests.len());
            for (request, reply) in requests.iter().zip(answer.replies) {
                let expected = if *request == good {
                    Status::Spent
                } else {
                    Status::Uncountable
                };
                assert_eq!(reply.status, expected);
                assert!(reply.answers(request), "{reply:?}");
            }
        }
    }
}
