//! The connection of one replica to the store.
//!
//! # Invariant
//!
//! Every message draws the same random numbers, whether it is lost, cut off or delivered. Within a
//! direction and a connection, messages arrive in the order in which they were sent, except those
//! held back on purpose and late copies; neither of the two holds up another message.

use rand::RngExt;

use crate::network::latency::{Sampler, nanos, whole_nanos};
use crate::network::{Degradation, Direction, NetworkChange, NetworkConfig};
use crate::numbers::float;
use crate::stream::{Stream, stream};

/// The link that one replica's messages go through. Times are the world's, in nanoseconds.
#[derive(Clone, Debug)]
pub struct Link {
    sampler: Sampler,
    duplicates: f64,
    duplicate_delay: f64,
    there: Way,
    back: Way,
}

/// A message that arrives at the store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Delivery {
    /// When.
    pub at_ns: u64,
    /// The time that its answer will take; for [`Link::to_replica`].
    pub back_ns: u64,
}

/// The fate of one message to the store: it arrives, or a copy does, or both, or neither.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Deliveries {
    /// The message.
    pub first: Option<Delivery>,
    /// Its copy, often later and sometimes all there is.
    pub copy: Option<Delivery>,
}

impl IntoIterator for Deliveries {
    type Item = Delivery;
    type IntoIter = std::iter::Flatten<std::array::IntoIter<Option<Delivery>, 2>>;

    fn into_iter(self) -> Self::IntoIter {
        [self.first, self.copy].into_iter().flatten()
    }
}

impl Link {
    /// The link of the `replica`th replica. A replica that takes the place of another takes over
    /// its link too; see [`reconnect`](Self::reconnect).
    pub fn new(config: &NetworkConfig, seed: u64, replica: u32) -> Self {
        let way = |name| Way::new(config, stream(seed, name, u64::from(replica)));
        Self {
            sampler: Sampler::new(&config.latency),
            duplicates: config.duplicates.get(),
            duplicate_delay: nanos(config.duplicate_delay),
            there: way("network to store"),
            back: way("network to replica"),
        }
    }

    /// A message is sent to the store now. Times of sending never fall.
    #[inline]
    pub fn to_store(&mut self, now_ns: u64) -> Deliveries {
        let fate = self.there.fate();
        let way = &mut self.there;
        let (copied, lag) = (way.random.random::<f64>(), way.random.random::<f64>());
        let trip = self.sampler.draw(&mut way.random);
        let delivery = |at_ns| Delivery {
            at_ns,
            back_ns: trip.back_ns,
        };
        let copy_ns = now_ns + way.slowed(trip.there_ns) + whole_nanos(lag * self.duplicate_delay);
        let is_copied = copied < self.duplicates && way.cuts == 0;
        Deliveries {
            first: way.arrival(now_ns, trip.there_ns, fate).map(delivery),
            copy: is_copied.then(|| delivery(copy_ns)),
        }
    }

    /// The store sends an answer now, or refuses a message; `back_ns` is from its
    /// [`Delivery`]. When the replica hears of it, if ever. Times of sending never fall.
    #[inline]
    pub fn to_replica(&mut self, now_ns: u64, back_ns: u64) -> Option<u64> {
        let fate = self.back.fate();
        self.back.arrival(now_ns, back_ns, fate)
    }

    /// The replica opens a new connection: what is sent from now on does not queue up behind what
    /// the old one still carries.
    pub fn reconnect(&mut self) {
        self.there.last_ns = 0;
        self.back.last_ns = 0;
    }

    /// Whether nothing that is sent now can arrive, on one of the two ways at least.
    pub fn is_cut(&self) -> bool {
        self.there.cuts > 0 || self.back.cuts > 0
    }

    /// A fault begins or ends. Faults may overlap; each ends as it began.
    pub fn change(&mut self, change: NetworkChange) {
        match change {
            NetworkChange::Cut(direction) => self.each(direction, |way| way.cuts += 1),
            NetworkChange::Heal(direction) => self.each(direction, |way| {
                way.cuts = way.cuts.checked_sub(1).expect("a cut ends once");
            }),
            NetworkChange::Degrade(direction, by) => self.each(direction, |way| way.degrade(by)),
            NetworkChange::Restore(direction, by) => self.each(direction, |way| way.restore(by)),
        }
    }

    fn each(&mut self, direction: Direction, change: impl Fn(&mut Way)) {
        if direction != Direction::ToReplica {
            change(&mut self.there);
        }
        if direction != Direction::ToStore {
            change(&mut self.back);
        }
    }
}

/// One direction of a link.
#[derive(Clone, Debug)]
struct Way {
    random: Stream,
    /// When the last message arrives, of those in order.
    last_ns: u64,
    own_loss: f64,
    reorder: f64,
    reorder_delay: f64,
    cuts: u32,
    degradations: Vec<Degradation>,
    /// The sum of the degradations.
    times: f64,
    loss: f64,
}

