//! The script against what it transcribes: `Ledger` and `Marker` of the core crate.
//!
//! A schedule is a random story of some replicas, some keys and one store: leases and central
//! spends; what the roster is told; replies that are lost, calls that come twice, calls that come
//! late; replicas that crash or talk nonsense; limits that change; keys, the marker or everything
//! deleted, or put back as they once were; other servers in the place of the first; a clock that
//! jumps both ways. A real server and the model are told the same. After each call the replies, the
//! marker, the whole state of each bucket and the time at which it is forgotten must agree.
//!
//! Time is injected: the one line of the script that reads the clock is replaced. It runs decades
//! ahead, so that no key expires while a schedule runs; the schedule deletes keys that are due.
//!
//! That the test can fail is itself tested: [`a_planted_bug_is_noticed`].
//!
//! A run tries 10 000 schedules, shared out among the servers there are. `LEASEHOLD_SCHEDULES=10`
//! runs ten times as many, each server all of them; `LEASEHOLD_SEED=7` only the one with that seed,
//! as a failure names it, on every server.

mod branches;
mod rng;
mod schedule;
mod store;

use std::collections::BTreeMap;
use std::env;

use leasehold_core::{
    Demand, Enroll, Kept, LeaseRequest, Limit, Micros, PARTS, RecordId, Reply, Request, Status,
    StoreTime,
};
use leasehold_redis::codec::{Call, EXCHANGE, Names};
use leasehold_testbed::{Binary, LocalServer};
use redis::Connection;

use branches::BRANCHES;
use rng::LIMITS;
use schedule::{Schedule, Stored};
use store::{Store, connect, eval, run, run_id};

#[test]
fn the_script_answers_and_remembers_as_the_ledger_does() {
    let servers = LocalServer::find_or_skip();
    let seeds = Seeds::asked_for();
    let apart = servers.len();
    std::thread::scope(|scope| {
        for (place, binary) in servers.into_iter().enumerate() {
            scope.spawn(move || run_all(binary, seeds, place, apart));
        }
    });
}

/// Which schedules to run.
#[derive(Clone, Copy, Debug)]
enum Seeds {
    /// The usual number: each on one of the servers.
    Shared(u64),
    /// Each on every server.
    Each(u64),
    /// One that failed.
    Only(u64),
}

impl Seeds {
    fn asked_for() -> Self {
        let only = number("LEASEHOLD_SEED").map(Self::Only);
        let times = || number("LEASEHOLD_SCHEDULES").map(|times| Self::Each(SCHEDULES * times));
        only.or_else(times).unwrap_or(Self::Shared(SCHEDULES))
    }

    /// The seeds for the server at this place, of so many.
    fn of(self, place: usize, servers: usize) -> Box<dyn Iterator<Item = u64>> {
        match self {
            Self::Shared(seeds) => Box::new((place as u64..seeds).step_by(servers)),
            Self::Each(seeds) => Box::new(0..seeds),
            Self::Only(seed) => Box::new(seed..seed + 1),
        }
    }
}

fn run_all(binary: Binary, seeds: Seeds, place: usize, servers: usize) {
    let name = format!("{:?} {}", binary.kind, binary.version);
    let (mut store, _server) = Store::start(binary, EXCHANGE);
    let mut reached = BRANCHES.map(|branch| (branch, 0)).into();
    let mut schedules = 0;
    for seed in seeds.of(place, servers) {
        let _told = Told { seed };
        if let Err(mismatch) = Schedule::run(&mut store, seed, &mut reached) {
            panic!("{name}: {mismatch}");
        }
        schedules += 1;
    }
    let missed: Vec<_> = reached.iter().filter(|(_, times)| **times == 0).collect();
    assert!(
        matches!(seeds, Seeds::Only(_)) || missed.is_empty(),
        "never reached: {missed:?}"
    );
    println!("{name}: {schedules} schedules of {seeds:?} agree");
}

/// Says how to have a schedule again that fails, wherever it does.
struct Told {
    seed: u64,
}

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let test = "cargo test -p leasehold-redis --test differential the_scripts";
            eprintln!("replay it alone with: LEASEHOLD_SEED={} {test}", self.seed);
        }
    }
}

