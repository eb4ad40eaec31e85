//! The arithmetic of limits against rational numbers in wide integers.

use std::collections::BTreeMap;

use leasehold_core::{
    Birth, Demand, LeaseRequest, Ledger, Limit, Meter, Micros, Rate, Record, RecordId, Request,
    Status, StoreTime, Wait,
};

use crate::random::{Random, for_seeds};

#[test]
fn a_limit_is_its_rate_exactly() {
    for_seeds(CASES, |random| {
        let limit = any_limit(random);
        let (scale, rate) = (limit.scale(), limit.rate());
        // drain per tick / weight per token = tokens / period, as fractions.
        let drain_period = u128::from(scale.drain) * u128::from(rate.period.0);
        let tokens_weight = u128::from(rate.tokens) * u128::from(scale.weight);
        assert_eq!(
            drain_period,
            tokens_weight * u128::from(scale.tick),
            "{limit}"
        );
        let doubled = 2 * u128::from(limit.burst()) + u128::from(limit.overshoot());
        assert!(doubled * u128::from(scale.weight) < 1 << 52, "{limit}");
    });
}

#[test]
fn a_limit_is_read_as_it_is_written() {
    for_seeds(CASES, |random| {
        let limit = any_limit(random);
        assert_eq!(limit.to_string().parse(), Ok(limit));
    });
}

#[test]
fn a_level_drains_by_rate_times_time_and_nothing_is_ever_rounded() {
    for_seeds(CASES, |random| {
        let limit = any_limit(random);
        let bucket = any_bucket(&limit, random);
        let to = any_time(random);
        let drained = drained(bucket, to, &limit);
        assert_eq!(drained.at(), to.max(bucket.at()));
        assert_eq!(
            i128::from(drained.level()),
            level_at(bucket, to, &limit),
            "{limit}"
        );
    });
}

#[test]
fn draining_twice_is_draining_once() {
    for_seeds(CASES, |random| {
        let limit = any_limit(random);
        let bucket = any_bucket(&limit, random);
        let last = any_time(random).max(bucket.at());
        let between =
            StoreTime::from_micros(random.within(bucket.at().as_micros()..=last.as_micros()));
        let once = drained(bucket, last, &limit);
        let twice = drained(drained(bucket, between, &limit), last, &limit);
        assert_eq!(once, twice, "{limit}");
    });
}

#[test]
fn the_time_to_drain_is_the_first_at_which_it_has_drained() {
    for_seeds(CASES, |random| {
        let limit = any_limit(random);
        let bucket = any_bucket(&limit, random);
        let cost = random.within(1..=limit.capacity());
        let now = any_time(random);
        let mut slot = Some(ledger_of(bucket, &limit));
        let reply = Ledger::exchange(&mut slot, &Request::Spend { cost }, &limit, BORN_FULL, now);
        let Wait::For(wait) = reply.wait else {
            assert_eq!(reply.status, Status::Spent, "{limit}");
            return;
        };
        let left = i128::from(limit.scale().level(limit.capacity() - cost));
        // Some bursts take longer than any wait that is told.
        let told_early = wait == WAIT_LONGEST;
        let level_after = |wait| level_at(bucket, now + Micros(wait), &limit);
        assert!(told_early || level_after(wait.0) <= left, "{limit}");
        assert!(wait.0 == 0 || level_after(wait.0 - 1) > left, "{limit}");
    });
}

#[test]
fn a_prefetch_is_bounded_by_the_capacity_times_own_demand_over_all_demand() {
    for_seeds(CASES, |random| {
        let limit = any_limit(random);
        let now = any_time(random);
        let [own, others] = [(); 2].map(|()| Demand(any_demand(random)));
        let request = LeaseRequest {
            record: record_id(1),
            granted: 0,
            spent: 0,
            released: 0,
            wanted: u64::MAX,
            needed: 0,
            lease: Micros(1_000_000),
            expiry: StoreTime::ZERO,
            demand: own,
        };
        let mut slot = Some(ledger_with_demand(others, &limit, now));
        let request = Request::Lease(request);
        let reply = Ledger::exchange(&mut slot, &request, &limit, BORN_FULL, now);
        let all = u128::from(own.0) + u128::from(others.0);
        let share = match all {
            0 => u128::from(limit.capacity()),
            all => u128::from(limit.capacity()) * u128::from(own.0) / all,
        };
        assert_eq!(u128::from(reply.granted), share, "{limit}");
    });
}

