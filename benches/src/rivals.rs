//! `rivals`: what one decision costs, here and elsewhere.
//!
//! # Invariant
//!
//! All rows are measured in one process and take turns: a round asks every row every question once,
//! so what disturbs the machine disturbs all alike. A row whose verdicts are wrong says so.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::contender::{Asked, Contender, Reach, Rule, Setup};
use crate::contenders::{self, BARE_ATOMIC, BARE_MAP, GOVERNOR, PACKAGES};
use crate::machine::Machine;
use crate::names::{KEY_BYTES, names, uniform, zipf};
use crate::report::{Baseline, Column, Report, Row};
use crate::ruler::{Load, Timing};
use crate::spread::Spread;

/// The cost of a decision in this limiter, in others, and of its parts on the bare machine.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Print one JSON object instead of tables
    #[arg(long)]
    pub json: bool,
    /// Three short rounds instead of fifteen: to see that it runs, not for figures
    #[arg(long)]
    pub quick: bool,
    /// Only rows whose names contain this
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
    /// Where rivals.json, rivals.csv and rivals.svg go
    #[arg(long, value_name = "DIR", default_value = "target/benchmarks")]
    pub out: PathBuf,
}

/// Measures, prints and writes the report.
///
/// # Errors
///
/// What the file system says when the report cannot be written.
pub fn run(arguments: &Arguments) -> io::Result<()> {
    measure(arguments).give_out(&arguments.out, arguments.json)
}

fn measure(arguments: &Arguments) -> Report {
    let machine = Machine::now(PACKAGES);
    let only = arguments.only.as_deref().unwrap_or_default();
    let mut contenders = contenders::all();
    contenders.retain(|contender| contender.name.contains(only));
    let (rounds, cell) = if arguments.quick { QUICK } else { THOROUGH };
    eprintln!(
        "Building {} rows; with a million keys that takes a while.",
        contenders.len()
    );
    let mut requests = Requests::new();
    let mut rows: Vec<_> = contenders
        .iter()
        .map(|it| Measured::new(*it, &requests))
        .collect();
    for round in 1..=rounds {
        eprintln!("Round {round} of {rounds}.");
        for question in &QUESTIONS {
            for row in &mut rows {
                row.ask(question, &requests, cell);
            }
            requests.turn();
        }
    }
    Report {
        name: "rivals".into(),
        title: format!("What a decision costs: medians of {rounds} interleaved rounds"),
        command: "cargo run --profile measured -p leasehold-benches -- rivals".into(),
        machine,
        columns: QUESTIONS.iter().map(Question::column).collect(),
        notes: rows
            .iter()
            .flat_map(Measured::notes)
            .chain(NOTES.map(String::from))
            .collect(),
        rows: rows.iter().map(Measured::row).collect(),
        baselines: BASELINES
            .iter()
            .map(|(label, row)| baseline(label, row))
            .collect(),
    }
}

fn baseline(label: &str, row: &str) -> Baseline {
    Baseline {
        label: label.into(),
        row: row.into(),
    }
}

/// A column, and how it is measured.
struct Question {
    name: &'static str,
    keys: Keys,
    threads: usize,
    fenced: bool,
}

/// Which keys are asked about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Keys {
    /// One of a thousand.
    Hot,
    /// A thousand, each as likely.
    Thousand,
    /// A million, each as likely.
    Uniform,
    /// A million, by Zipf.
    Zipf,
    /// One that is used up.
    Denied,
}

impl Question {
    fn column(&self) -> Column {
        Column {
            name: self.name.into(),
            unit: "ns".into(),
            less_is_better: true,
        }
    }

    fn applies_to(&self, reach: Reach) -> bool {
        match self.keys {
            Keys::Hot => true,
            Keys::Denied => reach.limits(),
            Keys::Thousand | Keys::Uniform | Keys::Zipf => reach.knows_keys(),
        }
    }
}

const QUESTIONS: [Question; 7] = [
    question("hot key, 1 thread", Keys::Hot, 1),
    question("hot key, 2 threads", Keys::Hot, 2),
    question("1000 keys, 1 thread", Keys::Thousand, 1),
    question("1000 keys, 2 threads", Keys::Thousand, 2),
    fenced("1 M keys, uniform", Keys::Uniform),
    fenced("1 M keys, Zipf 0.99", Keys::Zipf),
    question("denied key, 1 thread", Keys::Denied, 1),
];

const fn question(name: &'static str, keys: Keys, threads: usize) -> Question {
    Question {
        name,
        keys,
        threads,
        fenced: false,
    }
}

const fn fenced(name: &'static str, keys: Keys) -> Question {
    Question {
        name,
        keys,
        threads: 1,
        fenced: true,
    }
}

/// All requests of all questions.
struct Requests {
    thousand: Vec<String>,
    million: Vec<String>,
    hot: Vec<String>,
    mixed: Vec<String>,
    uniform: Vec<String>,
    zipf: Vec<String>,
    /// Where the next cell begins.
    place: usize,
}

