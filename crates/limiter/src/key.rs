//! Values that may stand for a key: text, bytes, numbers, addresses, and pairs of a limit and one
//! of these.
//!
//! # Invariant
//!
//! Values of one type that differ are different keys. Values of two types are the same key only if
//! they are written with the same bytes, as `42` and `"42"` are.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use leasehold_cache::{KeyRef, LimitId};

/// A value that stands for a key of a limiter: whom a limit applies to, and which limit.
///
/// | value | key |
/// |---|---|
/// | `&str`, `String`, `Cow<str>`, `Box<str>`, `Arc<str>` | its bytes |
/// | `&[u8]`, `[u8; N]`, `Vec<u8>`, `Cow<[u8]>` | its bytes: any, as those of a UUID |
/// | integers of every size | decimal digits, so that `42_u64` is the key `"42"` |
/// | `IpAddr`, `Ipv4Addr`, `Ipv6Addr` | as displayed, so that `127.0.0.1` is the key `"127.0.0.1"`; an IPv4 address mapped into IPv6 is the IPv4 address |
/// | `(limit, value)` | the key of the value under that limit; the limit is a name or a [`LimitId`] |
/// | references to these | the same |
///
/// Without a limit, the limit that was configured first is meant. Nothing here allocates.
///
/// A pair names a limit and a key. It is not a key of two parts: write `format!("{tenant}:{user}")`
/// for that, and mind that clients may choose names with a separator in them.
///
/// # Examples
///
/// ```
/// use std::net::IpAddr;
/// use leasehold::Limiter;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = Limiter::builder().limit("api", "1/h burst 2").limit("pro", "9/h").build()?;
/// let (user, address): (u64, IpAddr) = (42, "203.0.113.7".parse()?);
///
/// assert!(limiter.acquire(format!("user:{user}"), 1).await.is_allowed());
/// assert!(limiter.acquire(address, 1).await.is_allowed());
/// assert!(limiter.acquire(b"\x00\xff", 1).await.is_allowed());
/// assert!(limiter.acquire(("pro", user), 1).await.is_allowed());
///
/// // A number is its digits.
/// assert!(limiter.acquire(user, 1).await.is_allowed());
/// assert!(limiter.acquire("42", 1).await.is_allowed());
/// assert!(!limiter.acquire(user, 1).await.is_allowed());
/// # Ok(())
/// # }
/// ```
///
/// A type of your own is a key if it says which bytes stand for it:
///
/// ```
/// use leasehold::{AsKey, Key};
///
/// struct Tenant {
///     number: u32,
///     is_pro: bool,
/// }
///
/// impl AsKey for Tenant {
///     fn as_key(&self) -> Key<'_> {
///         let limit = if self.is_pro { "pro" } else { "free" };
///         self.number.as_key().under(limit)
///     }
/// }
/// ```
///
/// A value without an exact text is no key, and neither is an address with a port, because the port
/// is another for each connection:
///
/// ```compile_fail,E0277
/// # async fn no(limiter: leasehold::Limiter) {
/// let _ = limiter.acquire(0.5, 1).await;
/// # }
/// ```
/// ```compile_fail,E0277
/// # async fn no(limiter: leasehold::Limiter, peer: std::net::SocketAddr) {
/// let _ = limiter.acquire(peer, 1).await; // write `peer.ip()`
/// # }
/// ```
/// ```compile_fail,E0277
/// # fn no(limiter: leasehold::Limiter) {
/// let _ = limiter.try_acquire((7, "user:42"), 1); // a limit is no number
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no key of a limiter",
    label = "neither text, bytes, an integer, an IP address, nor a pair of a limit and one of \
             these",
    note = "write `format!(\"user:{{id}}\")`, `\"user:42\"`, an integer, `peer.ip()`, or with a \
            limit `(\"limit\", \"user:42\")`; for a type of your own, implement `AsKey`"
)]
pub trait AsKey {
    /// The key that this value stands for.
    fn as_key(&self) -> Key<'_>;
}

