//! A replica in a process of its own: the child that runs it and the parent that watches it.
//!
//! The child reads its plan as one line of JSON and says `ready` once it has its store; a second
//! line tells it when to start. From then on it writes frames: what was seen of each request as
//! soon as it was seen, so that a child that is killed has told almost all, and a summary last.

use std::io::{self, BufRead, Write};
use std::process::Stdio;
use std::sync::Arc;

use leasehold_redis::{RedisStore, Settings};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use crate::demo::company::{Company, Told};
use crate::demo::error::DemoError;

use crate::demo::plan::Plan;
use crate::demo::replica::{Replica, Seen, Summary, offer, told_to_stop};
use crate::demo::store::redis_store;
use crate::demo::terms::Terms;
use crate::ending::Ending;
use crate::interrupt::terminated;
use leasehold_judge::record::{RECORD_BYTES, decode};

/// The parent's first message to the child.
#[derive(Deserialize, Serialize)]
struct Orders {
    replica: u32,
    plan: Plan,
}

/// A child that is ready and waits for its start.
pub(crate) struct ReplicaProcess {
    replica: u32,
    child: Child,
    orders: ChildStdin,
    frames: BufReader<ChildStdout>,
}

impl ReplicaProcess {
    pub(crate) async fn start(plan: &Plan, replica: u32) -> Result<Self, DemoError> {
        let fail = |message: String| DemoError::Replica { replica, message };
        let program = std::env::current_exe();
        let program =
            program.map_err(|error| fail(format!("cannot find this program: {error}")))?;
        let mut child = Command::new(program)
            .arg("demo-replica")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| fail(format!("cannot start a process: {error}")))?;
        let mut orders = child.stdin.take().expect("piped");
        let mut frames = BufReader::new(child.stdout.take().expect("piped"));
        let line = serde_json::to_string(&Orders {
            replica,
            plan: plan.clone(),
        });
        let line = line.expect("a plan is plain data") + "\n";
        let sent = orders.write_all(line.as_bytes()).await;
        sent.map_err(|error| fail(format!("does not listen: {error}")))?;
        let mut answer = String::new();
        let read = frames.read_line(&mut answer).await;
        read.map_err(|error| fail(format!("does not answer: {error}")))?;
        match answer.trim_end() {
            READY => Ok(Self {
                replica,
                child,
                orders,
                frames,
            }),
            "" => Err(fail("ended before it began".to_owned())),
            message => Err(fail(message.to_owned())),
        }
    }

    /// The child, as long as it lives.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Starts the load in time and passes on what the child tells.
    pub(crate) async fn watch(mut self, company: Company) {
        let Company {
            start_ns,
            tell,
            mut stopped,
        } = company;
        // A child that does not listen any more is found out when it tells nothing.
        let _ = self
            .orders
            .write_all(format!("{start_ns}\n").as_bytes())
            .await;
        let mut orders = Some(self.orders);
        let end = loop {
            tokio::select! {
                frame = read_frame(&mut self.frames) => match frame {
                    Ok(Frame::Seen(seen)) => drop(tell.send(Told::Seen(seen))),
                    Ok(Frame::Ended(summary)) => break Ok(summary),
                    Err(_) => break Err(how_it_ended(&mut self.child).await),
                },
                // A closed pipe tells the child to stop.
                () = told_to_stop(&mut stopped), if orders.is_some() => drop(orders.take()),
            }
        };
        drop(tell.send(Told::Ended {
            replica: self.replica,
            end,
        }));
        let _ = self.child.wait().await;
    }
}

async fn how_it_ended(child: &mut Child) -> String {
    match child.wait().await {
        Ok(status) => format!("ended early ({status})"),
        Err(error) => format!("ended early ({error})"),
    }
}

enum Frame {
    Seen(Seen),
    Ended(Summary),
}

/// A frame: its kind, then a record, or the length of a summary and the summary.
async fn read_frame(frames: &mut BufReader<ChildStdout>) -> io::Result<Frame> {
    let kind = frames.read_u8().await?;
    if kind == KIND_SUMMARY {
        let mut summary = vec![0; frames.read_u32_le().await? as usize];
        frames.read_exact(&mut summary).await?;
        return Ok(Frame::Ended(serde_json::from_slice(&summary)?));
    }
    let mut bytes = [0; RECORD_BYTES];
    frames.read_exact(&mut bytes).await?;
    let decoded = decode(&bytes).map_err(io::Error::other)?;
    let record = decoded.records.first().copied();
    let record = record.ok_or_else(|| io::Error::other("an empty frame"))?;
    Ok(Frame::Seen(Seen {
        record,
        local: kind == KIND_LOCAL,
    }))
}

