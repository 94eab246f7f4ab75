//! Applying an internal batch: each row through `dml`, and its line in the results.

use super::csv::{Dialect, write_line};
use super::job::{Format, Job, Operation};
use super::run::{Chunk, IngestRun, Input, Output, members};
use crate::answer::write_names;
use crate::dml::{RowError, Writer};
use crate::faults::RowFault;
use crate::ids::SfId;
use crate::json::{Json, write_text};
use crate::schema::Object;
use crate::store::index_key;
use hashbrown::HashSet;
use std::borrow::Cow;
use std::io;

/// What became of a row.
pub enum Outcome {
    Done {
        id: SfId,
        created: bool,
    },
    Failed {
        /// Known when the row named it.
        id: Option<SfId>,
        error: RowError,
    },
}

/// Applies the rows in their order; `fault` gives the error that a row gets instead.
pub fn apply(
    writer: &mut Writer<'_>,
    table: usize,
    job: &Job,
    run: &IngestRun,
    chunk: &Chunk,
    fault: impl Fn(usize) -> Option<RowFault>,
) -> Vec<Outcome> {
    let mut keys = HashSet::new();
    let mut outcomes = Vec::with_capacity(chunk.rows.len());
    for (at, row) in chunk.rows.iter().enumerate() {
        outcomes.push(match (fault(at), members(&run.columns, row)) {
            (Some(fault), found) => Outcome::Failed {
                id: found.ok().and_then(|members| id_of(&members).ok()),
                error: RowError { code: fault.code.into(), message: fault.message, fields: fault.fields },
            },
            (None, Err(message)) => Outcome::Failed { id: None, error: RowError::new("ClientInputError", message) },
            (None, Ok(members)) => one(writer, table, job, &members, &mut keys),
        });
    }
    outcomes
}

type Members<'m> = [(Cow<'m, str>, Json<'m>)];

fn one(
    writer: &mut Writer<'_>,
    table: usize,
    job: &Job,
    members: &Members<'_>,
    keys: &mut HashSet<Box<str>>,
) -> Outcome {
    let by_id = job.external_id.as_deref().is_none_or(|field| field.eq_ignore_ascii_case("Id"));
    let done = match job.operation {
        Operation::Insert => writer.create(table, members).map(|id| (id, true)),
        Operation::Upsert if by_id && !members.iter().any(|(name, _)| name.eq_ignore_ascii_case("Id")) => {
            writer.create(table, members).map(|id| (id, true))
        }
        Operation::Upsert if !by_id => upsert(writer, table, job, members, keys),
        operation => {
            let id = match id_of(members) {
                Ok(id) => id,
                Err(error) => return Outcome::Failed { id: None, error },
            };
            let done = match operation {
                Operation::Delete => writer.delete(table, id),
                Operation::HardDelete => writer.hard_delete(table, id),
                _ => writer.update(table, id, members),
            };
            if let Err(error) = done {
                return Outcome::Failed { id: Some(id), error };
            }
            Ok((id, false))
        }
    };
    match done {
        Ok((id, created)) => Outcome::Done { id, created },
        Err(error) => Outcome::Failed { id: None, error },
    }
}

fn upsert(
    writer: &mut Writer<'_>,
    table: usize,
    job: &Job,
    members: &Members<'_>,
    keys: &mut HashSet<Box<str>>,
) -> Result<(SfId, bool), RowError> {
    let field = job.external_id.as_deref().and_then(|field| writer.store.table(table).object.field(field));
    let field = field.ok_or_else(|| RowError::new("INVALID_FIELD", "the external id field does not exist"))?;
    let key = writer.key_of(table, field, members)?;
    let schema = &writer.store.table(table).object.fields[usize::from(field)];
    if !keys.insert(index_key(schema, &key).unwrap_or_default().as_ref().into()) {
        return Err(RowError::on("DUPLICATE_VALUE", format!("Duplicate external id specified: {key}"), &schema.name));
    }
    let done = writer.upsert(table, field, key, members)?;
    Ok((done.id, done.created))
}

fn id_of(members: &Members<'_>) -> Result<SfId, RowError> {
    let sent = members.iter().find(|(name, _)| name.eq_ignore_ascii_case("Id")).and_then(|(_, id)| id.text());
    let text = sent.ok_or_else(|| RowError::new("MISSING_ARGUMENT", "Id not specified in an update call"))?;
    SfId::parse(text).ok_or_else(|| RowError::on("MALFORMED_ID", format!("malformed id {text}"), "Id"))
}

/// The key of each row, for fault rules: the upsert's key, any external id, or the id.
pub fn keys(object: &Object, job: &Job, run: &IngestRun, chunk: &Chunk) -> Vec<String> {
    let key_of = |row: &Input| {
        let members = members(&run.columns, row).ok()?;
        let is_key = |name: &str| match &job.external_id {
            Some(field) => field.eq_ignore_ascii_case(name),
            None => object.field(name).is_some_and(|number| object.fields[usize::from(number)].external_id),
        };
        let known = members.iter().find(|(name, _)| is_key(name));
        let known = known.or_else(|| members.iter().find(|(name, _)| name.eq_ignore_ascii_case("Id")));
        known.and_then(|(_, value)| match value {
            Json::Number(digits) => Some((*digits).to_owned()),
            value => value.text().map(str::to_owned),
        })
    };
    chunk.rows.iter().map(|row| key_of(row).unwrap_or_default()).collect()
}

