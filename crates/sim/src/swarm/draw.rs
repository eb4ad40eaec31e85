//! Draws a world from a seed: how large it is, what is limited, who asks, and how all is set.
//!
//! What can be is switched on by chance before its values are drawn: worlds differ in which things
//! exist at all, not only in how much of each there is. A bug that one thing hides from another is
//! found in the worlds that lack the first.

use leasehold_core::{Limit, Micros, Rate};
use rand::RngExt;

use super::draft::{Asks, Draft, LoadDraft, Phases, Policy};
use super::troubles;
use crate::numbers;
use crate::numbers::{float, per_second};
use crate::stream::{Stream, stream};

/// The world of a seed.
pub(super) fn draw(seed: u64) -> Draft {
    let mut random = stream(seed, "swarm", 0);
    let random = &mut random;
    match random.random_range(0..100) {
        0..8 => gentle(seed, random),
        8..35 => world(seed, Kind::Plain, random),
        _ => world(seed, Kind::Wild, random),
    }
}

/// How much of everything there is.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    /// Few keys that are well worth leasing.
    Plain,
    /// Anything.
    Wild,
}

/// A world in which nothing goes wrong and nothing is short: demand rises and falls so smoothly
/// that whoever renews in time never lets anybody wait.
fn gentle(seed: u64, random: &mut Stream) -> Draft {
    let replicas = random.random_range(1..=3);
    let per_replica = log(random, 400.0, 1200.0);
    let offered = per_replica * f64::from(replicas);
    let rate = offered * log(random, 3.0, 8.0);
    let limit = limit(rate, rate * log(random, 2.0, 6.0), 0, random);
    let period_ms = random.random_range(2000..=4000);
    let phases = Phases {
        heal_ms: 500,
        busy_ms: 1000,
        lull_ms: 2000,
        calm_ms: 4000,
        end_ms: 4000 + 2 * period_ms,
    };
    let lines = vec![
        "arrivals = \"even\"".to_owned(),
        format!("diurnal = {{ period = \"{period_ms}ms\", low = \"10%\" }}"),
    ];
    Draft {
        seed,
        phases,
        replicas,
        fleet: Vec::new(),
        limits: vec![(limit, "\"key\"".to_owned())],
        policy: Policy::Closed,
        keys: 1,
        zipf: 0.0,
        cost: "1".to_owned(),
        mean_cost: 1.0,
        loads: vec![LoadDraft {
            from_ms: 0,
            until_ms: phases.end_ms,
            per_second: offered,
            lines,
        }],
        balance: Some("\"round-robin\"".to_owned()),
        latency: millis(log(random, 0.2, 2.0)),
        network: Vec::new(),
        store: Vec::new(),
        tuning: Vec::new(),
        faults: Vec::new(),
        asks: Asks {
            busy: 0.99,
            calm: 0.99,
            waits: Some(0.0005),
        },
    }
}