/// Breaks the script in one place at a time, and expects each to be caught.
#[test]
fn a_planted_bug_is_noticed() {
    let Some(binary) = LocalServer::find_or_skip().into_iter().next() else {
        return;
    };
    let (mut store, _server) = Store::start(binary, EXCHANGE);
    let mut unnoticed = Vec::new();
    for (right, wrong) in PLANTED {
        let broken = EXCHANGE.replace(right, wrong);
        assert!(broken != EXCHANGE, "the script has changed: {right}");
        store.load(&broken);
        let mut reached = BTreeMap::new();
        let noticed = |seed: &u64| Schedule::run(&mut store, *seed, &mut reached).is_err();
        let seed = (0..SCHEDULES_PLANTED).find(noticed);
        match seed {
            Some(seed) => println!("schedule {seed} notices: {wrong}"),
            None => unnoticed.push((right, wrong)),
        }
    }
    assert!(unnoticed.is_empty(), "nobody noticed: {unnoticed:#?}");
}

/// Text of the script, and what a mistaken hand might have written.
const PLANTED: &[(&str, &str)] = &[
    // A report applied before draining.
    ("  if now > at then\n    drain_to(now)\n  end\n", ""),
    ("      if expiry <= now then", "      if expiry < now then"),
    ("a.expiry < b.expiry", "a.expiry > b.expiry"),
    ("          own = false\n", ""),
    // Reports that undo what is known.
    ("if reported > spent then", "if reported ~= spent then"),
    (
        "if reported > released then",
        "if reported ~= released then",
    ),
    ("min(known_spent, known_granted)", "known_spent"),
    ("known_granted - spent)\n", "known_granted)\n"),
    // Rounded to 14 digits.
    (
        "level = level - ticks * drain",
        "level = tonumber(tostring(level - ticks * drain))",
    ),
    (
        "    expiry = now + lease\n",
        "    expiry = tonumber(tostring(now + lease))\n",
    ),
    (
        "floor(to / tick) - floor(at / tick)",
        "floor((to - at) / tick)",
    ),
    (
        "ticks >= ceil(level / drain)",
        "ticks > ceil(level / drain)",
    ),
    (
        "rest = ceil(rest * weight / weighed)",
        "rest = floor(rest * weight / weighed)",
    ),
    (
        "min(tokens, tokens_max) * weight + rest",
        "tokens * weight + rest",
    ),
    ("at < emptied", "at <= emptied"),
    ("if expiry < now + lease then", "if true then"),
    ("known_expiry <= now", "known_expiry < now"),
    ("if charged > level then", "if true then"),
    (
        "charge(tokens)\n    wait",
        "level = level + tokens * weight\n    wait",
    ),
    ("local most = exact_ceiling()", "local most = capacity"),
    ("    if ceiling < capacity then", "    if true then"),
    ("  if ceiling > tokens_max then", "  if false then"),
    (
        "count_as_spent(exact_ceiling())",
        "count_as_spent(capacity)",
    ),
    (
        "if level <= (capacity - outstanding) * weight then",
        "if level <= capacity * weight then",
    ),
    (
        "min(outstanding, exact_ceiling())",
        "min(outstanding, capacity)",
    ),
    // What is told of the bucket.
    (
        "(uncharged - uncharged % weight) / weight - outstanding",
        "ceil(uncharged / weight) - outstanding",
    ),
    (
        "(uncharged - uncharged % weight) / weight - outstanding",
        "floor(uncharged / weight)",
    ),
    ("  if free < 0 then", "  if false then"),
    ("time_to_drain(effect)\n", "time_to_drain(level)\n"),
    (
        "(floor(at / tick) + ceil(units / drain))",
        "(floor(at / tick) + floor(units / drain))",
    ),
    ("return OVER, 0, 0, 0", "return OVER, granted, expiry, 0"),
    (
        "    if not own then\n      -- Record::settled",
        "    if true then\n",
    ),
    ("  if share > target then", "  if true then"),
    ("if grant < asked then", "if grant == 0 and asked > 0 then"),
    ("forget > kept", "forget ~= kept"),
    ("  if lease > 0 then\n", "  if true then\n"),
    ("is_later and emptied > 0", "is_later"),
    ("lose(max(since, known))", "lose(0)"),
    ("  lose(known)\n", "  lose(0)\n"),
    ("    lose(since)\n", "    lose(0)\n"),
    // What a store cannot have made, or a caller remember.
    ("or known > now + AHEAD_MAX", ""),
    ("and since <= now + AHEAD_MAX\n", "\n"),
    ("now + max(quarantine, AHEAD_MAX)", "now + AHEAD_MAX"),
    ("quarantine = min(quarantine, QUARANTINE_MAX)\n", ""),
    ("after + 1), now + AHEAD_MAX)", "after + 1), now + FOREVER)"),
    (
        "min(known_granted - granted, CLAIM_MAX - outstanding)",
        "known_granted - granted",
    ),
    // What was not written here.
    ("or byte(plain) ~= FORM then", "then"),
    ("own or #call('HGETALL', key) > 0", "false"),
    ("      return false, foreign\n", "      return false\n"),
    ("run_id ~= ARGV[4]", "false"),
    ("ended) .. ARGV[4]", "ended) .. string.rep('0', 40)"),
    // Limits with an advance.
    ("grantable * weight, floor", "capacity * weight, floor"),
    ("local allowed = grantable", "local allowed = capacity"),
    ("local share = grantable", "local share = capacity"),
    ("floor(grantable / demand)", "floor(capacity / demand)"),
    ("    wait = wait_for(1)\n  elseif", "  elseif"),
    ("  if full_in > 0 then", "  if true then"),
    ("    forget = forget + advance_time\n", ""),
    (
        "ceil(advance * weight / drain)",
        "floor(advance * weight / drain)",
    ),
    ("* tick, FOREVER)", "* tick, 2 ^ 53)"),
    // What is advanced and ends.
    (
        "    if retired ~= all_retired then\n",
        "    if false then\n",
    ),
    ("      retired = 0\n", ""),
    ("  retired = all_retired\n  if", "  if"),
    ("    parts = all_retired\n", "    parts = 0\n"),
    (
        "    drain_to(last_ended)\n    local tokens",
        "    local tokens",
    ),
    (
        "floor(advance / PARTS) * parts + floor(advance % PARTS * parts / PARTS)",
        "floor(advance / PARTS) * parts",
    ),
    ("capacity, all_retired\n", "capacity, 0\n"),
    ("if advance > 0 and last_ended > 0 then", "if false then"),
    ("        at = last_ended\n", ""),
    (
        "      drain_to(last_ended)\n      charge(advance)",
        "      charge(advance)",
    ),
    ("      charge(advance)\n", ""),
    // The roster.
    (
        "retired_parts, ended, entries = 0, emptied, {}",
        "entries = entries or {}",
    ),
    (
        "retired_parts, ended, entries = 0, emptied, {}",
        "retired_parts, ended, entries = 0, 0, {}",
    ),
    ("earliest > 0 and earliest <= now)", "false)"),
    (
        "earliest > 0 and earliest <= now)",
        "earliest > 0 and earliest < now)",
    ),
    (
        "    if entry.expiry > now then",
        "    if entry.expiry >= now then",
    ),
    ("elseif entry.parts > 0 then", "else"),
    ("retired_parts + entry.parts, max", "retired_parts, max"),
    ("max(ended, entry.expiry)\n", "entry.expiry\n"),
    ("    ended = max(ended, now)\n", ""),
    ("    ended = max(ended, now)\n", "    ended = now\n"),
    (
        "  if kept < had then",
        "  if kept < had and leaves == 0 then",
    ),
    // A message that is late.
    ("own_entry and expiry ~= told", "false"),
    ("        others[#others + 1] = own_entry\n", ""),
    (
        "      if expiry == 0 then\n        least",
        "      if false then\n        least",
    ),
    ("min(had, works_by)", "had"),
    ("min(had, works_by)", "works_by"),
    ("      given = given + entry.parts\n", ""),
    ("and #others < ENTRIES_MAX", "and #others <= ENTRIES_MAX"),
    ("max(#others + 1, least)", "(#others + 1)"),
    ("least)), most)", "least)), PARTS)"),
    (
        "max(kept, min(due, PARTS - given))",
        "min(due, PARTS - given)",
    ),
    (
        "  expiry = max(expiry + 1, now",
        "  expiry = max(expiry, now",
    ),
    ("  expiry = max(expiry + 1, now", "  expiry = max(0, now"),
    ("min(lease, ENTRY_LEASE_MAX)", "lease"),
    ("  all_retired, last_ended = retired_parts, ended\n\n", ""),
    (
        "  earliest, latest = 0, 0\n",
        "  last_ended = ended\n  earliest, latest = 0, 0\n",
    ),
    ("  if packed ~= marker then", "  if not kept_marker then"),
    ("and ended <= now + max(quarantine, AHEAD_MAX)\n", "\n"),
    ("latest <= now + ENTRY_LEASE_MAX + AHEAD_MAX", "true"),
    ("ENTRY_LEASE_MAX + AHEAD_MAX", "ENTRY_LEASE_MAX"),
    ("entry.expiry < earliest then", "false then"),
    // One key taken for another, or read before it was written.
    ("if number ~= limit then", "if not limit then"),
    ("  own, ended_names = false, nil\n", "  ended_names = nil\n"),
    ("  own, ended_names = false, nil\n", "  own = false\n"),
    (
        "  outstanding, demand, next_expiry, replicas = 0, 0, 0, 0\n",
        "",
    ),
    ("cost == new_cost and limit", "limit"),
    ("== new_cost and limit == new_limit", "== new_cost"),
    ("    if reply and cost >= 0 then", "    if cost >= 0 then"),
    ("    if reply and cost >= 0 then", "    if reply then"),
    ("  if answered[key] then", "  if false then"),
    // A string over a hash, a hash over a string, and what becomes of the expiry.
    ("value, 'NX', 'PXAT'", "value, 'PXAT'"),
    ("reply or exchange(key, true)", "reply or exchange(key)"),
    ("if record or in_hash then", "if record then"),
    ("    call('DEL', key)\n", ""),
    ("plain, foreign = read('GET', key)", "foreign = nil"),
    ("if lengthen or plain then", "if lengthen then"),
    ("value, 'KEEPTTL'", "value"),
    ("  if plain and not lengthen then", "  if plain then"),
];

