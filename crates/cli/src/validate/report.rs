//! All comparisons: tables for people, one JSON object for machines.

use comfy_table::Cell;
use serde::Serialize;

use super::comparison::{Comparison, Row, Spread};
use super::figures::Shown;
use crate::machine::Machine;
use crate::output::right;
use crate::simulate::number::plural;

/// The comparisons of all settings.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Whether every prediction was close enough.
    pub(crate) predictions_met: bool,
    /// The server that the store was.
    pub(crate) server: String,
    pub(crate) machine: Machine,
    pub(crate) settings: Vec<Comparison>,
    /// A signal ended it: settings after these were not compared.
    pub(crate) interrupted: bool,
    #[serde(skip)]
    planned: usize,
}

impl Report {
    /// A report of `settings`, of as many as were planned.
    pub(crate) fn new(
        server: String,
        machine: Machine,
        settings: Vec<Comparison>,
        planned: usize,
    ) -> Self {
        Self {
            predictions_met: settings.iter().all(Comparison::is_met),
            server,
            machine,
            interrupted: settings.len() < planned,
            settings,
            planned,
        }
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report is plain data")
    }

    pub(crate) fn text(&self) -> String {
        let tables = self.settings.iter().map(table);
        let mut parts: Vec<String> = tables.collect();
        parts.push(self.verdict());
        if self.interrupted {
            let (compared, planned) = (self.settings.len(), plural(self.planned, "setting"));
            parts.push(format!(
                "INTERRUPTED: {compared} of {planned} were compared."
            ));
        }
        parts.join("\n\n")
    }

    fn verdict(&self) -> String {
        let Machine { cores, load_before } = self.machine;
        let load = load_before.map_or_else(String::new, |load| format!(", load {load:.2} before"));
        let rows = self.settings.iter().flat_map(|it| &it.rows);
        let held = rows.clone().filter(|row| row.allowed.is_some()).count();
        let missed = rows.filter(|row| !row.met).count();
        let said = match missed {
            0 => format!("all of {} are close enough", plural(held, "prediction")),
            missed => format!(
                "{missed} of {} off by more than is allowed",
                plural(held, "prediction")
            ),
        };
        format!("{said}; {}, {cores} cores{load}", self.server)
    }
}

fn table(comparison: &Comparison) -> String {
    let heads = ["", "measured", "predicted", "difference", "allowed", ""];
    let mut table = crate::output::table(heads);
    for row in &comparison.rows {
        let difference = difference(row);
        table.add_row([
            Cell::new(row.name),
            right(spread(row.shown, &row.measured)),
            right(spread(row.shown, &row.predicted)),
            right(difference),
            right(row.allowed_text.clone()),
            Cell::new(match (row.allowed, row.met) {
                (None, _) => "",
                (_, true) => "ok",
                (_, false) => "MISSED",
            }),
        ]);
    }
    let Comparison {
        name,
        title,
        limit,
        replicas,
        keys,
        offered,
        seconds,
        runs,
        simulated,
        lateness_p99,
        ..
    } = comparison;
    let (keys, replicas) = (plural(*keys as usize, "key"), *replicas as usize);
    format!(
        "{name}: {title}\n{limit}, {keys}; {}, {offered} requests/s for {seconds} s; medians of \
         {runs} real and {simulated} simulated runs; 99 % of the requests at most {} late\n{table}",
        plural(replicas, "process").replace("processs", "processes"),
        shown(Shown::Time, *lateness_p99),
    )
}

/// The median, and the least and the most if they differ from it as shown.
fn spread(how: Shown, spread: &Spread) -> String {
    let [median, min, max] = [spread.median, spread.min, spread.max].map(|it| shown(how, it));
    if min == max {
        median
    } else {
        format!("{median} ({min} to {max})")
    }
}

fn difference(row: &Row) -> String {
    let Row {
        difference,
        measured,
        ..
    } = row;
    match row.shown {
        Shown::Percent => format!("{:+.2} points", difference * 100.0),
        _ if measured.median.abs() < f64::MIN_POSITIVE => format!("{difference:+.1}"),
        _ => format!("{:+.1} %", difference / measured.median * 100.0),
    }
}

fn shown(how: Shown, value: f64) -> String {
    match how {
        Shown::Count => format!("{value:.0}"),
        Shown::Rate => format!("{value:.1} /s"),
        Shown::Percent => format!("{:.2} %", value * 100.0),
        Shown::Time => format!("{:.3} ms", value * 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::figures::Figures;
    use crate::validate::setting::Setting;

    #[test]
    fn a_miss_is_said_in_the_table_and_below_it() {
        let setting = Setting::built_in().swap_remove(0);
        let measured = Figures {
            store_calls: 40.0,
            local: 0.99,
            ..Figures::default()
        };
        let predicted = Figures {
            store_calls: 50.0,
            ..measured
        };
        let machine = Machine {
            cores: 2,
            load_before: Some(0.5),
        };
        let report = |predicted| {
            let comparison = Comparison::new(&setting, &[measured], &[predicted], 0.001, false);
            Report::new("Redis".to_owned(), machine, vec![comparison], 1)
        };
        let text = report(predicted).text();
        assert!(
            text.contains("MISSED") && text.contains("+25.0 %"),
            "{text}"
        );
        assert!(text.contains("1 of 7 predictions off"), "{text}");
        assert!(text.contains("load 0.50 before"), "{text}");
        let text = report(measured).text();
        assert!(
            text.contains("all of 7 predictions are close enough"),
            "{text}"
        );
        assert!(
            report(predicted)
                .json()
                .contains("\"predictions_met\": false")
        );
    }
}