/// A value that stands for a limit of a limiter: its name, or its [`LimitId`], which is found
/// faster.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no limit of a limiter",
    label = "neither the name of a limit nor a `LimitId`",
    note = "the first of a pair is the limit: write `(\"limit\", key)`; a key of two parts is \
            written `format!(\"{{a}}:{{b}}\")`"
)]
pub trait AsLimit {
    /// The limit that this value stands for.
    fn as_limit(&self) -> LimitRef<'_>;
}

/// A limit of a limiter, by its number or its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LimitRef<'a> {
    /// The limit's number.
    Id(LimitId),
    /// The limit's name, which is looked up at each use.
    Name(&'a str),
}

/// A key as an [`AsKey`] gives it, for [`Limiter::acquire_all`](crate::Limiter::acquire_all) over
/// values of several types too.
///
/// # Examples
///
/// ```
/// use leasehold::{AsKey, Limiter};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = Limiter::builder()
///     .limit("user", "100/min")
///     .limit("global", "5000/s")
///     .build()?;
/// let user: u64 = 42;
/// let both = [(user.as_key().under("user"), 1), ("all".as_key().under("global"), 1)];
/// assert!(limiter.acquire_all(&both).await.is_allowed());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct Key<'a> {
    limit: LimitRef<'a>,
    subject: Subject<'a>,
}

/// Whom the limit applies to.
#[derive(Clone, Copy)]
pub(crate) enum Subject<'a> {
    Bytes(&'a [u8]),
    Text(Text),
}

/// A short text on the stack.
#[derive(Clone, Copy)]
pub(crate) struct Text {
    start: u8,
    end: u8,
    bytes: [u8; TEXT_MAX],
}

impl<'a> Key<'a> {
    /// This key under another limit.
    #[inline]
    #[must_use]
    pub fn under<L: AsLimit + ?Sized>(self, limit: &'a L) -> Self {
        Self {
            limit: limit.as_limit(),
            ..self
        }
    }

    /// The limit that applies.
    #[inline]
    pub fn limit(&self) -> LimitRef<'a> {
        self.limit
    }

    /// The bytes of whom it applies to.
    #[inline]
    pub fn subject(&self) -> &[u8] {
        match &self.subject {
            Subject::Bytes(bytes) => bytes,
            Subject::Text(text) => text.as_bytes(),
        }
    }

    #[inline]
    pub(crate) fn parts(self) -> (LimitRef<'a>, Subject<'a>) {
        (self.limit, self.subject)
    }

    #[inline]
    const fn first(subject: Subject<'a>) -> Self {
        let limit = LimitRef::Id(LimitId::FIRST);
        Self { limit, subject }
    }
}

/// Names the limit, and never the subject: that is a user's.
impl fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("limit", &self.limit)
            .field("bytes", &self.subject().len())
            .finish_non_exhaustive()
    }
}

impl Text {
    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..usize::from(self.end)]
    }

    /// As it is displayed; at most [`TEXT_MAX`] bytes.
    fn displayed(value: impl fmt::Display) -> Self {
        let mut text = Self {
            start: 0,
            end: 0,
            bytes: [0; TEXT_MAX],
        };
        write!(text, "{value}").expect("addresses are short");
        text
    }

    /// Digits, from the last to the first.
    fn digits(mut number: u128, is_negative: bool) -> Self {
        let mut bytes = [0; TEXT_MAX];
        let mut start = TEXT_MAX;
        loop {
            start -= 1;
            bytes[start] = b'0' + u8::try_from(number % 10).expect("a digit");
            number /= 10;
            if number == 0 {
                break;
            }
        }
        if is_negative {
            start -= 1;
            bytes[start] = b'-';
        }
        #[expect(clippy::cast_possible_truncation, reason = "a text is short")]
        Self {
            start: start as u8,
            end: TEXT_MAX as u8,
            bytes,
        }
    }
}

