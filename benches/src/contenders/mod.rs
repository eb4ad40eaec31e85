//! All that is measured side by side, each behind the same trait: one file a limiter, thin enough
//! to see that it is used as its own documents say.

mod floors;
mod ours;

#[cfg(feature = "rivals")]
mod governor;
#[cfg(feature = "limitador")]
mod limitador;
#[cfg(feature = "rivals")]
mod quota;
#[cfg(feature = "rivals")]
mod ratelimit;
#[cfg(feature = "rivals")]
mod throttlecrab;
#[cfg(feature = "rivals")]
mod trypema;

pub use floors::{BARE_ATOMIC, BARE_MAP, EMPTY};
pub use ours::{LIMITER, Ours, limit, patient};

use crate::contender::Contender;

/// Every row, in the order in which tables show them.
pub fn all() -> Vec<Contender> {
    let mut all = floors::all();
    all.extend(ours::all());
    #[cfg(feature = "rivals")]
    all.extend(rivals());
    all
}

#[cfg(feature = "rivals")]
fn rivals() -> Vec<Contender> {
    vec![
        governor::DEFAULTS,
        governor::TUNED,
        quota::POOL,
        ratelimit::BUCKET,
        throttlecrab::BEHIND_A_LOCK,
        trypema::LOCAL,
        #[cfg(feature = "limitador")]
        limitador::IN_MEMORY,
    ]
}

/// The row that all others are held against.
pub const GOVERNOR: &str = "governor, keyed";

/// Packages whose versions a report names.
pub const PACKAGES: &[&str] = &[
    "leasehold",
    "governor",
    "quota",
    "ratelimit",
    "throttlecrab",
    "trypema",
    #[cfg(feature = "limitador")]
    "limitador",
    "papaya",
    "ahash",
    "quanta",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender::{Asked, Rule, Setup};
    use crate::names::names;
    use crate::report::Kind;

    const REQUESTS: u64 = Rule::TIGHT.requests as u64;

    /// Every contender that refuses, built without being asked first.
    fn limiters() -> impl Iterator<Item = Contender> {
        all()
            .into_iter()
            .filter(|contender| contender.reach.limits())
    }

    fn built(contender: &Contender, keys: &[String], rule: Rule) -> Box<dyn Asked> {
        (contender.build)(&Setup { keys, rule })
    }

    #[test]
    fn every_limiter_allows_its_burst_and_then_denies() {
        let keys = names(1, 16);
        let asked = vec![keys[0].clone(); 30];
        for contender in limiters().filter(|it| !matches!(it.kind, Kind::Ours)) {
            let built = built(&contender, &keys, Rule::TIGHT);
            assert_eq!(built.ask(&asked, false), REQUESTS, "{}", contender.name);
            assert_eq!(built.ask(&asked, true), 0, "{}", contender.name);
        }
    }

    #[test]
    fn every_keyed_limiter_limits_each_key_by_itself() {
        let keys = names(2, 16);
        let (one, other) = (vec![keys[0].clone(); 30], vec![keys[1].clone(); 30]);
        for contender in
            limiters().filter(|it| !matches!(it.kind, Kind::Ours) && it.reach.knows_keys())
        {
            let built = built(&contender, &keys, Rule::TIGHT);
            let allowed = [&one, &other].map(|asked| built.ask(asked, false));
            assert_eq!(allowed, [REQUESTS, REQUESTS], "{}", contender.name);
        }
    }

    #[test]
    fn ours_allows_its_burst_of_each_key_and_then_denies_in_place() {
        let keys = names(2, 16);
        let ours = Ours::build(
            leasehold::Limiter::builder().limit("bench", limit(Rule::TIGHT)),
            Rule::TIGHT,
        );
        assert_eq!([0, 1].map(|at| ours.drain(&keys[at])), [REQUESTS, REQUESTS]);
        assert_eq!(ours.ask(&keys, false), 0);
    }

    #[test]
    fn nobody_uses_up_an_ample_rule() {
        let keys = names(3, 16);
        for contender in all() {
            let built = Setup {
                keys: &keys,
                rule: Rule::AMPLE,
            }
            .build(&contender);
            built.prepare(&keys);
            let allowed: u64 = (0..1000).map(|_| built.ask(&keys, false)).sum();
            assert_eq!(allowed, 3000, "{}", contender.name);
        }
    }

    #[test]
    fn a_used_up_contender_is_used_up_when_it_is_built() {
        let keys = names(1, 16);
        for contender in limiters() {
            let built = Setup {
                keys: &keys,
                rule: Rule::TIGHT,
            }
            .build(&contender);
            assert_eq!(built.ask(&keys, false), 0, "{}", contender.name);
        }
    }

    #[test]
    fn rows_have_names_of_their_own() {
        let mut names: Vec<_> = all().iter().map(|contender| contender.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(names.contains(&LIMITER) && names.contains(&BARE_MAP.name));
    }
}
