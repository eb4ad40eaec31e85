//! The baseline: one script call per decision, as most services limit today.
//!
//! A generic cell rate algorithm in one string per key, written for the least work at the server:
//! one `GET`, one `SET` if it is allowed, nothing but the answer back. Calls share one multiplexed
//! connection per instance, so that concurrent ones travel together.

use redis::Script;
use redis::aio::MultiplexedConnection;

use super::{Instance, Setting};
use crate::end_to_end::failure::Failure;

/// One instance: a connection, and the limit in the script's terms.
#[derive(Clone)]
pub struct Centralised {
    connection: MultiplexedConnection,
    hash: String,
    prefix: String,
    /// Microseconds in which a token is added.
    emission: f64,
    /// Microseconds by which the theoretical arrival may run ahead.
    tolerance: f64,
}

impl Centralised {
    /// Connects and loads the script.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the server cannot be reached or takes no script.
    pub async fn connect(setting: Setting) -> Result<Self, Failure> {
        let client = redis::Client::open(setting.url.as_str()).map_err(Failure::of)?;
        let connection = client.get_multiplexed_async_connection().await;
        let mut connection = connection.map_err(Failure::of)?;
        let script = Script::new(GCRA);
        let loaded = script.prepare_invoke().load_async(&mut connection).await;
        let hash: String = loaded.map_err(Failure::of)?;
        let emission = 1e6 / f64::from(setting.limit.per_second);
        Ok(Self {
            connection,
            hash,
            prefix: setting.prefix,
            emission,
            tolerance: emission * f64::from(setting.limit.burst),
        })
    }
}

impl Instance for Centralised {
    type Key = String;

    fn key(name: &str) -> String {
        name.to_owned()
    }

    async fn acquire(&self, key: &String) -> bool {
        let mut connection = self.connection.clone();
        let mut call = redis::cmd("EVALSHA");
        call.arg(&self.hash).arg(1);
        call.arg(format_args!("{}:{key}", self.prefix).to_string());
        call.arg(self.emission).arg(self.tolerance);
        call.query_async::<i32>(&mut connection).await == Ok(1)
    }
}

/// `KEYS[1]`: the key. `ARGV`: microseconds per token, and per burst. Whole microseconds are exact:
/// since 1970 they need 51 bits, and the server writes a number that a script passes on with 17
/// digits. Of a rate that has no whole ones part is lost, in favour of the caller and not of the
/// server: it does the same work.
const GCRA: &str = "
local call, key, ahead = redis.call, KEYS[1], tonumber(ARGV[2])
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local arrival = math.max(tonumber(call('GET', key) or 0), now) + ARGV[1]
if arrival - now > ahead then
  return 0
end
call('SET', key, arrival, 'PX', math.max(1, math.ceil((arrival - now) / 1000)))
return 1
";

#[cfg(test)]
mod tests {
    use leasehold_testbed::{LocalServer, ServerOptions};

    use super::*;
    use crate::end_to_end::contenders::Nominal;

    /// A baseline that denies too much or admits too much makes every ratio to it worthless.
    #[test]
    fn the_script_admits_the_burst_and_then_the_rate() {
        let Some(binary) = LocalServer::find_or_skip().into_iter().next() else {
            return;
        };
        let server = LocalServer::start(&ServerOptions {
            binary: Some(binary),
            ..ServerOptions::default()
        });
        let server = server.expect("it was found");
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().expect("a runtime");
        let (admitted, seconds) = runtime.block_on(async {
            let setting = Setting {
                url: server.url(),
                prefix: "test".to_owned(),
                limit: Nominal {
                    per_second: 100,
                    burst: 20,
                },
                instances: 1,
            };
            let limiter = Centralised::connect(setting).await.expect("a server");
            let (key, start) = ("one".to_owned(), leasehold::machine_nanos());
            let mut admitted = 0_u32;
            let seconds = loop {
                admitted += u32::from(limiter.acquire(&key).await);
                let elapsed = leasehold::machine_nanos() - start;
                if elapsed > 300_000_000 {
                    break std::time::Duration::from_nanos(elapsed).as_secs_f64();
                }
            };
            (f64::from(admitted), seconds)
        });
        let ideal = 20.0 + 100.0 * seconds;
        assert!(
            (ideal - 2.0..=ideal + 1.0).contains(&admitted),
            "{admitted} were admitted in {seconds} s, {ideal} ideally"
        );
    }
}
