//! The reader against any text, against its own writer, and against the `csv` crate.

use super::super::blob::Spool;
use super::*;
use proptest::prelude::*;

/// Every record of `text`, stored in pieces of `piece` bytes.
fn read(text: &[u8], dialect: Dialect, piece: usize) -> Result<Vec<Record>, CsvError> {
    let mut blob = Blob::with_chunks(&Spool::new(usize::MAX / 2), piece);
    blob.write(text).unwrap();
    let mut reader = Reader::new(blob.finish().unwrap(), dialect);
    let mut records = Vec::new();
    let mut record = Record::default();
    while reader.read(&mut record)? {
        records.push(record.clone());
    }
    Ok(records)
}

fn values(record: &Record) -> Vec<String> {
    (0..record.len()).map(|at| record.get(at).to_owned()).collect()
}

fn dialect() -> impl Strategy<Value = Dialect> {
    let ending = prop::sample::select(vec![LineEnding::Lf, LineEnding::Crlf]);
    (prop::sample::select(Delimiter::ALL.to_vec()), ending).prop_map(|(delimiter, line_ending)| Dialect {
        delimiter,
        line_ending,
        lenient: false,
    })
}

fn rows() -> impl Strategy<Value = Vec<Vec<String>>> {
    let value =
        prop_oneof!["[a-z\"\n\r,;|^`\t é\u{1F600}]{0,12}", "\\PC{0,8}", Just(String::new()), Just("#N/A".into())];
    (1usize..5).prop_flat_map(move |width| prop::collection::vec(prop::collection::vec(value.clone(), width), 0..8))
}

proptest! {
    #[test]
    fn rows_survive_writing_and_reading(rows in rows(), dialect in dialect(), piece in 1usize..40) {
        let mut text = Vec::new();
        for row in &rows {
            write_line(&mut text, dialect, row.iter().map(String::as_str));
        }
        let records = read(&text, dialect, piece).unwrap();
        prop_assert!(records.iter().all(|record| record.problem.is_none()));
        prop_assert_eq!(records.iter().map(values).collect::<Vec<_>>(), rows);
    }

    #[test]
    fn what_the_csv_crate_writes_is_read_and_the_other_way_round(rows in rows(), dialect in dialect(), always in any::<bool>()) {
        let style = if always { csv::QuoteStyle::Always } else { csv::QuoteStyle::Necessary };
        let ending = if dialect.line_ending == LineEnding::Crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
        let mut writer = csv::WriterBuilder::new()
            .delimiter(dialect.delimiter.byte())
            .terminator(ending)
            .quote_style(style)
            .from_writer(Vec::new());
        for row in &rows {
            writer.write_record(row).unwrap();
        }
        let theirs = writer.into_inner().unwrap();
        let records = read(&theirs, dialect, 7).unwrap();
        prop_assert_eq!(records.iter().map(values).collect::<Vec<_>>(), rows.clone());
        let mut ours = Vec::new();
        for row in &rows {
            write_line(&mut ours, dialect, row.iter().map(String::as_str));
        }
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(dialect.delimiter.byte())
            .has_headers(false)
            .flexible(true)
            .from_reader(ours.as_slice());
        let read: Vec<Vec<String>> =
            reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect();
        prop_assert_eq!(read, rows);
    }

    #[test]
    fn any_bytes_are_read_without_panic_and_the_same_in_any_pieces(
        text in prop::collection::vec(prop::sample::select(b"ab\"\"\n\n\r,; \t#\xc3\xa9\xff\0".to_vec()), 0..60),
        dialect in dialect(),
        lenient in any::<bool>(),
        piece in 1usize..9,
    ) {
        let dialect = Dialect { lenient, ..dialect };
        let whole = read(&text, dialect, 1000);
        let pieces = read(&text, dialect, piece);
        match (whole, pieces) {
            (Ok(whole), Ok(pieces)) => prop_assert_eq!(whole, pieces),
            (Err(whole), Err(pieces)) => prop_assert_eq!(whole.to_string(), pieces.to_string()),
            (whole, pieces) => prop_assert!(false, "{:?} {:?}", whole, pieces),
        }
    }
}