#[test]
fn a_bucket_is_forgotten_when_its_lifetime_is_over_and_the_marker_never() {
    for binary in LocalServer::find_or_skip() {
        let (mut connection, server) = connect(binary);
        let names = Names::new("test");
        let mut call = Call::new(names.marker(0), ZERO, Micros(0), run_id(0)).unwrap();
        let mut slots = Vec::new();
        for (number, text) in LIMITS.iter().enumerate() {
            let limit: Limit = text.parse().unwrap();
            let subject = number.to_le_bytes();
            let request = match number % 2 {
                0 => Request::Spend { cost: 1 },
                _ => lease(1, 1, Micros(5_000_000)),
            };
            call.push(names.bucket(0, "api", &subject), &limit, &request)
                .unwrap();
            slots.push((limit, request));
        }
        let answer = eval(&mut connection, EXCHANGE, &call);
        let mut compared = 0;
        for (key, (limit, request)) in call.keys()[1..].iter().zip(slots) {
            let mut kept = Kept::open(answer.birth.into(), &limit, answer.now);
            kept.exchange(&request, &limit, answer.birth.into(), answer.now);
            let forgotten_ms = Stored::from(kept).forgotten_ms();
            match run::<i64>(&mut connection, "PEXPIRETIME", &[key]) {
                // Some are kept for a twentieth of a second, and a busy machine may have taken
                // longer to get here.
                GONE => assert!(
                    server_ms(&mut connection) >= forgotten_ms,
                    "forgotten early"
                ),
                expiry_ms => {
                    assert_eq!(u64::try_from(expiry_ms), Ok(forgotten_ms));
                    compared += 1;
                }
            }
        }
        assert!(compared >= KEPT_LONG, "only {compared} were still there");
        assert_eq!(
            run::<i64>(&mut connection, "PTTL", &[&call.keys()[0]]),
            -1,
            "no expiry"
        );
        drop(server);
    }
}

