//! What the log stores: records, packed one after the other into a batch.
//!
//! A batch is one contiguous buffer, so that capture writes JSON straight into what the log compresses, and a reader
//! hands out slices. Layout of one record, little endian, without padding:
//!
//! ```text
//! u32 length of all that follows in this record
//! i64 time_ms        event time, Unix milliseconds
//! u32 key length     0xffff_ffff: no key
//! ..  key
//! u32 value length   0xffff_ffff: no value
//! ..  value
//! u16 header count
//! per header: u16 name length, name, u32 value length, value
//! ```
//!
//! Invariants: (1) `count` records fill the buffer exactly; (2) a `RecordBatch` is made by the builder, by
//! `parse`, which checks every length, or from bytes under a checksum; (3) `Records` checks each length again and ends
//! at a wrong one, so it never panics on outside bytes.

use bytes::{BufMut, Bytes, BytesMut};

const NONE: u32 = u32::MAX;
/// Length, time, key length, value length, header count.
const RECORD_BYTES_MIN: usize = 4 + 8 + 4 + 4 + 2;

/// Records in order, packed; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordBatch {
    bytes: Bytes,
    count: u32,
    time_min_ms: i64,
    time_max_ms: i64,
}

/// Outside bytes that are no batch: where it broke.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {index} at byte {at} of the batch is malformed: {why}")]
pub struct MalformedBatch {
    pub index: u32,
    pub at: usize,
    pub why: &'static str,
}

impl RecordBatch {
    /// Takes packed bytes as a batch after checking every length in them.
    ///
    /// # Errors
    /// `MalformedBatch` when the bytes are not exactly `count` records.
    pub fn parse(bytes: Bytes, count: u32) -> Result<Self, MalformedBatch> {
        let (mut at, mut time_min_ms, mut time_max_ms) = (0, i64::MAX, i64::MIN);
        for index in 0..count {
            let (record, end) = parse_record(&bytes, at).map_err(|why| MalformedBatch { index, at, why })?;
            time_min_ms = time_min_ms.min(record.time_ms);
            time_max_ms = time_max_ms.max(record.time_ms);
            at = end;
        }
        if at != bytes.len() {
            return Err(MalformedBatch { index: count, at, why: "bytes follow the last record" });
        }
        Ok(Self { bytes, count, time_min_ms, time_max_ms })
    }

    /// Takes bytes that a checksum vouches for: what a builder or `parse` made once, with its count and time range.
    ///
    /// Nothing is walked, so a reader of a log pays for each record once, when it iterates. Should the bytes be no batch
    /// after all, iteration ends early; it does not panic.
    pub fn from_verified(bytes: Bytes, count: u32, (time_min_ms, time_max_ms): (i64, i64)) -> Self {
        Self { bytes, count, time_min_ms, time_max_ms }
    }

    /// The packed bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Number of records.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// True when it holds no record.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Earliest and latest event time, Unix milliseconds, inclusive; `(i64::MAX, i64::MIN)` when empty.
    pub fn time_range_ms(&self) -> (i64, i64) {
        (self.time_min_ms, self.time_max_ms)
    }

    /// Iterates in order.
    pub fn iter(&self) -> Records<'_> {
        Records { bytes: &self.bytes, at: 0, left: self.count }
    }
}

impl<'a> IntoIterator for &'a RecordBatch {
    type Item = Record<'a>;
    type IntoIter = Records<'a>;

    fn into_iter(self) -> Records<'a> {
        self.iter()
    }
}

/// One record, borrowed from its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Event time, Unix milliseconds.
    pub time_ms: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    headers: &'a [u8],
    header_count: u16,
}

impl<'a> Record<'a> {
    /// Iterates over `(name, value)` in the order in which they were written; a name may repeat.
    pub fn headers(&self) -> RecordHeaders<'a> {
        RecordHeaders { bytes: self.headers, left: self.header_count }
    }

    /// Returns the first header of this name.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers().find(|(n, _)| *n == name.as_bytes()).map(|(_, value)| value)
    }
}

/// The headers of a record.
#[derive(Clone, Debug)]
pub struct RecordHeaders<'a> {
    bytes: &'a [u8],
    left: u16,
}

impl<'a> Iterator for RecordHeaders<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let mut at = 0;
        let name_len = read_u16(self.bytes, &mut at)? as usize;
        let name = read_slice(self.bytes, &mut at, name_len)?;
        let value_len = read_u32(self.bytes, &mut at)? as usize;
        let value = read_slice(self.bytes, &mut at, value_len)?;
        self.bytes = &self.bytes[at..];
        Some((name, value))
    }
}