impl Write for Text {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let end = usize::from(self.end);
        let room = self
            .bytes
            .get_mut(end..end + more.len())
            .ok_or(fmt::Error)?;
        room.copy_from_slice(more.as_bytes());
        self.end = u8::try_from(end + more.len()).map_err(|_| fmt::Error)?;
        Ok(())
    }
}

impl AsLimit for LimitId {
    #[inline]
    fn as_limit(&self) -> LimitRef<'_> {
        LimitRef::Id(*self)
    }
}

impl AsLimit for str {
    #[inline]
    fn as_limit(&self) -> LimitRef<'_> {
        LimitRef::Name(self)
    }
}

impl AsLimit for String {
    #[inline]
    fn as_limit(&self) -> LimitRef<'_> {
        LimitRef::Name(self)
    }
}

impl<L: AsLimit + ?Sized> AsLimit for &L {
    #[inline]
    fn as_limit(&self) -> LimitRef<'_> {
        (**self).as_limit()
    }
}

impl<L: AsLimit, K: AsKey> AsKey for (L, K) {
    #[inline]
    fn as_key(&self) -> Key<'_> {
        self.1.as_key().under(&self.0)
    }
}

impl<K: AsKey + ?Sized> AsKey for &K {
    #[inline]
    fn as_key(&self) -> Key<'_> {
        (**self).as_key()
    }
}

impl AsKey for Key<'_> {
    #[inline]
    fn as_key(&self) -> Key<'_> {
        *self
    }
}

impl AsKey for KeyRef<'_> {
    #[inline]
    fn as_key(&self) -> Key<'_> {
        Key {
            limit: LimitRef::Id(self.limit),
            subject: Subject::Bytes(self.subject),
        }
    }
}

impl<const N: usize> AsKey for [u8; N] {
    #[inline]
    fn as_key(&self) -> Key<'_> {
        self.as_slice().as_key()
    }
}

impl AsKey for [u8] {
    #[inline]
    fn as_key(&self) -> Key<'_> {
        Key::first(Subject::Bytes(self))
    }
}

impl AsKey for str {
    #[inline]
    fn as_key(&self) -> Key<'_> {
        self.as_bytes().as_key()
    }
}

macro_rules! by_what_it_holds {
    ($($holder:ty),+ $(,)?) => {$(
        impl AsKey for $holder {
            #[inline]
            fn as_key(&self) -> Key<'_> {
                (**self).as_key()
            }
        }
    )+};
}

by_what_it_holds!(
    String,
    Vec<u8>,
    Cow<'_, str>,
    Cow<'_, [u8]>,
    Box<str>,
    Box<[u8]>,
    Arc<str>,
    Arc<[u8]>,
);

macro_rules! by_digits {
    ($($integer:ty: $number:expr, $is_negative:expr;)+) => {$(
        impl AsKey for $integer {
            fn as_key(&self) -> Key<'_> {
                let number: fn($integer) -> u128 = $number;
                let is_negative: fn($integer) -> bool = $is_negative;
                let digits = Text::digits(number(*self), is_negative(*self));
                Key::first(Subject::Text(digits))
            }
        }
    )+};
}

by_digits! {
    u8: u128::from, |_| false;
    u16: u128::from, |_| false;
    u32: u128::from, |_| false;
    u64: u128::from, |_| false;
    u128: |number| number, |_| false;
    usize: |number| number as u128, |_| false;
    i8: |number| number.unsigned_abs().into(), |number| number < 0;
    i16: |number| number.unsigned_abs().into(), |number| number < 0;
    i32: |number| number.unsigned_abs().into(), |number| number < 0;
    i64: |number| number.unsigned_abs().into(), |number| number < 0;
    i128: i128::unsigned_abs, |number| number < 0;
    isize: |number| number.unsigned_abs() as u128, |number| number < 0;
}