/// The answer to `PEXPIRETIME` for a key that is not there.
const GONE: i64 = -2;

/// So many of the buckets are kept for longer than any machine stalls: those on lease, and those
/// that drain slowly.
const KEPT_LONG: u32 = 8;

/// The server's clock.
fn server_ms(connection: &mut Connection) -> u64 {
    let (seconds, micros): (u64, u64) = run(connection, "TIME", &[""; 0]);
    seconds * 1000 + micros / 1000
}

#[test]
fn a_subject_may_be_any_bytes() {
    let subjects: [&[u8]; 6] = [
        b"",
        b"\0",
        b"}{",
        b"\xff\xfe{x}\r\n",
        "\u{1f511}".as_bytes(),
        &[0xf0; 500],
    ];
    for binary in LocalServer::find_or_skip() {
        let (mut connection, server) = connect(binary);
        let names = Names::new("any}");
        let limit: Limit = "1/day burst 7".parse().unwrap();
        for round in 1..=2 {
            let mut call = Call::new(names.marker(0), ZERO, Micros(0), run_id(0)).unwrap();
            for (cost, subject) in (1..).zip(subjects) {
                let key = names.bucket(0, "a:b", subject);
                call.push(key, &limit, &Request::Spend { cost }).unwrap();
            }
            let replies = eval(&mut connection, EXCHANGE, &call).replies;
            for (cost, reply) in (1..).zip(replies) {
                let fits = cost * round <= limit.burst();
                let expected = if fits { Status::Spent } else { Status::Denied };
                assert_eq!(
                    reply.status, expected,
                    "each subject has a bucket of its own"
                );
            }
        }
        let keys: Vec<Vec<u8>> = run(&mut connection, "KEYS", &[b"*"]);
        assert_eq!(keys.len(), subjects.len() + 1);
        drop(server);
    }
}