/// The records of a batch, in order.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
    left: u32,
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let (record, end) = parse_record(self.bytes, self.at).ok()?;
        self.at = end;
        Some(record)
    }

    /// Skips by the length prefix alone.
    fn nth(&mut self, n: usize) -> Option<Record<'a>> {
        for _ in 0..n {
            if self.left == 0 {
                return None;
            }
            self.left -= 1;
            let mut at = self.at;
            let length = read_u32(self.bytes, &mut at)? as usize;
            self.at = at + length;
        }
        self.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Records<'_> {}

fn read_slice<'a>(bytes: &'a [u8], at: &mut usize, length: usize) -> Option<&'a [u8]> {
    let end = at.checked_add(length)?;
    let slice = bytes.get(*at..end)?;
    *at = end;
    Some(slice)
}

fn read_u16(bytes: &[u8], at: &mut usize) -> Option<u16> {
    read_slice(bytes, at, 2)?.try_into().ok().map(u16::from_le_bytes)
}

fn read_u32(bytes: &[u8], at: &mut usize) -> Option<u32> {
    read_slice(bytes, at, 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn read_i64(bytes: &[u8], at: &mut usize) -> Option<i64> {
    read_slice(bytes, at, 8)?.try_into().ok().map(i64::from_le_bytes)
}

/// Reads an optional field: its length, then its bytes.
fn read_field<'a>(bytes: &'a [u8], at: &mut usize) -> Option<Option<&'a [u8]>> {
    match read_u32(bytes, at)? {
        NONE => Some(None),
        length => read_slice(bytes, at, length as usize).map(Some),
    }
}

