//! A recorded trace: who asked, and when.
//!
//! A trace is text, one request a line after a line of headings:
//!
//! ```text
//! time,key,cost
//! 0.000125,alice,1
//! 0.000900,bob,5
//! ```
//!
//! `time` is in seconds; `time_ms`, `time_us` and `time_ns` are the same in their units. `key` is
//! any text, in quotation marks if it has a comma in it, and may be absent if there is only one.
//! `cost` may be absent and is then 1. The columns may stand in any order, and a column headed `-`
//! is skipped.
//!
//! # Invariant
//!
//! The requests of a [`Trace`] are in order of time, there is at least one, and no cost is 0. Keys
//! that were text are numbers without gaps from 0 in order of first appearance. Any bytes are a
//! trace or a [`TraceError`] that says where and what to do.
//!
//! Times are read digit by digit into whole nanoseconds: stamps since 1970 lose nothing.

use std::collections::HashMap;

use csv::ByteRecord;
use foldhash::fast::FixedState;
use serde::Deserialize;
use thiserror::Error;

use crate::units::Count;

/// A recorded trace as the arrivals of a load.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TraceConfig {
    /// The file, relative to that of the scenario.
    pub path: String,
    /// Where the requests of one stamp fall, if stamps are whole seconds, or whole units of their
    /// column. If absent, all at the stamp.
    pub spread: Option<Spread>,
    /// The zero of the times.
    #[serde(default)]
    pub origin: Origin,
    /// How much faster than recorded, such as 2.0.
    #[serde(default = "as_recorded")]
    pub speed: f64,
    /// Keeps the number of keys below this one: keys that appear later are renumbered onto the
    /// first ones in turn, so that no request is lost.
    pub keys_max: Option<Count>,
}

/// Where requests of one stamp fall within the unit of the stamp.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Spread {
    /// At equal distances, the first at the stamp.
    Even,
    /// Anywhere, each as likely as any other.
    Uniform,
}

/// The zero of a trace's times.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// From zero: they are times since the load began.
    #[default]
    Zero,
    /// From the first request, which comes when the load begins: for dates.
    First,
}

impl TraceConfig {
    /// Finds what no field can say by itself.
    ///
    /// # Errors
    ///
    /// A message that names the field and the mend.
    pub fn check(&self) -> Result<(), String> {
        if !(self.speed.is_finite() && self.speed > 0.0) {
            return Err("`trace.speed` must be above 0: 2.0 is twice as fast as recorded".into());
        }
        if self.keys_max == Some(Count(0)) {
            return Err("`trace.keys-max` is 0, but a request is for some key: at least 1".into());
        }
        Ok(())
    }
}

/// The requests of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    requests: Vec<TracedRequest>,
    keys: u32,
    unit_ns: u64,
    fraction: Option<usize>,
}

/// A request of a trace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TracedRequest {
    /// When, as recorded.
    pub time_ns: u64,
    /// For whom.
    pub key: u32,
    /// For how many tokens, at least 1.
    pub cost: u32,
}

/// Why a text is not a trace.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("line {line}, column {column}: {problem}")]
pub struct TraceError {
    /// From 1.
    pub line: usize,
    /// Which of the line's fields, from 1.
    pub column: usize,
    /// The problem, and the mend.
    pub problem: Problem,
}

