//! An upload being worked off: its rows in internal batches of 200, and what becomes of them.

use super::blob::{Blob, Spool};
use super::columns::{self, Column};
use super::csv::{CsvError, Dialect, HEADER_CHARS_MAX, Reader, Record};
use super::job::{Format, Job, Kind, Results};
use crate::json::Json;
use crate::query::bulk::BulkRows;
use crate::store::Store;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

/// Rows of an internal batch: one transaction.
pub const CHUNK_ROWS: usize = 200;

/// Internal batches of one batch of 10,000 rows, which the daily allocation counts.
pub const CHUNKS_PER_BATCH: u64 = 50;

/// Internal batches that are read ahead, from which the next one is drawn.
const WINDOW: usize = 8;

/// Bytes that are read ahead, at most.
const WINDOW_BYTES: usize = 8 * 1024 * 1024;

/// Records that are looked over in one step before any is worked on.
const SCAN_RECORDS: usize = 10_000;

/// A row as it was uploaded.
#[derive(Debug)]
pub enum Input {
    Csv(Record),
    /// One record's JSON text.
    Json(Vec<u8>),
}

/// Rows that are applied together.
#[derive(Debug)]
pub struct Chunk {
    pub number: u64,
    pub rows: Vec<Input>,
    pub attempts: u32,
}

#[derive(Debug)]
enum Rows {
    Csv(Reader),
    /// JSON texts, one a line.
    Lines {
        blob: Arc<Blob>,
        offset: u64,
        buffer: Vec<u8>,
        at: usize,
    },
}

/// Where results go while there are more to come.
#[derive(Debug)]
pub enum Output {
    Split { success: Blob, failed: Blob },
    InOrder { blob: Blob, format: Format },
}

/// The work on an upload.
#[derive(Debug)]
pub struct IngestRun {
    /// Looks the whole file over first: a wrong line ending must not be met after half of it was applied.
    scan: Option<Reader>,
    scanned: usize,
    rows_max: usize,
    rows: Rows,
    pub columns: Vec<Column>,
    pub header: Vec<String>,
    window: VecDeque<Chunk>,
    window_bytes: usize,
    next_chunk: u64,
    read_all: bool,
    /// Internal batches that workers hold.
    pub in_flight: usize,
    pub settled: Vec<bool>,
    /// Batches of 10,000 rows that were counted.
    pub batches: u64,
    pub cut_off: Option<u64>,
    pub output: Output,
}

/// The work on a query.
#[derive(Debug)]
pub struct QueryRun {
    pub rows: BulkRows,
    pub at: usize,
    pub lines: Blob,
    pub lengths: Vec<u32>,
    pub in_flight: bool,
}

/// Work in progress.
#[derive(Debug)]
pub enum Run {
    Ingest(Box<IngestRun>),
    Query(Box<QueryRun>),
}

impl IngestRun {
    /// Reads the first line of an upload and finds its columns.
    ///
    /// # Errors
    /// The job's error.
    pub fn new(job: &Job, upload: Arc<Blob>, store: &Store, table: usize, spool: &Arc<Spool>) -> Result<Self, String> {
        let output = match job.kind {
            Kind::Classic => Output::InOrder { blob: Blob::new(spool), format: job.format },
            _ => Output::Split { success: Blob::new(spool), failed: Blob::new(spool) },
        };
        let mut run = Self {
            scan: None,
            scanned: 0,
            rows_max: if job.kind == Kind::Classic { super::v1::RECORDS_MAX } else { usize::MAX },
            rows: Rows::Lines { blob: upload.clone(), offset: 0, buffer: Vec::new(), at: 0 },
            columns: Vec::new(),
            header: Vec::new(),
            window: VecDeque::new(),
            window_bytes: 0,
            next_chunk: 0,
            read_all: false,
            in_flight: 0,
            settled: Vec::new(),
            batches: 0,
            cut_off: None,
            output,
        };
        if job.format == Format::Csv {
            let mut reader = Reader::new(upload.clone(), job.dialect);
            let mut record = Record::default();
            if reader.read(&mut record).map_err(|error| error.to_string())? {
                run.header = names(&record)?;
                run.columns = columns::bind(store, table, job.operation, job.external_id.as_deref(), &run.header)?;
            }
            run.scan = Some(Reader::new(upload, job.dialect));
            run.rows = Rows::Csv(reader);
        }
        Ok(run)
    }

