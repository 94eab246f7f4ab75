//! The bitmaps of `changedFields`, `nulledFields` and `diffFields`.
//!
//! ```text
//! ["0x400800", "4-0x01"]
//!   │          └ position 4 is a compound: bit 0 of its own fields
//!   └ bit k (from the right) is field k of the event's schema, 0 is the header; whole bytes, no leading zeros
//! ```

/// Writes the bitmaps of a set of fields: a position, and for a compound the position inside it.
///
/// Entries for compounds come after the one for the top level, which is left out when it is empty: a compound's own bit
/// is never set.
pub fn write(fields: impl IntoIterator<Item = (u16, Option<u16>)>) -> Vec<Box<str>> {
    let mut top = Vec::new();
    let mut nested: Vec<(u16, Vec<u8>)> = Vec::new();
    for (field, inner) in fields {
        let Some(inner) = inner else {
            set(&mut top, field);
            continue;
        };
        let at = match nested.binary_search_by_key(&field, |(field, _)| *field) {
            Ok(at) => at,
            Err(at) => {
                nested.insert(at, (field, Vec::new()));
                at
            }
        };
        set(&mut nested[at].1, inner);
    }
    let top = (!top.is_empty()).then(|| hex(&top));
    let nested = nested.iter().map(|(field, bits)| format!("{field}-{}", hex(bits)));
    top.into_iter().chain(nested).map(Into::into).collect()
}

fn set(bits: &mut Vec<u8>, at: u16) {
    let byte = usize::from(at / 8);
    if bits.len() <= byte {
        bits.resize(byte + 1, 0);
    }
    bits[byte] |= 1 << (at % 8);
}

fn hex(bits: &[u8]) -> String {
    let mut text = String::from("0x");
    for byte in bits.iter().rev() {
        text.push_str(&format!("{byte:02X}"));
    }
    text
}

/// Reads bitmaps; none when an entry is malformed.
pub fn read(entries: &[Box<str>]) -> Option<Vec<(u16, Option<u16>)>> {
    let mut fields = Vec::new();
    for entry in entries {
        let (field, bits) = match entry.split_once('-') {
            Some((field, bits)) => (Some(field.parse::<u16>().ok()?), bits),
            None => (None, &**entry),
        };
        let digits = bits.strip_prefix("0x")?;
        if digits.is_empty() || digits.len() > 2048 {
            return None;
        }
        for (nibble, digit) in digits.chars().rev().enumerate() {
            let digit = digit.to_digit(16)?;
            for bit in (0..4).filter(|bit| digit & (1 << bit) != 0) {
                let at = (nibble * 4 + bit) as u16;
                fields.push(field.map_or((at, None), |field| (field, Some(at))));
            }
        }
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The examples that Salesforce prints for Account (reference 5.3): Fax 7, Phone 6, Industry 11, Description 16,
    /// LastModifiedDate 22, BillingAddress 4 with Street 0.
    #[test]
    fn examples_of_the_documents_are_written_and_read() {
        for (fields, expected) in [
            (vec![(11, None), (22, None)], vec!["0x400800"]),
            (vec![(7, None), (22, None)], vec!["0x400080"]),
            (vec![(16, None), (22, None)], vec!["0x410000"]),
            (vec![(16, None)], vec!["0x010000"]),
            (vec![(4, Some(0)), (22, None)], vec!["0x400000", "4-0x01"]),
        ] {
            let written = write(fields.iter().copied());
            assert_eq!(written.iter().map(|entry| &**entry).collect::<Vec<_>>(), expected);
            let read: BTreeSet<_> = read(&written).unwrap().into_iter().collect();
            assert_eq!(read, fields.into_iter().collect());
        }
    }

    #[test]
    fn top_level_entry_is_left_out_when_only_members_of_compounds_are_meant() {
        assert_eq!(write([(4, Some(1))]), ["4-0x02".into()]);
        assert_eq!(write([]), Vec::<Box<str>>::new());
        assert_eq!(read(&["0x650004E0".into(), "4-0x10".into(), "7-0x06".into()]).unwrap().len(), 11);
    }

    proptest! {
        #[test]
        fn fields_survive_a_round_trip(fields in prop::collection::btree_set((0u16..900, prop::option::of(0u16..12)), 0..40)) {
            let read: BTreeSet<_> = read(&write(fields.iter().copied())).unwrap().into_iter().collect();
            prop_assert_eq!(read, fields);
        }

        #[test]
        fn any_entries_are_read_or_refused(entries in prop::collection::vec("[-0-9xA-Fg]{0,12}", 0..4)) {
            let entries: Vec<Box<str>> = entries.into_iter().map(Into::into).collect();
            let _ = read(&entries);
        }
    }
}
