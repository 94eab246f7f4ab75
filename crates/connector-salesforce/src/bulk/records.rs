//! Reads the result files of a job as they come in, in bounded memory.
//!
//! NUL bytes are dropped: they have been seen in results, and no value that we send holds one. The last line counts only
//! with its line end: one that was cut short could pass for another row's.

use std::borrow::Cow;

/// A record longer than this is no record: 400,000 characters of four bytes each, quotes and columns of Salesforce's own.
const RECORD_BYTES_MAX: usize = 8 * 1024 * 1024;

/// One record, unquoted.
#[derive(Default)]
pub(crate) struct Record {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Record {
    /// How many values there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// A value; empty past the end.
    pub fn get(&self, at: usize) -> Cow<'_, str> {
        let Some(end) = self.ends.get(at) else { return Cow::Borrowed("") };
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        String::from_utf8_lossy(&self.text[start..*end])
    }

    fn end_value(&mut self) {
        self.ends.push(self.text.len());
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the beginning of a value.
    Begin,
    Plain,
    Quoted,
    /// Behind a quote inside quotes: the end of the value, or the first of two.
    Quote,
}

/// A reader that is fed.
pub(crate) struct Records {
    record: Record,
    state: State,
    overlong: bool,
}

impl Records {
    /// Begins before the first line.
    pub fn new() -> Self {
        Self { record: Record::default(), state: State::Begin, overlong: false }
    }

    /// Takes the next bytes and hands on every record that ends in them. Blank lines are passed over.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&Record)) {
        let mut rest = bytes;
        while let [byte, after @ ..] = rest {
            match (self.state, *byte) {
                (State::Quoted, _) => {
                    let quote = memchr::memchr(b'"', rest);
                    self.take(&rest[..quote.unwrap_or(rest.len())]);
                    let Some(quote) = quote else { return };
                    self.state = State::Quote;
                    rest = &rest[quote + 1..];
                    continue;
                }
                (State::Begin, b'"') => self.state = State::Quoted,
                (State::Quote, b'"') => {
                    self.take(b"\"");
                    self.state = State::Quoted;
                }
                (_, b',') => {
                    self.record.end_value();
                    self.state = State::Begin;
                }
                (_, b'\n') => self.end_record(&mut each),
                // Of a line end in the other form; a bare one stands in quotes only.
                (_, b'\r') => {}
                (State::Begin, 0) => {}
                (_, byte) => {
                    self.take(&[byte]);
                    self.state = State::Plain;
                }
            }
            rest = after;
        }
    }

    /// True when the file broke off inside a record, or held one that is too long to be one.
    pub fn is_cut(&self) -> bool {
        self.overlong || self.state != State::Begin || !self.record.ends.is_empty()
    }

    fn take(&mut self, bytes: &[u8]) {
        if self.record.text.len() + bytes.len() > RECORD_BYTES_MAX {
            self.overlong = true;
        }
        if self.overlong {
            return;
        }
        match memchr::memchr(0, bytes) {
            None => self.record.text.extend_from_slice(bytes),
            Some(_) => self.record.text.extend(bytes.iter().filter(|byte| **byte != 0)),
        }
    }

    fn end_record(&mut self, each: &mut impl FnMut(&Record)) {
        let blank = self.state == State::Begin && self.record.ends.is_empty();
        self.record.end_value();
        if !blank && !self.overlong {
            each(&self.record);
        }
        self.record.text.clear();
        self.record.ends.clear();
        self.state = State::Begin;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &[u8], pieces: usize) -> (Vec<Vec<String>>, bool) {
        let mut records = Vec::new();
        let mut reader = Records::new();
        for piece in text.chunks(pieces.max(1)) {
            reader.push(piece, |record| {
                records.push((0..record.len()).map(|at| record.get(at).into_owned()).collect());
            });
        }
        (records, reader.is_cut())
    }

    #[test]
    fn quotes_line_ends_blank_lines_and_nuls_are_read() {
        let text = b"a,\"b\"\"c\",\"d\ne\"\r\n\n\"\",,x\0y\n";
        for pieces in 1..text.len() {
            let (records, cut) = read(text, pieces);
            assert_eq!(records, [vec!["a", "b\"c", "d\ne"], vec!["", "", "xy"]]);
            assert!(!cut);
        }
    }

    #[test]
    fn a_line_without_its_end_is_no_record() {
        assert_eq!(read(b"a,b\nc,d", 3), (vec![vec!["a".to_owned(), "b".to_owned()]], true));
        assert_eq!(read(b"a\n\"c", 9), (vec![vec!["a".to_owned()]], true));
        assert_eq!(read(b"a\nb,", 9), (vec![vec!["a".to_owned()]], true));
    }

    #[test]
    fn an_endless_record_takes_no_endless_memory() {
        let mut reader = Records::new();
        for _ in 0..20 {
            reader.push(&vec![b'x'; 1024 * 1024], |_| panic!("no record"));
        }
        assert!(reader.is_cut() && reader.record.text.capacity() <= 2 * RECORD_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_give_the_same_records(text in prop::collection::vec(prop::sample::select(
            b"ab\",\n\r\0\xc3\xa9".to_vec()), 0..60), pieces in 1usize..9) {
            prop_assert_eq!(read(&text, pieces), read(&text, usize::MAX));
        }

        #[test]
        fn what_the_csv_crate_writes_is_read(rows in prop::collection::vec(prop::collection::vec("[^\0\r]{0,9}", 2..4), 1..5)) {
            let mut writer = csv::WriterBuilder::new().flexible(true).quote_style(csv::QuoteStyle::Always).from_writer(vec![]);
            rows.iter().for_each(|row| writer.write_record(row).unwrap());
            prop_assert_eq!(read(&writer.into_inner().unwrap(), 7), (rows, false));
        }
    }
}
