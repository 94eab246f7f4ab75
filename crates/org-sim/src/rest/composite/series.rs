//! `/composite`: subrequests in order, where later ones may use what earlier ones answered.

use super::references::Answers;
use super::{Done, Part, invalid, perform, too_many, write_done};
use crate::answer::Response;
use crate::json::Json;
use crate::org::{Org, Ticket};
use hashbrown::HashSet;

/// Subrequests of one call.
const PARTS_MAX: usize = 25;

/// Subrequests of one call that are queries or Collections.
const HEAVY_PARTS_MAX: usize = 5;

/// Answers `/composite`.
pub fn call(org: &mut Org, now_ms: i64, ticket: &Ticket, body: &Json<'_>) -> Result<Response, Response> {
    let parts = parts_of(body)?;
    if parts.len() > PARTS_MAX {
        return Err(too_many(&format!("Limit of {PARTS_MAX} subrequests in a composite request exceeded.")));
    }
    let heavy = |part: &&Part<'_, '_>| match part.resource().1.as_slice() {
        [first, ..] if first.eq_ignore_ascii_case("query") || first.eq_ignore_ascii_case("queryAll") => true,
        ["composite", "sobjects", ..] => true,
        _ => false,
    };
    if parts.iter().filter(heavy).count() > HEAVY_PARTS_MAX {
        let message = "Limit of 5 query and sObject Collections subrequests in a composite request exceeded.";
        return Err(too_many(message));
    }
    let all_or_none = body.get("allOrNone") == Some(&Json::Bool(true));
    let done = run(org, now_ms, ticket, &parts, all_or_none);
    let mut out = b"{\"compositeResponse\":".to_vec();
    write_all(&mut out, &parts, &done);
    out.push(b'}');
    Ok(Response::json(200, out))
}

/// Reads the members of `compositeRequest`.
///
/// # Errors
/// The answer that refuses the call: no list, or reference ids that are missing or appear twice.
pub fn parts_of<'r, 'a>(body: &'r Json<'a>) -> Result<Vec<Part<'r, 'a>>, Response> {
    let list = body.get("compositeRequest").and_then(Json::items);
    let list = list.ok_or_else(|| invalid("The compositeRequest parameter is required."))?;
    let parts = list.iter().map(|part| Part::read(part, "body")).collect::<Result<Vec<_>, _>>()?;
    let mut seen = HashSet::new();
    for part in &parts {
        if part.reference.is_empty() {
            return Err(invalid("The referenceId parameter is required in each subrequest, but one lacks it."));
        }
        if !seen.insert(part.reference) {
            return Err(invalid(&format!("Duplicate ReferenceId provided in the request: {}", part.reference)));
        }
    }
    Ok(parts)
}

/// Does the parts in order; one answer for each. With `all_or_none`, all or none of them is applied.
pub fn run(org: &mut Org, now_ms: i64, ticket: &Ticket, parts: &[Part<'_, '_>], all_or_none: bool) -> Vec<Done> {
    if all_or_none {
        org.begin_whole();
    }
    let mut answers = Answers::default();
    let mut done: Vec<Done> = Vec::with_capacity(parts.len());
    for part in parts {
        let one = match (answers.resolve_url(part.url), part.body.map(|body| answers.resolve(body)).transpose()) {
            (Ok(url), Ok(body)) => perform(org, now_ms, ticket, part, &url, body),
            (Err(missing), _) | (_, Err(missing)) => {
                Done::of(Response::error(400, "PROCESSING_HALTED", &missing.message()), false)
            }
        };
        answers.add(part.reference, &one.response);
        let stop = all_or_none && one.failed;
        done.push(one);
        if stop {
            break;
        }
    }
    if !all_or_none {
        return done;
    }
    let failed = done.iter().position(|one| one.failed);
    org.end_whole(failed.is_none());
    if let Some(failed) = failed {
        for (at, one) in done.iter_mut().enumerate() {
            if at != failed {
                *one = Done::halted();
            }
        }
        done.resize_with(parts.len(), Done::halted);
    }
    done
}

/// Writes the answers as a JSON array.
pub fn write_all(out: &mut Vec<u8>, parts: &[Part<'_, '_>], done: &[Done]) {
    out.push(b'[');
    for (at, (part, one)) in parts.iter().zip(done).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_done(out, one, part.reference);
    }
    out.push(b']');
}
