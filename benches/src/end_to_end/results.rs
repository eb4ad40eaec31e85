//! The measurements of all rounds of a row, and the forms in which they are printed.
//!
//! Accuracy stands beside speed in each of them, and the verdict at the end of the same line.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Attribute, Cell, CellAlignment, Table};
use serde_json::{Value, json};

use super::contenders::Contender;
use super::figures::{Figures, MEASURES, Measure};
use super::rows::Row;
use super::targets::verdict;
use crate::machine::Machine;
use crate::report::{self, Baseline, Column, Kind, Report};
use crate::spread::Spread;

/// A row, and what was measured of each contender.
pub(super) struct RowResults {
    pub(super) row: &'static Row,
    measured: Vec<Measured>,
}

/// The rounds of one contender, of which there is at least one.
pub(super) struct Measured {
    pub(super) contender: Contender,
    rounds: Vec<Figures>,
}

impl Measured {
    /// The medians of the rounds.
    pub(super) fn spread(&self, measure: &Measure) -> Spread {
        let rounds: Vec<f64> = self.rounds.iter().map(measure.of).collect();
        Spread::of(&rounds).expect("there is a round")
    }

    /// The figure of the worst round.
    pub(super) fn greatest(&self, measure: &Measure) -> f64 {
        self.rounds.iter().map(measure.of).fold(0.0, f64::max)
    }
}

impl RowResults {
    pub(super) fn new(row: &'static Row) -> Self {
        Self {
            row,
            measured: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, contender: Contender, figures: Figures) {
        let known = self
            .measured
            .iter_mut()
            .find(|it| it.contender == contender);
        match known {
            Some(measured) => measured.rounds.push(figures),
            None => self.measured.push(Measured {
                contender,
                rounds: vec![figures],
            }),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.measured.is_empty()
    }

    /// The measurements of a contender, if there are any.
    pub(super) fn of(&self, contender: Contender) -> Option<&Measured> {
        self.measured.iter().find(|it| it.contender == contender)
    }

    /// For a terminal.
    pub(super) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        let heads = MEASURES
            .iter()
            .map(|it| format!("{}\n{}", it.head, it.unit));
        let heads = [String::new()].into_iter().chain(heads);
        table.set_header(heads.chain(["verdict".to_owned()]));
        for measured in &self.measured {
            let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
            let figures = MEASURES.iter();
            let figures = figures.map(|measure| right(measured.spread(measure).to_string()));
            let name = Cell::new(measured.contender.name());
            let said = Cell::new(verdict(self, measured.contender).join("\n"));
            let cells = [name].into_iter().chain(figures).chain([said]);
            if measured.contender.kind() == Kind::Ours {
                table.add_row(cells.map(|cell| cell.add_attribute(Attribute::Bold)));
            } else {
                table.add_row(cells);
            }
        }
        let Row { name, question, .. } = self.row;
        format!("{name}: {question}\nTimes are {}.\n{table}\n", self.times())
    }

    /// For machines.
    pub(super) fn json(&self) -> Value {
        let contenders = self.measured.iter().map(|measured| {
            let figures = MEASURES.iter().map(|measure| {
                let spread = measured.spread(measure);
                (measure.name.to_owned(), json!(spread))
            });
            json!({
                "contender": measured.contender.name(),
                "figures": figures.collect::<serde_json::Map<_, _>>(),
                "verdict": verdict(self, measured.contender),
            })
        });
        json!({
            "row": self.row.name,
            "question": self.row.question,
            "times": self.times(),
            "limit": self.row.limit,
            "instances": self.row.instances,
            "contenders": contenders.collect::<Vec<_>>(),
        })
    }

    /// For files: the same figures in the form of all reports.
    pub(super) fn report(&self, machine: &Machine, command: &str) -> Report {
        let columns = MEASURES.iter().map(|measure| Column {
            name: measure.head.to_owned(),
            unit: measure.unit.to_owned(),
            less_is_better: measure.less_is_better,
        });
        let rows = self.measured.iter().map(|measured| {
            let cells = MEASURES.iter();
            report::Row {
                name: measured.contender.name().to_owned(),
                kind: measured.contender.kind(),
                cells: cells
                    .map(|measure| Some(measured.spread(measure)))
                    .collect(),
            }
        });
        let notes = self.measured.iter().map(|measured| {
            let said = verdict(self, measured.contender).join("; ");
            format!("{}: {said}", measured.contender.name())
        });
        Report {
            name: format!("end-to-end-{}", self.row.name),
            title: self.row.question.to_owned(),
            command: command.to_owned(),
            machine: machine.clone(),
            columns: columns.collect(),
            rows: rows.collect(),
            baselines: vec![Baseline {
                label: "centralised".to_owned(),
                row: Contender::Centralised.name().to_owned(),
            }],
            notes: notes.collect(),
        }
    }

    fn times(&self) -> &'static str {
        if self.row.load.is_open() {
            "from when a request was due to its answer"
        } else {
            "from asking to the answer (closed loop: who waits asks less often)"
        }
    }
}