impl AsKey for IpAddr {
    fn as_key(&self) -> Key<'_> {
        Key::first(Subject::Text(Text::displayed(self.to_canonical())))
    }
}

impl AsKey for Ipv4Addr {
    fn as_key(&self) -> Key<'_> {
        Key::first(Subject::Text(Text::displayed(self)))
    }
}

impl AsKey for Ipv6Addr {
    fn as_key(&self) -> Key<'_> {
        Key::first(Subject::Text(Text::displayed(self.to_canonical())))
    }
}

/// The longest address has 45 characters, the longest integer 40.
const TEXT_MAX: usize = 46;

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(key: impl AsKey) -> Vec<u8> {
        key.as_key().subject().to_vec()
    }

    #[test]
    fn each_kind_of_value_is_the_bytes_that_the_table_says() {
        assert_eq!(subject("alice"), b"alice");
        assert_eq!(subject(String::from("alice")), b"alice");
        let text = String::from("alice");
        assert_eq!(subject(&text), b"alice");
        assert_eq!(subject(Cow::from("alice")), b"alice");
        assert_eq!(subject(Box::<str>::from("alice")), b"alice");
        assert_eq!(subject(Arc::<str>::from("alice")), b"alice");
        assert_eq!(subject(b"\0\xff"), b"\0\xff");
        assert_eq!(subject([7_u8; 16]), [7; 16]);
        assert_eq!(subject(vec![7_u8; 3]), [7; 3]);
        assert_eq!(subject([7_u8; 3].as_slice()), [7; 3]);
        for (address, text) in [
            ("127.0.0.1", "127.0.0.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("::ffff:127.0.0.1", "127.0.0.1"),
            (
                "1111:2222:3333:4444:5555:6666:7777:8888",
                "1111:2222:3333:4444:5555:6666:7777:8888",
            ),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(subject(address), text.as_bytes());
            match address {
                IpAddr::V4(address) => assert_eq!(subject(address), text.as_bytes()),
                IpAddr::V6(address) => assert_eq!(subject(address), text.as_bytes()),
            }
        }
    }

    #[test]
    fn an_integer_of_any_size_is_its_digits() {
        fn check<T: AsKey + ToString + Copy>(numbers: &[T]) {
            for number in numbers {
                assert_eq!(subject(*number), number.to_string().into_bytes());
            }
        }
        check(&[0_u8, 9, 10, u8::MAX]);
        check(&[0_i8, -1, i8::MIN, i8::MAX]);
        check(&[u16::MAX, 100]);
        check(&[i16::MIN, i16::MAX]);
        check(&[u32::MAX]);
        check(&[i32::MIN, i32::MAX]);
        check(&[42_u64, u64::MAX]);
        check(&[i64::MIN, i64::MAX]);
        check(&[u128::MAX]);
        check(&[i128::MIN, i128::MAX]);
        check(&[usize::MAX]);
        check(&[isize::MIN, isize::MAX]);
    }

    #[test]
    fn a_pair_names_its_limit_by_number_or_by_name() {
        assert_eq!("alice".as_key().limit(), LimitRef::Id(LimitId::FIRST));
        let by_number = (LimitId(3), 42_u64);
        assert_eq!(by_number.as_key().limit(), LimitRef::Id(LimitId(3)));
        assert_eq!(by_number.as_key().subject(), b"42");
        let by_name = ("pro", "alice");
        assert_eq!(by_name.as_key().limit(), LimitRef::Name("pro"));
        assert_eq!(by_name.as_key().subject(), b"alice");
        let owned = (String::from("pro"), String::from("alice"));
        assert_eq!(owned.as_key().limit(), LimitRef::Name("pro"));
    }

    #[test]
    fn a_key_does_not_show_whose_it_is() {
        let shown = format!("{:?}", ("pro", "alice").as_key());
        assert!(shown.contains("pro") && !shown.contains("alice"), "{shown}");
        assert!(!shown.contains("97"), "{shown}");
    }
}
