//! The cost of the store script and of its other forms: the measurement behind the section
//! "The store script" of docs/BENCHMARKS.md.
//!
//! ```sh
//! cargo run --release -p leasehold-redis --example script_forms
//! ```
//!
//! The other forms are made from the shipped script by replacing parts of its text, so that they
//! differ in nothing else. Every round measures every row once, in turn, so that a disturbance hits
//! all rows alike; the median of the rounds is printed.

use std::error::Error;
use std::time::Instant;

use leasehold_core::{Demand, LeaseRequest, Limit, Micros, RecordId, Request, StoreTime};
use leasehold_redis::codec::{Call, EXCHANGE, Names, RunId};
use leasehold_testbed::{LocalServer, ServerOptions};
use redis::{Connection, Value};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    for binary in LocalServer::all_kinds()? {
        let server = LocalServer::start(&ServerOptions {
            binary: Some(binary),
            ..ServerOptions::default()
        })?;
        println!("\n{:?} {}", server.binary().kind, server.binary().version);
        let mut store = Store::connect(&server)?;
        store.compare_forms()?;
        store.compare_cold()?;
        store.compare_batches()?;
    }
    Ok(())
}

/// A form of the script.
struct Form {
    name: &'static str,
    body: String,
}

impl Form {
    fn all() -> Vec<Self> {
        let form = |name, patches: &[&[Patch]]| Self {
            name,
            body: patches
                .iter()
                .fold(EXCHANGE.to_owned(), |body, patch| patched(body, patch)),
        };
        vec![
            form("hash (shipped)", &[]),
            form("hash, PEXPIREAT each time", &[EXPIRE_EACH_TIME]),
            form("string", &[HASH_FROM_THE_START, STRING, STRING_WHOLE]),
            form(
                "string, PXAT each time",
                &[EXPIRE_EACH_TIME, HASH_FROM_THE_START, STRING, STRING_WHOLE],
            ),
            form(
                "string, two SETRANGE",
                &[HASH_FROM_THE_START, STRING, STRING_RANGES],
            ),
            form("hash from the start", &[HASH_FROM_THE_START]),
        ]
    }
}

/// The text to replace, and its replacement.
type Patch = (&'static str, &'static str);

/// `body` with each of these texts replaced.
fn patched(mut body: String, patches: &[Patch]) -> String {
    for (old, new) in patches {
        assert_eq!(
            body.matches(old).count(),
            1,
            "the script has changed: {old}"
        );
        body = body.replace(old, new);
    }
    body
}

const EXPIRE_EACH_TIME: &[Patch] = &[
    ("local lengthen = forget > kept", "local lengthen = true"),
    (
        "kept = min(forget + floor(more), STORED_END - 1)",
        "kept = max(kept, forget)",
    ),
];

/// A hash for a bucket that was never leased, too.
const HASH_FROM_THE_START: &[Patch] = &[
    (
        "for first = 2, plains_end + 1, READ_MAX do",
        "for first = 2, 1 do",
    ),
    (TRIED, "  local reply\n"),
    (
        "  if in_hash then
    in_hash, foreign = read_hash(key)
  end
  if foreign or plain and not in_hash and not read_plain() then",
        "  local found
  found, foreign = read_hash(key)
  if foreign or plain and not found and not read_plain() then",
    ),
    (
        "    if not header then
      return false, true
    end
  end
",
        "    if not header then
      return false
    end
  end
",
    ),
    ("if plain or in_hash then", "if found then"),
];

/// The shipped script's attempt where it knows of no hash.
const TRIED: &str = "  local reply
  if plain or cost == LEASE then
    reply = exchange(key, not plain)
  elseif cost == new_cost and limit == new_limit then
    reply = call('SET', key, new_value, 'NX', 'PXAT', new_until) and new_reply
  else
    reply = exchange(key, false)
    if reply and cost >= 0 then
      new_limit, new_cost, new_value, new_until, new_reply = limit, cost, value, until_ms, reply
    end
  end
";

