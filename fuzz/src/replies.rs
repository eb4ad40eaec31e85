//! Answers of a server, and what a replica makes of them.
//!
//! # Invariant
//!
//! An answer that is taken for one says just what was sent, and what it says can be sent back. A
//! replica never holds or admits more than the capacity on one answer's word, whatever that is,
//! and can always say what it wants to say next. That holds for what a codec lets through, and for
//! any number at all, because a store may be somebody else's.

use std::sync::Arc;
use std::time::Duration;

use leasehold_cache::{Config, KeyRef, LocalDecision, Owner, Requests};
use leasehold_core::{
    Birth, Enroll, Instant, Ledger, Limit, Micros, PARTS, Reply, Request, Roster, Seat, Status,
    StoreTime, Wait,
};
use leasehold_redis::codec::{Call, Decoded, Names, RunId};
use leasehold_sync::{
    self as sync, Batch, FailurePolicy, NamedLimit, Purpose, Syncer, Tuning, Waiter,
};

use crate::reader::Reader;

/// Reads the input as an answer, and as a talk of a replica with a store that lies.
pub fn check(input: &[u8]) {
    let mut reader = Reader::new(input);
    is_read_as_it_is(usize::from(reader.below(4)), reader.rest());
    Talk::new(&mut reader).go_on(&mut reader);
}

/// An answer to a call that tells the roster something, with so many requests.
fn is_read_as_it_is(requests: usize, answer: &[u8]) {
    let limit = "10/s".parse().expect("a good limit");
    let names = Names::new("fuzz");
    let mut call = Call::new(names.marker(0), StoreTime::ZERO, Micros(0), server()).expect("zeros");
    call.enroll(&Enroll {
        replica: 1,
        lease: Micros(1),
        parts: 0,
        most: PARTS,
        leaves: false,
        known: StoreTime::ZERO,
    });
    for _ in 0..requests {
        let key = names.bucket(0, "api", b"k");
        let look = Request::Spend { cost: 0 };
        call.push(key, &limit, &look).expect("small numbers");
    }
    if let Ok(read) = call.decode(answer) {
        assert!(is_said_by(&read, answer), "{read:?}");
        assert_eq!(read.replies.len(), requests);
        can_be_sent_back(read.birth.since);
    }
}

/// Whether these are the numbers, of which two may be zeros of another sign. A reply with a number
/// that cannot be is read as unreadable.
fn is_said_by(read: &Decoded, answer: &[u8]) -> bool {
    let numbers = |bytes: &[u8]| -> Vec<f64> {
        let (doubles, rest) = bytes.as_chunks();
        assert!(rest.is_empty(), "no number is torn");
        doubles.iter().map(|it| f64::from_le_bytes(*it)).collect()
    };
    let (said, again) = (numbers(answer), numbers(&encoded(read)));
    let (said, said_replies) = said.split_at(8);
    let (again, again_replies) = again.split_at(8);
    let replies = said_replies.chunks(9).zip(again_replies.chunks(9));
    let mut pairs = replies.zip(&read.replies);
    said == again
        && pairs.all(|((said, again), reply)| {
            said == again || *reply == Reply::unserved(Status::Unreadable, read.now)
        })
}

fn can_be_sent_back(since: StoreTime) {
    let call = Call::new(Vec::new(), since, Micros(0), server());
    assert!(call.is_ok(), "{since:?}");
}

/// A replica, and a store that is a ledger but for what the input changes on the way back.
struct Talk {
    cache: Arc<Requests>,
    syncer: Syncer<Asker>,
    limit: Limit,
    ledgers: [Option<Ledger>; KEYS],
    roster: Roster,
    policy: FailurePolicy,
    /// The store is one without a codec, and may answer anything.
    is_wild: bool,
    birth: Birth,
    now: Instant,
}

/// A request that waits, for as long as it takes.
struct Asker {
    key: usize,
    cost: u32,
}