/// Problems of a trace.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum Problem {
    /// Nothing in it but a heading.
    #[error("no request follows the headings; a line is such as `0.5,alice,1`")]
    Empty,
    /// A heading that means nothing.
    #[error(
        "the heading `{0}` is none of `time`, `time_ms`, `time_us`, `time_ns`, `key` and `cost`; \
         rename it, or make it `-` to skip the column"
    )]
    Heading(String),
    /// Two columns for one thing.
    #[error("a second column for `{0}`; make one of the headings `-` to skip it")]
    Twice(&'static str),
    /// When the requests came is not said.
    #[error("no column is headed `time`; the first line must be such as `time,key,cost`")]
    NoTime,
    /// More or fewer fields than headings.
    #[error("the line has {found} fields and not {expected}; quote a key that has a comma in it")]
    Fields {
        /// In this line.
        found: usize,
        /// Headings.
        expected: usize,
    },
    /// A quotation mark too few.
    #[error("the quotation mark is not closed where the field ends; double one that is meant")]
    Quote,
    /// Not a time.
    #[error("`{0}` is not a time such as `12` or `12.5`, of at most 584 years")]
    Time(String),
    /// Earlier than the line before it.
    #[error("this request is earlier than the one before it; sort the lines by time")]
    Unsorted,
    /// Not a cost.
    #[error("`{0}` is not a cost: a whole number from 1 to 4294967295")]
    Cost(String),
    /// Four billion keys.
    #[error("more keys than can be numbered; split the trace")]
    Keys,
}

impl Trace {
    /// Reads a trace from the text of a file, which need not be UTF-8.
    ///
    /// # Errors
    ///
    /// Where the text is no trace, and what to do.
    pub fn parse(text: &[u8]) -> Result<Self, TraceError> {
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        let mut records = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(text);
        let mut record = ByteRecord::new();
        let mut next = |record: &mut ByteRecord| {
            let read = records.read_byte_record(record);
            read.expect("nothing fails in memory, whatever the length of a record")
        };
        if !next(&mut record) {
            return Err(error(1, 1, Problem::NoTime));
        }
        let mut reader = Reader::new(&record)?;
        let mut line = 1;
        while next(&mut record) {
            let (first, rest) = begin(text, &record);
            line = first;
            if let Some(column) = misquoted(rest, &record) {
                return Err(error(line, column, Problem::Quote));
            }
            reader.line(&record, line)?;
        }
        if reader.trace.requests.is_empty() {
            return Err(error(line, 1, Problem::Empty));
        }
        Ok(reader.trace)
    }

    /// Requests whose keys have numbers already, which they keep: traces that are replayed side
    /// by side may so share keys.
    ///
    /// # Errors
    ///
    /// What is wrong with the first request that cannot be, or that there is none.
    pub fn of(requests: Vec<TracedRequest>) -> Result<Self, Problem> {
        let last_key = requests.iter().map(|request| request.key).max();
        let last_key = last_key.ok_or(Problem::Empty)?;
        if !requests.is_sorted_by_key(|request| request.time_ns) {
            return Err(Problem::Unsorted);
        }
        if requests.iter().any(|request| request.cost == 0) {
            return Err(Problem::Cost("0".to_owned()));
        }
        Ok(Self {
            requests,
            keys: last_key.checked_add(1).ok_or(Problem::Keys)?,
            unit_ns: 1,
            fraction: None,
        })
    }

    /// In order of time; at least one.
    pub fn requests(&self) -> &[TracedRequest] {
        &self.requests
    }

    /// All keys are below this number.
    pub fn keys(&self) -> u32 {
        self.keys
    }

    /// The unit of a stamp, in nanoseconds.
    pub fn unit_ns(&self) -> u64 {
        self.unit_ns
    }

    /// The first line whose stamp has a fraction, if there is one: then requests of one stamp
    /// cannot be spread over a unit.
    pub fn fraction(&self) -> Option<usize> {
        self.fraction
    }
}

/// Reads line by line.
struct Reader {
    columns: Vec<Column>,
    numbers: HashMap<Vec<u8>, u32, FixedState>,
    trace: Trace,
}

/// The content of a column.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Column {
    Time { unit_ns: u64 },
    Key,
    Cost,
    Skipped,
}

