//! Whether tokens are conserved, from the log of a run alone: the log is text, and nothing here
//! knows more of the limiter than what the log says.

use std::collections::BTreeMap;

use leasehold_sim::load::Traces;
use leasehold_sim::record::{Happening, Recorder};
use leasehold_sim::run::run_one;
use leasehold_sim::scenario::{LEASED, Points};
use serde_json::Value;

/// Small and large buckets, so that some are leased and some are asked about one by one, costs, a
/// network that loses, doubles and reorders messages, and replicas that are killed.
const TROUBLED: &str = r#"
schema = 1
title = "conservation"
duration = "12s"
[[limit]]
limit = "200/s burst 100 overshoot 20"
[[load]]
offered = "900/s"
keys = { count = 6, zipf = 1.2 }
[[load]]
offered = "60/s"
keys = { count = 6 }
cost = 3
[fleet]
replicas = 4
[network]
latency = { uniform = ["0.5ms", "6ms"] }
loss = "3%"
duplicates = "3%"
reorder = "3%"
[[fault]]
kind = "crash"
at = "4s"
replicas = [1]
restart-after = "1s"
[[fault]]
kind = "partition"
at = "7s"
for = "2s"
replicas = [2]
"#;

/// Two limits on one request, whose tokens are taken together.
const JOINT: &str = r#"
schema = 1
title = "conservation of two limits"
duration = "6s"
[[limit]]
name = "own"
limit = "100/s burst 50"
[[limit]]
name = "all"
limit = "300/s burst 100"
per = "all"
[[load]]
offered = "600/s"
keys = { count = 4 }
[fleet]
replicas = 3
[network]
loss = "2%"
duplicates = "2%"
"#;

/// The store is away, and replicas go on by their own parts of the limit.
const OUTAGE: &str = r#"
schema = 1
title = "conservation in an outage"
duration = "10s"
[[limit]]
limit = "200/s burst 100"
failure-policy = "local"
[[load]]
offered = "500/s"
keys = { count = 3 }
[fleet]
replicas = 3
[[fault]]
kind = "store-down"
at = "3s"
for = "3s"
then = "kept"
"#;

#[test]
fn tokens_are_conserved_by_the_log_alone() {
    let mut seen = Seen::default();
    for text in [TROUBLED, JOINT] {
        for seed in 1..=3 {
            seen.add(&Check::of(&log(text, seed), false));
        }
    }
    let Seen {
        by_lease,
        by_store,
        doubled,
        lost,
        ..
    } = seen;
    assert!(by_lease > 1000 && by_store > 100, "{seen:?}");
    assert!(doubled > 50 && lost > 50, "{seen:?}");
}

#[test]
fn what_a_failure_policy_admits_is_told_apart() {
    let mut seen = Seen::default();
    for seed in 1..=2 {
        seen.add(&Check::of(&log(OUTAGE, seed), true));
    }
    assert!(seen.by_policy > 100 && seen.charged > 100, "{seen:?}");
}

/// A check that holds whatever it reads is none. Each of these logs is of a limiter that errs.
#[test]
fn a_log_that_does_not_add_up_is_refused() {
    let log = log(TROUBLED, 1);
    // One token more than the store knows to be outstanding.
    let granted = edited(&log, |line| {
        let keys = line["keys"].as_array_mut()?;
        let leased = keys
            .iter_mut()
            .find(|key| key["status"] == "leased" && key["granted"].as_u64() > Some(5))?;
        leased["granted"] = (leased["granted"].as_u64()? + 1).into();
        Some(())
    });
    // Two requests that go by what the store spent once.
    let mut first = None;
    let spent = edited(&log, |line| {
        let is_store = line["cover"] == "store";
        match first.clone() {
            None if is_store => {
                first = Some(line["copy"].clone());
                None
            }
            Some(copy) if is_store && line["copy"] != copy => {
                line["copy"] = copy;
                Some(())
            }
            _ => None,
        }
    });
    // A denied request that its replica lets through after its leases have ended.
    let admitted = edited(&log, |line| {
        let is_last = line["at_ns"].as_u64() > Some(11_000_000_000);
        (line["event"] == "decision" && line["allowed"] == false && is_last).then(|| {
            line["demands"][0]["cost"] = 100_000.into();
            line["allowed"] = true.into();
            line["cover"] = "lease".into();
            line["taken_ns"] = line["at_ns"].clone();
        })
    });
    for (what, wrong) in [
        ("granted", granted),
        ("spent", spent),
        ("admitted", admitted),
    ] {
        let check = std::panic::catch_unwind(|| Check::of(&wrong, false));
        assert!(check.is_err(), "a wrong log has passed: {what}");
    }
}