    /// Looks over some more of the file; false once all was seen.
    ///
    /// # Errors
    /// The job's error.
    pub fn scan(&mut self) -> Result<bool, String> {
        let Some(reader) = &mut self.scan else { return Ok(false) };
        let mut record = Record::default();
        for _ in 0..SCAN_RECORDS {
            if !reader.read(&mut record).map_err(|error| error.to_string())? {
                self.scan = None;
                return Ok(false);
            }
            // The first line is no row.
            self.scanned += 1;
            if self.scanned - 1 > self.rows_max {
                return Err(format!(
                    "InvalidBatch : Records not processed: a batch has at most {} records",
                    self.rows_max
                ));
            }
        }
        Ok(true)
    }

    /// True when every row has been handed out and come back.
    pub fn is_done(&self) -> bool {
        self.read_all && self.window.is_empty() && self.in_flight == 0
    }

    /// Hands out the next internal batch: the first one, or, by `pick`, one of those that were read ahead.
    ///
    /// # Errors
    /// The job's error.
    pub fn next(&mut self, pick: Option<u64>) -> Result<Option<Chunk>, String> {
        let ahead = if pick.is_some() { WINDOW } else { 1 };
        while !self.read_all && self.window.len() < ahead && self.window_bytes < WINDOW_BYTES {
            match self.read_chunk()? {
                Some(chunk) => self.put_back(chunk),
                None => self.read_all = true,
            }
        }
        let at = pick.map_or(0, |pick| pick % self.window.len().max(1) as u64) as usize;
        let chunk = self.window.remove(at);
        if let Some(chunk) = &chunk {
            self.window_bytes -= bytes(chunk);
        }
        Ok(chunk)
    }

    /// Takes an internal batch back for later.
    pub fn put_back(&mut self, chunk: Chunk) {
        self.window_bytes += bytes(&chunk);
        self.window.push_back(chunk);
    }

    /// Marks an internal batch as worked off.
    pub fn settle(&mut self, number: u64) {
        let at = number as usize;
        if self.settled.len() <= at {
            self.settled.resize(at + 1, false);
        }
        self.settled[at] = true;
    }