#[expect(
    clippy::too_many_lines,
    reason = "one thought: what is drawn last must fit all that was drawn before"
)]
fn world(seed: u64, kind: Kind, random: &mut Stream) -> Draft {
    let plain = kind == Kind::Plain;
    let rate = if plain {
        log(random, 20.0, 2000.0)
    } else {
        log(random, 0.1, 1e5)
    };
    let fill = match random.random_range(0..4) {
        _ if plain => log(random, 0.5, 4.0),
        0 => log(random, 0.02, 1.0),
        _ => log(random, 1.0, 10.0),
    };
    let overshoot = if random.random_bool(0.3) {
        whole(rate * fill * log(random, 0.01, 0.5))
    } else {
        0
    };
    let first = limit(rate, rate * fill, overshoot, random);
    let rate = per_second(first.rate());
    let fill = float(first.capacity()) / rate;
    let replicas = whole32(log(random, 1.0, if plain { 8.5 } else { 64.5 }));
    let mut keys = match random.random_bool(0.4) {
        _ if plain => random.random_range(1..=3),
        true => 1,
        false => whole32(log(random, 1.0, 1000.5)),
    };
    let zipf = if random.random_bool(0.5) {
        random.random_range(0.0..1.5)
    } else {
        0.0
    };
    let mut tuning = Vec::new();
    if !plain && random.random_bool(0.5) {
        tuning = tuned(random);
        tuning.extend(ask_gap(seed));
    }
    let network = network(plain, random);
    let slowest_ms = network.slowest_ms;

    // Costs rise before requests do: a world is to take as long as any other.
    let requests_max = log(random, 3000.0, 40_000.0);
    let cost_most = (float(first.burst()) / 8.0).max(1.0);
    let mut mean_cost = if random.random_bool(0.6) {
        1.0
    } else {
        log(random, 1.0, cost_most.clamp(1.0, 20.0))
    };
    let phases = phases(fill, rate / mean_cost, plain, random);
    let overload = random.random_range(2.0..4.0);
    let chaos_load = log(random, 0.3, 5.0);
    let lull_load = random.random_range(0.3..0.6);
    let seconds = |from: u64, until: u64| float(until - from) / 1000.0;
    let weight = chaos_load * seconds(0, phases.heal_ms)
        + overload * seconds(phases.heal_ms, phases.lull_ms)
        + lull_load * seconds(phases.lull_ms, phases.end_ms);
    let mut hot = f64::from(keys) / top(keys, zipf);
    let tokens = |hot: f64| weight * rate * hot;
    mean_cost = mean_cost.max((tokens(hot) / requests_max).min(cost_most));
    if tokens(hot) / mean_cost > requests_max {
        let fits = requests_max * mean_cost / (weight * rate);
        keys = whole32(fits.min(f64::from(keys)));
        hot = f64::from(keys) / top(keys, zipf);
    }
    let crowded = (requests_max * mean_cost / tokens(hot)).min(1.0);
    let (cost, mean_cost) = cost(mean_cost, first.burst(), random);
    let per_second_of = |load: f64| load * crowded * rate * hot / mean_cost;

    let mut limits = vec![(first, "\"key\"".to_owned())];
    if !plain && random.random_bool(0.25) {
        more_limits(&mut limits, rate * hot, mean_cost, keys, random);
    }
    let mut chaos = chaos_lines(phases.heal_ms, random);
    chaos.retain(|_| !plain);
    let loads = vec![
        LoadDraft {
            from_ms: 0,
            until_ms: phases.heal_ms,
            per_second: per_second_of(chaos_load),
            lines: chaos,
        },
        LoadDraft {
            from_ms: phases.heal_ms,
            until_ms: phases.lull_ms,
            per_second: per_second_of(overload),
            lines: Vec::new(),
        },
        LoadDraft {
            from_ms: phases.lull_ms,
            until_ms: phases.end_ms,
            per_second: per_second_of(lull_load),
            lines: Vec::new(),
        },
    ];
    let mut draft = Draft {
        seed,
        phases,
        replicas,
        fleet: fleet(plain, keys, &network, phases.heal_ms, random),
        asks: Asks::default(),
        limits,
        policy: policy(seed),
        keys,
        zipf,
        cost,
        mean_cost,
        loads,
        balance: balance(random),
        latency: network.latency.clone(),
        network: network.lines,
        store: store(random),
        tuning,
        faults: Vec::new(),
    };
    if draft.policy == Policy::Local {
        draft.tuning.push(format!("max-replicas = {replicas}"));
    }
    troubles::draw(&mut draft, random);
    set_aside(&mut draft);
    wait_for_clock(&mut draft);
    draft.asks = asks(&draft, slowest_ms);
    draft
}

/// By a chance of its own, so that the other draws of a seed are what they were.
fn policy(seed: u64) -> Policy {
    match stream(seed, "swarm-policy", 0).random_range(0..20) {
        0..3 => Policy::Local,
        3 => Policy::Open,
        _ => Policy::Closed,
    }
}

