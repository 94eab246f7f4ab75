//! `/composite/batch`: independent subrequests in order.

use super::{Part, invalid, perform, too_many, write_body};
use crate::answer::Response;
use crate::json::{Json, write_int};
use crate::org::{Org, Ticket};

/// Subrequests of one call.
const PARTS_MAX: usize = 25;

/// Answers `/composite/batch`.
pub fn call(org: &mut Org, now_ms: i64, ticket: &Ticket, body: &Json<'_>) -> Result<Response, Response> {
    let list = body.get("batchRequests").and_then(Json::items);
    let list = list.ok_or_else(|| invalid("The batchRequests parameter is required."))?;
    if list.len() > PARTS_MAX {
        return Err(too_many(&format!("Limit of {PARTS_MAX} subrequests in a batch request exceeded.")));
    }
    let parts = list.iter().map(|part| Part::read(part, "richInput")).collect::<Result<Vec<_>, _>>()?;
    let halt_on_error = body.get("haltOnError") == Some(&Json::Bool(true));
    let each_counts = org.config.unverified.batch_subrequests_count;
    let mut results = Vec::new();
    let (mut has_errors, mut halted) = (false, false);
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            results.push(b',');
        }
        // The call itself has paid for the first one.
        let refused = if at > 0 && !halted && each_counts {
            org.limits.admit_more(&ticket.caller.app, now_ms).err()
        } else {
            None
        };
        let response = match refused {
            _ if halted => Response::error(412, "BATCH_PROCESSING_HALTED", "Batch processing halted per request"),
            Some(refused) => Response::error(403, "REQUEST_LIMIT_EXCEEDED", refused.message()),
            None => perform(org, now_ms, ticket, part, part.url, part.body.cloned()).response,
        };
        let failed = response.status >= 400;
        has_errors |= failed;
        halted |= failed && halt_on_error;
        results.extend_from_slice(b"{\"statusCode\":");
        write_int(&mut results, i64::from(response.status));
        results.extend_from_slice(b",\"result\":");
        write_body(&mut results, &response);
        results.push(b'}');
    }
    let mut out = format!("{{\"hasErrors\":{has_errors},\"results\":[").into_bytes();
    out.append(&mut results);
    out.extend_from_slice(b"]}");
    Ok(Response::json(200, out))
}
