//! The arguments of the script and its answers, in bytes.
//!
//! # Invariant
//!
//! Every number is whole, and below 2^52 when we send it and below 2^53 when we receive it, so that
//! a double, Lua's only number, holds it exactly. Times and grants, which we receive and send back,
//! are below 2^52 in both directions: otherwise a bad answer would give a number that cannot be
//! sent back. A server's answer is input: decoding it ends in a value or in a [`DecodeError`],
//! never in a panic. A number that cannot be, in the reply to one request, makes that reply alone
//! [`Status::Unreadable`], because it comes from what is stored under one key.
//!
//! One [`Call`] carries many requests, which share a birth marker. All its keys lie in one slot of
//! a cluster, because their names begin with the same hash tag; [`Names`] makes them.

use leasehold_core::{
    Birth, Enroll, Limit, Micros, PARTS, Reply, Request, Scale, Seat, Status, StoreTime, Wait,
};

pub use crate::names::Names;

/// The script that answers a [`Call`].
pub const EXCHANGE: &str = include_str!("../lua/exchange.lua");

/// A batch of requests for the script [`EXCHANGE`].
#[derive(Clone, Debug)]
pub struct Call {
    keys: Vec<Vec<u8>>,
    /// The known birth of the store, then how many buckets, from the first, may be strings.
    birth: Vec<u8>,
    scales: Vec<(Scale, u64, u64)>,
    limits: Vec<u8>,
    requests: Vec<u8>,
    server: RunId,
    /// Empty if the roster is told nothing.
    enroll: Vec<u8>,
}

/// The script's answer to a [`Call`], decoded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decoded {
    /// The store's marker, to be remembered and sent with the next call.
    pub birth: Birth,
    /// The store's clock when it answered.
    pub now: StoreTime,
    /// The answer of the roster, if the call told it something.
    pub seat: Option<Seat>,
    /// One reply for each request, in their order.
    pub replies: Vec<Reply>,
}

impl Call {
    /// A call without requests yet, for the bucket keys that share `marker`.
    ///
    /// `known` is the [`Birth::since`] that the caller remembers, [`StoreTime::ZERO`] if none;
    /// `quarantine` is the longest that a lease the store may have forgotten can still run.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if a time is too large.
    pub fn new(
        marker: Vec<u8>,
        known: StoreTime,
        quarantine: Micros,
        server: RunId,
    ) -> Result<Self, EncodeError> {
        let mut birth = Vec::with_capacity((BIRTH_SENT + 1) * NUMBER);
        put(&mut birth, "known", known.as_micros())?;
        put(&mut birth, "quarantine", quarantine.0)?;
        put(&mut birth, "requests", 0)?;
        Ok(Self {
            keys: vec![marker],
            birth,
            scales: Vec::new(),
            limits: Vec::new(),
            requests: Vec::new(),
            server,
            enroll: Vec::new(),
        })
    }

    /// Tells the roster of the store this. A lease of more than is granted asks for as much as
    /// is granted.
    pub fn enroll(&mut self, enroll: &Enroll) {
        self.enroll.clear();
        self.enroll.extend_from_slice(&enroll.replica.to_le_bytes());
        let numbers = [
            enroll.lease.0.min(SENT_MAX),
            enroll.parts.into(),
            enroll.most.into(),
            enroll.leaves.into(),
            enroll.known.as_micros().min(SENT_MAX),
        ];
        for number in numbers {
            put(&mut self.enroll, "enroll", number).expect("small numbers");
        }
    }

    /// Adds a request for the bucket `key`, which `limit` limits.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if a number is too large; the call does not hold the request then.
    pub fn push(
        &mut self,
        key: Vec<u8>,
        limit: &Limit,
        request: &Request,
    ) -> Result<(), EncodeError> {
        let before = self.requests.len();
        let limit = self.place_of(limit);
        if let Err(error) = put_request(&mut self.requests, limit, request) {
            self.requests.truncate(before);
            return Err(error);
        }
        self.keys.push(key);
        // The bucket of a lease with a grant is a hash.
        let may_be_string = !matches!(request, Request::Lease(lease) if lease.granted > 0);
        if may_be_string {
            self.birth.truncate(BIRTH_SENT * NUMBER);
            let strings_end = self.len() as u64;
            put(&mut self.birth, "requests", strings_end).expect("as many fit into memory");
        }
        Ok(())
    }

