//! `memory`: what a key costs that is kept, here and elsewhere.
//!
//! # Invariant
//!
//! Each row is measured in a process of its own, from the moment at which the keys themselves are
//! there: what counts is what the limiter keeps beside them, copies of the keys included.

use std::env;
use std::fs;
use std::io::{self, Error};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use clap::{Args, Parser};
use leasehold::store::{Birth, Ledger, Store, StoreFuture, StoreTime};
use leasehold::{Clock, KeyRef, Limiter};
use leasehold_cache::{Config, Owner, Requests};
use leasehold_sync::{Answer, Batch};
use serde::{Deserialize, Serialize};

use crate::contender::{Asked, Reach, Rule, Setup};
use crate::contenders::{self, GOVERNOR, LIMITER, Ours, PACKAGES, limit, patient};
use crate::machine::Machine;
use crate::names::names;
use crate::report::{Baseline, Column, Kind, Report, Row};
use crate::spread::Spread;

/// Memory per key, in bytes, at a million keys of 22 bytes.
#[derive(Clone, Debug, Parser)]
#[command(name = "memory")]
pub struct Arguments {
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// A tenth of the keys: to see that it runs, not for figures
    #[arg(long)]
    quick: bool,
    /// Where memory.json, memory.csv and memory.svg go
    #[arg(long, value_name = "DIR", default_value = "target/benchmarks")]
    out: PathBuf,
    #[command(flatten)]
    child: Child,
}

/// The arguments of a process that measures one row.
#[derive(Args, Clone, Debug)]
struct Child {
    #[arg(long, hide = true)]
    row: Option<String>,
}

/// The allocator's count so far.
#[derive(Clone, Copy, Debug)]
pub struct Heap {
    /// Allocated and not freed.
    pub bytes: usize,
    /// How often memory was asked for.
    pub allocations: usize,
}

/// The figures of one row, as its process reports them.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Footprint {
    heap: f64,
    resident: f64,
    allocations: f64,
}

/// Measures, prints and writes the report.
///
/// # Errors
///
/// What the system says when a process cannot be started, or the report not be written.
pub fn run(arguments: &Arguments, heap: fn() -> Heap) -> io::Result<()> {
    let keys = if arguments.quick { KEYS / 10 } else { KEYS };
    if let Some(row) = &arguments.child.row {
        let footprint = subject(row)?.footprint(&names(keys, KEY_BYTES), heap);
        println!(
            "{}",
            serde_json::to_string(&footprint).expect("numbers can be written")
        );
        return Ok(());
    }
    measure(arguments, keys)?.give_out(&arguments.out, arguments.json)
}

fn measure(arguments: &Arguments, keys: usize) -> io::Result<Report> {
    let machine = Machine::now(PACKAGES);
    let mut rows = Vec::new();
    for subject in subjects() {
        eprintln!("{}", subject.name);
        let Footprint {
            heap,
            resident,
            allocations,
        } = in_a_process(&subject, arguments)?;
        rows.push(Row {
            name: subject.name.into(),
            kind: subject.kind,
            cells: [heap, resident, allocations]
                .map(|it| Some(Spread::one(it)))
                .to_vec(),
        });
    }
    let column = |name: &str, unit: &str| Column {
        name: name.into(),
        unit: unit.into(),
        less_is_better: true,
    };
    Ok(Report {
        name: "memory".into(),
        title: format!("What a key costs in memory: {keys} keys of {KEY_BYTES} bytes"),
        command: "cargo run --profile measured -p leasehold-benches --bin memory".into(),
        machine,
        columns: vec![
            column("heap", "bytes/key"),
            column("resident", "bytes/key"),
            column("allocations", "per decision"),
        ],
        rows,
        baselines: vec![Baseline {
            label: "governor".into(),
            row: GOVERNOR.into(),
        }],
        notes: NOTES.map(String::from).to_vec(),
    })
}

fn in_a_process(subject: &Subject, arguments: &Arguments) -> io::Result<Footprint> {
    let mut command = Command::new(env::current_exe()?);
    command
        .args(["--row", subject.name])
        .args(arguments.quick.then_some("--quick"));
    let output = command.stderr(Stdio::inherit()).output()?;
    let failed = |why: String| Error::other(format!("{}: {why}", subject.name));
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))
}

/// A row before it is measured.
struct Subject {
    name: &'static str,
    kind: Kind,
    build: Box<Build>,
}

type Build = dyn Fn(&[String]) -> Box<dyn Asked>;

fn subjects() -> Vec<Subject> {
    let contenders = contenders::all().into_iter();
    let contenders = contenders.filter(|it| it.reach == Reach::Keyed && it.name != LIMITER);
    let others = contenders.map(|contender| Subject {
        name: contender.name,
        kind: contender.kind,
        build: Box::new(move |keys| {
            let rule = Rule::AMPLE;
            Setup { keys, rule }.build(&contender)
        }),
    });
    let ours = |name, build: fn(&[String]) -> Box<dyn Asked>| Subject {
        name,
        kind: Kind::Ours,
        build: Box::new(build),
    };
    let mut subjects = vec![
        ours("leasehold, quota cache", |keys| Box::new(Cached::new(keys))),
        ours("leasehold, whole replica", |keys| Box::new(replica(keys))),
    ];
    subjects.extend(others);
    subjects
}

