//! A table of measurements, and the forms it is given out in: for a terminal, as JSON, as CSV, and
//! as a picture ([`chart`]).
//!
//! # Invariant
//!
//! All forms say the same: figure, spread and the number of rounds they come from. A cell that was
//! not measured is empty, never 0.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table};
use serde::Serialize;

use crate::chart;
use crate::machine::Machine;
use crate::spread::{Spread, number};

/// The figures that a command measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Names the files, and says which command it was.
    pub name: String,
    /// The question.
    pub title: String,
    /// The command that measures it again.
    pub command: String,
    /// On what.
    pub machine: Machine,
    /// The questions.
    pub columns: Vec<Column>,
    /// The answers, one row for each that was measured.
    pub rows: Vec<Row>,
    /// Rows that others are held against.
    pub baselines: Vec<Baseline>,
    /// Notes for the reader.
    pub notes: Vec<String>,
}

/// One question to all rows.
#[derive(Clone, Debug, Serialize)]
pub struct Column {
    /// A name short enough for a column's head.
    pub name: String,
    /// The unit of the figures, such as `ns`.
    pub unit: String,
    /// Whether less is better, which a ratio and a picture must say.
    pub less_is_better: bool,
}

/// The figures of one limiter, or of a floor.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its name, the same in every report.
    pub name: String,
    /// Whose it is.
    pub kind: Kind,
    /// One for each column; `None` where the question does not apply.
    pub cells: Vec<Option<Spread>>,
}

/// Whose a row is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The machine's own cost of a part of the work: no limiter.
    Floor,
    /// Ours.
    Ours,
    /// Somebody else's limiter.
    Rival,
}

/// A row that others are held against.
#[derive(Clone, Debug, Serialize)]
pub struct Baseline {
    /// How it is called in a head.
    pub label: String,
    /// The name of its row.
    pub row: String,
}

impl Report {
    /// The ratio of a row's median to that of the baseline in the same column, if both have one.
    pub fn ratio(&self, row: &Row, baseline: &Baseline, column: usize) -> Option<f64> {
        let base = self.rows.iter().find(|row| row.name == baseline.row)?;
        let (ours, theirs) = (row.cells[column]?.median, base.cells[column]?.median);
        (theirs >= NOTHING).then(|| ours / theirs)
    }

    /// All for a terminal: the machine, the medians with their spread, the ratios, the notes.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n\n{}\n\n{}\n", self.title, self.machine, self.medians());
        let baselines = self.baselines.iter();
        for baseline in baselines.filter(|it| self.rows.iter().any(|row| row.name == it.row)) {
            let ratios = self.ratios(baseline);
            let _ = write!(
                text,
                "\nTimes {} ({})\n{ratios}\n",
                baseline.label, baseline.row
            );
        }
        for note in &self.notes {
            let _ = write!(text, "\n- {note}");
        }
        let _ = write!(text, "\n\nAgain: {}\n", self.command);
        text
    }

    fn medians(&self) -> Table {
        self.table(&|_| true, &|row, column| {
            row.cells[column].map(|spread| spread.to_string())
        })
    }

    fn ratios(&self, baseline: &Baseline) -> Table {
        let ratio = |row: &Row, column| self.ratio(row, baseline, column).map(number);
        self.table(&|row| row.kind != Kind::Floor, &ratio)
    }

    fn table(
        &self,
        shown: &dyn Fn(&Row) -> bool,
        text: &dyn Fn(&Row, usize) -> Option<String>,
    ) -> Table {
        let mut table = Table::new();
        table
            .load_style(UTF8_FULL_CONDENSED)
            .set_content_arrangement(ContentArrangement::Disabled);
        let heads = self.columns.iter();
        let heads =
            heads.map(|column| format!("{}\n{}", column.name.replace(", ", "\n"), column.unit));
        table.set_header([String::new()].into_iter().chain(heads));
        for row in self.rows.iter().filter(|row| shown(row)) {
            let cells = (0..self.columns.len()).map(|column| {
                let text = text(row, column).unwrap_or_default();
                paint(
                    Cell::new(text).set_alignment(CellAlignment::Right),
                    row.kind,
                )
            });
            let name = paint(Cell::new(&row.name), row.kind);
            table.add_row([name].into_iter().chain(cells));
        }
        table
    }

    /// One object, indented.
    pub fn json(&self) -> String {
        let mut value = serde_json::to_value(self).expect("a report has nothing JSON lacks");
        for (row, json) in self
            .rows
            .iter()
            .zip(value["rows"].as_array_mut().expect("rows"))
        {
            let ratios = self.baselines.iter().map(|baseline| {
                let ratios = (0..self.columns.len()).map(|at| self.ratio(row, baseline, at));
                (
                    baseline.label.clone(),
                    ratios.collect::<serde_json::Value>(),
                )
            });
            json["ratios"] = serde_json::Value::Object(ratios.collect());
        }
        serde_json::to_string_pretty(&value).expect("a value can be written")
    }

    /// A line for each cell: row, kind, column, unit, median, low, high, rounds.
    pub fn csv(&self) -> String {
        let mut csv = "row,kind,column,unit,median,low,high,rounds\n".to_owned();
        for row in &self.rows {
            for (column, spread) in self.columns.iter().zip(&row.cells) {
                let Some(spread) = spread else { continue };
                let (name, kind) = (quoted(&row.name), kind_name(row.kind));
                let (column, unit) = (quoted(&column.name), quoted(&column.unit));
                let Spread {
                    median,
                    low,
                    high,
                    rounds,
                } = spread;
                let _ = writeln!(
                    csv,
                    "{name},{kind},{column},{unit},{median},{low},{high},{rounds}"
                );
            }
        }
        csv
    }

    /// Writes the JSON, the CSV and the picture into a folder, which is made if need be.
    ///
    /// # Errors
    ///
    /// What the file system says, with the path.
    pub fn write(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let named = |error: io::Error, path: &Path| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        };
        fs::create_dir_all(folder).map_err(|error| named(error, folder))?;
        let forms = [
            ("json", self.json()),
            ("csv", self.csv()),
            ("svg", chart::svg(self)),
        ];
        let mut written = Vec::new();
        for (extension, text) in forms {
            let path = folder.join(format!("{}.{extension}", self.name));
            fs::write(&path, text).map_err(|error| named(error, &path))?;
            written.push(path);
        }
        Ok(written)
    }

    /// Writes all forms into a folder, as [`write`](Self::write) does, and prints one: the JSON, or
    /// the table and what was written.
    ///
    /// # Errors
    ///
    /// What the file system says, with the path.
    pub fn give_out(&self, folder: &Path, json: bool) -> io::Result<()> {
        let written = self.write(folder)?;
        if json {
            println!("{}", self.json());
        } else {
            let written: Vec<_> = written
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            println!("{}\nWritten: {}", self.text(), written.join(", "));
        }
        Ok(())
    }
}

