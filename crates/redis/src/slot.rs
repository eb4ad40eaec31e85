//! The slots of a cluster: which one a key lies in.
//!
//! # Invariant
//!
//! A slot is computed as every node computes it: the CRC-16 (XMODEM) of the text between the first
//! `{` and the next `}`, modulo 16384. All our keys have such a tag, so only tags are hashed here.

/// Slots in a cluster.
pub(crate) const SLOTS: u16 = 16384;

/// The slot of all keys whose hash tag is `tag`.
pub(crate) fn slot_of(tag: &[u8]) -> u16 {
    tag.iter().fold(0, |crc, byte| take(crc, *byte)) % SLOTS
}

/// Adds one byte to the checksum, bit by bit. A table would pay only for long texts that are hashed
/// often, and tags are short and hashed once.
fn take(crc: u16, byte: u8) -> u16 {
    let shifted = |crc: u16, _| match crc & 0x8000 {
        0 => crc << 1,
        _ => (crc << 1) ^ POLYNOMIAL,
    };
    (0..8).fold(crc ^ (u16::from(byte) << 8), shifted)
}

/// The polynomial of CRC-16/XMODEM.
const POLYNOMIAL: u16 = 0x1021;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_what_the_specification_says() {
        // Its check value, and an example that nodes were asked for.
        assert_eq!(slot_of(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b"foo"), 12182);
        assert_eq!(slot_of(b""), 0);
    }
}
