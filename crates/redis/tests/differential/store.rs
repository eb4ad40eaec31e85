//! The real server, with a script that is told the time, and what is in it.

use std::collections::BTreeMap;

use leasehold_core::{
    Birth, Demand, Kept, Ledger, Marker, Meter, Record, RecordId, Retired, Roster, StoreTime,
};
use leasehold_redis::codec::{Call, Decoded, RunId};
use leasehold_testbed::{Binary, LocalServer, ServerOptions};
use redis::{Connection, Pipeline, Value};

use crate::schedule::Stored;

/// The state that was found, or its difference from the expected one.
pub(crate) type Checked<T = ()> = Result<T, String>;

/// The contents of the server: the marker with the life it was made in, and each bucket, in order.
pub(crate) struct Held {
    pub(crate) marker: Option<(Marker, u8)>,
    pub(crate) buckets: Vec<Checked<Option<Stored>>>,
}

/// The server, with a script that is told the time.
pub(crate) struct Store {
    connection: Connection,
    exchange: String,
    look: String,
}

impl Store {
    pub(crate) fn start(binary: Binary, exchange: &str) -> (Self, LocalServer) {
        let (mut connection, server) = connect(binary);
        let mut store = Self {
            look: run(&mut connection, "SCRIPT", &["LOAD", LOOK]),
            connection,
            exchange: String::new(),
        };
        store.load(exchange);
        (store, server)
    }

    pub(crate) fn load(&mut self, exchange: &str) {
        assert_eq!(
            exchange.matches(CLOCK).count(),
            1,
            "one line reads the clock"
        );
        let script = exchange.replace(CLOCK, "local clock = { unpack('<dd', ARGV[6]) }");
        self.exchange = run(&mut self.connection, "SCRIPT", &["LOAD", &script]);
    }

    /// The answer of the script, and the server's marker and buckets after it
    /// that were asked about: one round trip for all.
    pub(crate) fn exchange(&mut self, call: &Call, now: StoreTime) -> Checked<(Decoded, Held)> {
        let clock = clock(now);
        let mut arguments: Vec<&[u8]> = call.arguments().to_vec();
        arguments.push(&clock);
        let (marker, buckets) = call.keys().split_first().expect("a call has its marker");
        let mut pipeline = evaluation(&self.exchange, call.keys(), &arguments);
        pipeline.cmd("GET").arg(marker);
        pipeline.cmd("EVALSHA").arg(&self.look);
        pipeline.arg(buckets.len()).arg(buckets);
        let mut said = self.ask(&pipeline)?.into_iter();
        let answer: Vec<u8> = next(&mut said)?;
        let answer = call.decode(&answer).map_err(|error| error.to_string())?;
        let marker = read_marker(next(&mut said)?)?;
        let looks: Vec<Look> = next(&mut said)?;
        let buckets = looks.iter().map(read_bucket).collect();
        Ok((answer, Held { marker, buckets }))
    }

    pub(crate) fn delete_all(&mut self) {
        run::<()>(&mut self.connection, "FLUSHALL", &[b"SYNC"]);
    }

    /// Puts in the place of whatever is there something that no version of the script writes.
    pub(crate) fn poison(&mut self, name: &[u8], poison: u64) {
        self.delete(&[name.to_vec()]);
        let (command, values): (_, &[&[u8]]) = match poison {
            0 => ("SET", &[b"garbage"]),
            1 => ("SET", &[&[2; 40]]),
            2 => ("RPUSH", &[b"a"]),
            3 => ("HSET", &[b"a", b"b"]),
            4 => ("HSET", &[b"h", &[2; 64]]),
            _ => ("ZADD", &[b"1", b"a"]),
        };
        let words: Vec<&[u8]> = [name].into_iter().chain(values.iter().copied()).collect();
        run::<Value>(&mut self.connection, command, &words);
    }

    pub(crate) fn delete(&mut self, names: &[Vec<u8>]) {
        if !names.is_empty() {
            run::<u64>(&mut self.connection, "DEL", names);
        }
    }

    /// Copies each key `from` name to `to` name, prefixed thus, or deletes the copy if there is no
    /// key.
    pub(crate) fn copy(&mut self, names: &[Vec<u8>], from: &[u8], to: &[u8]) {
        let mut pipeline = redis::pipe();
        for name in names {
            let (from, to) = ([from, name].concat(), [to, name].concat());
            pipeline.cmd("DEL").arg(&to);
            pipeline.cmd("COPY").arg(&from).arg(&to);
        }
        self.ask(&pipeline).expect("a server copies");
    }

    /// Sends all commands at once and returns the answer to each.
    fn ask(&mut self, pipeline: &Pipeline) -> Checked<Vec<Value>> {
        let said = pipeline.query(&mut self.connection);
        said.map_err(|error| error.to_string())
    }
}