    /// How many requests there are.
    pub fn len(&self) -> usize {
        self.keys.len() - 1
    }

    /// Whether there is no request yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `KEYS` of the script.
    pub fn keys(&self) -> &[Vec<u8>] {
        &self.keys
    }

    /// `ARGV` of the script.
    pub fn arguments(&self) -> [&[u8]; 5] {
        let Self {
            birth,
            limits,
            requests,
            server,
            enroll,
            ..
        } = self;
        [birth, limits, requests, &server.0, enroll]
    }

    /// Reads what the script answered to this call. A reply with a number that cannot be counts as
    /// [`Status::Unreadable`]; the other replies are read.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if it is not an answer to this call.
    pub fn decode(&self, answer: &[u8]) -> Result<Decoded, DecodeError> {
        let expected = (HEAD_NUMBERS + self.len() * REPLY_NUMBERS) * NUMBER;
        let mut numbers = Numbers::of(answer, expected)?;
        let (birth, now) = numbers.birth()?;
        let seat = numbers.seat(now)?;
        let replies = (0..self.len()).map(|_| numbers.next_reply(now));
        Ok(Decoded {
            birth,
            now,
            seat: (!self.enroll.is_empty()).then_some(seat),
            replies: replies.collect::<Result<_, _>>()?,
        })
    }

    /// The place of `limit` in the table of limits, where it is entered if it is new.
    fn place_of(&mut self, limit: &Limit) -> u64 {
        let entry = (*limit.scale(), limit.capacity(), limit.grantable());
        // A call has few limits, and neighbours mostly share one, so the search begins at the end.
        let known = self.scales.iter().rposition(|known| *known == entry);
        let place = known.unwrap_or_else(|| {
            put_limit(&mut self.limits, limit).expect("the numbers of a limit are exact");
            self.scales.push(entry);
            self.scales.len() - 1
        });
        place as u64
    }
}

/// The run id of a server process: it chooses one when it starts, so it has another after each
/// restart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RunId([u8; RUN_ID_SIZE]);

impl RunId {
    /// The run id in the answer to `INFO server`, empty if the server gives none. All servers
    /// without a run id look the same: a restart is then noticed only if the server has lost its
    /// keys.
    ///
    /// It has 40 characters. A shorter one is filled up with zeros, because what follows it in the
    /// marker has its place behind so many; of a longer one, the last 40 count.
    pub fn from_info(info: &[u8]) -> Self {
        let line = info
            .split(|byte| *byte == b'\n')
            .find_map(|line| line.strip_prefix(b"run_id:"));
        let line = line.unwrap_or_default().trim_ascii();
        let line = &line[line.len().saturating_sub(RUN_ID_SIZE)..];
        let mut run_id = [0; RUN_ID_SIZE];
        run_id[..line.len()].copy_from_slice(line);
        Self(run_id)
    }
}

/// An error of encoding: a number that would not be exact in the store.
#[derive(Clone, Copy, Eq, PartialEq, thiserror::Error)]
#[error("{field} is {value}, which is more than the store can count exactly")]
pub struct EncodeError {
    /// The field whose number is too large.
    pub field: &'static str,
    /// How large it is.
    pub value: u64,
}

/// An error of decoding: an answer that no version of our script gives.
#[derive(Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The answer is too long or too short.
    #[error("the script answered {found} bytes where {expected} belong")]
    Length {
        /// Bytes that belong there.
        expected: usize,
        /// Bytes that came.
        found: usize,
    },
    /// A number is negative, not whole, or too large to be exact.
    #[error("the script answered {value} as {field}, which is no whole number that can be")]
    Number {
        /// The field that the number stands in.
        field: &'static str,
        /// The number.
        value: f64,
    },
    /// The status is unknown.
    #[error("the script answered the unknown status {0}")]
    Status(u64),
}

/// Appends `value` as the double that Lua unpacks.
fn put(bytes: &mut Vec<u8>, field: &'static str, value: u64) -> Result<(), EncodeError> {
    if value >= SENT_END {
        return Err(EncodeError { field, value });
    }
    #[expect(clippy::cast_precision_loss, reason = "below 2^52, so exact")]
    let double = value as f64;
    bytes.extend_from_slice(&double.to_le_bytes());
    Ok(())
}