impl Requests {
    fn new() -> Self {
        let thousand = names(1000, KEY_BYTES);
        Self {
            hot: vec![thousand[0].clone(); HOT_REQUESTS],
            mixed: uniform(1000, MIXED_REQUESTS),
            uniform: uniform(MILLION, MILLION_REQUESTS),
            zipf: zipf(MILLION, MILLION_REQUESTS),
            million: names(MILLION, KEY_BYTES),
            thousand,
            place: 0,
        }
    }

    /// The next cells begin where no key is warm from this one.
    fn turn(&mut self) {
        self.place += MILLION_REQUESTS / 8;
    }

    fn load(&self, question: &Question) -> Load<'_> {
        let (requests, keys) = match question.keys {
            Keys::Hot | Keys::Denied => (&self.hot, &self.thousand[..1]),
            Keys::Thousand => (&self.mixed, &self.thousand[..]),
            // Leased once for all: see `Ours`.
            Keys::Uniform => (&self.uniform, &[][..]),
            Keys::Zipf => (&self.zipf, &[][..]),
        };
        Load {
            requests,
            keys,
            threads: question.threads,
            fenced: question.fenced,
            allowed: question.keys != Keys::Denied,
        }
    }
}

/// A row and what was measured of it so far.
struct Measured {
    contender: Contender,
    thousand: Box<dyn Asked>,
    million: Option<Box<dyn Asked>>,
    denied: Option<Box<dyn Asked>>,
    timings: [Vec<Timing>; QUESTIONS.len()],
}

impl Measured {
    fn new(contender: Contender, requests: &Requests) -> Self {
        let build = |keys, rule| Setup { keys, rule }.build(&contender);
        let Contender { reach, .. } = contender;
        Self {
            contender,
            thousand: build(&requests.thousand, Rule::AMPLE),
            million: reach
                .knows_keys()
                .then(|| build(&requests.million, Rule::AMPLE)),
            denied: reach
                .limits()
                .then(|| build(&requests.thousand[..1], Rule::TIGHT)),
            timings: Default::default(),
        }
    }

    fn ask(&mut self, question: &Question, requests: &Requests, cell: Duration) {
        if !question.applies_to(self.contender.reach) {
            return;
        }
        let asked = match question.keys {
            Keys::Hot | Keys::Thousand => Some(&self.thousand),
            Keys::Uniform | Keys::Zipf => self.million.as_ref(),
            Keys::Denied => self.denied.as_ref(),
        };
        let asked = asked.expect("it was built for every question that applies");
        let timing = requests
            .load(question)
            .measure(&**asked, cell, requests.place);
        let column = QUESTIONS.iter().position(|it| it.name == question.name);
        self.timings[column.expect("it is one of them")].push(timing);
    }

    fn row(&self) -> Row {
        let cell = |timings: &Vec<Timing>| {
            Spread::of(
                &timings
                    .iter()
                    .map(|timing| timing.nanos)
                    .collect::<Vec<_>>(),
            )
        };
        Row {
            name: self.contender.name.into(),
            kind: self.contender.kind,
            cells: self.timings.iter().map(cell).collect(),
        }
    }

    /// Notes on a contender, and its wrong verdicts.
    fn notes(&self) -> Vec<String> {
        let name = self.contender.name;
        let wrong = QUESTIONS
            .iter()
            .zip(&self.timings)
            .filter_map(|(question, timings)| {
                let wrong: u64 = timings.iter().map(|timing| timing.wrong).sum();
                let decisions: u64 = timings.iter().map(|timing| timing.decisions).sum();
                let column = question.name;
                (wrong > 0)
                    .then(|| format!("WRONG: {name}: {column}: {wrong} of {decisions} verdicts."))
            });
        wrong.chain(self.contender.note.map(String::from)).collect()
    }
}

/// The rows that others are compared with, the chief one first.
const BASELINES: [(&str, &str); 3] = [
    ("governor", GOVERNOR),
    ("bare map and CAS", BARE_MAP.name),
    ("bare CAS", BARE_ATOMIC.name),
];

const NOTES: [&str; 3] = [
    "Nanoseconds between two decisions as one thread sees them; ± is half of the middle half of \
    the rounds.",
    "With a million keys each answer is waited for (a fence), as a request handler does: the \
    fence is in \
     every row of those columns, and costs about what the empty loop shows there.",
    "Keys are 16 bytes. Every verdict was counted, and is as it should be unless a line says \
    WRONG.",
];

const THOROUGH: (usize, Duration) = (15, Duration::from_millis(25));
const QUICK: (usize, Duration) = (3, Duration::from_millis(10));

const MILLION: usize = 1_000_000;

/// Twice as many as there are keys: the caches have forgotten a key when it comes again.
const MILLION_REQUESTS: usize = 2 * MILLION;

/// These stay in the nearest caches, as a key does that was just read.
const HOT_REQUESTS: usize = 1024;
const MIXED_REQUESTS: usize = 8 * 1024;