/// The child's side.
///
/// The load has a runtime of its own. In a service too requests do not come when the limiter's
/// timers ring, and load that shared these timers would.
pub(crate) fn run() -> Result<Ending, DemoError> {
    let limiter = Runtime::new().map_err(DemoError::Runtime)?;
    let load = Builder::new_current_thread().enable_all().build();
    let load = load.map_err(DemoError::Runtime)?;
    let Orders { replica, plan } = read_orders()?;
    let start = limiter.block_on(start(&plan));
    let it = start.inspect_err(|error| say(&error.to_string()))?;
    say(READY);
    load.block_on(offer_when_told(it, &plan, replica));
    // The reader of the orders may still wait for a line that never comes.
    load.shutdown_background();
    limiter.shutdown_background();
    Ok(Ending::Kept)
}

async fn start(plan: &Plan) -> Result<Replica, DemoError> {
    let url = plan.redis.as_deref().unwrap_or_default();
    let store = match &plan.terms {
        None => redis_store(url, &plan.prefix).await?,
        Some(terms) => lazy_store(url, &plan.prefix, terms)?,
    };
    Replica::new(plan, Arc::new(store))
}

async fn offer_when_told(it: Replica, plan: &Plan, replica: u32) {
    let mut start = String::new();
    let told = io::stdin().lock().read_line(&mut start);
    let Some(start_ns) = told.ok().and_then(|_| start.trim_end().parse().ok()) else {
        return;
    };
    let mut out = io::stdout().lock();
    let sink = |seen: Seen| {
        let kind = if seen.local { KIND_LOCAL } else { KIND_STORE };
        // Written at once: whatever happens next, this request has been told of.
        let mut frame = [kind; RECORD_BYTES + 1];
        frame[1..].copy_from_slice(&seen.record.encode());
        let _ = out.write_all(&frame).and_then(|()| out.flush());
    };
    let summary = offer(it, plan, replica, start_ns, stop_when_told(), sink).await;
    let summary = serde_json::to_vec(&summary).expect("a summary is plain data");
    let length = u32::try_from(summary.len()).expect("a summary is short");
    let mut frame = vec![KIND_SUMMARY];
    frame.extend(length.to_le_bytes());
    frame.extend(summary);
    let _ = out.write_all(&frame).and_then(|()| out.flush());
}

/// A store that may be away when the replica starts, as services must start without theirs.
fn lazy_store(url: &str, prefix: &str, terms: &Terms) -> Result<RedisStore, DemoError> {
    let settings: Settings = url.parse().map_err(DemoError::Url)?;
    Ok(RedisStore::lazy(prefix, terms.settings(settings)))
}

fn read_orders() -> Result<Orders, DemoError> {
    let mut line = String::new();
    let fail = |message: String| DemoError::Replica {
        replica: 0,
        message,
    };
    let read = io::stdin().lock().read_line(&mut line);
    read.map_err(|error| fail(format!("no orders: {error}")))?;
    serde_json::from_str(&line).map_err(|error| fail(format!("these are no orders: {error}")))
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Becomes true once the parent closes its end, or the system asks this process to end: then it
/// gives back what it has leased. An interrupt at the terminal reaches parent and child alike; the
/// parent decides.
fn stop_when_told() -> watch::Receiver<bool> {
    let (stop, stopped) = watch::channel(false);
    let stop = Arc::new(stop);
    let by_signal = Arc::clone(&stop);
    tokio::spawn(async move {
        terminated().await;
        by_signal.send_replace(true);
    });
    tokio::spawn(async { while tokio::signal::ctrl_c().await.is_ok() {} });
    tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        let _ = io::stdin().lock().read_line(&mut line);
        stop.send_replace(true);
    });
    stopped
}

const READY: &str = "ready";
const KIND_LOCAL: u8 = b'l';
const KIND_STORE: u8 = b's';
const KIND_SUMMARY: u8 = b'e';
