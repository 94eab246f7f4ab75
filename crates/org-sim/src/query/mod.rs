//! Running queries: binding names to fields, filtering, grouping, ordering, paging.
//!
//! ```text
//! soql (tree of names) ─▶ bind ─▶ Bound ─▶ run ─▶ slots  ─▶ write ─▶ pages, later ones by a cursor
//!                          └ conditions     └ group ─▶ groups ─▶ one page
//! ```

mod bind;
pub mod bulk;
mod conditions;
mod cursors;
mod eval;
mod explain;
mod group;
mod run;
mod write;

use crate::answer::{Request, Response};
use crate::ids::SfId;
use crate::json::{write_int, write_text};
use crate::org::{Org, Ticket};
use crate::rest::Plan;
use crate::rest::related::RECENT_MAX;
use crate::soql::{self, SoqlError};
use bind::{BindError, Bound};
use cursors::{Cursor, LOCATOR_MS};
use std::sync::Arc;
use write::Pages;

pub use cursors::Cursors;
pub use write::write_record;

/// Rows of a page unless the caller asks for fewer.
const PAGE_ROWS: usize = 2000;

/// The fewest rows that a caller can ask for.
const PAGE_ROWS_MIN: usize = 200;

const OFFSET_MAX: usize = 2000;

/// Answers `GET /query?q=` and `/queryAll?q=`, and both with `explain=`.
pub fn start(org: &mut Org, ticket: &Ticket, request: &Request<'_>, deleted: bool, now_ms: i64) -> Response {
    let plan = &ticket.plan;
    let explained = request.parameter("explain");
    let Some(text) = explained.clone().or_else(|| request.parameter("q")) else {
        return Response::error(400, "MALFORMED_QUERY", "A query string has to be specified");
    };
    let bound = match prepare(&org.store, &text, now_ms) {
        Ok(bound) => bound,
        Err(error) => return refused(&text, &error),
    };
    if explained.is_some() {
        return explain::answer(&org.store, &bound);
    }
    match &bound.shape {
        Shape::Count => {
            let count = run::rows(&org.store, &bound.query, deleted).len();
            Response::json(200, format!("{{\"totalSize\":{count},\"done\":true,\"records\":[]}}").into())
        }
        Shape::Groups => groups(org, &bound.query, deleted),
        Shape::Rows => {
            let (found, response) = rows(org, plan, request, &bound.query, deleted, now_ms);
            if bound.viewed {
                view(org, ticket.caller.user, &found);
            }
            response
        }
    }
}

/// What a query answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Count,
    Groups,
    Rows,
}

struct Prepared {
    shape: Shape,
    /// Whether the rows count as viewed by the caller.
    viewed: bool,
    query: Bound,
}

/// Reads and binds a query.
fn prepare(store: &crate::store::Store, text: &str, now_ms: i64) -> Result<Prepared, BindError> {
    let select = soql::parse(text).map_err(|SoqlError { message, at }| BindError {
        code: "MALFORMED_QUERY",
        message,
        at: Some(at),
    })?;
    if select.offset > OFFSET_MAX {
        return Err(bind::wrong("NUMBER_OUTSIDE_VALID_RANGE", "Maximum SOQL offset allowed is 2000"));
    }
    let query = bind::bind(store, &select, now_ms)?;
    let shape = match (&query.groups, select.counts_only()) {
        (_, true) => Shape::Count,
        (Some(_), _) => Shape::Groups,
        (None, _) => Shape::Rows,
    };
    Ok(Prepared { shape, viewed: select.viewed, query })
}

/// Answers a query for rows that the org itself has written.
pub fn answer(org: &mut Org, plan: &Plan, request: &Request<'_>, text: &str, now_ms: i64) -> Response {
    match prepare(&org.store, text, now_ms) {
        Ok(bound) => rows(org, plan, request, &bound.query, false, now_ms).1,
        Err(error) => refused(text, &error),
    }
}