/// The random numbers drawn for one message.
#[derive(Clone, Copy)]
struct Fate {
    lost: bool,
    held_back: bool,
    held_back_ns: u64,
}

impl Way {
    fn new(config: &NetworkConfig, random: Stream) -> Self {
        Self {
            random,
            last_ns: 0,
            own_loss: config.loss.get(),
            reorder: config.reorder.get(),
            reorder_delay: nanos(config.reorder_delay),
            cuts: 0,
            degradations: Vec::new(),
            times: 1.0,
            loss: config.loss.get(),
        }
    }

    #[inline]
    fn fate(&mut self) -> Fate {
        Fate {
            lost: self.random.random::<f64>() < self.loss,
            held_back: self.random.random::<f64>() < self.reorder,
            held_back_ns: whole_nanos(self.random.random::<f64>() * self.reorder_delay),
        }
    }

    #[inline]
    fn arrival(&mut self, now_ns: u64, way_ns: u64, fate: Fate) -> Option<u64> {
        if fate.lost || self.cuts > 0 {
            return None;
        }
        let in_order_ns = self.last_ns.max(now_ns + self.slowed(way_ns));
        if fate.held_back {
            return Some(in_order_ns + fate.held_back_ns);
        }
        self.last_ns = in_order_ns;
        Some(in_order_ns)
    }

    #[inline]
    fn slowed(&self, way_ns: u64) -> u64 {
        if self.degradations.is_empty() {
            return way_ns;
        }
        whole_nanos(float(way_ns) * self.times)
    }

    fn degrade(&mut self, by: Degradation) {
        self.degradations.push(by);
        self.sum_up();
    }

    fn restore(&mut self, by: Degradation) {
        let begun = self.degradations.iter().position(|begun| *begun == by);
        self.degradations
            .remove(begun.expect("a degradation ends once"));
        self.sum_up();
    }

