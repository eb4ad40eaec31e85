//! A list that nearly always holds one thing, and then needs no allocation.
//!
//! Most requests meet one limit and most messages carry one request; the path of a request is to
//! pay for lists only where there are lists.

use std::slice;

/// One thing or several, in order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Few<T> {
    /// The usual case.
    One(T),
    /// Any number, also none.
    Many(Vec<T>),
}

impl<T> Few<T> {
    pub(super) fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => slice::from_ref(one),
            Self::Many(many) => many,
        }
    }

    /// Each thing mapped to another, in order.
    pub(super) fn map<U>(&self, mut map: impl FnMut(&T) -> U) -> Few<U> {
        match self {
            Self::One(one) => Few::One(map(one)),
            Self::Many(many) => Few::Many(many.iter().map(map).collect()),
        }
    }
}

impl<T: Copy> From<&[T]> for Few<T> {
    fn from(things: &[T]) -> Self {
        match things {
            [one] => Self::One(*one),
            many => Self::Many(many.to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_and_many_read_alike() {
        for things in [&[][..], &[1], &[1, 2, 3]] {
            let few = Few::from(things);
            assert_eq!(few.as_slice(), things);
            let doubled: Vec<i32> = things.iter().map(|thing| thing * 2).collect();
            assert_eq!(few.map(|thing| thing * 2).as_slice(), doubled);
        }
        assert!(matches!(Few::from(&[7][..]), Few::One(7)));
    }
}