/// The log with its first line changed on which `edit` has something to do.
fn edited(log: &str, mut edit: impl FnMut(&mut Value) -> Option<()>) -> String {
    let mut done = false;
    let lines = log.lines().map(|line| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        if !done && edit(&mut value).is_some() {
            done = true;
            return value.to_string();
        }
        line.to_owned()
    });
    let lines: Vec<String> = lines.collect();
    assert!(done, "there is a line to change");
    lines.join("\n")
}

/// The log of a run, one JSON object a line.
fn log(text: &str, seed: u64) -> String {
    struct Lines(String);

    impl Recorder for Lines {
        fn record(&mut self, happening: &Happening<'_>) {
            self.0 += &serde_json::to_string(happening).unwrap();
            self.0.push('\n');
        }
    }

    let points = Points::parse("test.toml", text, &[]).unwrap_or_else(|error| panic!("{error}"));
    let mut lines = Lines(String::new());
    let recorder: &mut dyn Recorder = &mut lines;
    let scenario = &points.points[0].scenario;
    run_one(scenario, LEASED, seed, &Traces::new(), true, Some(recorder)).unwrap();
    lines.0
}

/// Counts of what was put to the test.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    by_lease: u64,
    by_store: u64,
    by_policy: u64,
    charged: u64,
    doubled: u64,
    lost: u64,
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.by_lease += other.by_lease;
        self.by_store += other.by_store;
        self.by_policy += other.by_policy;
        self.charged += other.charged;
        self.doubled += other.doubled;
        self.lost += other.lost;
    }
}

/// A limit and a key.
type Key = (u64, u64);

/// A process and a key: the replica, and which of its lives.
type Holder = (u64, u64, Key);

/// Reads a log line by line, and panics where it does not add up.
#[derive(Default)]
struct Check {
    /// Whether replicas may grant tokens to themselves.
    by_policy: bool,
    messages: BTreeMap<u64, Value>,
    executed: BTreeMap<u64, Value>,
    ledgers: BTreeMap<Key, Ledger>,
    holders: BTreeMap<Holder, Holding>,
    /// Processes that have reported in this instant.
    reporters: Vec<Holder>,
    /// The number of spends of the store that callers were told of, by copy, key and cost.
    told: BTreeMap<(u64, Key, u64), usize>,
    /// The admissions, by key: when and how much.
    admitted: BTreeMap<Key, Vec<(u64, u64)>>,
    limits: Vec<Value>,
    seen: Seen,
}

/// A key at the store, by the log.
#[derive(Default)]
struct Ledger {
    leases: BTreeMap<String, Lease>,
    granted: u64,
    spent: u64,
    released: u64,
    /// Charged at the end of leases.
    charged: u64,
    /// Tokens charged and not yet drained, and when that was, if it is known.
    level: Option<(f64, u64)>,
}

#[derive(Clone, Copy, Default)]
struct Lease {
    granted: u64,
    spent: u64,
    released: u64,
    expiry_us: u64,
}

impl Lease {
    fn outstanding(&self) -> u64 {
        self.granted - self.spent - self.released
    }
}

/// A process's leases on a key, and what it has spent of them.
#[derive(Default)]
struct Holding {
    granted: BTreeMap<String, u64>,
    released: BTreeMap<String, u64>,
    taken: u64,
    /// The most that it has reported to have spent of one lease.
    reported: u64,
    /// When the last of its leases ends.
    until_ns: u64,
}