impl Waiter for Asker {
    fn is_gone(&self) -> bool {
        false
    }
}

impl Talk {
    fn new(reader: &mut Reader<'_>) -> Self {
        let kind = usize::from(reader.byte());
        let limit = LIMITS[kind % LIMITS.len()];
        let is_wild = kind & 0x10 != 0;
        let policy = [
            FailurePolicy::Closed,
            FailurePolicy::Local,
            FailurePolicy::Open,
            FailurePolicy::Closed,
        ][if is_wild { kind >> 6 } else { 0 }];
        let limit: Limit = limit.parse().expect("a good limit");
        let owner = Owner::new(Config {
            keys_max: 4,
            seed: 7,
            signals: 4,
        });
        let cache = Arc::clone(owner.requests());
        let named = NamedLimit {
            name: "api".into(),
            limit,
            policy,
        };
        let syncer = Syncer::new(owner, [named].into(), Tuning::default(), 1, 7);
        Self {
            cache,
            syncer,
            limit,
            ledgers: [const { None }; KEYS],
            roster: Roster::default(),
            policy,
            is_wild,
            birth: Birth {
                since: StoreTime::from_micros(EPOCH_MICROS),
                emptied: StoreTime::ZERO,
            },
            now: Instant::ORIGIN,
        }
    }

    fn go_on(mut self, reader: &mut Reader<'_>) {
        while !reader.is_empty() {
            match reader.below(4) {
                0 => self.now = self.now + Duration::from_millis(u64::from(reader.byte()).pow(2)),
                1 | 2 => self.ask(reader),
                _ => {}
            }
            self.syncer.handle_signals(self.now);
            self.syncer.handle_timeout(self.now);
            while let Some(batch) = self.syncer.poll_batch(self.now) {
                let answer = if self.is_wild {
                    self.wild_answer(&batch, reader)
                } else {
                    self.answer(&batch, reader)
                };
                match answer {
                    Some(answer) => self.hear(&batch, &answer),
                    None => self.syncer.handle_failure(&batch, self.now),
                }
                self.admits_no_more_than_the_capacity();
                if reader.is_empty() {
                    break;
                }
            }
        }
    }

    fn ask(&mut self, reader: &mut Reader<'_>) {
        let burst = u32::try_from(self.limit.burst()).expect("a small limit");
        let cost = 1 + u32::from(reader.byte()) % burst;
        let key = if self.is_wild {
            usize::from(reader.byte()) % KEYS
        } else {
            0
        };
        let said = self.cache.try_acquire(key_of(key), cost, self.now);
        if matches!(said, LocalDecision::Unknown | LocalDecision::Short { .. }) {
            let asker = Asker { key, cost };
            self.syncer
                .acquire(key_of(key), cost, Purpose::Spend, asker, self.now);
        }
    }

    /// The answer that arrives: none, or the ledger's with some numbers changed.
    fn answer(&mut self, batch: &Batch, reader: &mut Reader<'_>) -> Option<sync::Answer> {
        let names = Names::new("fuzz");
        let call = Call::new(
            names.marker(0),
            batch.known_birth,
            batch.quarantine,
            server(),
        );
        let mut call = call.expect("what was said is said back");
        let store_now = StoreTime::from_micros(EPOCH_MICROS + self.now.as_nanos() / 1000);
        if let Some(enroll) = &batch.enroll {
            call.enroll(enroll);
        }
        let mut replies = Vec::new();
        for asked in &batch.calls {
            let key = names.bucket(0, "api", asked.key().subject);
            let pushed = call.push(key, &self.limit, &asked.request);
            pushed.expect("what was said is said back");
            replies.push(self.true_reply(asked, store_now));
        }
        let answer = Decoded {
            birth: self.birth,
            now: store_now,
            seat: self.seat(batch, store_now),
            replies,
        };
        let mut bytes = encoded(&answer);
        // Of a large batch, the first numbers may be lies.
        let numbers = u8::try_from(bytes.len() / 8).unwrap_or(u8::MAX);
        for _ in 0..reader.below(5) {
            let place = usize::from(reader.below(numbers)) * 8;
            let number = lie(reader, f64_at(&bytes, place));
            bytes[place..place + 8].copy_from_slice(&number.to_le_bytes());
        }
        let read = call.decode(&bytes).ok()?;
        Some(sync::Answer {
            birth: read.birth,
            seat: read.seat,
            replies: read.replies,
        })
    }