fn paint(cell: Cell, kind: Kind) -> Cell {
    match kind {
        Kind::Floor => cell.fg(Color::DarkGrey),
        Kind::Ours => cell.add_attribute(Attribute::Bold),
        Kind::Rival => cell,
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Floor => "floor",
        Kind::Ours => "ours",
        Kind::Rival => "rival",
    }
}

/// A baseline that is shown as 0 cannot be divided by.
const NOTHING: f64 = 0.005;

/// As CSV wants it where a text has commas or quotes.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn report() -> Report {
        let column = |name: &str| Column {
            name: name.into(),
            unit: "ns".into(),
            less_is_better: true,
        };
        let row = |name: &str, kind, cells: [Option<f64>; 2]| Row {
            name: name.into(),
            kind,
            cells: cells.map(|cell| cell.map(Spread::one)).to_vec(),
        };
        Report {
            name: "sample".into(),
            title: "A sample".into(),
            command: "run it".into(),
            machine: Machine::now(&[]),
            columns: vec![column("hot"), column("cold")],
            rows: vec![
                row("nothing, really", Kind::Floor, [Some(0.5), None]),
                row("we", Kind::Ours, [Some(10.0), Some(100.0)]),
                row("they <3", Kind::Rival, [Some(40.0), None]),
            ],
            baselines: vec![Baseline {
                label: "they".into(),
                row: "they <3".into(),
            }],
            notes: vec!["A note.".into()],
        }
    }

    #[test]
    fn a_ratio_is_of_medians_and_only_where_both_were_measured() {
        let report = report();
        let of_we = |column| report.ratio(&report.rows[1], &report.baselines[0], column);
        assert_eq!(of_we(0), Some(0.25));
        assert_eq!(of_we(1), None);
    }

    #[test]
    fn every_form_has_every_figure_and_no_other() {
        let report = report();
        let csv = report.csv();
        assert_eq!(csv.lines().count(), 1 + 4, "{csv}");
        assert!(
            csv.contains("\"nothing, really\",floor,hot,ns,0.5,0.5,0.5,1\n"),
            "{csv}"
        );
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["rows"][1]["cells"][1]["median"], 100.0);
        assert_eq!(json["rows"][0]["cells"][1], serde_json::Value::Null);
        assert_eq!(json["rows"][1]["ratios"]["they"][0], 0.25);
        let text = report.text();
        for part in [
            "A sample", "we", "they <3", "100", "0.25", "A note.", "run it",
        ] {
            assert!(text.contains(part), "{part} is missing:\n{text}");
        }
    }

    #[test]
    fn a_report_is_written_in_three_forms_and_a_folder_that_cannot_be_is_named() {
        let folder = std::env::temp_dir().join(format!("leasehold-report-{}", std::process::id()));
        let written = report().write(&folder).unwrap();
        assert!(
            written
                .iter()
                .all(|path| path.metadata().unwrap().len() > 0)
        );
        let blocked = report().write(&written[0]).unwrap_err().to_string();
        assert!(blocked.contains("sample.json"), "{blocked}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
