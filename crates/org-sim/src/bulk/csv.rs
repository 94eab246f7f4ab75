//! CSV as Bulk reads and writes it ("Prepare CSV Files", Bulk API 2.0 guide).
//!
//! The reader is our own because a lenient one cannot tell what Salesforce refuses: a line that ends otherwise than the job
//! says, a quote in the middle of a value, a quote that is never closed. The `csv` crate is the oracle of its tests.
//!
//! Rules: a value in quotes may hold anything, a quote in it is doubled; no value is trimmed; a blank line is passed over.

use super::blob::Blob;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;

/// A record larger than this is not read: 400,000 characters of four bytes, and their quotes.
const RECORD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Characters of one value.
pub const FIELD_CHARS_MAX: usize = 131_072;

/// Characters of one record.
pub const RECORD_CHARS_MAX: usize = 400_000;

/// Characters of the first line.
pub const HEADER_CHARS_MAX: usize = 32_000;

/// What separates values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Delimiter {
    Backquote,
    Caret,
    #[default]
    Comma,
    Pipe,
    Semicolon,
    Tab,
}

impl Delimiter {
    /// Every delimiter.
    #[cfg(test)]
    pub const ALL: [Self; 6] = [Self::Backquote, Self::Caret, Self::Comma, Self::Pipe, Self::Semicolon, Self::Tab];

    /// The word in a job.
    pub fn word(self) -> &'static str {
        match self {
            Self::Backquote => "BACKQUOTE",
            Self::Caret => "CARET",
            Self::Comma => "COMMA",
            Self::Pipe => "PIPE",
            Self::Semicolon => "SEMICOLON",
            Self::Tab => "TAB",
        }
    }

    /// The character.
    pub fn byte(self) -> u8 {
        match self {
            Self::Backquote => b'`',
            Self::Caret => b'^',
            Self::Comma => b',',
            Self::Pipe => b'|',
            Self::Semicolon => b';',
            Self::Tab => b'\t',
        }
    }
}

/// What ends a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum LineEnding {
    #[default]
    Lf,
    Crlf,
}

impl LineEnding {
    /// The word in a job.
    pub fn word(self) -> &'static str {
        match self {
            Self::Lf => "LF",
            Self::Crlf => "CRLF",
        }
    }

    /// The characters.
    pub fn text(self) -> &'static str {
        match self {
            Self::Lf => "\n",
            Self::Crlf => "\r\n",
        }
    }
}

/// How a file is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dialect {
    pub delimiter: Delimiter,
    pub line_ending: LineEnding,
    /// Takes lines of either ending, as Bulk API 1.0 does.
    pub lenient: bool,
}

/// What is wrong with one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    UnescapedQuote,
    OpenQuote,
    NotUtf8,
    FieldTooLong,
    RecordTooLong,
}

impl Problem {
    /// Salesforce's sentence.
    pub fn message(self) -> &'static str {
        match self {
            Self::UnescapedQuote => {
                "Failed to parse CSV. Found unescaped quote. A value with quote should be within a quote"
            }
            Self::OpenQuote => "Failed to parse CSV. EOF reached before closing an opened quote",
            Self::NotUtf8 => "Failed to parse CSV. The record is not in UTF-8",
            Self::FieldTooLong => "Failed to parse CSV. A field has more than 131072 characters",
            Self::RecordTooLong => "Failed to parse CSV. A record has more than 400000 characters",
        }
    }
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum CsvError {
    #[error("ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is {0}")]
    LineEnding(&'static str),
    #[error("InvalidBatch : Failed to parse CSV. A record is longer than 4 MB; is a quote not closed?")]
    RecordTooLong,
    #[error("UnknownException : the file cannot be read")]
    Io(#[from] io::Error),
}

/// One record, unquoted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    text: Vec<u8>,
    ends: Vec<usize>,
    pub problem: Option<Problem>,
}

impl Record {
    /// How many values there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// A value; empty also past the end and in a record that is not UTF-8.
    pub fn get(&self, at: usize) -> &str {
        let Some(end) = self.ends.get(at) else { return "" };
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        std::str::from_utf8(&self.text[start..*end]).unwrap_or_default()
    }

    /// Bytes of all values.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.problem = None;
    }

    fn check(&mut self) {
        if self.problem.is_some() {
            return;
        }
        if std::str::from_utf8(&self.text).is_err() || (0..self.len()).any(|at| self.starts_inside(at)) {
            self.problem = Some(Problem::NotUtf8);
        } else if self.text.len() > RECORD_CHARS_MAX && count(&self.text) > RECORD_CHARS_MAX {
            self.problem = Some(Problem::RecordTooLong);
        } else if self.text.len() > FIELD_CHARS_MAX
            && (0..self.len()).any(|at| self.get(at).chars().count() > FIELD_CHARS_MAX)
        {
            self.problem = Some(Problem::FieldTooLong);
        }
    }

    /// True when a value ends in the middle of a character that the next one completes.
    fn starts_inside(&self, at: usize) -> bool {
        self.text.get(self.ends[at]).is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000)
    }
}

fn count(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte & 0b1100_0000 != 0b1000_0000).count()
}

/// Reads the records of a blob.
#[derive(Debug)]
pub struct Reader {
    blob: Arc<Blob>,
    /// The next byte of the blob to take into `buffer`.
    offset: u64,
    buffer: Vec<u8>,
    at: usize,
    dialect: Dialect,
}

enum Step {
    /// A record of so many bytes.
    Record(usize),
    /// A blank line of so many bytes.
    Blank(usize),
    /// The record goes on past the buffer.
    More,
    WrongEnding,
}