/// Lua passes no more than some thousands of arguments, and nobody bounds a batch.
#[test]
fn a_call_may_have_more_keys_than_can_be_read_at_once() {
    const KEYS: u64 = 2 * 8000 + 1;
    for binary in LocalServer::find_or_skip() {
        let (mut connection, server) = connect(binary);
        let names = Names::new("test");
        let limits = ["1/day burst 1", "1/day burst 2"].map(|limit| limit.parse().unwrap());
        for round in 0..3 {
            let mut call = Call::new(names.marker(0), ZERO, Micros(0), run_id(0)).unwrap();
            for number in 0..KEYS {
                let limit = &limits[usize::from(number == KEYS - 1)];
                let key = names.bucket(0, "api", &number.to_le_bytes());
                call.push(key, limit, &Request::Spend { cost: 1 }).unwrap();
            }
            let replies = eval(&mut connection, EXCHANGE, &call).replies;
            let spent = |reply: &&Reply| reply.status == Status::Spent;
            let found = replies.iter().filter(spent).count() as u64;
            assert_eq!(found, [KEYS, 1, 0][round]);
            assert_eq!(
                replies.last().map(|reply| reply.status == Status::Spent),
                Some(round < 2)
            );
        }
        drop(server);
    }
}

/// One key's trouble is one key's: the others of the batch are answered as ever.
#[test]
fn what_the_script_did_not_write_it_neither_takes_for_a_bucket_nor_overwrites() {
    let record = [b"r".repeat(16), [1; 35].to_vec()];
    let foreign: [(&str, &[&[u8]]); 22] = [
        ("SET", &[b""]),
        ("SET", &[b"12"]),
        ("SET", &[&[3; 39]]),
        ("SET", &[&[3; 41]]),
        ("SET", &[&[2; 36]]),
        ("SET", &[&[2; 40]]),
        ("SET", &[&[4; 40]]),
        ("SET", &[&numbered(PLAIN, |_| 0)]),
        (
            "SET",
            &[&numbered(
                PLAIN,
                |place| if place == 0 { 1 << 53 } else { 1 },
            )],
        ),
        (
            "SET",
            &[&numbered(
                PLAIN,
                |place| if place == 1 { 1 << 53 } else { 1 },
            )],
        ),
        ("RPUSH", &[b"a"]),
        ("ZADD", &[b"1", b"a"]),
        ("SADD", &[b"a"]),
        ("XADD", &[b"*", b"a", b"b"]),
        ("HSET", &[b"a", b"b"]),
        ("HSET", &[b"h", b"b"]),
        ("HSET", &[b"h", &[1; 64]]),
        ("HSET", &[b"h", &[2; 64]]),
        ("HSET", &[b"h", &[255; 64]]),
        ("HSET", &[b"h", &numbered(HEADER, |_| 0)]),
        (
            "HSET",
            &[
                b"h",
                &numbered(HEADER, |place| if place == 2 { 1 << 53 } else { 1 }),
            ],
        ),
        ("HSET", &[&record[0], &record[1]]),
    ];
    for binary in LocalServer::find_or_skip() {
        let (mut connection, server) = connect(binary);
        let names = Names::new("test");
        let limit: Limit = "10/s burst 1000".parse().unwrap();
        let requests = [
            Request::Spend { cost: 1 },
            Request::Charge { tokens: 1 },
            Request::Forgive,
            lease(1, 1, Micros(5_000_000)),
            asserted(lease(1, 1, Micros(5_000_000))),
        ];
        for (number, (command, value)) in foreign.into_iter().enumerate() {
            let key = names.bucket(0, "api", &number.to_le_bytes());
            let words: Vec<&[u8]> = [key.as_slice()]
                .into_iter()
                .chain(value.iter().copied())
                .collect();
            run::<redis::Value>(&mut connection, command, &words);
            let before: Vec<u8> = run(&mut connection, "DUMP", &[&key]);
            for request in requests {
                let mut call = Call::new(names.marker(0), ZERO, Micros(0), run_id(0)).unwrap();
                let one = Request::Spend { cost: 1 };
                let others = [b"before", b"behind"].map(|other| names.bucket(0, "api", other));
                call.push(others[0].clone(), &limit, &one).unwrap();
                call.push(key.clone(), &limit, &request).unwrap();
                call.push(others[1].clone(), &limit, &one).unwrap();
                let replies = eval(&mut connection, EXCHANGE, &call).replies;
                let statuses: Vec<Status> = replies.iter().map(|reply| reply.status).collect();
                assert_eq!(
                    statuses,
                    [Status::Spent, Status::Unreadable, Status::Spent],
                    "{command} {value:?}, {request:?}"
                );
            }
            assert_eq!(run::<Vec<u8>>(&mut connection, "DUMP", &[&key]), before);
        }
        drop(server);
    }
}