impl Reader {
    fn new(headings: &ByteRecord) -> Result<Self, TraceError> {
        let mut columns: Vec<Column> = Vec::new();
        for (heading, column) in headings.iter().zip(1..) {
            let kind = Column::of(heading.trim_ascii())
                .ok_or_else(|| error(1, column, Problem::Heading(shown(heading))))?;
            if let Some(name) = kind.name()
                && columns.iter().any(|other| other.name() == Some(name))
            {
                return Err(error(1, column, Problem::Twice(name)));
            }
            columns.push(kind);
        }
        let unit = |column: &Column| match column {
            Column::Time { unit_ns } => Some(*unit_ns),
            _ => None,
        };
        let unit_ns = columns.iter().find_map(unit);
        Ok(Self {
            // Never iterated, so the numbers depend on the text alone.
            numbers: HashMap::with_hasher(FixedState::default()),
            trace: Trace {
                requests: Vec::new(),
                keys: 0,
                unit_ns: unit_ns.ok_or_else(|| error(1, 1, Problem::NoTime))?,
                fraction: None,
            },
            columns,
        })
    }

    fn line(&mut self, fields: &ByteRecord, line: usize) -> Result<(), TraceError> {
        let (found, expected) = (fields.len(), self.columns.len());
        if found != expected {
            let column = found.min(expected + 1);
            return Err(error(line, column, Problem::Fields { found, expected }));
        }
        let last_ns = self.trace.requests.last().map_or(0, |last| last.time_ns);
        let (mut time_ns, mut key, mut cost) = (0, (&b""[..], 1), 1);
        for ((kind, text), column) in self.columns.iter().zip(fields).zip(1..) {
            let bad = |problem| error(line, column, problem);
            match *kind {
                Column::Skipped => {}
                Column::Time { unit_ns } => {
                    let time = parse_time(text.trim_ascii(), unit_ns);
                    let (whole, fraction_ns) =
                        time.ok_or_else(|| bad(Problem::Time(shown(text))))?;
                    time_ns = whole + fraction_ns;
                    if fraction_ns > 0 {
                        self.trace.fraction.get_or_insert(line);
                    }
                    if time_ns < last_ns {
                        return Err(bad(Problem::Unsorted));
                    }
                }
                Column::Key => key = (text, column),
                Column::Cost => {
                    let parsed = parse_cost(text.trim_ascii());
                    cost = parsed.ok_or_else(|| bad(Problem::Cost(shown(text))))?;
                }
            }
        }
        let (key, column) = key;
        let key = self
            .number(key)
            .ok_or_else(|| error(line, column, Problem::Keys))?;
        self.trace
            .requests
            .push(TracedRequest { time_ns, key, cost });
        Ok(())
    }

    /// The number of a key: the next one if it has not appeared before.
    fn number(&mut self, key: &[u8]) -> Option<u32> {
        if let Some(number) = self.numbers.get(key) {
            return Some(*number);
        }
        let number = self.trace.keys;
        self.trace.keys = number.checked_add(1)?;
        self.numbers.insert(key.to_vec(), number);
        Some(number)
    }
}

impl Column {
    fn of(heading: &[u8]) -> Option<Self> {
        Some(match heading {
            b"time" | b"time_s" => Self::Time {
                unit_ns: 1_000_000_000,
            },
            b"time_ms" => Self::Time { unit_ns: 1_000_000 },
            b"time_us" => Self::Time { unit_ns: 1000 },
            b"time_ns" => Self::Time { unit_ns: 1 },
            b"key" => Self::Key,
            b"cost" => Self::Cost,
            b"-" => Self::Skipped,
            _ => return None,
        })
    }

    const fn name(self) -> Option<&'static str> {
        match self {
            Self::Time { .. } => Some("time"),
            Self::Key => Some("key"),
            Self::Cost => Some("cost"),
            Self::Skipped => None,
        }
    }
}

/// The line on which a record begins, and the text from there on. The reader's position is the end
/// of the record before, so empty lines are skipped here.
fn begin<'a>(text: &'a [u8], record: &ByteRecord) -> (usize, &'a [u8]) {
    let position = record.position().expect("the record was read");
    let in_memory = |number| usize::try_from(number).expect("no more than bytes in memory");
    let rest = &text[in_memory(position.byte())..];
    let empty = rest.iter().take_while(|byte| b"\r\n".contains(byte));
    let (empty, rest) = rest.split_at(empty.count());
    let lines = empty.split(|byte| *byte == b'\n').count() - 1;
    (in_memory(position.line()) + lines, rest)
}

