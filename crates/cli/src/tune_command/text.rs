//! The answer in words and tables.

use std::fmt::Write;

use comfy_table::Cell;
use leasehold_sim::metrics::Shown;
use leasehold_sim::report::Spread;
use leasehold_sim::tune::{
    Advice, Answer, Binding, Bound, Change, Conflict, Measure, Measured, Question, Setup,
};

use super::paste;
use crate::output::{right, table};
use crate::simulate::number;

/// All of it.
pub(crate) fn answer(question: &Question, answer: &Answer) -> String {
    let parts = [
        asked(question, answer),
        advice(answer),
        expected(answer),
        reasons(answer),
        conflicts(&answer.conflicts),
        circumstances(answer),
        setting(question, &answer.setup),
        format!(
            "{} tried in {} of the same arrivals; ± is 95 % confidence. Overshoot and\n\
             false denials are of the worse of two loads: as asked, and with a lull to a tenth of \
             it.",
            number::plural(answer.tried, "setting"),
            number::plural_of(answer.runs, "run"),
        ),
    ];
    let said = parts.into_iter().filter(|part| !part.is_empty());
    said.collect::<Vec<_>>().join("\n\n")
}

fn asked(question: &Question, answer: &Answer) -> String {
    let keys = number::plural_of(question.keys.0, "key");
    let keys = match question.keys.0 {
        1 => keys,
        _ => format!("{keys} (zipf {})", question.zipf),
    };
    let bounds: Vec<String> = answer.bounds.iter().map(bound).collect();
    format!(
        "{}, {}, {} offered on {keys}, {} to the store and back\n\
         wanted: {}; then the fewest store calls",
        question.limit,
        number::plural_of(question.replicas.into(), "replica"),
        question.offered,
        question.latency,
        bounds.join(", "),
    )
}

fn bound(bound: &Bound) -> String {
    let (measure, most) = (bound.measure, bound.most);
    format!(
        "{measure} <= {}{}",
        number::shown(measure.shown(), most),
        unit(measure)
    )
}

fn unit(measure: Measure) -> &'static str {
    match measure {
        Measure::StoreCalls => "/s",
        Measure::Overshoot => " tokens",
        _ => "",
    }
}

fn advice(answer: &Answer) -> String {
    match answer.advice {
        Advice::Default => "Keep the default: no other setting meets the objectives with fewer \
                            store calls, beyond chance and 3 %."
            .to_owned(),
        Advice::Change if answer.default.missed.is_empty() => format!(
            "Change the setting: it saves {} of {} store calls/s.",
            amount(Measure::StoreCalls, answer.saved),
            number::shown(Shown::Number, answer.default.store_calls.mean),
        ),
        Advice::Change => format!(
            "Change the setting: the default misses {}.",
            listed(&answer.default.missed)
        ),
        Advice::Conflict => format!(
            "Not all of this can be met. What comes closest, below, misses {}.",
            listed(&answer.found.missed)
        ),
    }
}

/// Figures of what was found, beside the default and a limiter that asks for each request.
fn expected(answer: &Answer) -> String {
    let mut table = table([
        "",
        "store calls /s",
        "overshoot, max",
        "deficit",
        "with a lull",
        "false denials",
        "local",
        "wait p99",
    ]);
    let name = match answer.advice {
        Advice::Default => None,
        Advice::Change => Some("recommended"),
        Advice::Conflict if answer.setup.is_default() => None,
        Advice::Conflict => Some("closest"),
    };
    if let Some(name) = name {
        table.add_row(row(name, &answer.found));
    }
    table.add_row(row("default", &answer.default));
    table.add_row(row("central", &Measured::of(&answer.central)));
    table.to_string()
}

fn row(name: &str, measured: &Measured) -> Vec<Cell> {
    let mean = |measure: Measure| {
        let spread = measured.spread(measure);
        right(amount(measure, spread))
    };
    let overshoot = number::shown(Shown::Number, measured.overshoot.max);
    vec![
        Cell::new(name),
        mean(Measure::StoreCalls),
        right(overshoot),
        mean(Measure::Deficit),
        mean(Measure::LullDeficit),
        mean(Measure::FalseDenials),
        mean(Measure::Local),
        mean(Measure::WaitP99),
    ]
}

fn reasons(answer: &Answer) -> String {
    let mut lines: Vec<String> = answer.changes.iter().map(change).collect();
    match &answer.binding {
        Some(it) => lines.push(binding(it)),
        None if answer.advice != Advice::Conflict => {
            lines.push("No setting that was tried makes fewer store calls.".to_owned());
        }
        None => {}
    }
    if lines.is_empty() {
        return String::new();
    }
    format!("Why\n  {}", lines.join("\n  "))
}

