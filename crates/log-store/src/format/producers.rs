//! The states of all producers, as the first frame of every segment: recovery then reads the last segment only.
//!
//! Payload: for each producer `u32` length and then the bytes of `frame::encode_producer`, sorted by id.

use super::frame::{decode_producer, encode_producer};
use bytes::Bytes;
use model::ProducerId;
use std::collections::BTreeMap;

/// Producer → its last position.
pub(crate) type Producers = BTreeMap<ProducerId, Bytes>;

/// Packs the states.
pub(crate) fn encode_producers(states: &Producers) -> Vec<u8> {
    let mut out = Vec::new();
    for (id, position) in states {
        let entry = encode_producer(id, position);
        out.extend_from_slice(&(entry.len() as u32).to_le_bytes());
        out.extend_from_slice(&entry);
    }
    out
}

/// Unpacks the states; none when the bytes are not exactly such a list.
pub(crate) fn decode_producers(mut bytes: &[u8]) -> Option<Producers> {
    let mut states = Producers::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (entry, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let (id, position) = decode_producer(entry)?;
        states.insert(id, Bytes::copy_from_slice(position));
        bytes = rest;
    }
    Some(states)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn states_come_back(states in prop::collection::btree_map(".{0,8}", any::<Vec<u8>>(), 0..5)) {
            let states: Producers = states.into_iter().map(|(id, p)| (ProducerId::new(id), Bytes::from(p))).collect();
            prop_assert_eq!(decode_producers(&encode_producers(&states)), Some(states));
        }

        #[test]
        fn outside_bytes_never_panic(bytes: Vec<u8>) {
            let _ = decode_producers(&bytes);
        }
    }
}