/// Reads the record at `at`; returns it with the place of the next one.
fn parse_record(bytes: &[u8], at: usize) -> Result<(Record<'_>, usize), &'static str> {
    let mut start = at;
    let length = read_u32(bytes, &mut start).ok_or("its length is cut off")? as usize;
    let body = read_slice(bytes, &mut start, length).ok_or("it is longer than the batch")?;
    let mut at = 0;
    let time_ms = read_i64(body, &mut at).ok_or("its time is cut off")?;
    let key = read_field(body, &mut at).ok_or("its key is cut off")?;
    let value = read_field(body, &mut at).ok_or("its value is cut off")?;
    let header_count = read_u16(body, &mut at).ok_or("its header count is cut off")?;
    let headers = &body[at..];
    let mut walk = RecordHeaders { bytes: headers, left: header_count };
    if walk.by_ref().count() != header_count as usize {
        return Err("a header is cut off");
    }
    if !walk.bytes.is_empty() {
        return Err("bytes follow its last header");
    }
    Ok((Record { time_ms, key, value, headers, header_count }, start))
}

/// A record did not fit: the builder is as it was before the record, nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record field of {bytes} bytes does not fit in 32 bits")]
pub struct BatchFull {
    pub bytes: usize,
}

/// Packs records into one buffer. Fields of a record are written in the order key, value, headers.
#[derive(Debug, Default)]
pub struct RecordBatchBuilder {
    bytes: BytesMut,
    count: u32,
    time_min_ms: i64,
    time_max_ms: i64,
}

impl RecordBatchBuilder {
    /// Makes an empty builder with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { bytes: BytesMut::with_capacity(capacity), count: 0, time_min_ms: i64::MAX, time_max_ms: i64::MIN }
    }

    /// Packed bytes so far: what a caller bounds.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Records so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// True when it holds no record.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a record whose parts stand ready in memory.
    ///
    /// # Errors
    /// `BatchFull` when a field is 4 GiB or longer; the builder is unchanged.
    pub fn push(
        &mut self,
        time_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) -> Result<(), BatchFull> {
        self.push_with(
            time_ms,
            |out| key.map(|key| out.extend_from_slice(key)).is_some(),
            |out| value.map(|value| out.extend_from_slice(value)).is_some(),
            headers,
        )
    }

    /// Adds a record whose key and value are written in place: each closure appends to the buffer and says whether
    /// the field is there at all. It must only append.
    ///
    /// # Errors
    /// `BatchFull` when a field is 4 GiB or longer; the builder is unchanged.
    pub fn push_with(
        &mut self,
        time_ms: i64,
        key: impl FnOnce(&mut BytesMut) -> bool,
        value: impl FnOnce(&mut BytesMut) -> bool,
        headers: &[(&str, &[u8])],
    ) -> Result<(), BatchFull> {
        let start = self.bytes.len();
        self.bytes.reserve(RECORD_BYTES_MIN);
        self.bytes.put_u32_le(0);
        self.bytes.put_i64_le(time_ms);
        let written = self
            .field(key)
            .and_then(|()| self.field(value))
            .and_then(|()| self.headers(headers))
            .and_then(|()| self.patch(start, self.bytes.len() - start - 4));
        if let Err(full) = written {
            self.bytes.truncate(start);
            return Err(full);
        }
        self.count += 1;
        if self.count == 1 {
            // A builder from `default()` starts with zeros here.
            (self.time_min_ms, self.time_max_ms) = (time_ms, time_ms);
        }
        self.time_min_ms = self.time_min_ms.min(time_ms);
        self.time_max_ms = self.time_max_ms.max(time_ms);
        Ok(())
    }

    fn field(&mut self, write: impl FnOnce(&mut BytesMut) -> bool) -> Result<(), BatchFull> {
        let at = self.bytes.len();
        self.bytes.put_u32_le(NONE);
        if write(&mut self.bytes) {
            self.patch(at, self.bytes.len() - at - 4)?;
        } else {
            self.bytes.truncate(at + 4);
        }
        Ok(())
    }

    fn headers(&mut self, headers: &[(&str, &[u8])]) -> Result<(), BatchFull> {
        let count = u16::try_from(headers.len()).map_err(|_| BatchFull { bytes: headers.len() })?;
        self.bytes.put_u16_le(count);
        for (name, value) in headers {
            let name_len = u16::try_from(name.len()).map_err(|_| BatchFull { bytes: name.len() })?;
            let value_len = u32::try_from(value.len()).map_err(|_| BatchFull { bytes: value.len() })?;
            self.bytes.put_u16_le(name_len);
            self.bytes.extend_from_slice(name.as_bytes());
            self.bytes.put_u32_le(value_len);
            self.bytes.extend_from_slice(value);
        }
        Ok(())
    }

    fn patch(&mut self, at: usize, length: usize) -> Result<(), BatchFull> {
        match u32::try_from(length) {
            Ok(length) if length != NONE => {
                self.bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
                Ok(())
            }
            _ => Err(BatchFull { bytes: length }),
        }
    }

    /// Hands the packed batch out and starts anew.
    pub fn finish(&mut self) -> RecordBatch {
        let batch = RecordBatch {
            bytes: self.bytes.split().freeze(),
            count: self.count,
            time_min_ms: self.time_min_ms,
            time_max_ms: self.time_max_ms,
        };
        (self.count, self.time_min_ms, self.time_max_ms) = (0, i64::MAX, i64::MIN);
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Plain = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Vec<u8>)>);

    fn plain(record: Record<'_>) -> Plain {
        let headers = record.headers().map(|(n, v)| (String::from_utf8_lossy(n).into_owned(), v.to_vec())).collect();
        (record.time_ms, record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec), headers)
    }

    fn pack(records: &[Plain]) -> RecordBatch {
        let mut builder = RecordBatchBuilder::default();
        for (time, key, value, headers) in records {
            let headers: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
            builder.push(*time, key.as_deref(), value.as_deref(), &headers).expect("small");
        }
        builder.finish()
    }

    fn some_records(least: usize) -> impl Strategy<Value = Vec<Plain>> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..12);
        let headers = prop::collection::vec(("[a-zä]{0,4}", bytes()), 0..4);
        let record = (any::<i64>(), prop::option::of(bytes()), prop::option::of(bytes()), headers);
        prop::collection::vec(record, least..8)
    }

    proptest! {
        #[test]
        fn batch_gives_back_what_was_packed(records in some_records(0), skip in 0usize..8) {
            let batch = pack(&records);
            prop_assert_eq!(batch.iter().map(plain).collect::<Vec<_>>(), records.clone());
            let parsed = RecordBatch::parse(batch.bytes().clone(), batch.count()).expect("own bytes");
            prop_assert_eq!(parsed.count(), batch.count());
            prop_assert_eq!(batch.iter().nth(skip).map(plain), records.get(skip).cloned());
        }

        #[test]
        fn parse_refuses_or_reads_any_bytes_without_panic(bytes: Vec<u8>, count in 0u32..4) {
            if let Ok(batch) = RecordBatch::parse(Bytes::from(bytes), count) {
                prop_assert_eq!(batch.iter().count(), count as usize);
            }
        }

        #[test]
        fn a_cut_batch_is_refused(records in some_records(1), cut in 1usize..20) {
            let batch = pack(&records);
            let keep = batch.bytes().len().saturating_sub(cut);
            prop_assert!(RecordBatch::parse(batch.bytes().slice(..keep), batch.count()).is_err());
        }
    }
}