#[test]
fn line_that_ends_otherwise_than_the_job_says_is_an_error_outside_quotes_only() {
    let lf = Dialect::default();
    let crlf = Dialect { line_ending: LineEnding::Crlf, ..lf };
    for (text, dialect, setting) in [("a\r\nb\r\n", lf, "LF"), ("a\nb\n", crlf, "CRLF"), ("a\r\n\"b\"\n", crlf, "CRLF")]
    {
        let error = read(text.as_bytes(), dialect, 3).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is {setting}")
        );
    }
    assert_eq!(values(&read(b"\"a\r\nb\",c\n", lf, 3).unwrap()[0]), ["a\r\nb", "c"]);
    assert_eq!(values(&read(b"\"a\nb\",c\r\n", crlf, 3).unwrap()[0]), ["a\nb", "c"]);
    let lenient = Dialect { lenient: true, ..lf };
    assert_eq!(read(b"a,b\r\nc,d\n", lenient, 3).unwrap().len(), 2);
}

#[test]
fn quotes_where_none_may_be_make_the_record_wrong_and_no_other() {
    for (text, problem) in [
        ("a, \"b\"\nc,d\n", Problem::UnescapedQuote),
        ("a,b\"b\nc,d\n", Problem::UnescapedQuote),
        ("a,\"b\"b\nc,d\n", Problem::UnescapedQuote),
        ("a,\"b\" \nc,d\n", Problem::UnescapedQuote),
    ] {
        let records = read(text.as_bytes(), Dialect::default(), 2).unwrap();
        assert_eq!(records.len(), 2, "{text}");
        assert_eq!((records[0].problem, records[1].problem), (Some(problem), None), "{text}");
    }
    let records = read(b"a,b\nc,\"d\ne,f\n", Dialect::default(), 2).unwrap();
    assert_eq!((records.len(), records[1].problem), (2, Some(Problem::OpenQuote)));
    let records = read(b"a,\xff\nb,c\n", Dialect::default(), 2).unwrap();
    assert_eq!((records[0].problem, records[1].problem), (Some(Problem::NotUtf8), None));
}

#[test]
fn values_are_not_trimmed_and_blank_lines_are_passed_over() {
    let records = read(b"\n a , b \n\n\"\"\n,\nlast,one", Dialect::default(), 3).unwrap();
    let all: Vec<Vec<String>> = records.iter().map(values).collect();
    assert_eq!(all, [vec![" a ", " b "], vec![""], vec!["", ""], vec!["last", "one"]]);
}

#[test]
fn longest_value_and_record_are_taken_and_one_character_more_is_not() {
    let with = |chars: usize| format!("\"{}\"\n", "é".repeat(chars));
    assert_eq!(read(with(FIELD_CHARS_MAX).as_bytes(), Dialect::default(), 65_536).unwrap()[0].problem, None);
    let record = &read(with(FIELD_CHARS_MAX + 1).as_bytes(), Dialect::default(), 65_536).unwrap()[0];
    assert_eq!(record.problem, Some(Problem::FieldTooLong));
    let wide = |chars: usize| format!("{}{}\n", "\"x,\",".repeat(100), vec!["y".repeat(chars); 4].join(","));
    assert_eq!(read(wide(99_950).as_bytes(), Dialect::default(), 65_536).unwrap()[0].problem, None);
    let record = &read(wide(99_951).as_bytes(), Dialect::default(), 65_536).unwrap()[0];
    assert_eq!(record.problem, Some(Problem::RecordTooLong));
    let endless = vec![b'"'; 1].into_iter().chain(vec![b'a'; RECORD_BYTES_MAX + 600_000]).collect::<Vec<u8>>();
    assert!(read(&endless, Dialect::default(), 262_144).is_err());
}