fn put_limit(bytes: &mut Vec<u8>, limit: &Limit) -> Result<(), EncodeError> {
    let scale = limit.scale();
    put(bytes, "drain", scale.drain)?;
    put(bytes, "weight", scale.weight)?;
    put(bytes, "tick", scale.tick)?;
    put(bytes, "capacity", limit.capacity())?;
    put(bytes, "grantable", limit.grantable())
}

fn put_request(bytes: &mut Vec<u8>, limit: u64, request: &Request) -> Result<(), EncodeError> {
    put(bytes, "limit", limit)?;
    match request {
        Request::Spend { cost } => put(bytes, "cost", *cost)?,
        Request::Charge { tokens } => {
            bytes.extend_from_slice(&CHARGE.to_le_bytes());
            put(bytes, "tokens", *tokens)?;
        }
        Request::Forgive => bytes.extend_from_slice(&FORGIVE.to_le_bytes()),
        Request::Lease(lease) => {
            if lease.lease.0 > LEASE_MAX {
                let (field, value) = ("lease", lease.lease.0);
                return Err(EncodeError { field, value });
            }
            bytes.extend_from_slice(&NO_COST.to_le_bytes());
            bytes.extend_from_slice(&lease.record.replica.to_le_bytes());
            bytes.extend_from_slice(&lease.record.generation.to_le_bytes());
            let fields = [
                ("granted", lease.granted),
                ("spent", lease.spent),
                ("released", lease.released),
                ("wanted", lease.wanted),
                ("needed", lease.needed),
                ("lease", lease.lease.0),
                ("expiry", lease.expiry.as_micros()),
                ("demand", u64::from(lease.demand.0)),
            ];
            for (field, value) in fields {
                put(bytes, field, value)?;
            }
        }
    }
    Ok(())
}

/// The numbers of an answer that have not been read yet. Its length was checked.
struct Numbers<'a>(&'a [u8]);

impl<'a> Numbers<'a> {
    fn of(answer: &'a [u8], expected: usize) -> Result<Self, DecodeError> {
        let found = answer.len();
        if found == expected {
            Ok(Self(answer))
        } else {
            Err(DecodeError::Length { expected, found })
        }
    }

    fn birth(&mut self) -> Result<(Birth, StoreTime), DecodeError> {
        let since = self.time("since")?;
        let emptied = self.time("emptied")?;
        Ok((Birth { since, emptied }, self.time("now")?))
    }

    fn seat(&mut self, now: StoreTime) -> Result<Seat, DecodeError> {
        let kept = self.parts("kept parts")?;
        let parts = self.parts("parts")?;
        if kept > parts {
            let (field, value) = ("kept parts", f64::from(kept));
            return Err(DecodeError::Number { field, value });
        }
        Ok(Seat {
            kept,
            parts,
            due: self.parts("due parts")?,
            ended: self.time("ended")?,
            expiry: self.time("seat's expiry")?,
            now,
        })
    }

    fn parts(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        let value = self.double();
        let parts = u32::try_from(whole(field, value)?).ok();
        let parts = parts.filter(|parts| *parts <= PARTS);
        parts.ok_or(DecodeError::Number { field, value })
    }

    fn next_reply(&mut self, now: StoreTime) -> Result<Reply, DecodeError> {
        let (reply, rest) = self.0.split_at(REPLY_NUMBERS * NUMBER);
        self.0 = rest;
        match Numbers(reply).reply(now) {
            Err(DecodeError::Number { .. }) => Ok(Reply::unserved(Status::Unreadable, now)),
            read => read,
        }
    }

    fn reply(&mut self, now: StoreTime) -> Result<Reply, DecodeError> {
        Ok(Reply {
            status: status(self.whole("status")?)?,
            granted: self.returned("granted")?,
            expiry: self.time("expiry")?,
            wait: self.wait()?,
            free: self.whole("free")?,
            full_in: Micros(self.whole("full_in")?),
            outstanding: self.whole("outstanding")?,
            replicas: self.whole("replicas")?,
            demand: self.whole("demand")?,
            now,
        })
    }