    fn seat(&mut self, batch: &Batch, store_now: StoreTime) -> Option<Seat> {
        let enroll = batch.enroll.as_ref()?;
        Some(self.roster.enroll(enroll, store_now))
    }

    fn true_reply(&mut self, asked: &sync::Call, store_now: StoreTime) -> Reply {
        let ledger = &mut self.ledgers[number_of(asked.key())];
        let reply = Ledger::exchange(ledger, &asked.request, &self.limit, self.birth, store_now);
        assert!(
            reply.answers(&asked.request),
            "{:?}: {reply:?}",
            asked.request
        );
        reply
    }

    /// The answer of a store that somebody else wrote: some replies are true, others hold any
    /// number; there may be too few, too many, or they stand for other calls.
    fn wild_answer(&mut self, batch: &Batch, reader: &mut Reader<'_>) -> Option<sync::Answer> {
        if reader.below(4) == 0 {
            return None;
        }
        let store_now = StoreTime::from_micros(EPOCH_MICROS + self.now.as_nanos() / 1000);
        let mut replies = Vec::new();
        for asked in &batch.calls {
            let truth = self.true_reply(asked, store_now);
            let lie = wild_reply(reader, truth);
            replies.push(match reader.below(4) {
                0 => truth,
                1 => lie,
                _ => believable(reader, lie, &asked.request),
            });
        }
        match reader.below(8) {
            0 => drop(replies.pop()),
            1 => replies.extend(replies.first().copied()),
            2 => replies.reverse(),
            _ => {}
        }
        let birth = Birth {
            since: StoreTime::from_micros(wild(reader, self.birth.since.as_micros())),
            emptied: StoreTime::from_micros(wild(reader, 0)),
        };
        let seat = self.seat(batch, store_now);
        Some(sync::Answer {
            birth,
            seat: seat.map(|seat| wild_seat(reader, seat)),
            replies,
        })
    }

    fn hear(&mut self, batch: &Batch, answer: &sync::Answer) {
        let is_counted = batch.calls.len() == answer.replies.len();
        let mut pairs = batch.calls.iter().zip(&answer.replies);
        let believed = pairs.any(|(call, reply)| reply.answers(&call.request));
        let before = self.syncer.tokens().granted;
        let heard = self.syncer.handle_answer(batch, answer, self.now);
        assert_eq!(heard.is_ok(), is_counted, "{heard:?}");
        let granted = self.syncer.tokens().granted - before;
        let nothing = granted == 0;
        assert!(
            (believed && is_counted) || nothing,
            "{granted} granted by {answer:?}"
        );
    }

    fn admits_no_more_than_the_capacity(&mut self) {
        let mut admitted = [0; KEYS];
        while let Some((asker, verdict)) = self.syncer.poll_verdict() {
            admitted[asker.key] += u64::from(asker.cost) * u64::from(verdict.is_allowed());
        }
        let capacity = self.limit.capacity();
        for (key, admitted) in admitted.into_iter().enumerate() {
            let entry = self.cache.get(key_of(key));
            let live = entry.map_or(0, |entry| entry.lease.view(self.now).live);
            // What a replica grants itself while the store is away has another bound, or none.
            // What the store spends, it spends beside what is held.
            assert!(
                self.policy != FailurePolicy::Closed
                    || admitted <= capacity && u64::from(live) <= capacity,
                "{admitted} admitted and {live} held of {capacity}"
            );
        }
        let tokens = self.syncer.tokens();
        assert!(tokens.spent + tokens.released + tokens.expired <= tokens.granted);
    }
}