/// Gives limits an advance, by a chance of its own. Where limits change none has one: replicas that
/// know of different advances share none.
fn set_aside(draft: &mut Draft) {
    let mut random = stream(draft.seed, "swarm advance", 0);
    let mut faults = draft.faults.iter();
    let changes = faults.any(|fault| fault.lines.iter().any(|line| line.starts_with("limit")));
    if changes || random.random_bool(0.5) {
        return;
    }
    for (limit, _) in &mut draft.limits {
        let tokens = float(limit.capacity()) * log(&mut random, 0.01, 0.3);
        if tokens >= 1.0 {
            let advanced = limit.with_advance(whole(tokens));
            *limit = advanced.expect("a part of the capacity");
        }
    }
}

/// Nothing drains at a store whose clock was set back until it has caught up: all that follows
/// comes later by as much.
fn wait_for_clock(draft: &mut Draft) {
    let back = draft.faults.iter().filter_map(|fault| {
        let step = fault.lines.first()?.strip_prefix("step = \"-")?;
        step.strip_suffix("us\"")?.parse::<u64>().ok()
    });
    let later_ms = back.sum::<u64>().div_ceil(250_000) * 250;
    let phases = &mut draft.phases;
    for at_ms in [
        &mut phases.busy_ms,
        &mut phases.lull_ms,
        &mut phases.calm_ms,
        &mut phases.end_ms,
    ] {
        *at_ms += later_ms;
    }
    let Phases {
        lull_ms, end_ms, ..
    } = *phases;
    draft.loads[1].until_ms = lull_ms;
    draft.loads[2].from_ms = lull_ms;
    draft.loads[2].until_ms = end_ms;
}

/// Fair demands on a world once it has healed.
///
/// A bucket that fills in the time of a few round trips is full before anybody can hear of it, and
/// one that holds a handful of requests for each replica is shared in pieces that fit few of them:
/// part of its rate is lost, whoever asks for it. Of several such limits each loses its part.
fn asks(draft: &Draft, slowest_ms: f64) -> Asks {
    let limits = || draft.limits.iter().map(|(limit, _)| limit);
    let requests = |limit: &Limit| float(limit.capacity()) / draft.mean_cost;
    let round_trips = |limit: &Limit| {
        let fill = limit.time_for(limit.capacity()).as_secs_f64();
        fill * 1e3 / (slowest_ms + 20.0)
    };
    let few = (f64::from(draft.replicas) * 16.0).max(24.0);
    let fits = |limit: &Limit| requests(limit) >= few && round_trips(limit) >= 10.0;
    let is_alone = draft.limits.len() == 1;
    let least = match (limits().all(fits), is_alone) {
        (true, true) => 0.9,
        (true, false) => 0.8,
        (false, true) if limits().all(|limit| round_trips(limit) >= 2.0) => 0.5,
        (false, _) => 0.05,
    };
    Asks {
        busy: least,
        calm: least,
        waits: None,
    }
}

/// The phases of a world, each long enough to say something: slow limits take their time.
/// `rate` is that of requests.
fn phases(fill: f64, rate: f64, plain: bool, random: &mut Stream) -> Phases {
    let grace = 3.0;
    let chaos = random.random_range(5.0..if plain { 12.0 } else { 25.0 });
    let heal = grace + chaos + (2.0 * fill).min(60.0);
    // Leases that were forgotten end, pauses of the breaker and of those who found nothing are
    // over, and the ideal bucket has used up what it had saved.
    let settle = 16.0 + fill.min(120.0);
    // A replica that was silent since before a store lost its memory may say so only now: the
    // store then grants nothing for a hold, and fills. That is to be the smaller part.
    let busy = (30.0 / rate).clamp(20.0, 300.0);
    let calm = 5.0 + fill.min(20.0);
    let millis = |seconds: f64| whole(seconds * 4.0) * 250;
    let heal_ms = millis(heal);
    let busy_ms = heal_ms + millis(settle);
    let lull_ms = busy_ms + millis(busy);
    let calm_ms = lull_ms + millis(calm);
    Phases {
        heal_ms,
        busy_ms,
        lull_ms,
        calm_ms,
        end_ms: calm_ms + millis(busy),
    }
}