/// A record of a lease that is over is read when it is charged, and so may be another's.
#[test]
fn a_record_that_cannot_be_makes_its_bucket_unreadable_and_stays() {
    for binary in LocalServer::find_or_skip() {
        let (mut connection, server) = connect(binary);
        let names = Names::new("test");
        let limit: Limit = "10/s burst 1000".parse().unwrap();
        let key = names.bucket(0, "api", b"k");
        let mut spend = Call::new(names.marker(0), ZERO, Micros(0), run_id(0)).unwrap();
        spend
            .push(key.clone(), &limit, &Request::Spend { cost: 1 })
            .unwrap();
        let sums = |outstanding, demand, replicas| {
            let numbers = [0, 1, outstanding, demand, 1, 100_000, replicas, 1, 1000, 0];
            numbered(HEADER, |place| numbers[place])
        };
        let record = |numbers: [u64; 5]| numbered(&[7; 5], |place| numbers[place])[1..].to_vec();
        let good = (sums(5, 7, 1), b"r".repeat(16), record([5, 0, 0, 1, 7]));
        let broken = [
            (good.0.clone(), b"r".repeat(15), good.2.clone()),
            (good.0.clone(), good.1.clone(), good.2[1..].to_vec()),
            (good.0.clone(), good.1.clone(), record([5, 6, 0, 1, 7])),
            (
                good.0.clone(),
                good.1.clone(),
                record([1 << 53, 0, 0, 1, 7]),
            ),
            (sums(4, 7, 1), good.1.clone(), good.2.clone()),
            (sums(5, 6, 1), good.1.clone(), good.2.clone()),
        ];
        for (number, (header, id, record)) in [good].into_iter().chain(broken).enumerate() {
            run::<u64>(&mut connection, "DEL", &[&key]);
            let words = [key.as_slice(), b"h", &header, &id, &record];
            run::<u64>(&mut connection, "HSET", &words);
            let before: Vec<u8> = run(&mut connection, "DUMP", &[&key]);
            let status = eval(&mut connection, EXCHANGE, &spend).replies[0].status;
            let after: Vec<u8> = run(&mut connection, "DUMP", &[&key]);
            if number == 0 {
                assert_eq!(status, Status::Spent, "or the others prove nothing");
            } else {
                assert_eq!(status, Status::Unreadable, "{number}");
                assert_eq!(after, before);
            }
        }
        drop(server);
    }
}