fn next<T: redis::FromRedisValue>(said: &mut impl Iterator<Item = Value>) -> Checked<T> {
    let value = said.next().ok_or("an answer is missing")?;
    redis::from_redis_value(value).map_err(|error| error.to_string())
}

fn read_marker(marker: Option<Vec<u8>>) -> Checked<Option<(Marker, u8)>> {
    let Some(marker) = marker else {
        return Ok(None);
    };
    let (head, entries) = marker.split_at_checked(88).ok_or("a short marker")?;
    let (head, run_id) = head.split_at(48);
    let [since, emptied, earliest, latest, parts, ended] = numbers(head)?;
    let [life, ..] = *run_id else {
        unreachable!("40 bytes")
    };
    if run_id != [life; 40] {
        return Err(format!("run id {}", run_id.escape_ascii()));
    }
    let time = StoreTime::from_micros;
    let entries = entries.chunks(24).map(|entry| {
        let (replica, numbers_of) = entry.split_first_chunk().ok_or("a torn entry")?;
        let [expiry, parts] = numbers(numbers_of)?;
        let parts = u32::try_from(parts).map_err(|error| error.to_string())?;
        Ok((u64::from_le_bytes(*replica), time(expiry), parts))
    });
    let entries: Vec<_> = entries.collect::<Checked<_>>()?;
    let expiries = || entries.iter().map(|(_, expiry, _)| expiry.as_micros());
    let ends = (expiries().min().unwrap_or(0), expiries().max().unwrap_or(0));
    if ends != (earliest, latest) {
        return Err(format!("{earliest} to {latest}, of {entries:?}"));
    }
    let ended = time(ended);
    let marker = Marker {
        birth: Birth {
            since: time(since),
            emptied: time(emptied),
        },
        roster: Roster::from_stored(entries, Retired { parts, ended }),
    };
    Ok(Some((marker, life - b'0')))
}

/// The string that a bucket is, or the fields of the hash that it is, and when it is forgotten.
type Look = (Option<Vec<u8>>, BTreeMap<Vec<u8>, Vec<u8>>, i64);

fn read_bucket((plain, fields, forgotten_ms): &Look) -> Checked<Option<Stored>> {
    let stored = match (plain, fields.is_empty()) {
        (Some(plain), _) => read_plain(plain)?,
        (None, true) => return Ok(None),
        (None, false) => read_hash(fields)?,
    };
    if u64::try_from(*forgotten_ms) != Ok(stored.forgotten_ms()) {
        return Err(format!("forgotten at {forgotten_ms} ms: {stored:#?}"));
    }
    Ok(Some(stored))
}

/// Its form, five numbers of seven bytes, and one of four.
fn read_plain(plain: &[u8]) -> Checked<Stored> {
    let (form, rest) = plain.split_first().ok_or("an empty bucket")?;
    if *form != FORM {
        return Err(format!("a bucket of the form {form}"));
    }
    let numbers: Result<[u64; 6], _> = sevens(rest).try_into();
    let [level, at, weight, kept, ceiling, retired] =
        numbers.map_err(|found| format!("{} numbers in a bucket", found.len()))?;
    let time = StoreTime::from_micros;
    let at = time(at);
    let ledger = Ledger {
        meter: Meter::from_stored(level, at, weight),
        outstanding: 0,
        demand: 0,
        next_expiry: StoreTime::ZERO,
        ceiling,
        retired,
        records: BTreeMap::new(),
    };
    let forget_at = time(kept);
    Ok(Stored::from(Kept { ledger, forget_at }))
}

fn read_hash(fields: &BTreeMap<Vec<u8>, Vec<u8>>) -> Checked<Stored> {
    let header = fields
        .get(b"h".as_slice())
        .ok_or("a bucket without a header")?;
    let [
        level,
        at,
        outstanding,
        demand,
        next_expiry,
        weight,
        replicas,
        kept,
        ceiling,
        retired,
    ] = read_header(header)?;
    let time = StoreTime::from_micros;
    let records = fields.iter().filter(|(name, _)| *name != b"h");
    let records = records.map(|(name, record)| read_record(name, record));
    let ledger = Ledger {
        meter: Meter::from_stored(level, time(at), weight),
        outstanding,
        demand,
        next_expiry: time(next_expiry),
        ceiling,
        retired,
        records: records.collect::<Checked<_>>()?,
    };
    if replicas != ledger.records.len() as u64 {
        return Err(format!("{replicas} replicas counted in {ledger:#?}"));
    }
    let forget_at = time(kept);
    let mut stored = Stored::from(Kept { ledger, forget_at });
    stored.was_leased = true;
    Ok(stored)
}

/// The form, and ten numbers: six of seven bytes, one of three, two of seven and one of four.
fn read_header(header: &[u8]) -> Checked<[u64; 10]> {
    let (form, rest) = header.split_first().ok_or("an empty header")?;
    if *form != FORM {
        return Err(format!("a header of the form {form}"));
    }
    let (head, rest) = rest.split_at_checked(42).ok_or("a short header")?;
    let (replicas, rest) = rest.split_at_checked(3).ok_or("a short header")?;
    let numbers = [sevens(head), sevens(replicas), sevens(rest)].concat();
    numbers
        .try_into()
        .map_err(|found: Vec<u64>| format!("{} numbers in a header", found.len()))
}