    fn wait(&mut self) -> Result<Wait, DecodeError> {
        let micros = self.double();
        if micros.to_bits() == HELD.to_bits() {
            return Ok(Wait::Held);
        }
        Ok(match whole("wait", micros)? {
            0 => Wait::None,
            micros => Wait::For(Micros(micros)),
        })
    }

    fn time(&mut self, field: &'static str) -> Result<StoreTime, DecodeError> {
        self.returned(field).map(StoreTime::from_micros)
    }

    /// A number that will be sent back.
    fn returned(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let value = self.double();
        let number = whole(field, value)?;
        if number < SENT_END {
            Ok(number)
        } else {
            Err(DecodeError::Number { field, value })
        }
    }

    fn whole(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        whole(field, self.double())
    }

    fn double(&mut self) -> f64 {
        let (number, rest) = self.0.split_first_chunk().expect("the length was checked");
        self.0 = rest;
        f64::from_le_bytes(*number)
    }
}

fn whole(field: &'static str, value: f64) -> Result<u64, DecodeError> {
    if (0.0..TAKEN_END).contains(&value) && value.fract() == 0.0 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "just found to be a whole number from 0 to 2^53"
        )]
        return Ok(value as u64);
    }
    Err(DecodeError::Number { field, value })
}

fn status(code: u64) -> Result<Status, DecodeError> {
    let place = usize::try_from(code).ok();
    let status = place.and_then(|place| STATUSES.get(place).copied());
    status.ok_or(DecodeError::Status(code))
}

/// In the order of their codes in exchange.lua.
const STATUSES: [Status; 9] = [
    Status::Leased,
    Status::Reasserted,
    Status::Left,
    Status::Over,
    Status::Spent,
    Status::Denied,
    Status::Charged,
    Status::Unreadable,
    Status::Forgiven,
];

/// Characters of a run id.
const RUN_ID_SIZE: usize = 40;
/// Bytes of a double.
const NUMBER: usize = 8;
/// Known and quarantine.
const BIRTH_SENT: usize = 2;
/// Since, emptied and now, and the five numbers of the seat.
const HEAD_NUMBERS: usize = 8;
/// Status to demand.
const REPLY_NUMBERS: usize = 9;
/// In place of the cost in a request for a lease.
const NO_COST: f64 = -1.0;
/// In place of the cost in a request to charge tokens that were admitted without the store.
const CHARGE: f64 = -2.0;
/// In place of the cost in a request to forgive all that is charged.
const FORGIVE: f64 = -3.0;
/// In place of a wait, if draining alone does not end it.
const HELD: f64 = -1.0;
/// The end of the numbers that we send: half of those that are exact, so that the sum of two of
/// them is exact as well.
const SENT_END: u64 = 1 << 52;
/// The largest number that can be sent.
pub(crate) const SENT_MAX: u64 = SENT_END - 1;
/// The longest lease that can be sent, 71 years: its expiry has to be a number that can be sent.
const LEASE_MAX: u64 = 1 << 51;
/// 2^53: whole numbers below it are exact.
const TAKEN_END: f64 = 9_007_199_254_740_992.0;

