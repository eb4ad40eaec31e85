//! The size of a call on the wire, in bytes of the protocol that Redis speaks.
//!
//! Calls are scripts, by their digest: `EVALSHA <sha> <n> <key>... <argument>...`. Lengths are
//! those of real frames, with two things taken as typical: a key has 24 bytes
//! (`rate:user:00001234:min` and a little), and a number 7 digits. Headers of TCP and below are not
//! counted.

/// The bytes of a script call with so many keys and numbers.
pub(super) const fn script_call(keys: u32, numbers: u32) -> u32 {
    let words = 3 + keys + numbers;
    let name = bulk("EVALSHA".len()) + bulk(SHA_LEN) + bulk(digits(keys) as usize);
    array_head(words) + name + keys * bulk(KEY_LEN) + numbers * bulk(NUMBER_LEN)
}

/// The bytes of an answer of so many integers.
pub(super) const fn integers(count: u32) -> u32 {
    array_head(count) + count * INTEGER_LEN
}

/// `$<length>\r\n<bytes>\r\n`
#[expect(clippy::cast_possible_truncation, reason = "words of a call are short")]
const fn bulk(len: usize) -> u32 {
    1 + digits(len as u32) + 2 + len as u32 + 2
}

/// `*<count>\r\n`
const fn array_head(count: u32) -> u32 {
    1 + digits(count) + 2
}

const fn digits(number: u32) -> u32 {
    match number.checked_ilog10() {
        Some(log) => log + 1,
        None => 1,
    }
}

/// A SHA-1 in hexadecimal.
const SHA_LEN: usize = 40;
const KEY_LEN: usize = 24;
const NUMBER_LEN: usize = 7;
/// `:<digits>\r\n`
const INTEGER_LEN: u32 = 1 + 7 + 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_real_frames() {
        let key = "k".repeat(24);
        let sha = "a".repeat(40);
        let frame = format!(
            "*6\r\n$7\r\nEVALSHA\r\n$40\r\n{sha}\r\n$1\r\n1\r\n$24\r\n{key}\r\n\
             $7\r\n1234567\r\n$7\r\n1234567\r\n"
        );
        assert_eq!(script_call(1, 2) as usize, frame.len());
        let answer = "*3\r\n:1234567\r\n:1234567\r\n:1234567\r\n";
        assert_eq!(integers(3) as usize, answer.len());
    }
}