    fn read_chunk(&mut self) -> Result<Option<Chunk>, String> {
        let mut rows = Vec::with_capacity(CHUNK_ROWS);
        while rows.len() < CHUNK_ROWS {
            match self.rows.read().map_err(|error| error.to_string())? {
                Some(row) => rows.push(row),
                None => break,
            }
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let number = self.next_chunk;
        self.next_chunk += 1;
        Ok(Some(Chunk { number, rows, attempts: 0 }))
    }

    /// Ends the work: what is written so far are the results.
    ///
    /// # Errors
    /// When a temporary file cannot be written.
    pub fn results(self) -> std::io::Result<Results> {
        Ok(match self.output {
            Output::InOrder { blob, .. } => Results::InOrder(blob.finish()?),
            Output::Split { success, failed } => Results::Split {
                columns: self.header,
                success: success.finish()?,
                failed: failed.finish()?,
                settled: self.settled,
                cut_off: self.cut_off,
            },
        })
    }
}

fn bytes(chunk: &Chunk) -> usize {
    let of = |row: &Input| match row {
        Input::Csv(record) => record.bytes() + 64,
        Input::Json(text) => text.len() + 24,
    };
    chunk.rows.iter().map(of).sum()
}

/// The names in a file's first line.
///
/// # Errors
/// The job's error.
pub fn names(record: &Record) -> Result<Vec<String>, String> {
    if let Some(problem) = record.problem {
        return Err(format!("InvalidBatch : Failed to parse CSV header. {}", problem.message()));
    }
    let names: Vec<String> = (0..record.len()).map(|at| record.get(at).to_owned()).collect();
    if names.iter().map(|name| name.chars().count() + 1).sum::<usize>() > HEADER_CHARS_MAX {
        return Err("InvalidBatch : Failed to parse CSV header. It has more than 32000 characters".into());
    }
    Ok(names)
}

impl Rows {
    fn read(&mut self) -> Result<Option<Input>, CsvError> {
        match self {
            Rows::Csv(reader) => {
                let mut record = Record::default();
                Ok(reader.read(&mut record)?.then_some(Input::Csv(record)))
            }
            Rows::Lines { blob, offset, buffer, at } => loop {
                if let Some(end) = memchr::memchr(b'\n', &buffer[*at..]) {
                    let line = buffer[*at..*at + end].to_vec();
                    *at += end + 1;
                    return Ok(Some(Input::Json(line)));
                }
                buffer.drain(..*at);
                *at = 0;
                let piece = blob.read_at(*offset)?;
                if piece.is_empty() {
                    return Ok(None);
                }
                *offset += piece.len() as u64;
                buffer.extend_from_slice(&piece);
            },
        }
    }
}

/// The members of a row, or what is wrong with it.
pub fn members<'r>(columns: &'r [Column], row: &'r Input) -> Result<Vec<(Cow<'r, str>, Json<'r>)>, &'static str> {
    match row {
        Input::Csv(Record { problem: Some(problem), .. }) => Err(problem.message()),
        Input::Csv(record) if record.len() != columns.len() => {
            Err("Failed to parse CSV. The number of fields in the record differs from the header")
        }
        Input::Csv(record) => Ok(columns::members(columns, record)),
        Input::Json(text) => match Json::parse(text) {
            Ok(Json::Object(members)) => Ok(members),
            _ => Err("Failed to parse the record"),
        },
    }
}

/// The rows of an upload that no internal batch of `settled` held, as lines.
pub struct Unprocessed {
    reader: Reader,
    dialect: Dialect,
    settled: Vec<bool>,
    /// Rows from here on are not shown.
    cut_off: u64,
    row: u64,
    header: bool,
    bytes: u64,
}

impl Unprocessed {
    /// Begins at the first row.
    pub fn new(upload: Arc<Blob>, dialect: Dialect, settled: Vec<bool>, cut_off: Option<u64>) -> Self {
        let bytes = upload.len();
        // A file whose lines end otherwise than the job says can still be shown.
        let reader = Reader::new(upload, Dialect { lenient: true, ..dialect });
        Self { reader, dialect, settled, cut_off: cut_off.unwrap_or(u64::MAX), row: 0, header: true, bytes }
    }
}

impl super::stream::Source for Unprocessed {
    fn next(&mut self) -> std::io::Result<Option<bytes::Bytes>> {
        let mut out = Vec::new();
        let mut record = Record::default();
        let mut seen = 0;
        while out.len() < 256 * 1024 && seen < SCAN_RECORDS {
            seen += 1;
            // A file whose reading fails was not worked on, and what can be read of it is shown.
            if !self.reader.read(&mut record).unwrap_or(false) {
                return Ok((!out.is_empty()).then(|| out.into()));
            }
            let shown = if std::mem::take(&mut self.header) {
                true
            } else {
                let settled = self.settled.get(self.row as usize / CHUNK_ROWS).copied().unwrap_or(false);
                self.row += 1;
                !settled && self.row <= self.cut_off
            };
            if shown {
                let values = (0..record.len()).map(|at| record.get(at));
                super::csv::write_line(&mut out, self.dialect, values);
            }
        }
        Ok(Some(out.into()))
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}
