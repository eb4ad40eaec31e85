//! The branches of the ledger, so that a schedule can say which it reached.

use leasehold_core::{
    Enroll, LeaseRequest, Ledger, Limit, Marker, Micros, Past, Reply, Request, Seat, Status,
    StoreTime, Wait,
};

use crate::ZERO;
use crate::schedule::Stored;

/// How `Marker::meet` came to its result.
pub(crate) fn met(found: Option<&Marker>, known: StoreTime, met: &Marker) -> Vec<&'static str> {
    let birth = met.birth;
    let how = match found.map(|found| found.birth) {
        None if known == ZERO => "meet: a first deployment",
        None => "meet: all is lost",
        Some(found) if found.since == ZERO => "meet: a marker that cannot be",
        Some(found) if found != birth && known < found.since => "meet: taken for new",
        Some(found) if found != birth => "meet: an older state",
        Some(_) if known == ZERO => "meet: no memory",
        Some(found) if known == found.since => "meet: as remembered",
        Some(_) => "meet: somebody saw the loss",
    };
    let mut reached = Reached(vec![how]);
    if let Some(found) = found {
        let (before, after) = (found.roster.retired(), met.roster.retired());
        let entries = |marker: &Marker| marker.roster.entries().count();
        let kept = found.birth == birth;
        let (was, is) = (entries(found), entries(met));
        reached.when("roster: begins anew", !kept && was > 0);
        reached.when("roster: nobody is due", kept && was > 0 && was == is);
        reached.when("roster: all end", kept && was > 0 && is == 0);
        reached.when("roster: some end", kept && is > 0 && was > is);
        let nothing = before.parts == after.parts;
        reached.when("roster: who ends has no part", kept && was > is && nothing);
        let earlier = after.parts > before.parts && before.ended == after.ended;
        reached.when("roster: one ends before the last did", kept && earlier);
    }
    reached.0
}

/// The branches that the roster of `before` took with what it was told.
pub(crate) fn enrolled(before: &Marker, enroll: &Enroll, seat: &Seat) -> Vec<&'static str> {
    let found = before.roster.entries().find(|it| it.0 == enroll.replica);
    let (had, known) = (found.map_or(0, |(_, _, parts)| parts), found.is_some());
    let ended = before.roster.retired().ended;
    let is_late = found.is_some_and(|(_, expiry, _)| expiry != enroll.known);
    let mut reached = Reached(Vec::new());
    if seat.expiry == ZERO {
        reached.when("enroll: leaves with parts", enroll.leaves && had > 0);
        reached.when("enroll: leaves without", enroll.leaves && had == 0);
        reached.when("enroll: there is no room", !enroll.leaves);
        reached.when("enroll: leaves too late", is_late && had > 0);
        return reached.0;
    }
    let stays = seat.kept == had && known;
    reached.when("enroll: is late", is_late);
    let heeded = is_late && enroll.parts < had;
    reached.when("enroll: gives up nothing late", heeded && seat.kept == had);
    reached.when("enroll: enters", !known && seat.parts == seat.due);
    reached.when(
        "enroll: enters, and others have it all",
        seat.parts < seat.due,
    );
    reached.when("enroll: stays", stays && seat.parts == had);
    reached.when("enroll: has more", stays && seat.parts > had);
    reached.when("enroll: has more than is due", seat.parts > seat.due);
    reached.when("enroll: gives up parts", seat.kept < had);
    let later = seat.kept < had && seat.ended == ended;
    reached.when("enroll: gives up parts before the last did", later);
    reached.when("enroll: wishes for less", seat.due == enroll.most);
    let least = before.roster.entries().count() > 9;
    reached.when("enroll: more than a few", least);
    let stays = found.is_some_and(|(_, expiry, _)| expiry + Micros(1) == seat.expiry);
    reached.when("enroll: the expiry is hardly later", stays);
    reached.0
}

/// The branch that the ledger took for a request.
pub(crate) fn reached(
    before: Option<&Stored>,
    request: &Request,
    limit: &Limit,
    past: Past,
    reply: &Reply,
    after: &Stored,
) -> Vec<&'static str> {
    let mut reached = Reached(vec![status(reply.status), wait(reply.wait)]);
    match before {
        Some(before) => reached.touched(before, limit, past, reply.now, after),
        None => reached.fresh(limit, past, reply.now),
    }
    match request {
        Request::Spend { cost } => reached.when("spend: a look", *cost == 0),
        Request::Charge { tokens } => {
            let ledger = &after.kept.ledger;
            let free = ledger.meter.level() < limit.capacity_level();
            reached.when("charge: all", *tokens > 0 && free);
            reached.when("charge: up to the ceiling", *tokens > 0 && !free);
        }
        Request::Forgive => {}
        Request::Lease(request) => reached.leased(before, request, reply, after),
    }
    reached.0
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Leased => "leased",
        Status::Reasserted => "reasserted",
        Status::Left => "left",
        Status::Over => "over",
        Status::Spent => "spent",
        Status::Denied => "denied",
        Status::Charged => "charged",
        Status::Forgiven => "forgiven",
        Status::Unreadable => "unreadable",
        Status::Full => unreachable!("Redis refuses to write at all when it is full"),
        Status::Uncountable => unreachable!("such a request is not sent"),
    }
}