/// Writes the results of an internal batch.
///
/// Bulk API 2.0 promises no order: `turn` decides on one, so that no client comes to rely on the upload's.
///
/// # Errors
/// When a temporary file cannot be written.
pub fn write_results(output: &mut Output, job: &Job, chunk: &Chunk, outcomes: &[Outcome], turn: u64) -> io::Result<()> {
    match output {
        Output::Split { success, failed } => {
            let (mut done_lines, mut failed_lines) = (Vec::new(), Vec::new());
            let rows = outcomes.len();
            for at in 0..rows {
                let row = (turn as usize % rows + rows - at) % rows;
                write_split(&mut done_lines, &mut failed_lines, job, &chunk.rows[row], &outcomes[row]);
            }
            success.write(&done_lines)?;
            failed.write(&failed_lines)
        }
        Output::InOrder { blob, format } => {
            let mut out = Vec::new();
            for outcome in outcomes {
                match format {
                    Format::Csv => classic_csv(&mut out, outcome),
                    Format::Json => {
                        if blob.len() > 0 || !out.is_empty() {
                            out.push(b',');
                        }
                        classic_json(&mut out, outcome);
                    }
                    Format::Xml => classic_xml(&mut out, outcome),
                }
            }
            blob.write(&out)
        }
    }
}

fn write_split(done: &mut Vec<u8>, failed: &mut Vec<u8>, job: &Job, row: &Input, outcome: &Outcome) {
    let Input::Csv(record) = row else { return };
    let values = (0..record.len()).map(|at| record.get(at));
    match outcome {
        Outcome::Done { id, created } => {
            let first = [id.as_str(), if *created { "true" } else { "false" }];
            write_line(done, job.dialect, first.into_iter().chain(values));
        }
        Outcome::Failed { id, error } => {
            let text = error_text(error);
            let id = id.as_ref().map_or("", SfId::as_str);
            let first = (job.version >= FAILED_ID_SINCE).then_some(id).into_iter().chain([text.as_str()]);
            write_line(failed, job.dialect, first.chain(values));
        }
    }
}

/// The first version whose failed results name the record.
const FAILED_ID_SINCE: u32 = 53;

/// The first line of successful or failed results.
pub fn result_header(job: &Job, success: bool, columns: &[String]) -> Vec<u8> {
    let first: &[&str] = match success {
        true => &["sf__Id", "sf__Created"],
        false if job.version >= FAILED_ID_SINCE => &["sf__Id", "sf__Error"],
        false => &["sf__Error"],
    };
    let mut out = Vec::new();
    let columns = columns.iter().map(String::as_str);
    write_line(&mut out, job.dialect, first.iter().copied().chain(columns));
    out
}

/// `CODE:message:FIELDS --`
fn error_text(error: &RowError) -> String {
    let space = if error.fields.is_empty() { "" } else { " " };
    format!("{}:{}:{}{space}--", error.code, error.message, error.fields.join(", "))
}

fn classic_csv(out: &mut Vec<u8>, outcome: &Outcome) {
    let dialect = Dialect::default();
    match outcome {
        Outcome::Done { id, created } => {
            let created = if *created { "true" } else { "false" };
            write_line(out, dialect, [id.as_str(), "true", created, ""]);
        }
        Outcome::Failed { id, error } => {
            let id = id.as_ref().map_or("", SfId::as_str);
            write_line(out, dialect, [id, "false", "false", &error_text(error)]);
        }
    }
}

fn classic_json(out: &mut Vec<u8>, outcome: &Outcome) {
    match outcome {
        Outcome::Done { id, created } => out.extend_from_slice(
            format!("{{\"success\":true,\"created\":{created},\"id\":\"{id}\",\"errors\":[]}}").as_bytes(),
        ),
        Outcome::Failed { id, error } => {
            out.extend_from_slice(b"{\"success\":false,\"created\":false,\"id\":");
            match id {
                Some(id) => write_text(out, id.as_str()),
                None => out.extend_from_slice(b"null"),
            }
            out.extend_from_slice(b",\"errors\":[{\"message\":");
            write_text(out, &error.message);
            out.extend_from_slice(b",\"fields\":");
            write_names(out, &error.fields);
            out.extend_from_slice(b",\"statusCode\":");
            write_text(out, &error.code);
            out.extend_from_slice(b",\"extendedErrorDetails\":null}]}");
        }
    }
}

fn classic_xml(out: &mut Vec<u8>, outcome: &Outcome) {
    use super::v1::xml::escape;
    let text = match outcome {
        Outcome::Done { id, created } => {
            format!("<result><id>{id}</id><success>true</success><created>{created}</created></result>")
        }
        Outcome::Failed { id, error } => {
            let fields: String =
                error.fields.iter().map(|field| format!("<fields>{}</fields>", escape(field))).collect();
            let id = id.map_or_else(String::new, |id| format!("<id>{id}</id>"));
            format!(
                "<result><errors>{fields}<message>{}</message><statusCode>{}</statusCode></errors>{id}\
                 <success>false</success><created>false</created></result>",
                escape(&error.message),
                escape(&error.code)
            )
        }
    };
    out.extend_from_slice(text.as_bytes());
}
