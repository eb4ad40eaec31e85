//! One cell of the tables: one contender in one row, in a runtime of its own.

use redis::aio::MultiplexedConnection;
use tokio::runtime::{Builder, Runtime};

use super::closed_loop::{self, ClosedLoop, Outcome};
use super::cold_keys::{self, ColdKeys};
use super::contenders::centralised::Centralised;
use super::contenders::leased::Leased;
#[cfg(feature = "limitador-redis")]
use super::contenders::limitador::Limitador;
use super::contenders::{Contender, Instance, Setting, build};
#[cfg(feature = "rivals")]
use super::contenders::{split::Split, trypema::Trypema};
use super::failure::Failure;
use super::figures::Figures;
use super::open_loop::{self, OpenLoop};
use super::rows::{Effort, Load, Row};
use super::server_cost::{Cost, Host};

/// Measures it once.
///
/// # Errors
///
/// [`Failure`] if the server or the contender fails, or if nothing could be judged.
pub(super) fn measure(
    host: &Host,
    row: &Row,
    contender: Contender,
    effort: Effort,
) -> Result<Figures, Failure> {
    let runtime = runtime()?;
    let figures = runtime.block_on(measure_in(host, row, contender, effort));
    // Some contenders leave tasks behind that run for ever.
    runtime.shutdown_background();
    figures
}

async fn measure_in(
    host: &Host,
    row: &Row,
    contender: Contender,
    effort: Effort,
) -> Result<Figures, Failure> {
    let cell = Cell {
        host,
        row,
        contender,
        effort,
    };
    match contender {
        Contender::Leased => cell.of(Leased::connect).await,
        Contender::Centralised => cell.of(Centralised::connect).await,
        #[cfg(feature = "rivals")]
        Contender::TrypemaSecond => cell.of(|setting| Trypema::connect(setting, 1)).await,
        #[cfg(feature = "rivals")]
        Contender::TrypemaMinute => cell.of(|setting| Trypema::connect(setting, 60)).await,
        #[cfg(feature = "rivals")]
        Contender::Split => cell.of(Split::connect).await,
        #[cfg(feature = "limitador-redis")]
        Contender::Limitador => cell.of(Limitador::connect).await,
        #[cfg(not(all(feature = "rivals", feature = "limitador-redis")))]
        _ => Err(Failure::new("this build does not have it")),
    }
}

struct Cell<'a> {
    host: &'a Host,
    row: &'a Row,
    contender: Contender,
    effort: Effort,
}

impl Cell<'_> {
    async fn of<I, F>(&self, connect: impl Fn(Setting) -> F) -> Result<Figures, Failure>
    where
        I: Instance,
        F: Future<Output = Result<I, Failure>>,
    {
        let mut server = self.host.connect().await?;
        self.host.clear(&mut server).await?;
        let setting = Setting {
            url: self.host.url().to_owned(),
            // Nobody has used it before, on whosever server.
            prefix: format!("bench-{}", leasehold::machine_nanos()),
            limit: self.row.limit,
            instances: self.row.instances,
        };
        let instances = build(&setting, connect).await?;
        let (outcome, cost) = self.load(&instances, &mut server).await?;
        for instance in instances {
            instance.close().await;
        }
        Ok(Figures {
            seconds: outcome.seconds,
            accuracy: outcome.accuracy,
            latency: outcome.latency,
            given_up: outcome.given_up,
            cost,
        })
    }

    /// Puts the load, between two looks at what the server has done.
    async fn load<I: Instance>(
        &self,
        instances: &[I],
        server: &mut MultiplexedConnection,
    ) -> Result<(Outcome, Cost), Failure> {
        let (length_ns, limit) = (self.effort.length_ns(self.row.load), self.row.limit);
        let window_s = self.contender.window_s();
        let mut before = Cost::read(server).await?;
        let outcome = match self.row.load {
            Load::Closed {
                tasks,
                keys,
                is_ample,
                warmers,
            } => {
                let load = ClosedLoop {
                    keys,
                    tasks,
                    length_ns,
                    warmers,
                    warm_up_ns: self.effort.warm_up_ns(),
                    times_all: self.contender.always_asks(),
                    limit,
                    is_ample,
                    window_s,
                };
                closed_loop::warm_up(instances, load).await?;
                before = Cost::read(server).await?;
                closed_loop::run(instances, load).await?
            }
            Load::Cold { tasks } => {
                cold_keys::run(instances, ColdKeys { tasks, length_ns }).await?
            }
            Load::Open {
                per_second,
                first_percent,
                ..
            } => {
                let load = OpenLoop {
                    per_second,
                    first_percent,
                    length_ns,
                    limit,
                    window_s,
                };
                open_loop::run(instances, load).await?
            }
        };
        Ok((outcome, Cost::read(server).await? - before))
    }
}

/// A runtime as a service has it: a thread per processor.
fn runtime() -> Result<Runtime, Failure> {
    Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::of)
}