/// A number in place of another: near it, small, or any.
fn lie(reader: &mut Reader<'_>, truth: f64) -> f64 {
    let small = f64::from(reader.byte());
    match reader.below(6) {
        0 => small,
        1 => truth + small,
        2 => truth - small,
        3 => truth * 2.0 + small,
        4 => 2_f64.powi(i32::from(reader.byte() % 64)) - small,
        _ => f64::from_bits(reader.number()),
    }
}

/// A number in place of another: itself, near it, or any, the ends of the range among them.
fn wild(reader: &mut Reader<'_>, truth: u64) -> u64 {
    let small = u64::from(reader.byte());
    match reader.below(6) {
        0 | 1 => truth,
        2 => truth.wrapping_add(small),
        3 => u64::MAX - small,
        4 => (1 << (small % 64)) - 1 + small / 64,
        _ => reader.number(),
    }
}

fn wild_seat(reader: &mut Reader<'_>, truth: Seat) -> Seat {
    let mut number = |truth: u64| wild(reader, truth);
    let [kept, parts, due] = [truth.kept, truth.parts, truth.due]
        .map(|parts| u32::try_from(number(parts.into())).unwrap_or(u32::MAX));
    let [ended, expiry, now] = [truth.ended, truth.expiry, truth.now]
        .map(|time| StoreTime::from_micros(number(time.as_micros())));
    Seat {
        kept,
        parts,
        due,
        ended,
        expiry,
        now,
    }
}

fn wild_reply(reader: &mut Reader<'_>, truth: Reply) -> Reply {
    let time = |reader: &mut Reader<'_>, time: StoreTime| {
        StoreTime::from_micros(wild(reader, time.as_micros()))
    };
    Reply {
        status: match reader.below(16) {
            0 => Status::Leased,
            1 => Status::Reasserted,
            2 => Status::Left,
            3 => Status::Over,
            4 => Status::Spent,
            5 => Status::Denied,
            6 => Status::Charged,
            7 => Status::Forgiven,
            _ => truth.status,
        },
        granted: wild(reader, truth.granted),
        expiry: time(reader, truth.expiry),
        wait: match reader.below(6) {
            0 => Wait::None,
            1 => Wait::Held,
            2 | 3 => Wait::For(Micros(wild(reader, 1000))),
            _ => truth.wait,
        },
        free: wild(reader, truth.free),
        full_in: Micros(wild(reader, truth.full_in.0)),
        outstanding: wild(reader, truth.outstanding),
        replicas: wild(reader, truth.replicas),
        demand: wild(reader, truth.demand),
        now: time(reader, truth.now),
    }
}

/// The lie with as little of it mended as makes it an answer to `request`: a reply that no ledger
/// would give goes no further than the first check.
fn believable(reader: &mut Reader<'_>, lie: Reply, request: &Request) -> Reply {
    let mut reply = lie;
    let end = (1 << 52) - 1;
    reply.granted = reply.granted.min(end);
    reply.free = reply.free.min(end);
    reply.full_in = reply.full_in.min(Micros(end + 1));
    reply.replicas = reply.replicas.clamp(1, end);
    reply.demand = reply
        .demand
        .min(reply.replicas.saturating_mul(u64::from(u16::MAX)));
    reply.now = reply.now.min(StoreTime::from_micros(end));
    if let Wait::For(wait) = reply.wait {
        reply.wait = Wait::For(Micros(wait.0.clamp(1, end)));
    }
    match request {
        Request::Lease(request) => {
            let done = request.spent + request.released;
            reply.status = Status::Leased;
            reply.granted = reply.granted.max(request.granted);
            reply.outstanding = reply.outstanding.max(reply.granted - done);
            let now = reply.now.as_micros().min(end - request.lease.0);
            reply.now = StoreTime::from_micros(now);
            let expiry = reply.expiry.as_micros().clamp(now + request.lease.0, end);
            reply.expiry = StoreTime::from_micros(expiry);
            if reader.below(8) == 0 && request.granted > 0 {
                (reply.status, reply.granted) = (Status::Over, 0);
                (reply.expiry, reply.wait) = (StoreTime::ZERO, Wait::None);
            }
        }
        Request::Spend { .. } | Request::Charge { .. } | Request::Forgive => {
            (reply.granted, reply.expiry) = (0, StoreTime::ZERO);
            reply.status = match request {
                Request::Charge { .. } => Status::Charged,
                Request::Forgive if reply.wait == Wait::None => Status::Forgiven,
                Request::Forgive => Status::Denied,
                _ if reader.below(2) == 0 => Status::Denied,
                _ => Status::Spent,
            };
            if reply.status != Status::Denied {
                reply.wait = Wait::None;
            }
        }
    }
    assert!(reply.answers(request), "{request:?}: {reply:?}");
    reply
}

