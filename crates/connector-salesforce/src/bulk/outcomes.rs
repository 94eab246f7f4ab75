//! What the result files of a job say of each row.
//!
//! ```text
//! successfulResults   sf__Id, sf__Created, then what was uploaded
//! failedResults       sf__Id, sf__Error,   then what was uploaded
//! unprocessedrecords  what was uploaded
//! ```
//!
//! The order is not that of the upload: a line is matched to a row by what tells rows apart (`Match`).

use super::cells::{self, Column};
use super::records::{Record, Records};
use crate::errors::table;
use contract::{OutBatch, OutOp, OutRow, RowError};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// A result file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResultFile {
    Successful,
    Failed,
    Unprocessed,
}

impl ResultFile {
    /// The last segment of its path.
    pub fn path(self) -> &'static str {
        match self {
            Self::Successful => "successfulResults",
            Self::Failed => "failedResults",
            Self::Unprocessed => "unprocessedrecords",
        }
    }
}

/// By what a line is matched to a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    /// By one column whose values are distinct: the external id, the record id, the position.
    Column(String),
    /// By all of its values; equal rows stand for each other.
    WholeRow,
}

impl Match {
    /// Chooses what the rows of a batch are told apart by.
    pub fn of(batch: &OutBatch) -> Self {
        match (batch.op, &batch.external_id, cells::position_field(batch)) {
            (OutOp::Update | OutOp::Delete, ..) => Self::Column("Id".into()),
            (OutOp::Upsert, Some(field), _) => Self::Column(field.to_string()),
            (OutOp::Create, _, Some(field)) => Self::Column(field.to_owned()),
            (OutOp::Create, Some(field), None) if batch.rows.iter().all(|row| row.key.is_some()) => {
                Self::Column(field.to_string())
            }
            _ => Self::WholeRow,
        }
    }

    /// The print of a row (`cells::print`).
    pub fn print(&self, batch: &OutBatch, columns: &[Column], row: &OutRow, id: Option<&str>) -> u128 {
        let value = |column| cells::text(column, batch, row, id);
        match self {
            Self::Column(name) => {
                let column = columns.iter().find(|column| column.name.eq_ignore_ascii_case(name));
                cells::print_of(&column.map(value).unwrap_or_default())
            }
            Self::WholeRow => cells::print(columns.iter().map(|column| (column.name.as_str(), value(column)))),
        }
    }
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    Applied {
        id: Arc<str>,
        created: bool,
    },
    Failed(RowError),
    /// The job ended before its turn came: it was not applied.
    Unprocessed,
}

/// Reads one result file, page by page.
pub(crate) struct Reading<'m> {
    file: ResultFile,
    by: &'m Match,
    records: Records,
    header: Option<Header>,
    lines: Vec<(u128, Outcome)>,
    unreadable: bool,
}

struct Header {
    width: usize,
    id: Option<usize>,
    created: Option<usize>,
    error: Option<usize>,
    /// The columns that the print is of.
    matched: Vec<(String, usize)>,
}

impl<'m> Reading<'m> {
    /// Begins before the first page.
    pub fn new(file: ResultFile, by: &'m Match) -> Self {
        Self { file, by, records: Records::new(), header: None, lines: Vec::new(), unreadable: false }
    }

    /// Begins another page, which has a header of its own; false when the one before broke off.
    pub fn next_page(&mut self) -> bool {
        let whole = !self.records.is_cut();
        self.records = Records::new();
        self.header = None;
        whole
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        let Self { file, by, records, header, lines, unreadable } = self;
        records.push(bytes, |record| match header {
            None => match Header::read(record, *file, by) {
                Some(read) => *header = Some(read),
                None => {
                    *unreadable = true;
                    *header = Some(Header { width: usize::MAX, id: None, created: None, error: None, matched: vec![] });
                }
            },
            // A line of another width is none of ours.
            Some(header) if record.len() == header.width => lines.push(header.line(record, *file, by)),
            Some(_) => {}
        });
    }

    /// The lines, and whether they are all that the file had.
    pub fn finish(mut self) -> (Vec<(u128, Outcome)>, bool) {
        let whole = self.next_page() && !self.unreadable;
        (self.lines, whole)
    }
}

