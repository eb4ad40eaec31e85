//! The row about `leasehold faults`: the fault matrix.

use std::time::Duration;

use serde_json::Value;

use crate::program::{list, number, report, shown};
use crate::runner::{Outcome, Setup, promise};

/// Runs the fault matrix. Bounds and the ledger of tokens must hold. A target of time that is
/// missed twice (the command tries it again itself) is only told, because how soon a machine
/// recovers depends on what else it does.
pub(crate) fn matrix(setup: &Setup) -> Outcome {
    let arguments: &[&str] = if setup.quick {
        &["faults", "--json", "--quick"]
    } else {
        &["faults", "--json"]
    };
    let done = setup.program.run(arguments, TIMEOUT)?;
    promise(matches!(done.code, Some(0 | 1)), || {
        format!("exit code {}: {}", shown(done.code), done.said.trim())
    })?;
    let report = report(&done.printed)?;
    promise(
        report["kept"] == (done.code == Some(0)),
        || "the exit code does not say what the report says",
    )?;
    let rows = list(&report, "rows")?;
    let mut missed = Vec::new();
    for row in rows {
        let broken = list(row, "broken")?;
        let said = said(row, broken);
        let found = &row["findings"];
        if !found.is_null() {
            let within = number(found, "excess_tokens")? <= number(found, "bound_tokens")?;
            promise(within, || &said)?;
            let none_lost = found["tokens_lost"] == 0 && found["admitted_unpaid"] == 0;
            promise(none_lost, || &said)?;
        }
        if !broken.is_empty() {
            missed.push(said);
        }
    }
    let faults = rows.len();
    if missed.is_empty() {
        return Ok(format!("{faults} faults, all bounds and targets kept"));
    }
    let missed = missed.join("; ");
    Ok(format!(
        "{faults} faults, all bounds kept; targets missed: {missed}"
    ))
}

/// The fault, and what is wrong with its row.
fn said(row: &Value, broken: &[Value]) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let broken: Vec<String> = broken.iter().map(text).collect();
    format!("{}: {}", text(&row["name"]), broken.join(", "))
}

const TIMEOUT: Duration = Duration::from_secs(900);