/// Whole numbers of seven bytes, the last of what bytes are left.
fn sevens(bytes: &[u8]) -> Vec<u64> {
    let whole = bytes.chunks(7).map(|number| {
        let mut bytes = [0; 8];
        bytes[..number.len()].copy_from_slice(number);
        u64::from_le_bytes(bytes)
    });
    whole.collect()
}

fn read_record(name: &[u8], record: &[u8]) -> Checked<(RecordId, Record)> {
    let (replica, generation) = name.split_at_checked(8).ok_or("a short record id")?;
    let whole = |bytes: &[u8]| {
        let bytes = bytes
            .try_into()
            .map_err(|_| "a broken record id".to_owned());
        bytes.map(u64::from_le_bytes)
    };
    let id = RecordId {
        replica: whole(replica)?,
        generation: whole(generation)?,
    };
    let record: Result<[u64; 5], _> = sevens(record).try_into();
    let [granted, spent, released, expiry, demand] =
        record.map_err(|found| format!("{} numbers in a record", found.len()))?;
    let record = Record {
        granted,
        spent,
        released,
        expiry: StoreTime::from_micros(expiry),
        demand: Demand(u16::try_from(demand).map_err(|error| error.to_string())?),
    };
    Ok((id, record))
}

/// Packed doubles that must be whole.
fn numbers<const N: usize>(bytes: &[u8]) -> Checked<[u64; N]> {
    let (doubles, []) = bytes.as_chunks() else {
        return Err("a torn number".to_owned());
    };
    let whole = |double: &[u8; 8]| {
        let value = f64::from_le_bytes(*double);
        let text = format!("{value:.0}");
        let number: Option<u64> = text.parse().ok();
        number
            .filter(|_| value.fract() == 0.0)
            .ok_or(format!("{value} is not whole"))
    };
    let numbers: Vec<u64> = doubles.iter().map(whole).collect::<Checked<_>>()?;
    numbers
        .try_into()
        .map_err(|found: Vec<u64>| format!("{} numbers for {N}", found.len()))
}

pub(crate) fn connect(binary: Binary) -> (Connection, LocalServer) {
    let options = ServerOptions {
        binary: Some(binary),
        unix_socket: true,
        ..ServerOptions::default()
    };
    let server = LocalServer::start(&options).expect("the server was found, so it starts");
    let client = redis::Client::open(server.url()).expect("a good URL");
    (client.get_connection().expect("it answered before"), server)
}

pub(crate) fn run<T: redis::FromRedisValue>(
    connection: &mut Connection,
    command: &str,
    arguments: &[impl redis::ToRedisArgs],
) -> T {
    let answer = redis::cmd(command).arg(arguments).query(connection);
    answer.unwrap_or_else(|error| panic!("{command}: {error}"))
}

/// The start of a pipeline: a script's run.
pub(crate) fn evaluation(sha: &str, keys: &[Vec<u8>], arguments: &[&[u8]]) -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.cmd("EVALSHA").arg(sha);
    pipeline.arg(keys.len()).arg(keys).arg(arguments);
    pipeline
}

/// Runs the script as it is shipped.
pub(crate) fn eval(connection: &mut Connection, script: &str, call: &Call) -> Decoded {
    let sha: String = run(connection, "SCRIPT", &["LOAD", script]);
    let evaluation = evaluation(&sha, call.keys(), &call.arguments());
    let (answer,): (Vec<u8>,) = evaluation.query(connection).unwrap();
    call.decode(&answer).unwrap()
}

fn clock(now: StoreTime) -> Vec<u8> {
    let now = now.as_micros();
    let halves = [now / 1_000_000, now % 1_000_000];
    let doubles = halves.map(|half| f64::from(u32::try_from(half).expect("before 2106")));
    doubles.into_iter().flat_map(f64::to_le_bytes).collect()
}

pub(crate) fn run_id(life: u8) -> RunId {
    let digit = char::from(b'0' + life);
    RunId::from_info(format!("run_id:{}\r\n", digit.to_string().repeat(40)).as_bytes())
}

/// Tells of each key what it is: see [`Look`].
const LOOK: &str = "
local looks = {}
for place, key in ipairs(KEYS) do
  local plain = redis.call('MGET', key)[1]
  local fields = plain and {} or redis.pcall('HGETALL', key)
  if fields.err then
    fields = { 'neither', 'string nor hash' }
  end
  looks[place] = { plain, fields, redis.call('PEXPIRETIME', key) }
end
return looks";
/// The form of a bucket that this version reads and writes.
const FORM: u8 = 3;
/// The line of the script that reads the clock.
const CLOCK: &str = "local clock = call('TIME')";
