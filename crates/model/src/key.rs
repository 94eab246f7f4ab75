//! The fingerprint of a business key: what the window compares.

use xxhash_rust::xxh3::Xxh3;

/// A 64-bit hash of a key in its namespace.
///
/// Two records conflict when their fingerprints are equal. A collision only delays: it makes two free records wait for
/// each other in log order, it never lets two conflicting ones pass each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    /// Hashes the parts of a key inside a namespace (a table's or a target object's name).
    ///
    /// The length of each part goes into the hash, so `("a", "bc")` and `("ab", "c")` differ.
    pub fn of<'a>(namespace: &str, parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Xxh3::new();
        hash.update(&(namespace.len() as u64).to_le_bytes());
        hash.update(namespace.as_bytes());
        for part in parts {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hash.digest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        let a = Fingerprint::of("t", [b"a".as_slice(), b"bc"]);
        let b = Fingerprint::of("t", [b"ab".as_slice(), b"c"]);
        assert_ne!(a, b);
        assert_ne!(Fingerprint::of("ta", [b"".as_slice()]), Fingerprint::of("t", [b"a".as_slice()]));
    }
}
