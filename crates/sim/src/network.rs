//! The network between replicas and the store: what may happen to a message on its way.
//!
//! # Invariant
//!
//! What happens to a message depends on the seed, its link, its direction, and how many messages
//! went that way before it: never on other links, nor on what was cut or lost earlier. So two
//! runs that send the same meet the same delays, and a fault changes nothing beyond itself.
//!
//! # What is modelled
//!
//! One link per replica: the connection over which it reaches the store, shared by all its keys.
//! Each direction delivers in the order of sending, as TCP does, so a slow message holds up those
//! behind it. Three things leave that order: a message held back on purpose (`reorder`), a late
//! copy (`duplicates`), and a new connection ([`Link::reconnect`]).
//!
//! `latency` is therefore what a message meets that finds its link idle. If messages follow one
//! another faster than the latency varies, the slow ones show in more round trips than their
//! share. Bandwidth is not modelled: batches are some kilobytes.

mod latency;
mod link;

use serde::Deserialize;

use crate::units::{Share, Span};

pub use self::latency::Latency;
pub use self::link::{Deliveries, Delivery, Link};

/// `[network]`: between every replica and the store.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct NetworkConfig {
    /// Time of a round trip, without the time that the store takes.
    pub latency: Latency,
    /// Messages that are lost, of those to the store and of those back.
    pub loss: Share,
    /// Messages to the store that arrive a second time.
    pub duplicates: Share,
    /// A copy arrives up to this much later than it would have at first.
    pub duplicate_delay: Span,
    /// Messages that are held back, so that later ones overtake them.
    pub reorder: Share,
    /// For how long at most.
    pub reorder_delay: Span,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            latency: Latency::default(),
            loss: Share::NONE,
            duplicates: Share::NONE,
            duplicate_delay: Span::from_secs(1),
            reorder: Share::NONE,
            reorder_delay: Span::from_millis(10),
        }
    }
}

impl NetworkConfig {
    /// Whether there can be such a network.
    ///
    /// # Errors
    ///
    /// What cannot be, and the mend.
    pub fn check(&self) -> Result<(), String> {
        self.latency
            .check()
            .map_err(|problem| format!("`latency`: {problem}"))?;
        let idle = |share: Share, delay: Span| share > Share::NONE && delay == Span::ZERO;
        if idle(self.reorder, self.reorder_delay) {
            return Err(
                "`reorder` does nothing while `reorder-delay` is 0: give it a time, \
                        such as \"10ms\""
                    .to_owned(),
            );
        }
        Ok(())
    }
}

/// Which way messages go.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From replicas to the store.
    ToStore,
    /// From the store to replicas.
    ToReplica,
    /// Both ways.
    #[default]
    Both,
}

/// By how much a way is worse than it should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Degradation {
    /// Latency is this many times what it was.
    pub times: f64,
    /// Messages that are lost, of those that would have arrived.
    pub loss: Share,
}

/// Changes of a link by a fault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NetworkChange {
    /// Nothing passes that is sent from now on.
    Cut(Direction),
    /// A cut ends.
    Heal(Direction),
    /// A way becomes worse.
    Degrade(Direction, Degradation),
    /// A degradation ends.
    Restore(Direction, Degradation),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_without_settings_is_one_data_centre() {
        let network: NetworkConfig = toml::from_str("").unwrap();
        assert_eq!(network, NetworkConfig::default());
        assert_eq!(network.latency, Latency::Constant(Span::from_millis(1)));
        assert_eq!(network.check(), Ok(()));
    }

    #[test]
    fn what_has_no_effect_is_refused() {
        let network: NetworkConfig =
            toml::from_str("reorder = \"5%\"\nreorder-delay = \"0s\"").unwrap();
        assert!(network.check().unwrap_err().contains("reorder-delay"));
    }

    #[test]
    fn a_misspelt_setting_is_refused() {
        assert!(toml::from_str::<NetworkConfig>("los = 0.1").is_err());
    }
}
