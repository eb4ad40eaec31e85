//! `--csv`: a line per scenario, point, limiter and seed, with every measure.
//!
//! Numbers stand as they are, with all their digits; an empty field means that there is no number.

use leasehold_sim::metrics::METRICS;
use leasehold_sim::report::{PointReport, Report, Run, ScenarioReport};

/// The whole file.
pub(crate) fn csv(report: &Report) -> Vec<u8> {
    let fields = fields(report);
    let mut head = vec!["scenario".to_owned(), "point".to_owned()];
    // A setting and a measure may have the same name: what was offered, and what came.
    head.extend(fields.iter().map(|field| format!("setting.{field}")));
    head.extend(["limiter".to_owned(), "seed".to_owned()]);
    head.extend(METRICS.iter().map(|metric| metric.name.to_owned()));
    let mut file = csv::Writer::from_writer(Vec::new());
    let mut write = |record| file.write_record(record).expect(IN_MEMORY);
    write(head);
    for scenario in &report.scenarios {
        for point in &scenario.points {
            for limiter in &point.limiters {
                for run in &limiter.runs {
                    write(row(scenario, point, &fields, &limiter.limiter, run));
                }
            }
        }
    }
    file.into_inner().expect(IN_MEMORY)
}

fn row(
    scenario: &ScenarioReport,
    point: &PointReport,
    fields: &[&str],
    limiter: &str,
    run: &Run,
) -> Vec<String> {
    let mut row = vec![scenario.name.clone(), point.label.clone()];
    let setting = |field: &&str| {
        let found = point.settings.iter().find(|(name, _)| name == field);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    row.extend(fields.iter().map(setting));
    row.extend([limiter.to_owned(), run.seed.to_string()]);
    row.extend(METRICS.iter().map(|metric| {
        let value = (metric.read)(&run.summary).filter(|value| value.is_finite());
        value.map(|value| value.to_string()).unwrap_or_default()
    }));
    row
}

/// All that varies anywhere, in order of appearance.
fn fields(report: &Report) -> Vec<&str> {
    let points = report.scenarios.iter().flat_map(|it| &it.points);
    let mut fields = Vec::new();
    for (field, _) in points.flat_map(|point| &point.settings) {
        if !fields.contains(&field.as_str()) {
            fields.push(field);
        }
    }
    fields
}

const IN_MEMORY: &str = "all records have the head's length, and memory takes them";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::samples;

    #[test]
    fn a_line_per_run_and_a_column_per_measure() {
        let mut report = samples::report();
        report.scenarios[0].points[1].settings = vec![("limit".into(), "1/s, \"burst\" 2".into())];
        let text = String::from_utf8(csv(&report)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1 + 4);
        assert!(
            lines[0].starts_with("scenario,point,setting.replicas,setting.limit,limiter,seed,")
        );
        assert!(lines[0].contains(",utilisation,"));
        assert!(lines[1].starts_with("sample,replicas=1,1,,leased,1,1000,"));
        assert!(lines[1].contains(",0.9993,"));
        assert!(lines[3].contains(",\"1/s, \"\"burst\"\" 2\",leased,"));
        let columns = lines[0].split(',').count();
        assert_eq!(lines[1].split(',').count(), columns);
    }

    #[test]
    fn what_has_no_number_is_empty() {
        let mut report = samples::report();
        report.scenarios[0].points[0].limiters[0].runs[0]
            .summary
            .herd = f64::NAN;
        let text = String::from_utf8(csv(&report)).unwrap();
        assert!(!text.contains("NaN"));
    }
}