/// A limit with odd numbers: fractions show what whole seconds hide.
fn limit(rate: f64, burst: f64, overshoot: u64, random: &mut Stream) -> Limit {
    let (tokens, period_us) = if rate < 10.0 {
        let tokens = random.random_range(1..=9);
        (tokens, whole(float(tokens) / rate * 1e3) * 1000)
    } else if random.random_bool(0.5) {
        (whole(rate), 1_000_000)
    } else {
        let period_ms = random.random_range(100..=3000);
        (whole(rate * float(period_ms) / 1e3), period_ms * 1000)
    };
    let rate = Rate {
        tokens,
        period: Micros(period_us),
    };
    Limit::new(rate, whole(burst), overshoot).expect("a limit of the swarm is far from too large")
}

fn more_limits(
    limits: &mut Vec<(Limit, String)>,
    rate: f64,
    mean_cost: f64,
    keys: u32,
    random: &mut Stream,
) {
    for _ in 0..random.random_range(1..=2) {
        let per = match random.random_range(0..3) {
            0 => "\"key\"".to_owned(),
            1 => format!("{{ group = {} }}", random.random_range(1..=keys)),
            _ => "\"all\"".to_owned(),
        };
        let rate = rate * log(random, 0.3, 3.0);
        // No request may cost more than a bucket holds.
        let burst = (rate * log(random, 0.5, 5.0)).max(mean_cost * 8.0);
        limits.push((limit(rate, burst, 0, random), per));
    }
}

fn cost(mean: f64, burst: u64, random: &mut Stream) -> (String, f64) {
    let whole_mean = whole(mean);
    if whole_mean <= 1 {
        return ("1".to_owned(), 1.0);
    }
    match random.random_range(0..3) {
        0 => (whole_mean.to_string(), float(whole_mean)),
        1 => {
            let most = (2 * whole_mean - 1).min(burst);
            let mean = f64::midpoint(1.0, float(most));
            (format!("{{ uniform = [1, {most}] }}"), mean)
        }
        _ => (
            format!("{{ geometric = {{ mean = {whole_mean} }} }}"),
            float(whole_mean),
        ),
    }
}

fn chaos_lines(heal_ms: u64, random: &mut Stream) -> Vec<String> {
    let mut lines = Vec::new();
    match random.random_range(0..6) {
        0 => lines.push("arrivals = \"even\"".to_owned()),
        1 => lines.push(format!(
            "arrivals = {{ gamma = {{ cv = {:?} }} }}",
            log(random, 0.3, 8.0)
        )),
        2 => lines.push(format!(
            "arrivals = {{ mmpp = [{{ rate = \"1000/s\", mean = {} }}, \
             {{ rate = \"50/s\", mean = {} }}] }}",
            millis(log(random, 20.0, 3000.0)),
            millis(log(random, 20.0, 3000.0))
        )),
        3 => lines.push(format!(
            "arrivals = {{ on-off = {{ alpha = {:?}, sources = {}, on = {}, off = {} }} }}",
            random.random_range(1.2..2.5),
            random.random_range(1..=50),
            millis(log(random, 20.0, 2000.0)),
            millis(log(random, 20.0, 2000.0))
        )),
        _ => {}
    }
    if random.random_bool(0.2) {
        let at_ms = random.random_range(0..heal_ms);
        let times = log(random, 0.2, 8.0);
        lines.push(format!(
            "flash = {{ at = \"{at_ms}ms\", times = {times:?}, hold = {} }}",
            millis(log(random, 100.0, 2000.0))
        ));
    }
    if random.random_bool(0.15) {
        lines.push("clients = { retry = { fixed = { wait = \"300ms\", times = 2 } } }".to_owned());
    }
    lines
}

