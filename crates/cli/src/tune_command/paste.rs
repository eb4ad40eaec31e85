//! A setting in the form in which it is pasted.

use std::fmt::Write;
use std::time::Duration;

use leasehold_sim::tune::Setup;
use leasehold_sim::units::Span;

/// The lines of Rust that set it; empty for the default.
pub(crate) fn rust(setup: &Setup) -> String {
    let tuning = &setup.tuning;
    let mut text = String::new();
    let mut line = |field: &str, value: String| {
        // A string takes whatever is written to it.
        let _ = writeln!(text, "tuning.{field} = {value};");
    };
    let spans = [
        ("interval_min", tuning.interval_min),
        ("interval_small", tuning.interval_small),
        ("interval_max", tuning.interval_max),
        ("hold_max", tuning.hold_max),
        ("backoff_max", tuning.backoff_max),
        ("lease_min", tuning.lease_min),
        ("lease_max", tuning.lease_max),
        ("call_gap", tuning.call_gap),
        ("idle_after", tuning.idle_after),
    ];
    for (field, span) in spans {
        if let Some(span) = span {
            line(field, duration(span));
        }
    }
    if let Some(requests) = tuning.lease_pays {
        line("lease_pays", format!("{requests:?}"));
    }
    if let Some(keys) = tuning.batch_keys {
        line("batch_keys", keys.to_string());
    }
    if let Some(batches) = tuning.batches_in_flight {
        line("batches_in_flight", batches.to_string());
    }
    if text.is_empty() {
        return text;
    }
    format!(
        "let mut tuning = leasehold::Tuning::default();\n{text}\
         let builder = builder.tuning(tuning);"
    )
}

fn duration(span: Span) -> String {
    let duration = span.as_duration();
    let (unit, number) = match duration {
        _ if duration.subsec_nanos() == 0 => ("secs", u128::from(duration.as_secs())),
        _ if is_whole(duration, 1_000_000) => ("millis", duration.as_millis()),
        _ if is_whole(duration, 1000) => ("micros", duration.as_micros()),
        _ => ("nanos", duration.as_nanos()),
    };
    format!("Duration::from_{unit}({number})")
}

fn is_whole(duration: Duration, unit_ns: u32) -> bool {
    duration.subsec_nanos().is_multiple_of(unit_ns)
}

#[cfg(test)]
mod tests {
    use leasehold_sim::scenario::TuningConfig;

    use super::*;

    #[test]
    fn each_field_is_set_in_the_largest_unit_that_is_exact() {
        let tuning = TuningConfig {
            interval_min: Some(Span::from_millis(400)),
            call_gap: Some(Span::from_micros(1250)),
            backoff_max: Some(Span::from_secs(8)),
            lease_pays: Some(2.0),
            ..TuningConfig::default()
        };
        let setup = Setup {
            table: tuning.to_string(),
            tuning,
            overshoot: 0,
        };
        let text = rust(&setup);
        for line in [
            "tuning.interval_min = Duration::from_millis(400);",
            "tuning.call_gap = Duration::from_micros(1250);",
            "tuning.backoff_max = Duration::from_secs(8);",
            "tuning.lease_pays = 2.0;",
            "builder.tuning(tuning)",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
