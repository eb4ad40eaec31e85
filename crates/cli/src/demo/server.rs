//! What the server says of itself: script calls and processor time, before and after a run.

use redis::aio::MultiplexedConnection;

use crate::demo::DemoError;

pub(crate) struct Server(Option<MultiplexedConnection>);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) script_calls: u64,
    pub(crate) keys_written: u64,
    pub(crate) cpu_micros: u64,
}

impl Server {
    /// The server at `url`, or none.
    pub(crate) async fn connect(url: Option<&str>) -> Result<Self, DemoError> {
        let Some(url) = url else {
            return Ok(Self(None));
        };
        // Our own way in first: it knows what to say of a server that cannot be reached.
        drop(crate::demo::run::redis_store(url, "leasehold-demo").await?);
        let client = redis::Client::open(url).map_err(|error| Self::lost(&error))?;
        let connection = client.get_multiplexed_async_connection().await;
        Ok(Self(Some(connection.map_err(|error| Self::lost(&error))?)))
    }

    pub(crate) async fn usage(&mut self) -> Result<Option<Usage>, DemoError> {
        let Some(connection) = &mut self.0 else {
            return Ok(None);
        };
        let mut info = redis::cmd("INFO");
        info.arg("commandstats").arg("cpu");
        let text: Result<String, _> = info.query_async(connection).await;
        Ok(Some(read_usage(&text.map_err(|error| Self::lost(&error))?)))
    }

    fn lost(error: &redis::RedisError) -> DemoError {
        DemoError::Server(error.to_string())
    }
}

fn read_usage(info: &str) -> Usage {
    let value = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or("")
    };
    let calls = |name: &str| {
        let fields = value(name).split(',');
        let calls = fields
            .into_iter()
            .find_map(|field| field.strip_prefix("calls="));
        calls.and_then(|calls| calls.parse().ok()).unwrap_or(0)
    };
    let micros = |name: &str| {
        let seconds: f64 = value(name).trim().parse().unwrap_or(0.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "CPU time"
        )]
        let micros = (seconds * 1e6) as u64;
        micros
    };
    let sum = |commands: &[&str]| -> u64 {
        let each = commands
            .iter()
            .map(|command| calls(&format!("cmdstat_{command}:")));
        each.sum()
    };
    Usage {
        script_calls: sum(&["evalsha", "eval", "script|load"]),
        // The script writes each key's state once, as a string or as a hash. It tries a string before it
        // looks for a hash where none was known of.
        keys_written: sum(&["set", "hset"]).saturating_sub(sum(&["hget"])),
        cpu_micros: micros("used_cpu_user:") + micros("used_cpu_sys:"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_from_what_servers_say() {
        let info = "# CPU\r\nused_cpu_sys:1.500000\r\nused_cpu_user:2.25\r\n# Commandstats\r\n\
                    cmdstat_evalsha:calls=42,usec=99,usec_per_call=2.3\r\ncmdstat_ping:calls=1,u=2\r\n\
                    cmdstat_script|load:calls=3,usec=9\r\ncmdstat_set:calls=7,usec=1\r\n\
                    cmdstat_hset:calls=2,usec=1\r\ncmdstat_hget:calls=1,usec=1\r\n";
        let usage = read_usage(info);
        assert_eq!(
            (usage.script_calls, usage.keys_written, usage.cpu_micros),
            (45, 8, 3_750_000)
        );
        assert_eq!(read_usage("").script_calls, 0);
    }
}
