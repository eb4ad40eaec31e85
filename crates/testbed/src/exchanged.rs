//! Words in a stream of bytes, exchanged for others of the same length.
//!
//! # Invariant
//!
//! A word is found wherever it lies, also across two pieces of the stream. What may be the
//! beginning of a word is held back until the next piece tells, so a stream should not end with
//! one; requests and answers of Redis end with a line.

/// A word and what stands in its place, of equal length.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Words {
    from: Vec<u8>,
    to: Vec<u8>,
}

impl Words {
    /// The word `from`, and `to` in its place.
    ///
    /// # Panics
    ///
    /// If the two differ in length, because lengths that the stream states would be wrong.
    pub fn new(from: &str, to: &str) -> Self {
        assert_eq!(from.len(), to.len(), "{from} {to}");
        Self {
            from: from.into(),
            to: to.into(),
        }
    }
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub(crate) struct Exchanged {
    held_back: Vec<u8>,
}

impl Exchanged {
    /// The bytes to pass on once `piece` has come.
    pub(crate) fn pass(&mut self, piece: &[u8], words: &[Words], backwards: bool) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.held_back);
        bytes.extend_from_slice(piece);
        let mut begins = 0;
        for words in words {
            let (from, to) = if backwards {
                (&words.to, &words.from)
            } else {
                (&words.from, &words.to)
            };
            replace(&mut bytes, from, to);
            begins = begun(&bytes, from).max(begins);
        }
        self.held_back = bytes.split_off(bytes.len() - begins);
        bytes
    }
}

fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    let mut at = 0;
    while let Some(found) = find(&bytes[at..], from) {
        at += found + to.len();
        bytes[at - to.len()..at].copy_from_slice(to);
    }
}

fn find(bytes: &[u8], word: &[u8]) -> Option<usize> {
    bytes.windows(word.len()).position(|window| window == word)
}

/// How many of the last bytes are the beginning of `word`, and not all of it.
fn begun(bytes: &[u8], word: &[u8]) -> usize {
    let most = bytes.len().min(word.len() - 1);
    let is_begun = |&length: &usize| word.starts_with(&bytes[bytes.len() - length..]);
    (1..=most).rev().find(is_begun).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_exchanged_wherever_they_lie_and_back() {
        let words = [Words::new("abcd", "wxyz"), Words::new("lmn", "LMN")];
        let stream = b"*1\r\nabcd lmn ababcd\r\nab\r\nlm\r\n";
        let changed = b"*1\r\nwxyz LMN abwxyz\r\nab\r\nlm\r\n";
        for piece in 1..stream.len() {
            for (stream, expected, backwards) in [(stream, changed, false), (changed, stream, true)]
            {
                let mut exchanged = Exchanged::default();
                let passed = stream.chunks(piece);
                let passed: Vec<u8> = passed
                    .flat_map(|piece| exchanged.pass(piece, &words, backwards))
                    .collect();
                assert_eq!(passed, expected, "in pieces of {piece}");
            }
        }
    }

    #[test]
    fn without_words_all_passes_at_once() {
        let mut exchanged = Exchanged::default();
        assert_eq!(exchanged.pass(b"abc", &[], false), b"abc");
    }
}