fn balance(random: &mut Stream) -> Option<String> {
    let share = |random: &mut Stream| format!("{:?}", random.random_range(0.2..1.0));
    Some(match random.random_range(0..12) {
        0 => "\"round-robin\"".to_owned(),
        1 => format!(
            "{{ sticky = {{ spill = {:?} }} }}",
            random.random_range(0.0..0.3)
        ),
        2 => "\"least-loaded\"".to_owned(),
        3 => "\"two-choices\"".to_owned(),
        4 => format!("{{ skewed = {{ to = 0, share = {} }} }}", share(random)),
        5 => format!(
            "{{ moving = {{ every = {}, share = {} }} }}",
            millis(log(random, 1000.0, 20_000.0)),
            share(random)
        ),
        6 => "{ weights = [5.0, 1.0, 0.2] }".to_owned(),
        7 => format!(
            "{{ client = {{ requests = {} }} }}",
            random.random_range(1..=200)
        ),
        _ => return None,
    })
}

/// The network, and the longest time that a round trip usually takes.
struct Network {
    latency: String,
    slowest_ms: f64,
    lines: Vec<String>,
}

fn network(plain: bool, random: &mut Stream) -> Network {
    let typical = log(random, 0.1, if plain { 5.0 } else { 40.0 });
    let (latency, slowest_ms) = match random.random_range(0..4) {
        0 => {
            let longest = typical * log(random, 1.0, 4.0);
            (
                format!("{{ uniform = [{}, {}] }}", millis(typical), millis(longest)),
                longest,
            )
        }
        1 => {
            let p99 = typical * log(random, 1.1, 6.0);
            (
                format!(
                    "{{ lognormal = {{ p50 = {}, p99 = {} }} }}",
                    millis(typical),
                    millis(p99)
                ),
                p99 * 2.0,
            )
        }
        _ => (millis(typical), typical),
    };
    let mut lines = Vec::new();
    if random.random_bool(0.4) {
        lines.push(format!("duplicates = {:?}", log(random, 0.001, 0.3)));
        lines.push(format!(
            "duplicate-delay = {}",
            millis(log(random, 1.0, 10_000.0))
        ));
    }
    if random.random_bool(0.4) {
        lines.push(format!("reorder = {:?}", log(random, 0.001, 0.3)));
        lines.push(format!(
            "reorder-delay = {}",
            millis(log(random, 1.0, 50.0))
        ));
    }
    Network {
        latency,
        slowest_ms,
        lines,
    }
}

fn fleet(
    plain: bool,
    keys: u32,
    network: &Network,
    heal_ms: u64,
    random: &mut Stream,
) -> Vec<String> {
    let mut lines = Vec::new();
    let patient = network.slowest_ms * 4.0;
    let budget = log(random, 10.0, 500.0).max(patient);
    let timeout = log(random, 100.0, 1000.0).max(patient);
    lines.push(format!("budget = {}", millis(budget)));
    lines.push(format!("call-timeout = {}", millis(timeout)));
    if random.random_bool(0.2) {
        let room = whole(f64::from(keys) * 3.0 * random.random_range(0.1..1.2));
        lines.push(format!("cache-keys = {room}"));
    }
    if random.random_bool(0.5) {
        let drift = if random.random_bool(0.2) {
            30_000
        } else {
            1000
        };
        lines.push(format!(
            "clock = {{ skew = \"{}s\", drift-ppm = {} }}",
            random.random_range(0..300),
            random.random_range(0..=drift)
        ));
    }
    if !plain && random.random_bool(0.25) {
        let mut steps = Vec::new();
        let mut at = 1000;
        for _ in 0..random.random_range(1..=3) {
            at += random.random_range(100..5000);
            let over = random.random_range(0..3000);
            if at + over + 1000 >= heal_ms {
                break;
            }
            steps.push(format!(
                "{{ at = \"{at}ms\", replicas = {}, \
                 over = \"{over}ms\", drain = \"{}ms\", kill-share = {:?} }}",
                whole32(log(random, 1.0, 64.5)),
                random.random_range(0..2000),
                random.random_range(0.0..1.0)
            ));
            at += over;
        }
        lines.push(format!("scale = [{}]", steps.join(", ")));
    }
    if random.random_bool(0.25) {
        let every = random.random_range(500..5000);
        lines.push(format!(
            "restart = {{ every = \"{every}ms\", drain = \"{}ms\", kill-share = {:?}, \
             from = \"500ms\", until = \"{heal_ms}ms\" }}",
            random.random_range(0..=every.min(1500)),
            random.random_range(0.0..1.0)
        ));
    }
    lines
}