/// In place of a hash, one string: the header, then the records, each with its id before it.
const STRING: &[Patch] = &[
    ("'<I7I7I7I7I7', 35", "'<c16I7I7I7I7I7', 51"),
    (
        "local own, ended_names\n",
        "local own, ended_names\nlocal records\nlocal sub = string.sub\n",
    ),
    (
        "  local fields = call('HGETALL', key)\n",
        "  local living = {}\n",
    ),
    (
        "  next_expiry, ended_names = 0, {}\n",
        "  next_expiry = 0\n",
    ),
    (
        "  for place = 1, #fields, 2 do
    local name = fields[place]
    if name ~= 'h' then
      if #name ~= 16 or #fields[place + 1] ~= RECORD_SIZE then
        return false
      end
      local granted, spent, released, expiry, wish = unpack(RECORD, fields[place + 1])",
        "  for place = 1, #records, RECORD_SIZE do
    do
      local _, granted, spent, released, expiry, wish = unpack(RECORD, records, place)",
    ),
    (
        "        ended_names[#ended_names + 1] = name
        demand, replicas = demand - wish, replicas - 1
        if name == id then
          own = false
        end
      elseif next_expiry == 0 or expiry < next_expiry then
        next_expiry = expiry
      end
    end
  end
",
        "        demand, replicas = demand - wish, replicas - 1
      else
        living[#living + 1] = sub(records, place, place + RECORD_SIZE - 1)
        if next_expiry == 0 or expiry < next_expiry then
          next_expiry = expiry
        end
      end
    end
  end
  records = table.concat(living)
",
    ),
    (
        "  local header, foreign
  if cost == LEASE then
    local stored
    stored, foreign = read('HMGET', key, 'h', id)
    if foreign then
      plain, foreign = read('GET', key)
      return false, foreign
    end
    header, own = stored[1], stored[2]
    if not header then
      -- A lease is asked for first: there may well be nothing.
      return false, own or #call('HGETALL', key) > 0
    end
  else
    -- Something is there, or nobody would look.
    header, foreign = read('HGET', key, 'h')
    if not header then
      return false
    end
  end
  if #header ~= HEADER_SIZE or byte(header) ~= FORM or own and #own ~= RECORD_SIZE then
",
        "  local header = read('GET', key)
  records = header and sub(header, HEADER_SIZE + 1) or ''
  if not header then
    return false
  end
  if byte(header) ~= FORM then
",
    ),
    (
        "  local status, granted, expiry, wait = CHARGED",
        "  own = string.find(records, id, 1, true)
  while own and (own - 1) % RECORD_SIZE ~= 0 do
    own = string.find(records, id, own + 1, true)
  end
  local status, granted, expiry, wait = CHARGED",
    ),
    (
        "granted, spent, released, expiry, wished = unpack(RECORD, own)",
        "id, granted, spent, released, expiry, wished = unpack(RECORD, records, own)",
    ),
    (
        "      ended_names = ended_names or {}
      ended_names[#ended_names + 1] = id
    end
    return LEFT, granted, 0, wait",
        "    end
    return LEFT, granted, 0, wait, ''",
    ),
    ("pack(RECORD, granted,", "pack(RECORD, id, granted,"),
];

/// Written whole.
const STRING_WHOLE: &[Patch] = &[(
    HASH_WRITTEN,
    "  if record and own then
    records = sub(records, 1, own - 1) .. record .. sub(records, own + RECORD_SIZE)
  elseif record then
    records = records .. record
  end
  if lengthen then
    call('SET', key, header .. records, 'PXAT', ceil(kept / 1000))
  else
    call('SET', key, header .. records, 'KEEPTTL')
  end
",
)];

/// Written where it has changed: the header and one record.
const STRING_RANGES: &[Patch] = &[(
    HASH_WRITTEN,
    "  if record and own and #record > 0 and not lengthen then
    call('SETRANGE', key, HEADER_SIZE + own - 1, record)
    call('SETRANGE', key, 0, header)
  elseif record and own then
    records = sub(records, 1, own - 1) .. record .. sub(records, own + RECORD_SIZE)
    call('SET', key, header .. records, 'KEEPTTL')
  else
    call('SET', key, header .. records .. (record or ''), 'KEEPTTL')
  end
  if lengthen then
    call('PEXPIREAT', key, ceil(kept / 1000))
  end
",
)];

/// How the shipped script writes a hash.
const HASH_WRITTEN: &str = "  if record then
    call('HSET', key, 'h', header, id, record)
  else
    call('HSET', key, 'h', header)
  end
  if lengthen or plain then
    call('PEXPIREAT', key, ceil(kept / 1000))
  end
";

struct Store {
    connection: Connection,
    forms: Vec<(Form, String)>,
    server: RunId,
    round: u64,
}

/// One row of a table, and what its rounds measured.
struct Row {
    form: usize,
    /// Leases on each key; none if each is asked for once, by its cost.
    records: u64,
    keys: u64,
    batch: u64,
    pipelined: bool,
    costs: Vec<Cost>,
}

/// Of one key in one round, in microseconds.
#[derive(Clone, Copy)]
struct Cost {
    cpu: f64,
    wall: f64,
}

impl Store {
    fn connect(server: &LocalServer) -> Outcome<Self> {
        let mut connection = redis::Client::open(server.url())?.get_connection()?;
        let info: Vec<u8> = redis::cmd("INFO").arg("server").query(&mut connection)?;
        let forms = Form::all().into_iter().map(|form| {
            let load = redis::cmd("SCRIPT")
                .arg("LOAD")
                .arg(&form.body)
                .query(&mut connection);
            load.map(|sha: String| (form, sha))
        });
        let forms = forms.collect::<Result<_, _>>()?;
        Ok(Self {
            connection,
            forms,
            server: RunId::from_info(&info),
            round: 0,
        })
    }

    fn compare_forms(&mut self) -> Outcome {
        let mut rows = Vec::new();
        for records in [1, 4, 16, 64, 256] {
            for form in 0..self.forms.len() - 1 {
                rows.push(Row::new(form, records, 100, 100, false));
            }
        }
        self.measure(&mut rows)?;
        println!("\n| form, K = 100 | records | {COLUMNS} | bytes/key |");
        println!("|---|---:|---:|---:|---:|---:|");
        for row in &rows {
            let key = row.names().bucket(0, "api", &row.subject(0, 1));
            let usage = redis::cmd("MEMORY").arg("USAGE").arg(key).to_owned();
            let bytes: u64 = usage.query(&mut self.connection)?;
            let name = self.forms[row.form].0.name;
            println!("| {name} | {} | {} | {bytes} |", row.records, row.figures());
        }
        Ok(())
    }

    /// Keys that are asked for once, without a lease.
    fn compare_cold(&mut self) -> Outcome {
        let mut rows = Vec::new();
        for batch in [1, 16, 128] {
            for form in [0, self.forms.len() - 1] {
                rows.push(Row::new(form, 0, batch * (1024 / batch), batch, false));
            }
        }
        self.measure(&mut rows)?;
        println!("\n| form, keys that nobody leases | K | {COLUMNS} | bytes/key |");
        println!("|---|---:|---:|---:|---:|---:|");
        for row in &rows {
            // Those that were measured are forgotten.
            for (command, _) in self.commands(row, 0)? {
                self.send(&command, 1)?;
            }
            let key = row.names().bucket(0, "api", &row.subject(self.round, 0));
            let usage = redis::cmd("MEMORY").arg("USAGE").arg(key).to_owned();
            let bytes: u64 = usage.query(&mut self.connection)?;
            let name = match row.form {
                0 => "string until it is leased (shipped)",
                form => self.forms[form].0.name,
            };
            println!("| {name} | {} | {} | {bytes} |", row.batch, row.figures());
        }
        Ok(())
    }

    fn compare_batches(&mut self) -> Outcome {
        let mut rows = Vec::new();
        for batch in [1, 10, 100, 1000] {
            for pipelined in [false, true] {
                rows.push(Row::new(0, 4, 1000, batch, pipelined));
            }
        }
        self.measure(&mut rows)?;
        println!("\n| call, 4 records per key | K | {COLUMNS} |");
        println!("|---|---:|---:|---:|---:|");
        for row in &rows {
            let name = if row.pipelined {
                "K EVALSHA in a pipeline"
            } else {
                "one EVALSHA with K keys"
            };
            println!("| {name} | {} | {} |", row.batch, row.figures());
        }
        Ok(())
    }

    fn measure(&mut self, rows: &mut [Row]) -> Outcome {
        for row in &*rows {
            for record in 0..row.records {
                for (command, _) in self.commands(row, record)? {
                    self.send(&command, 1)?;
                }
            }
        }
        for _ in 0..ROUNDS {
            for row in &mut *rows {
                let cost = self.cost(row)?;
                row.costs.push(cost);
            }
        }
        Ok(())
    }

    fn cost(&mut self, row: &Row) -> Outcome<Cost> {
        let mut commands = Vec::new();
        let rounds = KEYS_PER_CELL / row.keys;
        for _ in 0..rounds {
            self.round += 1;
            let record = self.round.checked_rem(row.records).unwrap_or(0);
            commands.extend(self.commands(row, record)?);
        }
        if row.pipelined {
            commands = commands
                .chunks(usize::try_from(row.batch)?)
                .map(|chunk| {
                    let bytes = chunk.iter().flat_map(|(bytes, _)| bytes.iter().copied());
                    (bytes.collect(), chunk.len())
                })
                .collect();
        }
        let before = self.usage()?;
        let start = now();
        for (bytes, replies) in &commands {
            self.send(bytes, *replies)?;
        }
        let wall = now() - start;
        let after = self.usage()?;
        #[expect(clippy::cast_precision_loss, reason = "some thousands")]
        let keys = (rounds * row.keys) as f64;
        Ok(Cost {
            cpu: (after - before) * 1e6 / keys,
            wall: wall.as_secs_f64() * 1e6 / keys,
        })
    }

    /// One exchange with each key of the row, by its replica number `record`.
    fn commands(&self, row: &Row, record: u64) -> Outcome<Vec<(Vec<u8>, usize)>> {
        let names = row.names();
        let limit = if row.is_cold() {
            "10/s burst 20"
        } else {
            "1000000/s burst 1000000"
        };
        let limit: Limit = limit.parse()?;
        let per_call = if row.pipelined { 1 } else { row.batch };
        let lease = Request::Lease(LeaseRequest {
            record: RecordId {
                replica: record.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15),
                generation: 1,
            },
            granted: 0,
            spent: self.round,
            released: 0,
            wanted: 10,
            needed: 0,
            lease: LEASE,
            expiry: StoreTime::ZERO,
            demand: Demand::ONE,
        });
        let request = if row.is_cold() {
            Request::Spend { cost: 1 }
        } else {
            lease
        };
        let mut commands = Vec::new();
        for first in (0..row.keys).step_by(usize::try_from(per_call)?) {
            let hold = LEASE;
            let mut call = Call::new(names.marker(0), StoreTime::ZERO, hold, self.server.clone())?;
            for key in first..row.keys.min(first + per_call) {
                let key = names.bucket(0, "api", &row.subject(self.round, key));
                call.push(key, &limit, &request)?;
            }
            let mut command = redis::cmd("EVALSHA");
            command.arg(&self.forms[row.form].1).arg(call.keys().len());
            command.arg(call.keys()).arg(&call.arguments()[..]);
            commands.push((command.get_packed_command(), 1));
        }
        Ok(commands)
    }

    fn send(&mut self, commands: &[u8], replies: usize) -> Outcome {
        for reply in
            redis::ConnectionLike::req_packed_commands(&mut self.connection, commands, 0, replies)?
        {
            assert!(matches!(reply, Value::BulkString(_)), "{reply:?}");
        }
        Ok(())
    }

    /// Seconds of CPU that the server has used.
    fn usage(&mut self) -> Outcome<f64> {
        let info: String = redis::cmd("INFO").arg("cpu").query(&mut self.connection)?;
        let used = ["used_cpu_sys:", "used_cpu_user:"].map(|field| {
            let line = info.lines().find_map(|line| line.strip_prefix(field));
            line.ok_or(field)?.parse::<f64>().map_err(|_| field)
        });
        Ok(used[0]? + used[1]?)
    }
}

impl Row {
    fn new(form: usize, records: u64, keys: u64, batch: u64, pipelined: bool) -> Self {
        Self {
            form,
            records,
            keys,
            batch,
            pipelined,
            costs: Vec::new(),
        }
    }

    /// Whether each key is asked for once, and not leased.
    fn is_cold(&self) -> bool {
        self.records == 0
    }

    /// The subject of a key: in each round another, if it is cold.
    fn subject(&self, round: u64, key: u64) -> Vec<u8> {
        let round = if self.is_cold() { round } else { 0 };
        format!("10.{round}.{key:010}").into_bytes()
    }

    /// Rows share no keys.
    fn names(&self) -> Names {
        let Self {
            form,
            records,
            keys,
            batch,
            pipelined,
            ..
        } = self;
        Names::new(&format!("{form}-{records}-{keys}-{batch}-{pipelined}"))
    }

    /// Median and middle half of the server's CPU time, and median of the wall time.
    fn figures(&self) -> String {
        let sorted = |of: fn(&Cost) -> f64| {
            let mut values: Vec<f64> = self.costs.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let (cpu, wall) = (sorted(|cost| cost.cpu), sorted(|cost| cost.wall));
        let (low, middle, high) = (cpu.len() / 4, cpu.len() / 2, cpu.len() * 3 / 4);
        let (low, median, high) = (cpu[low], cpu[middle], cpu[high]);
        format!("{median:.2} | {low:.2}-{high:.2} | {:.2}", wall[middle])
    }
}

#[expect(clippy::disallowed_methods, reason = "this measures")]
fn now() -> Instant {
    Instant::now()
}

const COLUMNS: &str = "server CPU us/key | middle half | wall us/key";
const ROUNDS: usize = 15;
/// Requests in each cell of each round.
const KEYS_PER_CELL: u64 = 4000;
/// Longer than the run, so that no record expires while it is measured.
const LEASE: Micros = Micros(600_000_000);
