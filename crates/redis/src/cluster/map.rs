//! The map: which node serves which partition, as far as we know.
//!
//! # Invariant
//!
//! A map is not replaced by an older one, because a node that is cut off from the others goes on
//! telling what was so before. The epoch, the nodes' own count of changes, says which map is older;
//! it grows with each failover. A cluster that was set up anew begins its epoch again: its map is
//! taken once no node has confirmed the old one for [`MEMORY`].

use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::view::View;
use crate::codec::Names;
use crate::settings::Place;

/// The node that serves each partition.
#[derive(Clone, Debug)]
pub(crate) struct Map {
    /// The node of each partition, in order.
    owners: Vec<Option<Place>>,
    /// All nodes that the view names.
    nodes: Vec<Place>,
    epoch: u64,
    /// When a node last gave this map.
    confirmed: Instant,
}

impl Map {
    pub(crate) fn new(view: &View, names: &Names, now: Instant) -> Self {
        let owner = |partition| view.owner(names.slot(partition)).cloned();
        Self {
            owners: (0..names.partitions()).map(owner).collect(),
            nodes: view.nodes.clone(),
            epoch: view.epoch.unwrap_or(0),
            confirmed: now,
        }
    }

    /// Whether `view` is older than this map.
    pub(crate) fn is_newer_than(&self, view: &View, now: Instant) -> bool {
        let older = view.epoch.is_some_and(|epoch| epoch < self.epoch);
        older && now.duration_since(self.confirmed) < MEMORY
    }

    /// The number of partitions that have another owner than in `before`.
    pub(crate) fn moved_since(&self, before: &Self) -> usize {
        let both = self.owners.iter().zip(&before.owners);
        both.filter(|(now, before)| now != before).count()
    }

    /// Handles a redirect: another node says that the node at `to` serves `partition`.
    pub(crate) fn handle_moved(&mut self, partition: u32, to: &Place) {
        if let Some(owner) = self.owners.get_mut(partition as usize) {
            *owner = Some(to.clone());
        }
    }

    pub(crate) fn owner(&self, partition: u32) -> Option<&Place> {
        self.owners.get(partition as usize)?.as_ref()
    }

    /// The owner of each partition, in order; none for a partition that no node serves.
    pub(crate) fn owners(&self) -> impl Iterator<Item = Option<&Place>> {
        self.owners.iter().map(Option::as_ref)
    }

    pub(crate) fn nodes(&self) -> &[Place] {
        &self.nodes
    }
}

/// Many times what nodes take to hear of each other again, and no longer than an operator who set
/// up a cluster anew will wait.
const MEMORY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn view(epoch: Option<u64>, ports: [u16; 2]) -> View {
        let at = |port| Place {
            host: "host".to_owned(),
            port,
        };
        View {
            epoch,
            ranges: vec![(0..=8191, at(ports[0])), (8192..=16383, at(ports[1]))],
            nodes: ports.map(at).to_vec(),
        }
    }

    #[test]
    fn each_partition_belongs_to_the_node_that_serves_its_slot() {
        let names = Names::spread("any");
        let map = Map::new(&view(None, [7, 8]), &names, Instant::now());
        for partition in 0..64 {
            let port = map.owner(partition).map(|place| place.port);
            assert_eq!(port, Some(if partition < 32 { 7 } else { 8 }));
        }
        assert_eq!(map.owner(64), None);
    }

    #[test]
    fn a_move_is_of_one_partition() {
        let names = Names::spread("any");
        let before = Map::new(&view(None, [7, 8]), &names, Instant::now());
        let mut map = before.clone();
        let to = before.owner(40).expect("served").clone();
        map.handle_moved(3, &to);
        map.handle_moved(64, &to);
        assert_eq!(map.owner(3), Some(&to));
        assert_eq!(map.moved_since(&before), 1);
    }

    #[test]
    fn what_was_so_before_a_change_is_not_believed_until_nobody_says_otherwise() {
        let start = Instant::now();
        let map = Map::new(&view(Some(5), [7, 8]), &Names::spread("any"), start);
        let newer = |epoch, now| map.is_newer_than(&view(epoch, [7, 9]), now);
        assert!(newer(Some(4), start));
        assert!(!newer(Some(5), start));
        assert!(!newer(Some(6), start));
        assert!(!newer(None, start), "a server that does not count");
        assert!(newer(Some(4), start + MEMORY / 2));
        assert!(!newer(Some(4), start + MEMORY), "a cluster made anew");
    }
}