impl Header {
    fn read(record: &Record, file: ResultFile, by: &Match) -> Option<Self> {
        let names: Vec<String> = (0..record.len()).map(|at| record.get(at).into_owned()).collect();
        let of = |wanted: &str| names.iter().position(|name| name.eq_ignore_ascii_case(wanted));
        let (id, created, error) = (of("sf__Id"), of("sf__Created"), of("sf__Error"));
        let has_own = match file {
            ResultFile::Successful => id.is_some(),
            ResultFile::Failed => error.is_some(),
            ResultFile::Unprocessed => true,
        };
        let matched = match by {
            Match::Column(name) => vec![(String::new(), of(name)?)],
            Match::WholeRow => {
                let own = |name: &str| name.get(..4).is_some_and(|head| head.eq_ignore_ascii_case("sf__"));
                let places = names.iter().enumerate().filter(|(_, name)| !own(name));
                places.map(|(at, name)| (name.clone(), at)).collect()
            }
        };
        has_own.then_some(Self { width: names.len(), id, created, error, matched })
    }

    fn line(&self, record: &Record, file: ResultFile, by: &Match) -> (u128, Outcome) {
        let print = match by {
            Match::Column(_) => cells::print_of(&record.get(self.matched[0].1)),
            Match::WholeRow => cells::print(self.matched.iter().map(|(name, at)| (name.as_str(), record.get(*at)))),
        };
        let value = |at: Option<usize>| at.map(|at| record.get(at)).unwrap_or(Cow::Borrowed(""));
        let outcome = match file {
            ResultFile::Successful => Outcome::Applied {
                id: Arc::from(&*value(self.id)),
                created: value(self.created).eq_ignore_ascii_case("true"),
            },
            ResultFile::Failed => Outcome::Failed(row_error(&value(self.error))),
            ResultFile::Unprocessed => Outcome::Unprocessed,
        };
        (print, outcome)
    }
}

/// Reads `CODE:message:FIELD, FIELD --`; a text of another form is a message.
fn row_error(text: &str) -> RowError {
    let is_code = |code: &str| {
        !code.is_empty() && code.bytes().all(|b| b.is_ascii_uppercase() || b == b'_' || b.is_ascii_digit())
    };
    let (code, rest) = match text.split_once(':') {
        Some((code, rest)) if is_code(code) => (code, rest),
        _ => ("UNKNOWN_EXCEPTION", text),
    };
    let rest = rest.trim_end().strip_suffix("--").unwrap_or(rest);
    let (message, fields) = match rest.rsplit_once(':') {
        Some((message, fields)) if fields.split(',').all(|field| is_field(field.trim())) => (message, fields),
        _ => (rest, ""),
    };
    let fields = fields.split(',').map(str::trim).filter(|field| !field.is_empty()).map(str::to_owned).collect();
    let class = table::classify(code, message).class;
    RowError { class, code: code.to_owned(), message: message.trim_end().to_owned(), fields }
}

fn is_field(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:".contains(&b))
}

/// What is known of a job's rows.
#[derive(Default)]
pub(crate) struct Outcomes {
    rows: HashMap<u128, Known>,
    lines: usize,
}

enum Known {
    One(Outcome),
    Several(Vec<Outcome>),
}

/// What a row finds.
pub(crate) enum Hit {
    Nothing,
    One(Outcome),
    /// Several answers for one row.
    Several,
}

impl Outcomes {
    /// Adds the lines of a file.
    pub fn add(&mut self, lines: Vec<(u128, Outcome)>) {
        self.lines += lines.len();
        for (print, outcome) in lines {
            match self.rows.remove(&print) {
                None => self.rows.insert(print, Known::One(outcome)),
                Some(Known::One(first)) => self.rows.insert(print, Known::Several(vec![first, outcome])),
                Some(Known::Several(mut all)) => {
                    all.push(outcome);
                    self.rows.insert(print, Known::Several(all))
                }
            };
        }
    }

    /// Finds a row's answer. Of equal rows each takes one answer away; a row that must be alone finds it as often as asked.
    pub fn find(&mut self, print: u128, by: &Match) -> Hit {
        match (self.rows.get_mut(&print), by) {
            (None, _) => Hit::Nothing,
            (Some(Known::One(outcome)), Match::Column(_)) => Hit::One(outcome.clone()),
            (Some(Known::Several(_)), Match::Column(_)) => Hit::Several,
            (Some(Known::Several(all)), Match::WholeRow) if all.len() > 1 => all.pop().map_or(Hit::Nothing, Hit::One),
            (Some(_), Match::WholeRow) => match self.rows.remove(&print) {
                Some(Known::One(outcome)) => Hit::One(outcome),
                Some(Known::Several(mut all)) => all.pop().map_or(Hit::Nothing, Hit::One),
                None => Hit::Nothing,
            },
        }
    }

    /// True when `find` would find something.
    pub fn has(&self, print: u128) -> bool {
        self.rows.contains_key(&print)
    }