/// The first field, from 1, with a quotation mark that does not close where the field ends. `rest`
/// begins with the record as it is written.
fn misquoted(mut rest: &[u8], record: &ByteRecord) -> Option<usize> {
    for (field, column) in record.iter().zip(1..) {
        let mut written = field.len();
        if rest.first() == Some(&b'"') {
            written += 1 + field.split(|byte| *byte == b'"').count();
            if rest.get(written - 1) != Some(&b'"') {
                return Some(column);
            }
        }
        let next = rest.get(written + 1..).unwrap_or_default();
        if !matches!(rest.get(written), None | Some(b',' | b'\r' | b'\n')) {
            return Some(column);
        }
        rest = next;
    }
    None
}

/// Nanoseconds of the whole units and of the fraction. What is below a nanosecond is cut off.
fn parse_time(text: &[u8], unit_ns: u64) -> Option<(u64, u64)> {
    let point = text.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = match point {
        Some(point) => (&text[..point], &text[point + 1..]),
        None => (text, &b"0"[..]),
    };
    let whole_ns = digits(whole)?.checked_mul(unit_ns)?;
    if fraction.is_empty() {
        return None;
    }
    let mut fraction_ns = 0;
    let mut place_ns = unit_ns;
    for byte in fraction {
        place_ns /= 10;
        fraction_ns += place_ns * digit(*byte)?;
    }
    whole_ns.checked_add(fraction_ns)?;
    Some((whole_ns, fraction_ns))
}

fn parse_cost(text: &[u8]) -> Option<u32> {
    let cost = u32::try_from(digits(text)?).ok()?;
    (cost > 0).then_some(cost)
}

fn digits(text: &[u8]) -> Option<u64> {
    let append = |number: u64, byte: &u8| number.checked_mul(10)?.checked_add(digit(*byte)?);
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0, append)
}

fn digit(byte: u8) -> Option<u64> {
    byte.is_ascii_digit().then(|| u64::from(byte - b'0'))
}

/// As much of a field as a message can hold.
fn shown(field: &[u8]) -> String {
    let field = String::from_utf8_lossy(field);
    let short: String = field
        .chars()
        .take(SHOWN_MAX)
        .flat_map(char::escape_debug)
        .collect();
    let rest = if field.chars().count() > SHOWN_MAX {
        "…"
    } else {
        ""
    };
    short + rest
}

fn error(line: usize, column: usize, problem: Problem) -> TraceError {
    TraceError {
        line,
        column,
        problem,
    }
}

const fn as_recorded() -> f64 {
    1.0
}