impl Check {
    fn of(log: &str, by_policy: bool) -> Seen {
        let mut check = Self {
            by_policy,
            ..Self::default()
        };
        let mut now_ns = 0;
        for line in log.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            if number(&line, "at_ns") != now_ns {
                assert!(number(&line, "at_ns") > now_ns, "time goes back: {line}");
                now_ns = number(&line, "at_ns");
                check.end_instant();
            }
            match text(&line, "event") {
                "sent" => check.sent(line),
                "executed" => check.executed(line),
                "heard" => check.heard(&line),
                "decision" => check.decided(&line),
                "doubled" => check.seen.doubled += 1,
                "lost" => check.seen.lost += 1,
                _ => {}
            }
        }
        if !by_policy {
            check.no_window_exceeds_its_limit();
        }
        check.seen
    }

    /// Reports never claim more than was spent: what is decided in the instant of a report may be
    /// told after it.
    fn end_instant(&mut self) {
        for reporter in self.reporters.drain(..) {
            let holder = &self.holders[&reporter];
            assert!(
                holder.reported <= holder.taken,
                "{reporter:?} reports too much"
            );
        }
    }

    /// Reports never claim that more was granted than was heard.
    fn sent(&mut self, line: Value) {
        let (replica, lived) = (number(&line, "replica"), number(&line, "life"));
        for asked in list(&line, "keys") {
            if text(asked, "kind") != "lease" {
                continue;
            }
            let holder = self.holders.entry((replica, lived, key(asked)));
            let holder = holder.or_default();
            let lease = text(asked, "lease");
            let granted = holder.granted.get(lease).copied().unwrap_or(0);
            assert!(number(asked, "granted") <= granted, "{asked}");
            holder.reported = holder.reported.max(number(asked, "spent"));
            let released = holder.released.entry(lease.to_owned()).or_default();
            *released = (*released).max(number(asked, "released"));
            assert!(
                holder.taken <= holder.covered(),
                "given back and spent: {asked}"
            );
            self.reporters.push((replica, lived, key(asked)));
        }
        self.limits.clone_from(list(&line, "limits"));
        self.messages.insert(number(&line, "call"), line);
    }

    fn executed(&mut self, line: Value) {
        let sent = &self.messages[&number(&line, "call")];
        let now_us = number(&line, "store_us");
        let (asked, answered) = (list(sent, "keys"), list(&line, "keys"));
        assert_eq!(asked.len(), answered.len());
        for (asked, answered) in asked.iter().zip(answered) {
            assert_eq!(key(asked), key(answered));
            let limit = &self.limits[usize::try_from(number(asked, "limit")).unwrap()];
            let ledger = self.ledgers.entry(key(asked)).or_default();
            ledger.exchange(asked, answered, limit, now_us, number(&line, "emptied_us"));
            if text(answered, "status") == "charged" {
                self.seen.charged += number(asked, "tokens");
            }
        }
        self.executed.insert(number(&line, "copy"), line);
    }

    fn heard(&mut self, line: &Value) {
        let sent = &self.messages[&number(line, "call")];
        let executed = &self.executed[&number(line, "copy")];
        assert_eq!(number(sent, "replica"), number(line, "replica"));
        let (replica, lived) = (number(sent, "replica"), number(sent, "life"));
        for (asked, answered) in list(sent, "keys").iter().zip(list(executed, "keys")) {
            if !["leased", "reasserted"].contains(&text(answered, "status")) {
                continue;
            }
            let holder = self.holders.entry((replica, lived, key(asked)));
            let holder = holder.or_default();
            let granted = holder.granted.entry(text(asked, "lease").to_owned());
            let granted = granted.or_default();
            *granted = (*granted).max(number(answered, "granted"));
            let left_us = number(answered, "expiry_us") - number(executed, "store_us");
            let until_ns = number(executed, "at_ns") + left_us * 1000;
            holder.until_ns = holder.until_ns.max(until_ns);
        }
    }

    fn decided(&mut self, line: &Value) {
        if line["allowed"] == false {
            assert!(
                line["taken_ns"].is_null() && line["cover"].is_null(),
                "{line}"
            );
            return;
        }
        let (replica, lived) = (number(line, "replica"), number(line, "life"));
        let taken_ns = number(line, "taken_ns");
        assert!(taken_ns <= number(line, "at_ns"), "{line}");
        for demand in list(line, "demands") {
            let (key, cost) = (key(demand), number(demand, "cost"));
            self.admitted.entry(key).or_default().push((taken_ns, cost));
            match text(line, "cover") {
                "lease" => {
                    let holder = self.holders.entry((replica, lived, key)).or_default();
                    holder.taken += cost;
                    assert!(holder.taken <= holder.covered(), "without cover: {line}");
                    assert!(taken_ns < holder.until_ns, "after the lease: {line}");
                    self.seen.by_lease += 1;
                }
                "store" => {
                    let copy = number(line, "copy");
                    let executed = &self.executed[&copy];
                    let sent = &self.messages[&number(executed, "call")];
                    assert_eq!(number(sent, "replica"), replica);
                    assert_eq!(number(sent, "life"), lived);
                    assert_eq!(number(executed, "at_ns"), taken_ns);
                    let both = list(sent, "keys").iter().zip(list(executed, "keys"));
                    let alike = both.filter(|(asked, answered)| {
                        text(answered, "status") == "spent"
                            && self::key(asked) == key
                            && number(asked, "cost") == cost
                    });
                    let told = self.told.entry((copy, key, cost)).or_default();
                    *told += 1;
                    assert!(*told <= alike.count(), "told more often than spent: {line}");
                    self.seen.by_store += 1;
                }
                _ => {
                    assert!(self.by_policy, "without the store's leave: {line}");
                    self.seen.by_policy += 1;
                }
            }
        }
    }

    /// Of what callers were told, whatever else the log says.
    fn no_window_exceeds_its_limit(&mut self) {
        for ((limit, _), admitted) in &mut self.admitted {
            let limit = &self.limits[usize::try_from(*limit).unwrap()];
            admitted.sort_unstable();
            let (mut level, mut at_ns) = (0.0, 0);
            for &(taken_ns, cost) in &*admitted {
                level = drained(level, taken_ns - at_ns, limit) + float(cost);
                at_ns = taken_ns;
                // The store's clock counts microseconds: it may be ahead of a token by one.
                let slack = drained(1.0, 0, limit) * 0.01;
                assert!(level <= capacity(limit) + slack, "{level} of {limit}");
            }
        }
    }
}

