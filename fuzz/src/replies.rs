//! Answers of a server, and what a replica makes of them.
//!
//! # Invariant
//!
//! An answer that is taken for one says just what was sent, and what it says can be sent back. A
//! replica never holds or admits more than the capacity on one answer's word, whatever that is,
//! and can always say what it wants to say next.

use std::sync::Arc;
use std::time::Duration;

use leasehold_cache::{Config, KeyRef, Local, QuotaCache};
use leasehold_core::{
    Birth, Instant, Ledger, Limit, Micros, Reply, Request, Status, StoreTime, Wait,
};
use leasehold_redis::codec::{Answer, Call, Names, RunId};
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

/// An answer to a call with so many requests.
fn is_read_as_it_is(requests: usize, answer: &[u8]) {
    let limit = "10/s".parse().expect("a good limit");
    let names = Names::new("fuzz");
    let mut call = Call::new(names.marker(0), StoreTime::ZERO, Micros(0), server()).expect("zeros");
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

/// Whether these are the numbers, of which two may be zeros of another sign.
fn is_said_by(read: &Answer, answer: &[u8]) -> bool {
    let numbers = |bytes: &[u8]| {
        let (doubles, rest) = bytes.as_chunks();
        assert!(rest.is_empty(), "no number is torn");
        doubles.iter().map(|it| f64::from_le_bytes(*it)).collect()
    };
    let (said, read): (Vec<f64>, Vec<f64>) = (numbers(answer), numbers(&encoded(read)));
    said == read
}

fn can_be_sent_back(since: StoreTime) {
    let call = Call::new(Vec::new(), since, Micros(0), server());
    assert!(call.is_ok(), "{since:?}");
}

/// A replica, and a store that is a ledger but for what the input changes on the way back.
struct Talk {
    cache: Arc<QuotaCache>,
    syncer: Syncer<Asker>,
    limit: Limit,
    ledger: Option<Ledger>,
    birth: Birth,
    now: Instant,
}

/// A request that waits, for as long as it takes.
struct Asker {
    cost: u32,
}

impl Waiter for Asker {
    fn is_gone(&self) -> bool {
        false
    }
}

impl Talk {
    fn new(reader: &mut Reader<'_>) -> Self {
        let limit = LIMITS[usize::from(reader.byte()) % LIMITS.len()];
        let limit: Limit = limit.parse().expect("a good limit");
        let cache = Arc::new(QuotaCache::new(Config {
            keys_max: 4,
            seed: 7,
            signals: 4,
        }));
        let named = NamedLimit {
            name: "api".into(),
            limit,
            policy: FailurePolicy::Closed,
        };
        let syncer = Syncer::new(Arc::clone(&cache), [named].into(), Tuning::default(), 1, 7);
        Self {
            cache,
            syncer,
            limit,
            ledger: None,
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
                let answer = self.answer(&batch, reader);
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
        let said = self.cache.try_acquire(KEY, cost, self.now);
        if matches!(said, Local::Unknown | Local::Short { .. }) {
            self.syncer
                .acquire(KEY, cost, Purpose::Spend, Asker { cost }, self.now);
        }
    }

    /// The answer that arrives: none, or the ledger's with some numbers changed.
    fn answer(&mut self, batch: &Batch, reader: &mut Reader<'_>) -> Option<sync::Answer> {
        let names = Names::new("fuzz");
        let call = Call::new(names.marker(0), batch.known_birth, batch.hold, server());
        let mut call = call.expect("what was said is said back");
        let store_now = StoreTime::from_micros(EPOCH_MICROS + self.now.as_nanos() / 1000);
        let mut replies = Vec::new();
        for asked in &batch.calls {
            let key = names.bucket(0, "api", asked.entry.key().subject);
            let pushed = call.push(key, &self.limit, &asked.request);
            pushed.expect("what was said is said back");
            let ledger = &mut self.ledger;
            let reply =
                Ledger::exchange(ledger, &asked.request, &self.limit, self.birth, store_now);
            assert!(
                reply.answers(&asked.request),
                "{:?}: {reply:?}",
                asked.request
            );
            replies.push(reply);
        }
        let answer = Answer {
            birth: self.birth,
            now: store_now,
            replies,
        };
        let mut bytes = encoded(&answer);
        let numbers = u8::try_from(bytes.len() / 8).expect("one key");
        for _ in 0..reader.below(5) {
            let place = usize::from(reader.below(numbers)) * 8;
            let number = lie(reader, f64_at(&bytes, place));
            bytes[place..place + 8].copy_from_slice(&number.to_le_bytes());
        }
        let Answer { birth, replies, .. } = call.decode(&bytes).ok()?;
        Some(sync::Answer { birth, replies })
    }

    fn hear(&mut self, batch: &Batch, answer: &sync::Answer) {
        let mut pairs = batch.calls.iter().zip(&answer.replies);
        let believed = pairs.all(|(call, reply)| reply.answers(&call.request));
        let before = self.syncer.tokens().granted;
        self.syncer.handle_answer(batch, answer, self.now);
        let granted = self.syncer.tokens().granted - before;
        assert!(believed || granted == 0, "{granted} granted by {answer:?}");
    }

    fn admits_no_more_than_the_capacity(&mut self) {
        let verdicts = std::iter::from_fn(|| self.syncer.poll_verdict());
        let allowed = verdicts.filter(|(_, verdict)| verdict.is_allowed());
        let admitted: u64 = allowed.map(|(asker, _)| u64::from(asker.cost)).sum();
        let entry = self.cache.get(KEY);
        let live = entry.map_or(0, |entry| entry.lease.view(self.now).live);
        let capacity = self.limit.capacity();
        assert!(
            admitted + u64::from(live) <= capacity,
            "{admitted} admitted and {live} held of {capacity}"
        );
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

fn f64_at(bytes: &[u8], place: usize) -> f64 {
    let number = bytes[place..place + 8].try_into();
    f64::from_le_bytes(number.expect("eight bytes"))
}

/// An answer as the script packs it.
fn encoded(answer: &Answer) -> Vec<u8> {
    let Birth { since, emptied } = answer.birth;
    let mut numbers = [since, emptied, answer.now]
        .map(|time| double(time.as_micros()))
        .to_vec();
    for reply in &answer.replies {
        numbers.extend(numbers_of(reply));
    }
    numbers.into_iter().flat_map(f64::to_le_bytes).collect()
}

fn numbers_of(reply: &Reply) -> [f64; 8] {
    let status: u8 = match reply.status {
        Status::Leased => 0,
        Status::Reasserted => 1,
        Status::Left => 2,
        Status::Over => 3,
        Status::Spent => 4,
        Status::Denied => 5,
        Status::Charged => 6,
        Status::Unreadable => 7,
        Status::Full => unreachable!("the script never answers it"),
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
        double(reply.level),
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

const KEY: KeyRef<'_> = KeyRef {
    limit: leasehold_cache::LimitId::FIRST,
    subject: b"k",
};
/// In 2026.
const EPOCH_MICROS: u64 = 1_780_000_000_000_000;
/// Leased, central, and with an overshoot.
const LIMITS: [&str; 4] = [
    "1000/s burst 100",
    "100000/s burst 5000",
    "1/h burst 3",
    "20/s burst 10 overshoot 5",
];