fn subject(name: &str) -> io::Result<Subject> {
    let found = subjects().into_iter().find(|subject| subject.name == name);
    found.ok_or_else(|| Error::other(format!("there is no row `{name}`")))
}

impl Subject {
    #[expect(
        clippy::cast_precision_loss,
        reason = "bytes of this machine are far below 2^52"
    )]
    fn footprint(&self, keys: &[String], heap: fn() -> Heap) -> Footprint {
        let (before, resident_before) = (heap(), resident());
        let built = (self.build)(keys);
        let (after, resident_after) = (heap(), resident());
        let some = &keys[..keys.len().min(DECISIONS)];
        let allowed = built.ask(some, false);
        assert_eq!(
            allowed,
            some.len() as u64,
            "{} denies what it was given",
            self.name
        );
        let decided = heap();
        let per_key = |from: usize, to: usize| (to as f64 - from as f64) / keys.len() as f64;
        Footprint {
            heap: per_key(before.bytes, after.bytes),
            resident: per_key(resident_before, resident_after),
            allocations: (decided.allocations - after.allocations) as f64 / some.len() as f64,
        }
    }
}

/// Bytes of this process that are in memory; 0 where the system does not say.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// The quota cache that the request path reads, without the state of the sync task.
struct Cached {
    cache: Arc<Requests>,
    clock: Clock,
}

impl Cached {
    fn new(keys: &[String]) -> Self {
        let mut owner = Owner::new(Config {
            keys_max: keys.len(),
            seed: 1,
            signals: 1,
        });
        let clock = Clock::start();
        let now = clock.now();
        for key in keys {
            let entry = owner.insert(key.into()).expect("there is room for all");
            let mut entry = owner.claim(&entry).expect("nobody has claimed it");
            entry.deposit(1000, now + patient().lease_max, now);
        }
        let cache = Arc::clone(owner.requests());
        Self { cache, clock }
    }
}

impl crate::contender::Subject for Cached {
    fn decide(&self, key: &String) -> bool {
        let local = self.cache.try_acquire(key.into(), 1, self.clock.now());
        matches!(local, leasehold_cache::LocalDecision::Allow { .. })
    }
}

/// All that a replica keeps: the store keeps nothing here, as it is elsewhere.
fn replica(keys: &[String]) -> Ours {
    let builder = Limiter::builder().limit("bench", limit(Rule::AMPLE));
    let builder = builder
        .keys_max(keys.len())
        .tuning(patient())
        .store(Elsewhere::new());
    let ours = Ours::build(builder, Rule::AMPLE);
    for some in keys.chunks(1 << 16) {
        ours.lease(&some.iter().map(KeyRef::from).collect::<Vec<_>>());
    }
    ours
}

/// A store that grants what is asked for, and whose ledgers take no memory here.
struct Elsewhere {
    clock: Clock,
    birth: Mutex<Option<Birth>>,
}

impl Elsewhere {
    fn new() -> Self {
        Self {
            clock: Clock::start(),
            birth: Mutex::new(None),
        }
    }

    fn answer(&self, batch: &Batch) -> Answer {
        let now = StoreTime::from_micros(self.clock.now().as_nanos() / 1000);
        let mut found = self.birth.lock().expect("nobody panics here");
        let birth = Birth::meet(*found, batch.known_birth, batch.quarantine, now);
        *found = Some(birth);
        let reply = |call: &leasehold_sync::Call| {
            let limit = &batch.limit_of(call).limit;
            Ledger::exchange(&mut None, &call.request, limit, birth, now)
        };
        Answer {
            birth,
            seat: None,
            replies: batch.calls.iter().map(reply).collect(),
        }
    }
}

impl Store for Elsewhere {
    fn exchange<'a>(&'a self, batch: &'a Batch) -> StoreFuture<'a> {
        Box::pin(std::future::ready(Ok(self.answer(batch))))
    }

    fn round_trips(&self) -> u64 {
        0
    }
}

const KEYS: usize = 1_000_000;
const KEY_BYTES: usize = 22;

/// Over which allocations are counted.
const DECISIONS: usize = 100_000;

const NOTES: [&str; 4] = [
    "Live bytes by an allocator that counts, and growth of the resident set, from when the keys \
    are there \
     until each has been asked about once; tables are as large as their own growth left them.",
    "leasehold's quota cache is what requests are decided from. A whole replica is the cache and \
    all that \
     the background task keeps for a leased key; the ledger lies at the store.",
    "What a rival keeps is all it has: no store, no leases, no reports.",
    "Allocations are of decisions on keys that are known.",
];
