//! One node's view of which node serves which slot.
//!
//! # Invariant
//!
//! An answer is input: one that makes no sense is a fault of that node, and the next is asked.

use std::ops::RangeInclusive;

use redis::{Pipeline, Value};

use crate::error::LinkError;
use crate::settings::Place;
use crate::wire::Wire;

/// A cluster, as one of its nodes sees it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct View {
    /// The cluster's count of changes, as far as this node has heard of them: it grows with each
    /// failover. None if the node does not say.
    pub(crate) epoch: Option<u64>,
    /// Ranges of slots, and the place of the primary that serves each.
    pub(crate) ranges: Vec<(RangeInclusive<u16>, Place)>,
    /// The primaries and replicas of all ranges.
    pub(crate) nodes: Vec<Place>,
}

impl View {
    /// Asks the node at `asked`, at the other end of `wire`.
    pub(crate) async fn of(wire: &Wire, asked: &Place) -> Result<Self, LinkError> {
        let mut pipeline = Pipeline::new();
        // In this order: slots that are newer than the epoch do no harm.
        pipeline.cmd("CLUSTER").arg("INFO");
        pipeline.cmd("CLUSTER").arg("SLOTS");
        let mut answers = wire.pipeline(&pipeline).await?.into_iter();
        let mut next = || answers.next().expect("as many answers as commands");
        let (info, slots) = (next(), next()?);
        let mut view = Self::read(&slots, asked).ok_or_else(|| LinkError::Garbled {
            what: format!("CLUSTER SLOTS was answered with {slots:?}"),
        })?;
        // A view without an epoch can be used all the same.
        view.epoch = info.ok().as_ref().and_then(epoch);
        Ok(view)
    }

    /// Reads the answer to `CLUSTER SLOTS`: a list of first slot, last slot, primary, replicas.
    /// Ranges whose primary has no known place are left out.
    fn read(slots: &Value, asked: &Place) -> Option<Self> {
        let mut view = Self::default();
        for range in list(slots)? {
            let [first, last, primary, replicas @ ..] = list(range)? else {
                return None;
            };
            let slots = slot(first)?..=slot(last)?;
            let primary = place(list(primary)?, asked);
            let replicas = replicas.iter().filter_map(|node| place(list(node)?, asked));
            for place in primary.clone().into_iter().chain(replicas) {
                // Few nodes, and a node is named once for each of its ranges.
                if !view.nodes.contains(&place) {
                    view.nodes.push(place);
                }
            }
            view.ranges.extend(primary.map(|primary| (slots, primary)));
        }
        Some(view)
    }

    /// The place of the primary that serves `slot`.
    pub(crate) fn owner(&self, slot: u16) -> Option<&Place> {
        let mut ranges = self.ranges.iter();
        let (_, place) = ranges.find(|(slots, _)| slots.contains(&slot))?;
        Some(place)
    }
}

/// The place of a node, from a list that begins with its host and port.
fn place(node: &[Value], asked: &Place) -> Option<Place> {
    let [host, Value::Int(port), ..] = node else {
        return None;
    };
    let host = match host {
        Value::Nil => "",
        Value::BulkString(host) => str::from_utf8(host).ok()?,
        Value::SimpleString(host) => host,
        _ => return None,
    };
    placed(host, u16::try_from(*port).ok()?, asked)
}

/// The place that the node at `asked` means by `host` and `port`. An empty host is the node's own;
/// `?` is the host of a node whose name is not known.
pub(crate) fn placed(host: &str, port: u16, asked: &Place) -> Option<Place> {
    let host = match host {
        "?" => return None,
        "" => &asked.host,
        host => host,
    };
    (port != 0).then(|| Place {
        host: host.to_owned(),
        port,
    })
}

fn epoch(info: &Value) -> Option<u64> {
    let text = match info {
        Value::BulkString(bytes) => str::from_utf8(bytes).ok()?,
        Value::VerbatimString { text, .. } => text,
        _ => return None,
    };
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix("cluster_current_epoch:"))?;
    line.trim().parse().ok()
}

fn slot(value: &Value) -> Option<u16> {
    match value {
        Value::Int(slot) => u16::try_from(*slot).ok(),
        _ => None,
    }
}

fn list(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, port: u16) -> Place {
        Place {
            host: host.to_owned(),
            port,
        }
    }

    fn read(slots: &[u8]) -> Option<View> {
        let slots = redis::parse_redis_value(slots).expect("an answer");
        View::read(&slots, &at("asked", 1))
    }

    #[test]
    fn each_slot_has_the_primary_that_is_named_first() {
        let view = read(
            b"*2\r\n\
              *4\r\n:0\r\n:99\r\n\
              *4\r\n$1\r\na\r\n:7\r\n$2\r\nid\r\n*0\r\n\
              *3\r\n$1\r\nb\r\n:8\r\n$2\r\nid\r\n\
              *3\r\n:200\r\n:200\r\n*3\r\n$3\r\n::1\r\n:9\r\n$2\r\nid\r\n",
        );
        let view = view.expect("a view");
        assert_eq!(view.owner(0), Some(&at("a", 7)));
        assert_eq!(view.owner(99), Some(&at("a", 7)));
        assert_eq!(view.owner(100), None);
        assert_eq!(view.owner(200), Some(&at("::1", 9)));
        assert_eq!(view.nodes, [at("a", 7), at("b", 8), at("::1", 9)]);
    }

    #[test]
    fn a_node_that_does_not_know_its_own_host_is_where_it_was_asked() {
        for host in [&b"$0\r\n\r\n"[..], b"$-1\r\n"] {
            let before = b"*1\r\n*3\r\n:0\r\n:1\r\n*3\r\n".as_slice();
            let answer = [before, host, b":7\r\n$2\r\nid\r\n"].concat();
            let view = read(&answer).expect("a view");
            assert_eq!(view.owner(1), Some(&at("asked", 7)));
        }
    }

    #[test]
    fn a_node_that_cannot_be_found_serves_nothing() {
        for node in [
            "$1\r\n?\r\n:7\r\n",
            "$1\r\na\r\n:0\r\n",
            "$1\r\na\r\n:-1\r\n",
        ] {
            let answer = format!("*1\r\n*3\r\n:0\r\n:1\r\n*3\r\n{node}$2\r\nid\r\n");
            let view = read(answer.as_bytes()).expect("a view");
            assert_eq!((view.owner(1), view.nodes.len()), (None, 0));
        }
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_none() {
        for answer in [
            &b"+OK\r\n"[..],
            b"*1\r\n:1\r\n",
            b"*1\r\n*2\r\n:0\r\n:1\r\n",
            b"*1\r\n*3\r\n:0\r\n:65536\r\n*2\r\n$1\r\na\r\n:7\r\n",
            b"*1\r\n*3\r\n:0\r\n:1\r\n:2\r\n",
        ] {
            assert_eq!(read(answer), None, "{}", answer.escape_ascii());
        }
    }

    #[test]
    fn changes_are_counted_by_the_epoch() {
        let text = |text: &str| Value::BulkString(text.into());
        let info = "cluster_state:ok\r\ncluster_current_epoch:12\r\ncluster_my_epoch:3\r\n";
        assert_eq!(epoch(&text(info)), Some(12));
        assert_eq!(epoch(&text("cluster_current_epoch:x")), None);
        assert_eq!(epoch(&Value::Nil), None);
    }
}