fn f64_at(bytes: &[u8], place: usize) -> f64 {
    let number = bytes[place..place + 8].try_into();
    f64::from_le_bytes(number.expect("eight bytes"))
}

/// An answer as the script packs it.
fn encoded(answer: &Decoded) -> Vec<u8> {
    let Birth { since, emptied } = answer.birth;
    let mut numbers = [since, emptied, answer.now]
        .map(|time| double(time.as_micros()))
        .to_vec();
    numbers.extend(answer.seat.map_or([0.0; 5], |seat| {
        let parts = [seat.kept, seat.parts, seat.due].map(f64::from);
        let times = [seat.ended, seat.expiry].map(|time| double(time.as_micros()));
        [parts[0], parts[1], parts[2], times[0], times[1]]
    }));
    for reply in &answer.replies {
        numbers.extend(numbers_of(reply));
    }
    numbers.into_iter().flat_map(f64::to_le_bytes).collect()
}

fn numbers_of(reply: &Reply) -> [f64; 9] {
    let status: u8 = match reply.status {
        Status::Leased => 0,
        Status::Reasserted => 1,
        Status::Left => 2,
        Status::Over => 3,
        Status::Spent => 4,
        Status::Denied => 5,
        Status::Charged => 6,
        Status::Unreadable => 7,
        Status::Forgiven => 8,
        Status::Full | Status::Uncountable => unreachable!("the script never answers it"),
    };
    let wait = match reply.wait {
        Wait::Held => -1.0,
        Wait::None => 0.0,
        Wait::For(wait) => double(wait.0),
    };
    [
        f64::from(status),
        double(reply.granted),
        double(reply.expiry.as_micros()),
        wait,
        double(reply.free),
        double(reply.full_in.0),
        double(reply.outstanding),
        double(reply.replicas),
        double(reply.demand),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "below 2^53, so exact")]
fn double(number: u64) -> f64 {
    assert!(number < 1 << 53, "{number} is not exact");
    number as f64
}

fn server() -> RunId {
    RunId::from_info(b"run_id:0123abcd\r\n")
}

/// The key of this number.
fn key_of(number: usize) -> KeyRef<'static> {
    KeyRef {
        limit: leasehold_cache::LimitId::FIRST,
        subject: SUBJECTS[number],
    }
}

fn number_of(key: KeyRef<'_>) -> usize {
    let known = SUBJECTS.iter().position(|subject| *subject == key.subject);
    known.expect("a key of ours")
}

const KEYS: usize = 3;
const SUBJECTS: [&[u8]; KEYS] = [b"k", b"l", b"m"];
/// In 2026.
const EPOCH_MICROS: u64 = 1_780_000_000_000_000;
/// Leased, central, and with an overshoot.
const LIMITS: [&str; 4] = [
    "1000/s burst 100",
    "100000/s burst 5000",
    "1/h burst 3",
    "20/s burst 10 overshoot 5",
];