/// A ledger with one lease, of which nothing is known but its demand.
fn ledger_with_demand(demand: Demand, limit: &Limit, now: StoreTime) -> Ledger {
    let record = Record {
        granted: 0,
        spent: 0,
        released: 0,
        expiry: now + Micros(1_000_000),
        demand,
    };
    let meter = Meter::from_stored(0, now, limit.scale().weight);
    Ledger {
        demand: demand.0.into(),
        next_expiry: record.expiry,
        records: [(record_id(2), record)].into(),
        ..ledger_of(meter, limit)
    }
}

/// A ledger without a lease.
fn ledger_of(meter: Meter, limit: &Limit) -> Ledger {
    Ledger {
        meter,
        outstanding: 0,
        demand: 0,
        next_expiry: StoreTime::ZERO,
        ceiling: limit.capacity(),
        retired: 0,
        records: BTreeMap::new(),
    }
}

/// The meter after a look at `to`.
fn drained(meter: Meter, to: StoreTime, limit: &Limit) -> Meter {
    let mut slot = Some(ledger_of(meter, limit));
    Ledger::exchange(&mut slot, &Request::Spend { cost: 0 }, limit, BORN_FULL, to);
    slot.expect("an exchange leaves a ledger").meter
}

/// The level at `to`, from the rate itself: the level over the weight is in tokens, and the clock
/// is read in steps of the resolution.
fn level_at(bucket: Meter, to: StoreTime, limit: &Limit) -> i128 {
    let step = i128::try_from(limit.resolution().as_micros()).expect("at most a second");
    let steps = |time: StoreTime| i128::from(time.as_micros()) / step;
    let micros = ((steps(to) - steps(bucket.at())) * step).max(0);
    let weight = i128::from(limit.scale().weight);
    let drained = micros * i128::from(limit.rate().tokens) * weight;
    let period = i128::from(limit.rate().period.0);
    assert_eq!(drained % period, 0, "a step drains whole level units");
    (i128::from(bucket.level()) - drained / period).max(0)
}

/// Any rate there is use for, and bursts up to the largest that can be kept exact.
fn any_limit(random: &mut Random) -> Limit {
    loop {
        let rate = Rate {
            tokens: random.of_any_size(1..=1_000_000_000),
            period: Micros(any_period(random)),
        };
        let overshoot = random.one_of(&[0, 0, 1, 1000]);
        let largest = random.of_any_size(1..=1 << 52);
        let bursts = std::iter::successors(Some(largest), |burst| Some(burst / 2));
        let mut limits = bursts
            .take_while(|&burst| burst > 0)
            .filter_map(|burst| Limit::new(rate, burst, overshoot).ok());
        if let Some(limit) = limits.next() {
            return limit;
        }
    }
}

fn any_period(random: &mut Random) -> u64 {
    let (unit, most) = random.one_of(&[
        (1, YEAR),
        (1_000, YEAR / 1_000),
        (1_000_000, YEAR / 1_000_000),
        (DAY, 365),
    ]);
    random.of_any_size(1..=most) * unit
}

fn any_bucket(limit: &Limit, random: &mut Random) -> Meter {
    let level = random.of_any_size(1..=limit.capacity_level());
    Meter::from_stored(level, any_time(random), limit.scale().weight)
}

/// Up to the year 2041, as often in this decade as in the store's first seconds.
fn any_time(random: &mut Random) -> StoreTime {
    let base = random.one_of(&[0, 1_800_000_000_000_000]);
    StoreTime::from_micros(base + random.of_any_size(1..=1 << 48))
}

fn any_demand(random: &mut Random) -> u16 {
    let demand = random.of_any_size(1..=1 << 16) - 1;
    u16::try_from(demand).expect("it is below 2^16")
}

fn record_id(replica: u64) -> RecordId {
    RecordId {
        replica,
        generation: 1,
    }
}

const BORN_FULL: Birth = Birth {
    since: StoreTime::from_micros(1),
    emptied: StoreTime::ZERO,
};
const WAIT_LONGEST: Micros = Micros(1 << 52);
const DAY: u64 = 86_400_000_000;
const YEAR: u64 = 365 * DAY;
const CASES: u64 = 20_000;
