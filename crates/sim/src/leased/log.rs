//! Messages and answers of the limiter, as the log of a run tells them.

use leasehold_core::{Limit, RecordId, Request};

use crate::leased::replica::{Message, demand_of};
use crate::leased::store::Answered;
use crate::record::{self, Asked, Executed, Numbers, Sending};

pub(super) fn sending(message: &Message) -> Sending {
    let keys = message.calls.iter().map(|call| {
        let demand = demand_of(call);
        let (limit, key) = (demand.limit, demand.key);
        match call.request {
            Request::Spend { cost } => Asked::Spend { limit, key, cost },
            Request::Charge { tokens } => Asked::Charge { limit, key, tokens },
            Request::Forgive => unreachable!("no replica of a simulation resets a key"),
            Request::Lease(lease) => Asked::Lease {
                limit,
                key,
                lease: name(lease.record),
                granted: lease.granted,
                spent: lease.spent,
                released: lease.released,
                wanted: lease.wanted,
                needed: lease.needed,
                expiry_us: lease.expiry.as_micros(),
            },
        }
    });
    Sending {
        known_birth_us: message.known_birth.as_micros(),
        hold_us: message.quarantine.0,
        limits: message.limits.iter().map(|it| numbers(&it.limit)).collect(),
        keys: keys.collect(),
    }
}

pub(super) fn answered(message: &Message, answer: &Answered) -> Executed {
    let said = answer.replies.iter().zip(&answer.levels);
    let replies = message.calls.iter().zip(said);
    let keys = replies.map(|(call, (reply, level))| {
        let demand = demand_of(call);
        record::Answered {
            limit: demand.limit,
            key: demand.key,
            status: format!("{:?}", reply.status).to_lowercase(),
            granted: reply.granted,
            expiry_us: reply.expiry.as_micros(),
            level: *level,
            outstanding: reply.outstanding,
        }
    });
    Executed {
        birth_us: answer.birth.since.as_micros(),
        emptied_us: answer.birth.emptied.as_micros(),
        keys: keys.collect(),
    }
}

/// A lease's name: its process and its number there.
fn name(record: RecordId) -> String {
    format!("{:x}.{}", record.replica, record.generation)
}

fn numbers(limit: &Limit) -> Numbers {
    let rate = limit.rate();
    Numbers {
        tokens: rate.tokens,
        period_us: rate.period.0,
        burst: limit.burst(),
        overshoot: limit.overshoot(),
    }
}