/// Buckets of every limit live in one store, and one reply of it that said so disabled all.
#[test]
fn a_marker_that_cannot_be_is_replaced_and_the_store_goes_on() {
    let far = 4_503_599_627_370_495.0;
    let birth = |since, emptied| marker([since, emptied, 0.0, 0.0, 0.0, emptied], &[]);
    let markers = [
        ("SET", b"".to_vec()),
        ("SET", b"garbage".to_vec()),
        ("RPUSH", b"a".to_vec()),
        ("SET", birth(far, 0.0)),
        ("SET", birth(far * 4.0, 0.0)),
        ("SET", birth(f64::NAN, 0.0)),
        ("SET", birth(-1.0, 0.0)),
        ("SET", birth(1.5, 0.0)),
        ("SET", birth(1e15, far)),
        ("SET", birth(1e15, f64::INFINITY)),
        ("SET", birth(1e15, f64::NAN)),
        ("SET", birth(1e15, -1.0)),
        ("SET", birth(1e15, 0.5)),
    ];
    for binary in LocalServer::find_or_skip() {
        let (mut connection, server) = connect(binary);
        let names = Names::new("test");
        let limit: Limit = "1000/s burst 1000".parse().unwrap();
        for (command, value) in &markers {
            for known in [0, 5, (1 << 52) - 1].map(StoreTime::from_micros) {
                run::<()>(&mut connection, "FLUSHALL", &[b"SYNC"]);
                let words = [names.marker(0), value.clone()];
                run::<redis::Value>(&mut connection, command, &words);
                let mut births = Vec::new();
                for _ in 0..3 {
                    let quarantine = Micros(20_000);
                    let mut call =
                        Call::new(names.marker(0), known, quarantine, run_id(0)).unwrap();
                    let key = names.bucket(0, "api", b"k");
                    call.push(key, &limit, &Request::Spend { cost: 1 }).unwrap();
                    let answer = eval(&mut connection, EXCHANGE, &call);
                    let ahead = answer.now + Micros(60_000_000);
                    let birth = answer.birth;
                    assert!(birth.since <= ahead && birth.emptied <= ahead, "{birth:?}");
                    assert!(birth.emptied > ZERO, "nobody knows what was lost");
                    assert_eq!(birth.to_remember(answer.now), Some(birth.since));
                    births.push(birth);
                    #[expect(clippy::disallowed_methods, reason = "leases end, and tokens come")]
                    std::thread::sleep(std::time::Duration::from_millis(30));
                    if births.len() == 3 {
                        assert_eq!(answer.replies[0].status, Status::Spent, "{known:?}");
                    }
                }
                assert!(births.iter().all(|birth| *birth == births[0]), "{births:?}");
            }
        }
        drop(server);
    }
}

/// A roster with an entry of which nobody has ever heard would keep its parts from everybody.
#[test]
fn a_roster_that_cannot_be_makes_its_marker_one_that_cannot_be() {
    let day = 86_400_000_000.0;
    for binary in LocalServer::find_or_skip() {
        let (mut connection, server) = connect(binary);
        let names = Names::new("test");
        let (seconds, _): (u64, u64) = run(&mut connection, "TIME", &[""; 0]);
        let now = f64::from(u32::try_from(seconds).unwrap()) * 1e6;
        let (soon, late) = (now + 9e6, now + 30e6);
        let two: [Entry; 2] = [(1, soon, 2000.0), (2, late, 3040.0)];
        let times = |earliest, latest| [1e15, 0.0, earliest, latest, 0.0, 0.0];
        let good = times(soon, late);
        let retired = |parts| [1e15, 0.0, soon, late, parts, 0.0];
        let ended = |ended| [1e15, 0.0, soon, late, 0.0, ended];
        let alone = |expiry, parts| marker(times(soon, late), &[(1, expiry, parts), two[1]]);
        let many: Vec<Entry> = (0..65).map(|replica| (replica, soon, 1.0)).collect();
        // Which can be, which are found only when the roster is told something, and which at once.
        let possible = [
            marker(good, &two),
            marker(times(0.0, 0.0), &[]),
            marker(times(soon, soon), &many[..64]),
            marker(retired(2_147_483_647.0), &two),
            marker(ended(now), &two),
        ];
        let found_when_read = [
            alone(soon, 2001.0),
            alone(soon, -1.0),
            alone(soon, 0.5),
            alone(soon, f64::NAN),
            alone(soon, f64::INFINITY),
            alone(soon - 1.0, 1.0),
            alone(soon + 0.5, 1.0),
            alone(late + 1.0, 1.0),
            alone(f64::NAN, 1.0),
            alone(f64::INFINITY, 1.0),
        ];
        let found = [
            marker(good, &two)[1..].to_vec(),
            [marker(good, &two), b"1".to_vec()].concat(),
            marker(times(soon, soon), &many),
            marker(good, &[]),
            marker(times(0.0, 0.0), &two),
            marker(times(-1.0, late), &two),
            marker(times(soon + 0.5, late), &two),
            marker(times(f64::NAN, late), &two),
            marker(times(late, soon), &two),
            marker(times(soon, f64::NAN), &two),
            marker(times(soon, now + day + 90e6), &two),
            marker(retired(2_147_483_648.0), &two),
            marker(retired(-1.0), &two),
            marker(retired(0.5), &two),
            marker(retired(f64::NAN), &two),
            marker(ended(now + 90e6), &two),
            marker(ended(-1.0), &two),
            marker(ended(f64::NAN), &two),
            // It ended before all counted as spent.
            marker([1e15, 1e15, soon, late, 0.0, 1e15 - 1.0], &two),
        ];
        let enroll = Enroll {
            replica: 7,
            lease: Micros(5_000_000),
            parts: 0,
            most: PARTS,
            leaves: false,
            known: StoreTime::ZERO,
        };
        let mut is_lost = |value: &[u8], tells: bool| {
            run::<()>(&mut connection, "SET", &[&names.marker(0), value]);
            let known = StoreTime::from_micros(1_000_000_000_000_000);
            let mut call = Call::new(names.marker(0), known, Micros(20_000), run_id(0)).unwrap();
            if tells {
                call.enroll(&enroll);
            }
            let answer = eval(&mut connection, EXCHANGE, &call);
            let is_lost = answer.birth.since > known;
            let seat = answer
                .seat
                .map(|seat| (seat.parts, seat.ended, seat.expiry));
            let anew = (PARTS / 10, answer.birth.emptied, answer.now + enroll.lease);
            assert!(!(is_lost && tells) || seat == Some(anew), "{answer:?}");
            let kept: Vec<u8> = run(&mut connection, "GET", &[&names.marker(0)]);
            assert_eq!(kept != value, is_lost || tells);
            is_lost
        };
        let lost = |markers: &[Vec<u8>], is_lost: &mut dyn FnMut(&[u8]) -> bool| {
            markers.iter().map(|it| is_lost(it)).collect::<Vec<_>>()
        };
        for tells in [false, true] {
            let mut is_lost = |value: &[u8]| is_lost(value, tells);
            assert_eq!(lost(&possible, &mut is_lost), [false; 5]);
            assert_eq!(lost(&found_when_read, &mut is_lost), [tells; 10]);
            assert_eq!(lost(&found, &mut is_lost), [true; 19]);
        }
        drop(server);
    }
}