impl Ledger {
    fn exchange(
        &mut self,
        asked: &Value,
        answered: &Value,
        limit: &Value,
        now_us: u64,
        emptied_us: u64,
    ) {
        if self.level.is_some_and(|(_, at_us)| at_us < emptied_us) {
            // The store has started again: its buckets count as spent.
            self.level = None;
        }
        self.expire(limit, now_us);
        let before = self.drain(limit, now_us);
        let status = text(answered, "status");
        match text(asked, "kind") {
            "lease" => self.lease(asked, answered, limit),
            "spend" if status == "spent" => self.charge(number(asked, "cost"), limit),
            "spend" => assert_eq!(status, "denied"),
            _ => {
                // A charge stops at the capacity, and what is beyond it is forgiven.
                let most = before.map_or(f64::INFINITY, |level| {
                    level + float(number(asked, "tokens"))
                });
                assert!(float_of(answered, "level") <= most + EXACT);
                self.level = None;
            }
        }
        let outstanding: u64 = self.leases.values().map(Lease::outstanding).sum();
        assert_eq!(outstanding, number(answered, "outstanding"), "{answered}");
        let gone = self.spent + self.released + self.charged;
        assert_eq!(self.granted, gone + outstanding, "{asked}, {answered}");
        let level = float_of(answered, "level");
        if let Some((known, _)) = self.level {
            assert!(
                (known - level).abs() < EXACT,
                "{known} charged, not {level}: {answered}"
            );
        }
        // A bucket that counts as spent at some time drains from then on.
        self.level = Some((level, now_us.max(emptied_us)));
    }