fn wait(wait: Wait) -> &'static str {
    match wait {
        Wait::None => "wait: none",
        Wait::For(_) => "wait: for",
        Wait::Held => "wait: held",
    }
}

struct Reached(Vec<&'static str>);

impl Reached {
    fn when(&mut self, branch: &'static str, condition: bool) {
        if condition {
            self.0.push(branch);
        }
    }

    fn fresh(&mut self, limit: &Limit, past: Past, now: StoreTime) {
        let (emptied, ended) = (past.birth.emptied, past.retired.ended);
        let advanced = limit.advance() > 0 && ended > ZERO;
        self.when(
            "fresh, and some may be advanced",
            advanced && emptied == ZERO,
        );
        self.when("fresh, and some is yet to come", advanced && ended > now);
        let since = advanced && emptied > ZERO && ended > emptied;
        self.when("fresh, and some is advanced since", since);
        self.when("fresh and full", emptied == ZERO);
        self.when("fresh and frozen", emptied > now);
        self.when("fresh and refilling", emptied > ZERO && emptied <= now);
    }

    fn touched(
        &mut self,
        before: &Stored,
        limit: &Limit,
        past: Past,
        now: StoreTime,
        after: &Stored,
    ) {
        let Ledger {
            meter,
            records,
            next_expiry,
            retired,
            ..
        } = &before.kept.ledger;
        let (level, weight, at) = (meter.level(), meter.weight(), meter.at());
        let new_weight = limit.scale().weight;
        let (changed, rest) = (weight != new_weight, level % weight > 0);
        let exact = weight < 1 << 26 && new_weight < 1 << 26;
        let beyond = level / weight > limit.capacity();
        self.when("adopt: exactly", changed && rest && exact);
        self.when("adopt: a whole token", changed && rest && !exact);
        self.when("adopt: no rest", changed && !rest);
        self.when("adopt: beyond the capacity", changed && beyond);
        let outlived = at < past.birth.emptied;
        self.when("outlived", outlived);
        self.when("outlived: parts were retired", outlived && *retired > 0);
        let (parts, advance) = (past.retired.parts, limit.advance());
        let (old, new) = (*retired > parts, *retired < parts);
        self.when("retire: nothing new", *retired == parts && parts > 0);
        self.when("retire: nothing is advanced", new && advance == 0);
        self.when("retire: some", !outlived && new && advance > 0);
        self.when(
            "retire: an older state",
            !outlived && old && parts > 0 && advance > 0,
        );
        self.when("retire: at a time to come", new && past.retired.ended > now);
        let (ceiling, capacity) = (before.kept.ledger.ceiling, limit.capacity());
        self.when("the ceiling rises", ceiling < capacity);
        self.when("the ceiling falls", ceiling > after.kept.ledger.ceiling);
        self.when("the ceiling stays", after.kept.ledger.ceiling > capacity);
        self.when("the clock went back", at > now);

        let mut expiries: Vec<_> = records.values().map(|record| record.expiry).collect();
        expiries.sort_unstable();
        expiries.dedup();
        let over = expiries.iter().filter(|expiry| **expiry <= now).count();
        let none_over = over == 0 && !records.is_empty();
        self.when("expire: one", over == 1);
        self.when("expire: in order", over > 1);
        self.when("expire: some stay", over > 0 && over < expiries.len());
        self.when("expire: not yet", none_over && *next_expiry > now);
        self.when("expire: looked in vain", none_over && *next_expiry <= now);

        let emptied = level > 0 && after.kept.ledger.meter.level() == 0;
        self.when("drained to nothing", emptied);
        let coarse = at < now && limit.scale().tick > 1;
        self.when("drained in coarse ticks", coarse);
        let above = level > limit.capacity_level();
        self.when("above the capacity", above);
        self.when(
            "kept as long as before",
            before.kept.forget_at == after.kept.forget_at,
        );
        self.when("kept longer", before.kept.forget_at < after.kept.forget_at);
        let (was, is) = (before.was_leased, after.was_leased);
        self.when("a string stays one", !is);
        self.when("a string becomes a hash", is && !was);
        let alone = records.is_empty() && after.kept.ledger.records.is_empty();
        self.when("a hash without records", was && alone);
    }

    fn leased(
        &mut self,
        before: Option<&Stored>,
        request: &LeaseRequest,
        reply: &Reply,
        after: &Stored,
    ) {
        let found = before.and_then(|stored| stored.kept.ledger.records.get(&request.record));
        let found = found.filter(|record| record.expiry > reply.now);
        let (known, fresh) = (found.is_some(), before.is_none());
        match reply.status {
            Status::Over => {
                self.when("over: stored, but too little of it", known);
                self.when("over: expired", !known);
                return;
            }
            Status::Reasserted => {
                self.when("reasserted: a grant", known);
                self.when("reasserted: a record", !known && !fresh);
                self.when("reasserted: all", fresh);
            }
            Status::Left => {
                self.when("left: a record", known);
                self.when("left: none was there", !known);
            }
            Status::Leased
            | Status::Spent
            | Status::Denied
            | Status::Charged
            | Status::Forgiven
            | Status::Unreadable
            | Status::Full
            | Status::Uncountable => {}
        }
        let (Some(found), Some(record)) = (found, after.kept.ledger.records.get(&request.record))
        else {
            return;
        };
        self.when("report: spent", record.spent > found.spent);
        self.when("report: released", record.released > found.released);
        let stale = request.spent < found.spent || request.released < found.released;
        self.when("report: stale", stale);
        let lease_end = reply.now + request.lease;
        self.when("the expiry stays", record.expiry > lease_end);

        // A claim beyond all measure is taken in part.
        let granted_before = found.granted.max(request.granted).min(record.granted);
        let held = granted_before - record.spent - record.released;
        let asked = request.wanted.saturating_sub(held);
        let short = record.granted - granted_before < asked;
        self.when("grant: all", asked > 0 && !short);
        self.when(
            "grant: a part, for lack of room",
            short && reply.wait != Wait::None,
        );
        self.when("grant: a part, by share", short && reply.wait == Wait::None);
    }
}

/// All of these must be reached.
pub(crate) const BRANCHES: [&str; 94] = [
    "meet: a first deployment",
    "meet: all is lost",
    "meet: a marker that cannot be",
    "unreadable",
    "meet: taken for new",
    "meet: an older state",
    "meet: no memory",
    "meet: as remembered",
    "meet: somebody saw the loss",
    "meet: another server's marker",
    "roster: begins anew",
    "roster: nobody is due",
    "roster: all end",
    "roster: some end",
    "roster: who ends has no part",
    "roster: one ends before the last did",
    "enroll: leaves with parts",
    "enroll: leaves without",
    "enroll: there is no room",
    "enroll: leaves too late",
    "enroll: is late",
    "enroll: gives up nothing late",
    "enroll: enters",
    "enroll: enters, and others have it all",
    "enroll: stays",
    "enroll: has more",
    "enroll: has more than is due",
    "enroll: gives up parts",
    "enroll: gives up parts before the last did",
    "enroll: wishes for less",
    "enroll: more than a few",
    "enroll: the expiry is hardly later",
    "fresh, and some may be advanced",
    "fresh, and some is yet to come",
    "fresh, and some is advanced since",
    "outlived: parts were retired",
    "retire: nothing new",
    "retire: nothing is advanced",
    "retire: some",
    "retire: an older state",
    "retire: at a time to come",
    "leased",
    "reasserted",
    "left",
    "over",
    "spent",
    "denied",
    "charged",
    "forgiven",
    "charge: all",
    "charge: up to the ceiling",
    "wait: none",
    "wait: for",
    "wait: held",
    "adopt: exactly",
    "adopt: a whole token",
    "adopt: no rest",
    "adopt: beyond the capacity",
    "outlived",
    "the clock went back",
    "expire: one",
    "expire: in order",
    "expire: some stay",
    "expire: not yet",
    "expire: looked in vain",
    "drained to nothing",
    "drained in coarse ticks",
    "kept as long as before",
    "kept longer",
    "above the capacity",
    "a string stays one",
    "a string becomes a hash",
    "a hash without records",
    "the ceiling rises",
    "the ceiling falls",
    "the ceiling stays",
    "fresh and full",
    "fresh and frozen",
    "fresh and refilling",
    "spend: a look",
    "over: stored, but too little of it",
    "over: expired",
    "reasserted: a grant",
    "reasserted: a record",
    "reasserted: all",
    "left: a record",
    "left: none was there",
    "report: spent",
    "report: released",
    "report: stale",
    "the expiry stays",
    "grant: all",
    "grant: a part, for lack of room",
    "grant: a part, by share",
];