leasehold_core::debug_by_display!(EncodeError, DecodeError);

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> RunId {
        RunId::from_info(b"# Server\r\nredis_version:7.0.15\r\nrun_id:0123abcd\r\nos:Linux\r\n")
    }

    fn call() -> Call {
        let names = Names::new("test");
        let known = StoreTime::from_micros(7);
        let mut call = Call::new(names.marker(0), known, Micros(1), server()).unwrap();
        let limit = "10/s".parse().unwrap();
        for subject in [b"a", b"b"] {
            let key = names.bucket(0, "api", subject);
            call.push(key, &limit, &Request::Spend { cost: 1 }).unwrap();
        }
        call
    }

    fn enroll() -> Enroll {
        Enroll {
            replica: 0x0102_0304_0506_0708,
            lease: Micros(u64::MAX),
            parts: 7,
            most: u32::MAX,
            leaves: true,
            known: StoreTime::from_micros(77),
        }
    }

    fn answer(numbers: &[f64]) -> Vec<u8> {
        numbers
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect()
    }

    /// An answer to a call that tells the roster something.
    const GOOD: [f64; 26] = [
        7.0, 0.0, 9.0, // birth and now
        5.0, 7.0, 1260.0, 8.0, 20.0, // seat
        4.0, 0.0, 0.0, 0.0, 9.0, 100_000.0, 0.0, 0.0, 0.0, // spent
        5.0, 0.0, 0.0, -1.0, 0.0, 0.0, 10.0, 3.0, 2.0, // denied, held by others
    ];

    #[test]
    fn an_answer_is_read_in_the_order_of_the_requests() {
        let answer = call().decode(&answer(&GOOD)).unwrap();
        let at = StoreTime::from_micros;
        assert_eq!((answer.birth.since, answer.birth.emptied), (at(7), at(0)));
        assert_eq!((answer.now, answer.replies[0].now), (at(9), at(9)));
        let [spent, denied] = answer.replies[..] else {
            panic!("two requests have two replies");
        };
        assert_eq!((spent.status, spent.wait), (Status::Spent, Wait::None));
        assert_eq!((spent.free, spent.full_in), (9, Micros(100_000)));
        assert_eq!((denied.status, denied.wait), (Status::Denied, Wait::Held));
        assert_eq!(
            (denied.outstanding, denied.replicas, denied.demand),
            (10, 3, 2)
        );
    }

    #[test]
    fn an_answer_of_another_length_is_refused() {
        let good = answer(&GOOD);
        for found in (0..good.len()).chain([good.len() + 1, good.len() + 8]) {
            let mut bytes = good.clone();
            bytes.resize(found, 0);
            let expected = good.len();
            assert_eq!(
                call().decode(&bytes),
                Err(DecodeError::Length { expected, found })
            );
        }
    }

    /// Checks that a number at `place` was refused: the whole answer if it is of the birth, the
    /// time or the seat, otherwise the one of the two replies that it is in.
    fn assert_refused(decoded: Result<Decoded, DecodeError>, place: usize) {
        let Some(place) = place.checked_sub(HEAD_NUMBERS) else {
            assert!(matches!(decoded, Err(DecodeError::Number { .. })));
            return;
        };
        let mut expected = [Status::Spent, Status::Denied];
        expected[place / REPLY_NUMBERS] = Status::Unreadable;
        let read = decoded.expect("the other reply can be read");
        let statuses: Vec<Status> = read.replies.iter().map(|reply| reply.status).collect();
        assert_eq!(statuses, expected);
    }

    #[test]
    fn a_number_that_counts_nothing_is_refused_wherever_it_stands() {
        let held = 20;
        for place in 0..GOOD.len() {
            for bad in [f64::NAN, f64::INFINITY, -1.0, -0.5, 0.5, TAKEN_END, 1e300] {
                let mut numbers = GOOD;
                numbers[place] = bad;
                let decoded = call().decode(&answer(&numbers));
                let wait = place == 11 || place == held;
                if wait && bad.to_bits() == HELD.to_bits() {
                    decoded.unwrap();
                } else {
                    assert_refused(decoded, place);
                }
            }
        }
    }

    #[test]
    fn what_could_not_be_sent_back_is_refused() {
        let returned = [0, 1, 2, 6, 7, 9, 10];
        for place in returned {
            let end = TAKEN_END / 2.0;
            let mut numbers = GOOD;
            numbers[place] = end - 1.0;
            let read = call().decode(&answer(&numbers)).unwrap();
            assert_eq!(read.replies[0].status, Status::Spent, "{place}");
            numbers[place] = end;
            assert_refused(call().decode(&answer(&numbers)), place);
        }
    }

    #[test]
    fn an_unknown_status_is_refused() {
        let mut numbers = GOOD;
        numbers[HEAD_NUMBERS] = 9.0;
        assert_eq!(
            call().decode(&answer(&numbers)),
            Err(DecodeError::Status(9))
        );
    }

    #[test]
    fn a_number_too_large_is_refused_and_leaves_the_call_as_it_was() {
        let mut call = call();
        let before = call.clone();
        let limit = "10/s".parse().unwrap();
        let cost = 1 << 52;
        let error = call.push(b"key".to_vec(), &limit, &Request::Spend { cost });
        let field = "cost";
        assert_eq!(error, Err(EncodeError { field, value: cost }));
        assert_eq!(call.keys(), before.keys());
        assert_eq!(call.arguments(), before.arguments());
    }

    /// Its expiry could not be sent back.
    #[test]
    fn a_lease_of_more_than_a_lifetime_is_refused() {
        let limit = "10/s".parse().unwrap();
        let request = |micros| {
            Request::Lease(leasehold_core::LeaseRequest {
                record: leasehold_core::RecordId {
                    replica: 1,
                    generation: 1,
                },
                granted: 0,
                spent: 0,
                released: 0,
                wanted: 1,
                needed: 1,
                lease: Micros(micros),
                expiry: StoreTime::ZERO,
                demand: leasehold_core::Demand::ONE,
            })
        };
        let mut call = call();
        let mut push = |micros| call.push(b"key".to_vec(), &limit, &request(micros));
        assert_eq!(push(LEASE_MAX), Ok(()));
        let (field, value) = ("lease", LEASE_MAX + 1);
        assert_eq!(push(value), Err(EncodeError { field, value }));
    }

    #[test]
    fn requests_of_one_limit_share_its_entry() {
        let call = call();
        let [birth, limits, requests, server, enroll] = call.arguments();
        assert_eq!(birth, answer(&[7.0, 1.0, 2.0]));
        assert_eq!(limits, answer(&[1.0, 100_000.0, 1.0, 10.0, 10.0]));
        assert_eq!(requests, answer(&[0.0, 1.0, 0.0, 1.0]));
        assert_eq!(server, [b"0123abcd".as_slice(), &[0; 32]].concat());
        assert_eq!(enroll, b"");
    }

    #[test]
    fn limits_that_differ_in_their_advance_alone_have_an_entry_each() {
        let mut call = call();
        let limit = "10/s advance 3".parse().unwrap();
        call.push(b"key".to_vec(), &limit, &Request::Spend { cost: 1 })
            .unwrap();
        let [_, limits, requests, ..] = call.arguments();
        assert_eq!(limits[40..], answer(&[1.0, 100_000.0, 1.0, 10.0, 7.0]));
        assert_eq!(requests[32..], answer(&[1.0, 1.0]));
    }

    #[test]
    fn the_roster_is_told_what_there_is_to_tell_and_its_answer_is_read_then_alone() {
        let mut call = call();
        assert_eq!(call.decode(&answer(&GOOD)).unwrap().seat, None);
        call.enroll(&enroll());
        call.enroll(&enroll());
        let [.., told] = call.arguments();
        assert_eq!(told[..8], [8, 7, 6, 5, 4, 3, 2, 1]);
        let lease = TAKEN_END / 2.0 - 1.0;
        let most = 4_294_967_295.0;
        assert_eq!(told[8..], answer(&[lease, 7.0, most, 1.0, 77.0]));
        let expected = Seat {
            kept: 5,
            parts: 7,
            due: 1260,
            ended: StoreTime::from_micros(8),
            expiry: StoreTime::from_micros(20),
            now: StoreTime::from_micros(9),
        };
        assert_eq!(call.decode(&answer(&GOOD)).unwrap().seat, Some(expected));
    }

    #[test]
    fn more_parts_than_there_are_make_no_seat() {
        let most = f64::from(PARTS);
        for (seat, is_one) in [
            ([0.0, most, most], true),
            ([most, most, most], true),
            ([8.0, 7.0, most], false),
            ([0.0, most + 1.0, most], false),
            ([0.0, most, most + 1.0], false),
            ([0.0, most, 4_294_967_296.0], false),
        ] {
            let mut numbers = GOOD;
            numbers[3..6].copy_from_slice(&seat);
            let read = call().decode(&answer(&numbers));
            assert_eq!(read.is_ok(), is_one, "{seat:?}: {read:?}");
        }
    }

    /// Numbers that follow it in the marker would be read from the wrong place.
    #[test]
    fn a_run_id_has_its_size_whatever_the_server_says() {
        let run_id = |said: &str| RunId::from_info(format!("run_id:{said}\r\n").as_bytes());
        let (usual, other) = ("a".repeat(40), "b".repeat(40));
        assert_eq!(run_id(&usual).0, *usual.as_bytes());
        assert_ne!(run_id(&usual), run_id(&other));
        assert_ne!(run_id(&format!("{usual}1")), run_id(&format!("{usual}2")));
        assert_eq!(run_id("").0, [0; 40]);
        assert_eq!(RunId::from_info(b"").0, [0; 40]);
    }
}