impl Reader {
    /// Begins at the first line.
    pub fn new(blob: Arc<Blob>, dialect: Dialect) -> Self {
        Self { blob, offset: 0, buffer: Vec::new(), at: 0, dialect }
    }

    /// Reads the next record; false at the end.
    ///
    /// # Errors
    /// `CsvError`; the reader must not be used again.
    pub fn read(&mut self, record: &mut Record) -> Result<bool, CsvError> {
        loop {
            let last = self.offset >= self.blob.len();
            if last && self.at >= self.buffer.len() {
                return Ok(false);
            }
            record.clear();
            match scan(&self.buffer[self.at..], self.dialect, last, record) {
                Step::Record(bytes) => {
                    self.at += bytes;
                    record.check();
                    return Ok(true);
                }
                Step::Blank(bytes) => self.at += bytes,
                Step::More if self.buffer.len() - self.at > RECORD_BYTES_MAX => return Err(CsvError::RecordTooLong),
                Step::More => self.fill()?,
                Step::WrongEnding => return Err(CsvError::LineEnding(self.dialect.line_ending.word())),
            }
        }
    }

    fn fill(&mut self) -> Result<(), CsvError> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let piece = self.blob.read_at(self.offset)?;
        self.offset += piece.len() as u64;
        self.buffer.extend_from_slice(&piece);
        Ok(())
    }
}

/// Reads one record from the front of `text`; `last`: nothing comes after it.
fn scan(text: &[u8], dialect: Dialect, last: bool, record: &mut Record) -> Step {
    let delimiter = dialect.delimiter.byte();
    let mut at = 0;
    loop {
        if text.get(at) == Some(&b'"') {
            match quoted(text, at + 1, delimiter, last, record) {
                Some(end) => at = end,
                None => return Step::More,
            }
        }
        // What stands outside quotes: to the next delimiter or line end.
        let Some(found) = memchr::memchr3(delimiter, b'\n', b'"', &text[at..]).map(|found| at + found) else {
            if !last {
                return Step::More;
            }
            record.text.extend_from_slice(&text[at..]);
            record.ends.push(record.text.len());
            return if record.len() == 1 && record.text.is_empty() && text.first() != Some(&b'"') {
                Step::Blank(text.len())
            } else {
                Step::Record(text.len())
            };
        };
        let before = &text[at..found];
        if text[found] == b'"' {
            record.problem = record.problem.or(Some(Problem::UnescapedQuote));
            record.text.extend_from_slice(&text[at..=found]);
            at = found + 1;
            // A second quote right here would be taken for the beginning of a value.
            while text.get(at) == Some(&b'"') {
                record.text.push(b'"');
                at += 1;
            }
            continue;
        }
        if text[found] == delimiter {
            record.text.extend_from_slice(before);
            record.ends.push(record.text.len());
            at = found + 1;
            continue;
        }
        let before = match (before.strip_suffix(b"\r"), dialect.line_ending) {
            (Some(stripped), _) if dialect.lenient => stripped,
            (None, _) if dialect.lenient => before,
            (Some(stripped), LineEnding::Crlf) => stripped,
            (None, LineEnding::Lf) => before,
            _ => return Step::WrongEnding,
        };
        let blank = record.ends.is_empty() && record.text.is_empty() && before.is_empty() && text[0] != b'"';
        record.text.extend_from_slice(before);
        record.ends.push(record.text.len());
        return if blank { Step::Blank(found + 1) } else { Step::Record(found + 1) };
    }
}

/// Takes a value in quotes, `from` behind the first one; where it ends, or none when the buffer ends before it.
fn quoted(text: &[u8], from: usize, delimiter: u8, last: bool, record: &mut Record) -> Option<usize> {
    let mut at = from;
    loop {
        let Some(quote) = memchr::memchr(b'"', &text[at..]).map(|found| at + found) else {
            if last {
                record.problem = Some(Problem::OpenQuote);
                record.text.extend_from_slice(&text[at..]);
                return Some(text.len());
            }
            return None;
        };
        record.text.extend_from_slice(&text[at..quote]);
        match text.get(quote + 1) {
            Some(b'"') => {
                record.text.push(b'"');
                at = quote + 2;
            }
            None if !last => return None,
            _ => return Some(outside(text, quote + 1, delimiter, record)),
        }
    }
}

/// After a closing quote only a delimiter or the line's end may come; the caller sees anything else as part of the value.
fn outside(text: &[u8], at: usize, delimiter: u8, record: &mut Record) -> usize {
    let ends = match text.get(at) {
        None | Some(b'\n') => true,
        Some(b'\r') => text.get(at + 1).is_none_or(|byte| *byte == b'\n'),
        Some(byte) => *byte == delimiter,
    };
    if !ends {
        record.problem = record.problem.or(Some(Problem::UnescapedQuote));
    }
    at
}

/// Writes a value in quotes.
pub fn write_value(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut from = 0;
    for quote in memchr::memchr_iter(b'"', bytes) {
        out.extend_from_slice(&bytes[from..=quote]);
        out.push(b'"');
        from = quote + 1;
    }
    out.extend_from_slice(&bytes[from..]);
    out.push(b'"');
}

/// Writes values as one line, each in quotes.
pub fn write_line<'a>(out: &mut Vec<u8>, dialect: Dialect, values: impl IntoIterator<Item = &'a str>) {
    for (at, value) in values.into_iter().enumerate() {
        if at > 0 {
            out.push(dialect.delimiter.byte());
        }
        write_value(out, value);
    }
    out.extend_from_slice(dialect.line_ending.text().as_bytes());
}

#[cfg(test)]
mod tests;