/// A replica, the expiry of its entry, and its parts.
type Entry = (u64, f64, f64);

/// A marker of the first server: since, emptied, earliest, latest, retired parts, ended; and the
/// entries.
fn marker(numbers: [f64; 6], entries: &[Entry]) -> Vec<u8> {
    let mut marker = numbers.map(f64::to_le_bytes).concat();
    marker.extend([b'0'; 40]);
    for (replica, expiry, parts) in entries {
        marker.extend(replica.to_le_bytes());
        marker.extend([*expiry, *parts].map(f64::to_le_bytes).concat());
    }
    marker
}

/// The form, and numbers of so many bytes, each by its place.
fn numbered(sizes: &[usize], number: impl Fn(usize) -> u64) -> Vec<u8> {
    let numbers = sizes.iter().enumerate();
    let numbers = numbers.flat_map(|(place, size)| number(place).to_le_bytes()[..*size].to_vec());
    [3].into_iter().chain(numbers).collect()
}

/// Bytes of each number of a bucket that is a string: level to retired.
const PLAIN: &[usize] = &[7, 7, 7, 7, 7, 4];

/// Bytes of each number of the header of a bucket that is a hash: level to retired.
const HEADER: &[usize] = &[7, 7, 7, 7, 7, 7, 3, 7, 7, 4];

/// The request of a replica that knows of a grant which the store may have forgotten.
fn asserted(request: Request) -> Request {
    match request {
        Request::Lease(lease) => Request::Lease(LeaseRequest {
            granted: 5,
            expiry: StoreTime::from_micros((1 << 52) - 1),
            ..lease
        }),
        other => other,
    }
}

fn lease(replica: u64, wanted: u64, lease: Micros) -> Request {
    Request::Lease(LeaseRequest {
        record: RecordId {
            replica,
            generation: 1,
        },
        granted: 0,
        spent: 0,
        released: 0,
        wanted,
        needed: 0,
        lease,
        expiry: ZERO,
        demand: Demand::ONE,
    })
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is no number")),
    )
}

const ZERO: StoreTime = StoreTime::ZERO;
/// Schedules in a run.
const SCHEDULES: u64 = 10_000;
/// Schedules in which a planted bug must show.
const SCHEDULES_PLANTED: u64 = 2000;
