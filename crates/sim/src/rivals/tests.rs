//! Models of other limiters under one limit, side by side.

use super::*;
use crate::units::{Count, Span};

fn read(text: &str) -> Result<RivalConfig, String> {
    toml::from_str(text).map_err(|error| error.to_string())
}

#[test]
fn each_kind_is_read_with_its_fields() {
    assert_eq!(
        read("kind = \"central\"\nalgorithm = \"sliding-window-log\"\ndeny-cache = true"),
        Ok(RivalConfig::Central(CentralConfig {
            algorithm: Algorithm::SlidingWindowLog,
            deny_cache: true,
            ..CentralConfig::default()
        }))
    );
    assert_eq!(
        read("kind = \"local\""),
        Ok(RivalConfig::Local(LocalConfig {}))
    );
    assert_eq!(
        read("kind = \"split\"\nreplicas = 4"),
        Ok(RivalConfig::Split(SplitConfig {
            replicas: Some(Count(4))
        }))
    );
    let Ok(RivalConfig::DelayedCounter(config)) = read(
        "kind = \"delayed-counter\"\ninterval = \"50ms\"\ncounts = \"sliding-window-counter\"",
    ) else {
        panic!("a delayed counter");
    };
    assert_eq!(config.interval, Span::from_millis(50));
    let text = "kind = \"block-lease\"\nblock = \"1k\"\nretry = \"fleet\"\nexpiry = \"1s\"\n\
                on-failure = \"open\"";
    let Ok(RivalConfig::BlockLease(config)) = read(text) else {
        panic!("a block lease");
    };
    assert_eq!(
        (config.block, config.retry),
        (Count(1000), block_lease::Retry::Fleet)
    );
    assert_eq!(config.on_failure, OnFailure::Open);
    assert!(matches!(
        read("kind = \"share\""),
        Ok(RivalConfig::Share(_))
    ));
}

#[test]
fn unknown_fields_and_kinds_are_refused() {
    for kind in [
        "central",
        "local",
        "split",
        "delayed-counter",
        "block-lease",
        "share",
    ] {
        let error = read(&format!("kind = \"{kind}\"\nblocks = 7")).unwrap_err();
        assert!(error.contains("blocks"), "{kind}: {error}");
    }
    assert!(
        read("kind = \"lease\"")
            .unwrap_err()
            .contains("block-lease")
    );
    assert!(
        read("algorithm = \"token-bucket\"")
            .unwrap_err()
            .contains("kind")
    );
}

#[test]
fn what_cannot_be_is_refused_by_every_kind() {
    let limits = ["10/s".parse().unwrap()];
    for text in [
        "kind = \"split\"\nreplicas = 0",
        "kind = \"delayed-counter\"\ninterval = \"0s\"",
        "kind = \"block-lease\"\nblock = 0",
        "kind = \"block-lease\"\nexpiry = \"0s\"",
        "kind = \"share\"\nexpiry = \"1s\"",
    ] {
        let error = read(text).unwrap().check(&limits).unwrap_err();
        assert!(error.contains("write"), "{error}");
    }
    assert_eq!(read("kind = \"central\"").unwrap().check(&limits), Ok(()));
}

#[test]
fn a_visitor_meets_the_scheme_that_was_configured() {
    struct Admitted(tiny_world::Setting);

    impl ModelVisitor for Admitted {
        type Output = u64;

        fn visit<S: LimiterModel>(self, model: S) -> u64 {
            tiny_world::run(&model, &self.0).admitted()
        }
    }

    let admitted = |text: &str| {
        let setting = tiny_world::Setting::overload("100/s burst 100", 10, 10_000);
        read(text).unwrap().visit(10, Admitted(setting))
    };
    // 10 s of 100/s, from a full bucket.
    assert!((1098..=1100).contains(&admitted("kind = \"central\"")));
    assert!((10_000..=11_000).contains(&admitted("kind = \"local\"")));
    assert!((1090..=1100).contains(&admitted("kind = \"split\"")));
    assert!((540..=550).contains(&admitted("kind = \"split\"\nreplicas = 20")));
    assert!(admitted("kind = \"delayed-counter\"") > 1100);
    assert!((1000..=1100).contains(&admitted("kind = \"block-lease\"")));
    assert!((900..=1200).contains(&admitted("kind = \"share\"")));
}