    /// True before the first line.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.lines == 0
    }

    /// About the bytes of memory.
    pub fn bytes(&self) -> usize {
        self.lines * 160
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ErrorClass;
    use proptest::prelude::*;

    fn read(file: ResultFile, by: &Match, text: &str) -> (Vec<(u128, Outcome)>, bool) {
        let mut reading = Reading::new(file, by);
        reading.push(text.as_bytes());
        reading.finish()
    }

    #[test]
    fn errors_are_taken_apart() {
        let error = row_error("REQUIRED_FIELD_MISSING:Required fields are missing: [LastName, X__c]:LastName, X__c --");
        assert_eq!((error.code.as_str(), error.class), ("REQUIRED_FIELD_MISSING", ErrorClass::Permanent));
        assert_eq!(error.message, "Required fields are missing: [LastName, X__c]");
        assert_eq!(error.fields, ["LastName", "X__c"]);
        let error = row_error("UNABLE_TO_LOCK_ROW:unable to obtain exclusive access to this record:--");
        assert_eq!((error.class, error.fields.len()), (ErrorClass::Lock, 0));
        let error =
            row_error("INVALID_FIELD:Foreign key external ID: a:b not found for field C__c in entity Account:--");
        assert_eq!(error.class, ErrorClass::ParentMissing);
        assert_eq!(error.message, "Foreign key external ID: a:b not found for field C__c in entity Account");
        assert_eq!(row_error("something odd").code, "UNKNOWN_EXCEPTION");
    }

    #[test]
    fn a_row_is_found_by_its_key_in_any_order_of_columns() {
        let by = Match::Column("Code__c".into());
        let (lines, whole) = read(
            ResultFile::Successful,
            &by,
            "\"sf__Id\",\"sf__Created\",\"Name\",\"code__C\"\n\"1\",\"true\",\"n\",\"k\"\n",
        );
        assert!(whole);
        assert_eq!(lines, [(cells::print_of("k"), Outcome::Applied { id: "1".into(), created: true })]);
        let (lines, whole) =
            read(ResultFile::Successful, &by, "\"sf__Id\",\"sf__Created\",\"Name\"\n\"1\",\"true\",\"n\"\n");
        assert!(lines.is_empty() && !whole, "without its key no line is anybody's");
    }

    #[test]
    fn equal_rows_share_their_answers_and_doubled_keys_have_none() {
        let mut outcomes = Outcomes::default();
        let error = row_error("X:y:--");
        outcomes.add(vec![(1, Outcome::Unprocessed), (1, Outcome::Failed(error)), (2, Outcome::Unprocessed)]);
        assert!(matches!(outcomes.find(1, &Match::Column("a".into())), Hit::Several));
        assert!(matches!(outcomes.find(1, &Match::WholeRow), Hit::One(Outcome::Failed(_))));
        assert!(matches!(outcomes.find(1, &Match::WholeRow), Hit::One(Outcome::Unprocessed)));
        assert!(matches!(outcomes.find(1, &Match::WholeRow), Hit::Nothing));
        assert!(matches!(outcomes.find(2, &Match::Column("a".into())), Hit::One(_)));
        assert!(matches!(outcomes.find(2, &Match::Column("a".into())), Hit::One(_)));
    }

    proptest! {
        #[test]
        fn any_file_is_read_or_refused(text: Vec<u8>, whole_row: bool) {
            let by = if whole_row { Match::WholeRow } else { Match::Column("Id".into()) };
            for file in [ResultFile::Successful, ResultFile::Failed, ResultFile::Unprocessed] {
                let mut reading = Reading::new(file, &by);
                reading.push(b"\"sf__Id\",\"sf__Error\",\"Id\"\n");
                reading.push(&text);
                let _ = reading.finish();
            }
        }

        #[test]
        fn any_error_text_is_an_error(text in ".{0,60}") {
            prop_assert!(!row_error(&text).code.is_empty());
        }

        #[test]
        fn a_cut_file_gives_no_line_that_it_did_not_have(cut in 0usize..60) {
            let text = "\"sf__Id\",\"sf__Created\",\"K\"\n\"1\",\"true\",\"kk\"\n2,false,kkk\n";
            let by = Match::Column("K".into());
            let (all, _) = read(ResultFile::Successful, &by, text);
            let (some, whole) = read(ResultFile::Successful, &by, &text[..cut.min(text.len())]);
            prop_assert!(some.iter().all(|line| all.contains(line)));
            prop_assert!(!whole || cut >= text.len() || text[..cut].ends_with('\n') || cut == 0);
        }
    }
}