    fn lease(&mut self, asked: &Value, answered: &Value, limit: &Value) {
        let name = text(asked, "lease");
        let status = text(answered, "status");
        if status == "over" {
            assert!(
                !self.leases.contains_key(name),
                "it had not ended: {answered}"
            );
            return;
        }
        let reasserted = status == "reasserted";
        if reasserted || number(asked, "granted") > self.leases.get(name).map_or(0, |it| it.granted)
        {
            // A late copy speaks of a lease that was given back since: the store takes its word.
            let lease = self.leases.entry(name.to_owned()).or_default();
            let learnt = number(asked, "granted") - lease.granted;
            lease.granted += learnt;
            self.granted += learnt;
            self.level = None;
        }
        let mut lease = self.leases.get(name).copied().unwrap_or_default();
        let spent = number(asked, "spent").max(lease.spent) - lease.spent;
        let released = number(asked, "released").max(lease.released) - lease.released;
        (lease.spent, lease.released) = (lease.spent + spent, lease.released + released);
        (self.spent, self.released) = (self.spent + spent, self.released + released);
        self.charge(spent, limit);
        if status == "left" {
            assert_eq!(lease.outstanding(), 0, "{answered}");
            self.leases.remove(name);
            return;
        }
        let granted = number(answered, "granted");
        assert!(granted >= lease.granted, "{answered}");
        let new = granted - lease.granted;
        (lease.granted, self.granted) = (granted, self.granted + new);
        lease.expiry_us = number(answered, "expiry_us");
        self.leases.insert(name.to_owned(), lease);
        let outstanding: u64 = self.leases.values().map(Lease::outstanding).sum();
        if let (Some((level, _)), true) = (self.level, new > 0) {
            let in_use = level + float(outstanding);
            assert!(
                in_use <= capacity(limit) + EXACT,
                "{in_use} in use: {answered}"
            );
        }
    }

    /// Leases that have ended are charged, each at its own end.
    fn expire(&mut self, limit: &Value, now_us: u64) {
        let is_over = |lease: &Lease| lease.expiry_us <= now_us;
        let mut ended: Vec<Lease> = self.leases.values().copied().filter(is_over).collect();
        self.leases.retain(|_, lease| !is_over(lease));
        ended.sort_by_key(|lease| lease.expiry_us);
        for lease in ended {
            self.drain(limit, lease.expiry_us);
            self.charge(lease.outstanding(), limit);
            self.charged += lease.outstanding();
        }
    }

    fn drain(&mut self, limit: &Value, now_us: u64) -> Option<f64> {
        let (level, at_us) = self.level?;
        // A lease that nobody has asked about for long may have ended before the last exchange.
        let elapsed_us = now_us.saturating_sub(at_us);
        let level = drained(level, elapsed_us * 1000, limit);
        self.level = Some((level, now_us.max(at_us)));
        Some(level)
    }

    fn charge(&mut self, tokens: u64, limit: &Value) {
        let most = capacity(limit);
        if let Some((level, _)) = &mut self.level {
            *level = level.max((*level + float(tokens)).min(most));
        }
    }
}

impl Holding {
    /// Tokens that it was granted, as far as it has heard, and has not given back.
    fn covered(&self) -> u64 {
        let released: u64 = self.released.values().sum();
        self.granted.values().sum::<u64>() - released
    }
}

fn drained(level: f64, elapsed_ns: u64, limit: &Value) -> f64 {
    let periods = float(elapsed_ns) / (float(number(limit, "period_us")) * 1000.0);
    (level - float(number(limit, "tokens")) * periods).max(0.0)
}

fn capacity(limit: &Value) -> f64 {
    float(number(limit, "burst") + number(limit, "overshoot"))
}

fn key(value: &Value) -> Key {
    (number(value, "limit"), number(value, "key"))
}

fn number(value: &Value, field: &str) -> u64 {
    value[field]
        .as_u64()
        .unwrap_or_else(|| panic!("`{field}` is no number in {value}"))
}

fn float_of(value: &Value, field: &str) -> f64 {
    value[field]
        .as_f64()
        .unwrap_or_else(|| panic!("`{field}` is no number in {value}"))
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field]
        .as_str()
        .unwrap_or_else(|| panic!("`{field}` is no text in {value}"))
}

fn list<'v>(value: &'v Value, field: &str) -> &'v Vec<Value> {
    value[field]
        .as_array()
        .unwrap_or_else(|| panic!("`{field}` is no list in {value}"))
}

#[expect(clippy::cast_precision_loss, reason = "counts of a test are small")]
fn float(count: u64) -> f64 {
    count as f64
}

/// Levels are calculated in floats here, and in whole units by the store.
const EXACT: f64 = 1e-4;
