//! Salesforce record ids: 15 characters that differ by case, and 3 that make up for readers who ignore case.
//!
//! ```text
//! 001 Hs 0 000000001 EAG
//! │   │  │ │         └ checksum: one character for each group of five, its bits say which are upper case
//! │   │  │ └ number of the row in its object, base 62
//! │   │  └ reserved
//! │   └ instance
//! └ key prefix of the object
//! ```

use std::fmt;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const CHECKSUM: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
const INSTANCE: &[u8; 3] = b"Hs0";

/// A record id in its 18-character form. Compared bytewise; never lower-cased.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SfId([u8; 18]);

impl SfId {
    /// Makes the id of row `number` of the object with key prefix `prefix`.
    pub fn new(prefix: [u8; 3], number: u64) -> Self {
        let mut id = [b'0'; 18];
        id[..3].copy_from_slice(&prefix);
        id[3..6].copy_from_slice(INSTANCE);
        let mut rest = number;
        for place in id[6..15].iter_mut().rev() {
            *place = DIGITS[(rest % 62) as usize];
            rest /= 62;
        }
        Self::with_checksum(id)
    }

    /// Parses 15 characters, or 18 with a right checksum.
    ///
    /// Returns none for anything else, also for a checksum that does not fit (Salesforce: `MALFORMED_ID`).
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if !(bytes.len() == 15 || bytes.len() == 18) || !bytes.iter().all(u8::is_ascii_alphanumeric) {
            return None;
        }
        let mut id = [b'0'; 18];
        id[..15].copy_from_slice(&bytes[..15]);
        let id = Self::with_checksum(id);
        (bytes.len() == 15 || id.0[15..] == bytes[15..]).then_some(id)
    }

    fn with_checksum(mut id: [u8; 18]) -> Self {
        for group in 0..3 {
            let mut bits = 0usize;
            for place in 0..5 {
                bits |= usize::from(id[group * 5 + place].is_ascii_uppercase()) << place;
            }
            id[15 + group] = CHECKSUM[bits];
        }
        Self(id)
    }

    /// The 18 characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The first 15 characters.
    pub fn short(&self) -> &str {
        self.as_str().get(..15).unwrap_or_default()
    }

    /// The key prefix, which names the object.
    pub fn prefix(&self) -> [u8; 3] {
        [self.0[0], self.0[1], self.0[2]]
    }

    /// The row's number in its object; none for an id that this org did not make.
    pub fn number(&self) -> Option<u64> {
        if &self.0[3..6] != INSTANCE {
            return None;
        }
        let mut number = 0u64;
        for byte in &self.0[6..15] {
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'A'..=b'Z' => byte - b'A' + 10,
                _ => byte - b'a' + 36,
            };
            number = number * 62 + u64::from(digit);
        }
        Some(number)
    }
}

impl fmt::Display for SfId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SfId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn checksum_fits_ids_printed_in_salesforce_documents() {
        for id in ["001D000000IqhSLIAZ", "00D50000000IZ3ZEAW", "000000000000000AAA"] {
            assert_eq!(SfId::parse(&id[..15]).map(|id| id.to_string()).as_deref(), Some(id));
        }
    }

    #[test]
    fn id_with_wrong_checksum_length_or_character_is_refused() {
        for bad in ["", "001", "001D000000IqhSLIAA", "001D000000IqhS!", "001D000000IqhSLI", "äöüäöüäöü00000"] {
            assert_eq!(SfId::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn number_and_prefix_survive_a_round_trip(number in 0u64..62u64.pow(9)) {
            let id = SfId::new(*b"a0B", number);
            prop_assert_eq!(SfId::parse(id.as_str()), Some(id));
            prop_assert_eq!(SfId::parse(id.short()), Some(id));
            prop_assert_eq!((id.prefix(), id.number()), (*b"a0B", Some(number)));
        }

        #[test]
        fn any_text_parses_without_panic(text in ".{0,20}") {
            let _ = SfId::parse(&text);
        }
    }
}