fn change(change: &Change) -> String {
    let head = format!("{}: {} -> {}.", change.tunable, change.from, change.to);
    let differences = [
        (Measure::StoreCalls, change.store_calls),
        (Measure::FalseDenials, change.false_denials),
        (Measure::Deficit, change.deficit),
        (Measure::LullDeficit, change.lull_deficit),
    ];
    // What is within chance is left out.
    let differences = differences
        .into_iter()
        .filter(|(_, spread)| spread.mean.abs() > spread.margin && spread.mean != 0.0)
        .map(|(measure, spread)| more_or_less(measure, spread));
    let differences: Vec<String> = differences.collect();
    let missed = match change.missed.as_slice() {
        [] => String::new(),
        missed => format!(", and {} would be missed", listed(missed)),
    };
    let without = differences.join(", ");
    let without = if without.is_empty() {
        "nothing beyond chance".to_owned()
    } else {
        without
    };
    format!("{head} Without it: {without}{missed}.")
}

fn more_or_less(measure: Measure, spread: Spread) -> String {
    let word = match (measure, spread.mean > 0.0) {
        (Measure::Overshoot | Measure::Deficit | Measure::LullDeficit, true) => "higher",
        (Measure::Overshoot | Measure::Deficit | Measure::LullDeficit, false) => "lower",
        (_, true) => "more",
        (_, false) => "fewer",
    };
    let size = Spread {
        mean: spread.mean.abs(),
        ..spread
    };
    let size = amount(measure, size);
    match measure {
        Measure::StoreCalls => format!("{size} {word} store calls/s"),
        _ => format!("{measure} {word} by {size}"),
    }
}

fn binding(binding: &Binding) -> String {
    let measure = binding.measure;
    let measured = &binding.cheaper.measured;
    let value = measured.spread(measure);
    let value = match measure {
        Measure::Overshoot => number::shown(Shown::Number, value.max),
        _ => amount(measure, value),
    };
    format!(
        "What binds: {measure}. {} would make {} store calls/s, but {measure} of {value}{} \
         where {} is allowed.",
        brief(&binding.cheaper.setup),
        amount(Measure::StoreCalls, measured.store_calls),
        unit(measure),
        number::shown(measure.shown(), binding.most),
    )
}

fn conflicts(conflicts: &[Conflict]) -> String {
    if conflicts.is_empty() {
        return String::new();
    }
    let lines = conflicts.iter().map(|conflict| {
        let measure = conflict.measure;
        let spread = conflict.measured.spread(measure);
        let others = if conflict.others_met {
            "that meets all the others"
        } else {
            "where the others come closest; they are in conflict among themselves"
        };
        format!(
            "{measure}: {}{} is the least {others} ({} is allowed). It takes {}.",
            amount(measure, spread),
            unit(measure),
            number::shown(measure.shown(), conflict.most),
            brief(&conflict.setup),
        )
    });
    format!("In conflict\n  {}", lines.collect::<Vec<_>>().join("\n  "))
}

fn circumstances(answer: &Answer) -> String {
    let mut table = table([
        "if it comes otherwise",
        "setting",
        "store calls /s",
        "overshoot, max",
        "deficit",
        "with a lull",
        "false denials",
        "missed",
    ]);
    let name = if answer.advice == Advice::Conflict {
        "closest"
    } else {
        "recommended"
    };
    for circumstance in &answer.circumstances {
        let mut rows = vec![("default", &circumstance.default)];
        if !answer.setup.is_default() {
            rows.insert(0, (name, &circumstance.found));
        }
        for (index, (setting, measured)) in rows.into_iter().enumerate() {
            let mut cells = row(setting, measured);
            cells.truncate(6);
            let first = if index == 0 { circumstance.name } else { "" };
            cells.insert(0, Cell::new(first));
            cells.push(Cell::new(listed(&measured.missed)));
            table.add_row(cells);
        }
    }
    table.to_string()
}

fn setting(question: &Question, setup: &Setup) -> String {
    if setup.is_default() {
        return String::new();
    }
    let mut text = "Setting".to_owned();
    if setup.overshoot > 0 {
        // A string takes whatever is written to it.
        let _ = write!(
            text,
            "\n  limit = \"{} overshoot {}\"",
            question.limit, setup.overshoot
        );
    }
    for lines in [&setup.table, &paste::rust(setup)] {
        for line in lines.lines() {
            let _ = write!(text, "\n  {line}");
        }
        text.push('\n');
    }
    text.trim_end().to_owned()
}

/// A setting in one line.
fn brief(setup: &Setup) -> String {
    if setup.is_default() {
        return "the default".to_owned();
    }
    let fields = setup
        .table
        .lines()
        .skip(1)
        .map(|line| line.replace('"', ""));
    let budget = (setup.overshoot > 0).then(|| format!("overshoot {}", setup.overshoot));
    fields.chain(budget).collect::<Vec<_>>().join(", ")
}

fn amount(measure: Measure, spread: Spread) -> String {
    number::with_margin(measure.shown(), spread.mean, spread.margin)
}

fn listed(measures: &[Measure]) -> String {
    let names: Vec<String> = measures.iter().map(Measure::to_string).collect();
    names.join(", ")
}