fn store(random: &mut Stream) -> Vec<String> {
    let mut lines = Vec::new();
    if random.random_bool(0.3) {
        let most = if random.random_bool(0.2) { 20_000 } else { 500 };
        lines.push(format!(
            "clock-drift-ppm = {}",
            random.random_range(-most..=most)
        ));
    }
    if random.random_bool(0.3) {
        lines.push(format!("service = \"{}us\"", random.random_range(1..=100)));
    }
    lines
}

/// Around the defaults.
fn tuned(random: &mut Stream) -> Vec<String> {
    let mut lines = Vec::new();
    for (field, least, most) in [
        ("interval-min", 5.0, 50.0),
        ("interval-max", 100.0, 500.0),
        ("hold-max", 200.0, 1000.0),
        ("idle-after", 2000.0, 20_000.0),
    ] {
        if random.random_bool(0.4) {
            lines.push(format!("{field} = {}", millis(log(random, least, most))));
        }
    }
    if random.random_bool(0.4) {
        // A lease that ends before the next call is lost: it is to outlast the longest gap.
        let gap = log(random, 1000.0, 5000.0);
        let longest = gap * log(random, 1.25, 2.5);
        lines.push(format!("backoff-max = {}", millis(gap)));
        let least = log(random, 300.0, 1200.0);
        lines.push(format!("lease-min = {}", millis(least)));
        lines.push(format!("lease-max = {}", millis(longest)));
    }
    if random.random_bool(0.4) {
        lines.push(format!("lease-pays = {:?}", log(random, 1.0, 10.0)));
    }
    if random.random_bool(0.4) {
        lines.push(format!("call-gap = {}", millis(log(random, 0.5, 10.0))));
    }
    if random.random_bool(0.3) {
        lines.push(format!("batch-keys = {}", random.random_range(16..=256)));
        lines.push(format!(
            "batches-in-flight = {}",
            random.random_range(4..=16)
        ));
    }
    lines
}

/// Drawn apart from all else, so that a world is as it was but for its gap.
fn ask_gap(seed: u64) -> Option<String> {
    let mut random = stream(seed, "swarm ask-gap", 0);
    let has_gap = random.random_bool(0.2);
    has_gap.then(|| format!("ask-gap = {}", millis(log(&mut random, 0.5, 10.0))))
}

/// As many times more often than the mean key, the most asked for is asked for.
fn top(keys: u32, zipf: f64) -> f64 {
    let sum: f64 = (1..=keys).map(|rank| f64::from(rank).powf(-zipf)).sum();
    f64::from(keys) / sum
}

/// Each order of magnitude is as likely.
pub(super) fn log(random: &mut Stream, least: f64, most: f64) -> f64 {
    if most <= least {
        return least;
    }
    random.random_range(least.ln()..most.ln()).exp()
}

pub(super) fn millis(span: f64) -> String {
    format!("\"{}us\"", whole(span * 1000.0))
}

/// The nearest whole number, at least 1.
pub(super) fn whole(number: f64) -> u64 {
    numbers::whole(number.round()).max(1)
}

fn whole32(number: f64) -> u32 {
    u32::try_from(whole(number.floor())).unwrap_or(u32::MAX)
}
