//! A proposal for a word that nobody knows: the one that was probably meant.

/// `message` with what was probably meant, if it is about a word that is not known: a field, a
/// variant, a unit of time or a word of a limit. `more` are words that stand for others.
pub fn with_proposal(message: &str, more: &[&str]) -> String {
    let message = message.trim_end();
    match proposal(message, more) {
        Some(meant) => format!("{message}; did you mean `{meant}`?"),
        None => message.to_owned(),
    }
}

fn proposal<'a>(message: &'a str, more: &[&'a str]) -> Option<&'a str> {
    for unknown in ["unknown field `", "unknown variant `"] {
        if let Some((word, rest)) = after(message, unknown) {
            let known = rest.split('`').skip(1).step_by(2);
            let known: Vec<&str> = known.chain(more.iter().copied()).collect();
            return nearest(word, &known);
        }
    }
    let (word, rest) = after(message, " at `")?;
    if rest.contains("unknown unit of time") {
        return nearest(word, UNITS);
    }
    rest.contains("may follow the rate")
        .then(|| nearest(word, WORDS))?
}

/// The word between `before` and the next back quote, and what follows.
fn after<'a>(message: &'a str, before: &str) -> Option<(&'a str, &'a str)> {
    message.split_once(before)?.1.split_once('`')
}

/// The word of `known` that differs least from `word`; `None` if all differ much.
///
/// ```
/// use leasehold_sim::scenario::nearest;
///
/// assert_eq!(nearest("replica", &["rivals", "replicas"]), Some("replicas"));
/// assert_eq!(nearest("colour", &["rivals", "replicas"]), None);
/// ```
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let most = (word.chars().count() / 3).max(1);
    let near = known.iter().map(|known| (distance(word, known), *known));
    let near = near.filter(|(distance, _)| *distance <= most);
    near.min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// How many letters are to be changed, added, left out or swapped with their neighbour.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut rows = vec![(0..=right.len()).collect::<Vec<usize>>()];
    for (i, from) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in right.iter().enumerate() {
            let changed = rows[i][j] + usize::from(from != to);
            let mut least = changed.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *from == right[j - 1] && left[i - 1] == *to {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

const UNITS: &[&str] = &["us", "ms", "s", "min", "h", "day"];

const WORDS: &[&str] = &["burst", "overshoot"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_proposed_unless_all_are_far() {
        let known = ["limit", "load", "fleet", "network", "replicas"];
        for (word, meant) in [
            ("limt", Some("limit")),
            ("ilmit", Some("limit")),
            ("replica", Some("replicas")),
            ("netwrok", Some("network")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, &known), meant, "{word}");
        }
    }

    #[test]
    fn what_is_unknown_in_a_limit_has_a_proposal_too() {
        let said = |text: &str| {
            let error = text.parse::<leasehold_core::Limit>().unwrap_err();
            with_proposal(&error.to_string(), &[])
        };
        assert!(
            said("1000/sx").ends_with("did you mean `s`?"),
            "{}",
            said("1000/sx")
        );
        assert!(said("1/s brust 5").ends_with("did you mean `burst`?"));
        assert!(!said("1/parsec").contains("did you mean"));
    }
}