    fn sum_up(&mut self) {
        self.times = self.degradations.iter().map(|by| by.times).product();
        let passing = |passes: f64, by: &Degradation| passes * (1.0 - by.loss.get());
        self.loss = match &*self.degradations {
            [] => self.own_loss,
            all => 1.0 - all.iter().fold(1.0 - self.own_loss, passing),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Share, Span};

    fn link(text: &str) -> Link {
        link_of(text, 0)
    }

    fn link_of(text: &str, replica: u32) -> Link {
        let config: NetworkConfig = toml::from_str(text).unwrap();
        assert_eq!(config.check(), Ok(()));
        Link::new(&config, 1, replica)
    }

    fn share(part: f64) -> Share {
        Share::new(part).unwrap()
    }

    const MS: u64 = 1_000_000;
    /// More than the longest delay of any link below.
    const APART: u64 = 10_000 * MS;
    const MESSY: &str = "latency = { lognormal = { p50 = \"20ms\", p99 = \"200ms\" } }\n\
                         loss = \"1%\"\nduplicates = \"5%\"\nreorder = \"10%\"";

    #[test]
    fn a_quiet_network_takes_half_the_round_trip_each_way() {
        let mut link = link("");
        let delivery = link.to_store(7).first.unwrap();
        assert_eq!(delivery.at_ns, 7 + MS / 2);
        assert_eq!(
            link.to_replica(delivery.at_ns, delivery.back_ns),
            Some(7 + MS)
        );
    }

    #[test]
    fn messages_are_lost_and_copied_as_often_as_was_asked_for() {
        let mut link = link("loss = \"3%\"\nduplicates = \"10%\"\nduplicate-delay = \"200ms\"");
        let (mut lost, mut unheard, mut copies, mut orphans) = (0, 0, 0, 0);
        for number in 0..50_000 {
            let sent_ns = number * APART;
            let deliveries = link.to_store(sent_ns);
            lost += u32::from(deliveries.first.is_none());
            copies += u32::from(deliveries.copy.is_some());
            orphans += u32::from(deliveries.first.is_none() && deliveries.copy.is_some());
            unheard += u32::from(link.to_replica(sent_ns, MS).is_none());
            let late = deliveries.copy.map_or(0, |copy| copy.at_ns - sent_ns);
            assert!(late <= MS / 2 + 200 * MS);
        }
        // Four standard deviations: 153 around 1500, 268 around 5000, 49 around 150.
        assert!((1347..=1653).contains(&lost), "{lost}");
        assert!((1347..=1653).contains(&unheard), "{unheard}");
        assert!((4732..=5268).contains(&copies), "{copies}");
        assert!((101..=199).contains(&orphans), "{orphans}");
    }

    #[test]
    fn a_message_never_overtakes_an_earlier_one_of_its_way() {
        let mut link = link("latency = { lognormal = { p50 = \"20ms\", p99 = \"200ms\" } }");
        let mut last = (0, 0);
        for number in 0..10_000 {
            let delivery = link.to_store(number * MS).first.unwrap();
            let heard_ns = link.to_replica(number * MS, delivery.back_ns).unwrap();
            assert!(delivery.at_ns >= last.0 && heard_ns >= last.1);
            last = (delivery.at_ns, heard_ns);
        }
    }

    #[test]
    fn a_message_held_back_is_overtaken_and_holds_up_nobody() {
        let mut link = link("reorder = \"20%\"\nreorder-delay = \"50ms\"");
        let mut held_back = 0;
        for number in 0..10_000 {
            let sent_ns = number * MS;
            let at_ns = link.to_store(sent_ns).first.unwrap().at_ns;
            assert!(at_ns <= sent_ns + MS / 2 + 50 * MS);
            held_back += u32::from(at_ns > sent_ns + MS / 2);
        }
        assert!((1840..=2160).contains(&held_back), "{held_back}");
    }

    #[test]
    fn a_new_connection_does_not_queue_up_behind_the_old_one() {
        let mut link = link("");
        let slow = Degradation {
            times: 1000.0,
            loss: Share::NONE,
        };
        link.change(NetworkChange::Degrade(Direction::Both, slow));
        assert_eq!(link.to_store(0).first.unwrap().at_ns, 500 * MS);
        link.change(NetworkChange::Restore(Direction::Both, slow));
        assert_eq!(link.to_store(MS).first.unwrap().at_ns, 500 * MS);
        link.reconnect();
        assert_eq!(link.to_store(MS).first.unwrap().at_ns, 3 * MS / 2);
    }

    #[test]
    fn nothing_arrives_that_is_sent_while_cut_off() {
        let mut link = link("duplicates = 1.0");
        link.change(NetworkChange::Cut(Direction::ToStore));
        assert!(link.is_cut());
        assert_eq!(link.to_store(0).into_iter().count(), 0);
        assert!(link.to_replica(0, MS).is_some(), "the other way is open");
        link.change(NetworkChange::Cut(Direction::Both));
        link.change(NetworkChange::Heal(Direction::ToStore));
        assert_eq!(
            link.to_store(0).into_iter().count(),
            0,
            "another cut goes on"
        );
        assert_eq!(link.to_replica(0, MS), None);
        link.change(NetworkChange::Heal(Direction::Both));
        assert!(!link.is_cut());
        assert_eq!(link.to_store(0).into_iter().count(), 2);
    }

    #[test]
    fn degradations_add_up_and_leave_no_trace() {
        let (slow, lossy) = (
            Degradation {
                times: 3.0,
                loss: share(0.5),
            },
            Degradation {
                times: 2.0,
                loss: share(0.5),
            },
        );
        let mut link = link("loss = \"20%\"");
        link.change(NetworkChange::Degrade(Direction::Both, slow));
        link.change(NetworkChange::Degrade(Direction::ToStore, lossy));
        assert!((link.there.loss - 0.8).abs() < 1e-12, "{}", link.there.loss);
        assert!((link.back.loss - 0.6).abs() < 1e-12, "{}", link.back.loss);
        let arrived = (0..).find_map(|number| link.to_store(number * APART).first);
        let delay_ns = arrived.unwrap().at_ns % APART;
        assert_eq!(delay_ns, 3 * MS);
        link.change(NetworkChange::Restore(Direction::Both, slow));
        link.change(NetworkChange::Restore(Direction::ToStore, lossy));
        assert_eq!(link.there.loss.to_bits(), 0.2f64.to_bits());
        assert_eq!(link.there.slowed(MS / 2), MS / 2);
    }

    #[test]
    fn a_fault_changes_nothing_beyond_itself() {
        let (mut calm, mut cut) = (link(MESSY), link(MESSY));
        for number in 0..1000 {
            match number {
                300 => cut.change(NetworkChange::Cut(Direction::Both)),
                310 => cut.change(NetworkChange::Heal(Direction::Both)),
                _ => {}
            }
            let now_ns = number * APART;
            let (theirs, ours) = (calm.to_store(now_ns), cut.to_store(now_ns));
            let heard = (calm.to_replica(now_ns, MS), cut.to_replica(now_ns, MS));
            if !(300..310).contains(&number) {
                assert_eq!(theirs, ours);
                assert_eq!(heard.0, heard.1);
            }
        }
    }

    #[test]
    fn links_have_luck_of_their_own() {
        let (mut one, mut other) = (link_of(MESSY, 0), link_of(MESSY, 1));
        let mut again = link_of(MESSY, 0);
        let first = one.to_store(0);
        assert_eq!(first, again.to_store(0));
        assert_ne!(first, other.to_store(0));
        assert_eq!(Span::from_millis(1).0, MS);
    }
}
