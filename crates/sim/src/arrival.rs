//! A request on its way to some replica.

/// A request, before a balancer has sent it anywhere.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrival {
    /// When it comes, since the world began.
    pub at_ns: u64,
    /// Whom it is for: a number below the number of keys of its load.
    pub key: u32,
    /// Tokens it costs, at least 1.
    pub cost: u32,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a request comes from, so that an answer finds its way back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Origin {
    /// Which load of the scenario, by position.
    pub load: u16,
    /// How often the same request was tried before.
    pub tries: u16,
    /// Which of the load's clients; in a load without clients, whatever finds a retry again.
    pub client: u32,
}
