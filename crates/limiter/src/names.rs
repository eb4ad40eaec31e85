//! Which limit has which name.

use std::collections::HashMap;

use leasehold_cache::LimitId;
use leasehold_sync::NamedLimit;

/// The names of a limiter's limits. A look-up takes the same time however many there are.
#[derive(Debug, Default)]
pub(crate) struct Names(HashMap<Box<str>, LimitId>);

impl Names {
    /// The names of `limits`, by position.
    ///
    /// # Errors
    ///
    /// The first name that occurs twice.
    pub(crate) fn of(limits: &[NamedLimit]) -> Result<Self, &str> {
        let mut names = HashMap::with_capacity(limits.len());
        for (index, NamedLimit { name, .. }) in (0..).zip(limits) {
            if names.insert(Box::from(&**name), LimitId(index)).is_some() {
                return Err(name);
            }
        }
        Ok(Self(names))
    }

    /// The limit of this name.
    pub(crate) fn find(&self, name: &str) -> Option<LimitId> {
        self.0.get(name).copied()
    }
}