/// Some programs open a file with it.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Characters; enough to find the field again.
const SHOWN_MAX: usize = 40;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(text: &str) -> Vec<(u64, u32, u32)> {
        let trace = Trace::parse(text.as_bytes()).unwrap();
        let row = |request: &TracedRequest| (request.time_ns, request.key, request.cost);
        trace.requests().iter().map(row).collect()
    }

    fn problem(text: &str) -> (usize, usize, Problem) {
        let error = Trace::parse(text.as_bytes()).unwrap_err();
        (error.line, error.column, error.problem)
    }

    #[test]
    fn requests_that_have_numbers_keep_them() {
        let request = |time_ns, key, cost| TracedRequest { time_ns, key, cost };
        let trace = Trace::of(vec![request(5, 7, 1), request(5, 2, 3)]).unwrap();
        assert_eq!((trace.keys(), trace.requests()[1].key), (8, 2));
        assert_eq!(Trace::of(Vec::new()), Err(Problem::Empty));
        let unsorted = Trace::of(vec![request(5, 0, 1), request(4, 0, 1)]);
        assert_eq!(unsorted, Err(Problem::Unsorted));
        let free = Trace::of(vec![request(5, 0, 0)]);
        assert_eq!(free, Err(Problem::Cost("0".to_owned())));
        let many = Trace::of(vec![request(5, u32::MAX, 1)]);
        assert_eq!(many, Err(Problem::Keys));
    }

    #[test]
    fn keys_are_numbered_in_order_of_first_appearance() {
        assert_eq!(
            rows("time,key,cost\n0.5,b,1\n0.5,a,2\n1,b,3\n1.25,c,4\n"),
            [
                (500_000_000, 0, 1),
                (500_000_000, 1, 2),
                (1_000_000_000, 0, 3),
                (1_250_000_000, 2, 4),
            ],
        );
    }

    #[test]
    fn columns_stand_in_any_order_in_any_unit_and_may_be_absent() {
        assert_eq!(rows("key,time_ms\nx,1.5"), [(1_500_000, 0, 1)]);
        assert_eq!(rows("time_us\n1.5"), [(1500, 0, 1)]);
        assert_eq!(rows("-,cost,time_ns\nwhat,7,15"), [(15, 0, 7)]);
        assert_eq!(rows("time_s , key\n 2 ,a"), [(2_000_000_000, 0, 1)]);
    }

    #[test]
    fn dates_keep_their_nanoseconds() {
        assert_eq!(
            rows("time\n1585706400.123456789"),
            [(1_585_706_400_123_456_789, 0, 1)]
        );
        assert_eq!(rows("time\n0.12345678999"), [(123_456_789, 0, 1)]);
        assert_eq!(rows("time_ns\n18446744073709551615"), [(u64::MAX, 0, 1)]);
        let (.., beyond) = problem("time_us\n18446744073709551.616");
        assert_eq!(beyond, Problem::Time("18446744073709551.616".into()));
    }

    #[test]
    fn a_key_in_quotation_marks_may_have_commas_and_doubled_marks() {
        assert_eq!(
            rows(
                "time,key\r\n0,\"a,\"\"b\"\"\"\r\n\r\n0,\"c\"\r\n\
                 0,c\r\n0,\"a,\"\"b\"\"\"\r\n0,\n\
                 0,\"\""
            ),
            [
                (0, 0, 1),
                (0, 1, 1),
                (0, 1, 1),
                (0, 0, 1),
                (0, 2, 1),
                (0, 2, 1)
            ],
        );
    }

    #[test]
    fn files_of_other_programs_are_read() {
        assert_eq!(rows("\u{feff}time,key\n1,a\n"), [(1_000_000_000, 0, 1)]);
        assert_eq!(
            rows("\"time\",\"key\"\n1,\"a\nb\"\n\n2,a\n"),
            [(1_000_000_000, 0, 1), (2_000_000_000, 1, 1)]
        );
    }

    #[test]
    fn an_error_says_where_and_what_to_do() {
        let text = |text: &str| text.to_owned();
        for (trace, line, column, expected) in [
            ("", 1, 1, Problem::NoTime),
            ("time,", 1, 2, Problem::Heading(text(""))),
            ("time,key\n\n", 1, 1, Problem::Empty),
            ("time,size\n", 1, 2, Problem::Heading(text("size"))),
            ("time,key,time_ms\n", 1, 3, Problem::Twice("time")),
            ("key,cost\na,1", 1, 1, Problem::NoTime),
            (
                "time,key\n1,a\n2\n",
                3,
                1,
                Problem::Fields {
                    found: 1,
                    expected: 2,
                },
            ),
            (
                "time,key\n1,a,b,c\n",
                2,
                3,
                Problem::Fields {
                    found: 4,
                    expected: 2,
                },
            ),
            ("time,key\n1,\"a\n", 2, 2, Problem::Quote),
            ("time,key\n1,\"a\"b\n", 2, 2, Problem::Quote),
            ("time,key\n1,\"a\"\"\n2,b\n", 2, 2, Problem::Quote),
            (
                "key,time\r\n\r\na,1\r\n\r\n\"a\n2,\"b\",3\r\n",
                5,
                1,
                Problem::Quote,
            ),
            ("time\n-1\n", 2, 1, Problem::Time(text("-1"))),
            ("time\n1.\n", 2, 1, Problem::Time(text("1."))),
            ("time\n1e3\n", 2, 1, Problem::Time(text("1e3"))),
            ("key,time\na,2\n\na,1.9\n", 4, 2, Problem::Unsorted),
            ("time,cost\n1,0\n", 2, 2, Problem::Cost(text("0"))),
            (
                "time,cost\n1,4294967296\n",
                2,
                2,
                Problem::Cost(text("4294967296")),
            ),
        ] {
            assert_eq!(problem(trace), (line, column, expected), "{trace:?}");
        }
        let error = Trace::parse(b"time\n1\nx\n").unwrap_err().to_string();
        assert_eq!(
            error,
            "line 3, column 1: `x` is not a time such as `12` or `12.5`, of at most 584 years",
        );
    }

    #[test]
    fn a_stamp_with_a_fraction_is_remembered_by_its_line() {
        let fraction = |text: &str| Trace::parse(text.as_bytes()).unwrap().fraction();
        assert_eq!(fraction("time\n1\n2.000\n2\n"), None);
        assert_eq!(fraction("time\n1\n1.5\n1.5\n"), Some(3));
    }

    #[test]
    fn a_long_field_is_cut_in_the_message_and_shows_no_control_characters() {
        let (.., problem) = problem(&format!("time\n\u{1b}[2J{}", "9".repeat(100)));
        let Problem::Time(shown) = problem else {
            panic!("{problem:?}");
        };
        assert!(
            shown.starts_with("\\u{1b}[2J999") && shown.ends_with('…'),
            "{shown}"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_trace_or_an_error(text: Vec<u8>, headed: bool) {
            let mut all = if headed { b"time,key,cost\n".to_vec() } else { Vec::new() };
            all.extend(text);
            check(&all)?;
        }

        #[test]
        fn nearly_a_trace_is_a_trace_or_an_error(
            text in "(time|time_ns|-),(key|cost|-)(\r?\n\
            ([0-9]{0,3}|[0-9]{19,21}|[0-9.]{1,12}),[\"a,1-9 ]{0,3}){0,20}",
        ) {
            check(text.as_bytes())?;
        }

        #[test]
        fn what_was_written_is_read(
            mut written in prop::collection::vec((0_u64..1 << 40, 0_usize..5, 1_u32..), 1..50),
        ) {
            written.sort_by_key(|request| request.0);
            let keys = ["a", "\"b,\"\"\"", " a", "", "é"];
            let line = |(time_ns, key, cost): &(u64, usize, u32)| {
                let (second, rest) = (time_ns / 1_000_000_000, time_ns % 1_000_000_000);
                format!("{second}.{rest:09},{},{cost}\n", keys[*key])
            };
            let text: String = written.iter().map(line).collect();
            let read = rows(&format!("time,key,cost\n{text}"));
            prop_assert_eq!(read.len(), written.len());
            for (one, (other, wrote)) in read.iter().zip(&written).enumerate() {
                prop_assert_eq!((other.0, other.2), (wrote.0, wrote.2));
                for (earlier, before) in read[..one].iter().zip(&written) {
                    prop_assert_eq!(earlier.1 == other.1, before.1 == wrote.1);
                }
            }
        }
    }

    fn check(text: &[u8]) -> Result<(), TestCaseError> {
        match Trace::parse(text) {
            Err(error) => prop_assert!(error.line >= 1 && error.column >= 1),
            Ok(trace) => {
                let requests = trace.requests();
                prop_assert!(!requests.is_empty());
                prop_assert!(requests.is_sorted_by_key(|request| request.time_ns));
                prop_assert!(requests.iter().all(|request| request.cost > 0));
                let mut next = 0;
                for request in requests {
                    prop_assert!(request.key <= next);
                    next = next.max(request.key + 1);
                }
                prop_assert_eq!(next, trace.keys());
            }
        }
        Ok(())
    }
}