fn rows(
    org: &mut Org,
    plan: &Plan,
    request: &Request<'_>,
    query: &Bound,
    deleted: bool,
    now_ms: i64,
) -> (Arc<Cursor>, Response) {
    let page = request.header("sforce-query-options").and_then(batch_size).unwrap_or(PAGE_ROWS);
    let slots = run::rows(&org.store, query, deleted);
    let tree = Arc::clone(&query.tree);
    let cursor = Cursor { slots, tree, deleted, version: plan.version, page, ends_ms: now_ms + LOCATOR_MS };
    let cursor = Arc::new(cursor);
    let more = cursor.slots.len() > page;
    let number = if more { org.cursors.add(Arc::clone(&cursor), now_ms) } else { 0 };
    let response = Response::json(200, page_of(org, &cursor, 0, number, now_ms));
    (cursor, response)
}

/// Remembers that a user looked at rows.
fn view(org: &mut Org, user: SfId, found: &Cursor) {
    let table = org.store.table(found.tree.table);
    for row in found.slots.iter().take(RECENT_MAX).filter_map(|slot| table.row(*slot)) {
        org.recent.retain(|known| *known != (user, row.id));
        org.recent.push_back((user, row.id));
        if org.recent.len() > RECENT_MAX {
            org.recent.pop_front();
        }
    }
}

/// Answers `GET /query/{locator}`.
pub fn more(org: &mut Org, plan: &Plan, now_ms: i64) -> Response {
    match org.cursors.find(plan.key_value.as_deref().unwrap_or_default(), now_ms) {
        Some((cursor, number, offset)) => Response::json(200, page_of(org, &cursor, offset, number, now_ms)),
        None => Response::error(400, "INVALID_QUERY_LOCATOR", "invalid query locator"),
    }
}

fn page_of(org: &mut Org, cursor: &Cursor, offset: usize, number: u64, now_ms: i64) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 * cursor.page.min(cursor.slots.len()) + 64);
    Pages { store: &org.store, cursors: &mut org.cursors, now_ms }.write(&mut out, cursor, offset, number);
    out
}

fn groups(org: &Org, query: &Bound, deleted: bool) -> Response {
    let Some(groups) = &query.groups else { return Response::empty(500) };
    let found = group::run(&org.store, query, groups, deleted);
    if found.len() > PAGE_ROWS {
        let message =
            "Aggregate query does not support queryMore(), use LIMIT to restrict the results to a single batch";
        return Response::error(400, "EXCEEDED_ID_LIMIT", message);
    }
    let mut out = b"{\"totalSize\":".to_vec();
    write_int(&mut out, found.len() as i64);
    out.extend_from_slice(b",\"done\":true,\"records\":[");
    for (at, group) in found.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"attributes\":{\"type\":\"AggregateResult\"}");
        for (name, source) in &groups.columns {
            out.push(b',');
            write_text(&mut out, name);
            out.push(b':');
            group.value(source).write_json(&mut out);
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    Response::json(200, out)
}

/// An error as Salesforce words it: with the place in the query, where one is known.
fn refused(text: &str, error: &BindError) -> Response {
    match error.at {
        Some(at) => Response::error(400, error.code, &located(text, at, &error.message)),
        None => Response::error(400, error.code, &error.message),
    }
}

/// Puts a piece of the query and a caret before a message.
fn located(text: &str, at: usize, message: &str) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    let (row, column) = (before.matches('\n').count() + 1, line.chars().count() + 1);
    let shown = line.chars().count().min(20);
    let from = line.char_indices().rev().nth(shown.saturating_sub(1)).map_or(0, |(at, _)| at);
    let piece: String = line[from..].chars().chain(text[before.len()..].chars().take(40)).collect();
    let piece = piece.split('\n').next().unwrap_or_default();
    format!("\n{piece}\n{}^\nERROR at Row:{row}:Column:{column}\n{message}", " ".repeat(shown))
}

fn batch_size(options: &str) -> Option<usize> {
    let size = options.split(',').find_map(|option| option.trim().strip_prefix("batchSize="))?;
    Some(size.trim().parse::<usize>().ok()?.clamp(PAGE_ROWS_MIN, PAGE_ROWS))
}
