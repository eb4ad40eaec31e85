//! The name of a key, kept where the key is.
//!
//! # Invariant
//!
//! A short name lies in the entry itself: who compares it reads no memory besides. It fills what
//! the address and length of a long one would take, and six bytes more.

/// The bytes of a subject.
#[derive(Debug)]
pub(crate) enum Subject {
    Short { len: u8, bytes: [u8; SHORT_MAX] },
    Long(Box<[u8]>),
}

/// An address, a number, a name: with the mark and the length it makes three words.
const SHORT_MAX: usize = 22;

impl Subject {
    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => &bytes[..usize::from(*len)],
            Self::Long(bytes) => bytes,
        }
    }

    /// Whether it is `name`.
    #[cfg(not(leasehold_loom))]
    #[inline]
    pub(crate) fn is(&self, name: &[u8]) -> bool {
        match self {
            Self::Short { len, bytes } => usize::from(*len) == name.len() && starts(bytes, name),
            Self::Long(bytes) => **bytes == *name,
        }
    }
}

/// Whether `bytes` start with `name`. Common lengths are two words that overlap: what compares any
/// length is a call, and takes longer.
#[cfg(not(leasehold_loom))]
#[inline]
fn starts(bytes: &[u8; SHORT_MAX], name: &[u8]) -> bool {
    if let (8..=16, Some(first), Some(last)) =
        (name.len(), name.first_chunk::<8>(), name.last_chunk::<8>())
    {
        bytes[..8] == *first && bytes[name.len() - 8..name.len()] == *last
    } else {
        bytes.starts_with(name)
    }
}

impl From<&[u8]> for Subject {
    fn from(subject: &[u8]) -> Self {
        let mut bytes = [0; SHORT_MAX];
        match (bytes.get_mut(..subject.len()), u8::try_from(subject.len())) {
            (Some(place), Ok(len)) => {
                place.copy_from_slice(subject);
                Self::Short { len, bytes }
            }
            _ => Self::Long(subject.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_what_it_was_made_of_whatever_its_length() {
        let name: Vec<u8> = (0..=255).cycle().take(300).collect();
        for len in [0, 1, SHORT_MAX - 1, SHORT_MAX, SHORT_MAX + 1, 255, 256, 300] {
            let subject = Subject::from(&name[..len]);
            assert_eq!(subject.as_bytes(), &name[..len]);
            assert_eq!(matches!(subject, Subject::Short { .. }), len <= SHORT_MAX);
        }
    }

    #[test]
    #[cfg(not(leasehold_loom))]
    fn a_subject_is_told_from_all_others() {
        for len in 0..40_usize {
            let name: Vec<u8> = (0..40).take(len).collect();
            let subject = Subject::from(&name[..]);
            assert!(subject.is(&name), "{len}");
            for at in 0..len {
                let mut other = name.clone();
                other[at] ^= 0x80;
                assert!(!subject.is(&other), "{len}, {at}");
                assert!(!subject.is(&name[..at]), "{len}, {at}");
            }
            let longer: Vec<u8> = name.iter().copied().chain([0]).collect();
            assert!(!subject.is(&longer), "{len}");
        }
    }

    #[test]
    fn a_subject_takes_three_words() {
        assert_eq!(size_of::<Subject>(), 24);
    }
}
