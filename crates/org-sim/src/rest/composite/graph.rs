//! `/composite/graph`: many composites of single-record calls, each applied whole or not at all.

use super::series::{parts_of, run, write_all};
use super::{Done, Part, invalid, too_many};
use crate::answer::Response;
use crate::json::{Json, write_text};
use crate::org::{Org, Ticket};
use hashbrown::{HashMap, HashSet};

/// Subrequests in all graphs together, and so of one graph.
const NODES_MAX: usize = 500;
const GRAPHS_MAX: usize = 75;
/// Length of a chain of references.
const DEPTH_MAX: usize = 15;
/// Kinds of nodes in a graph, by version, method and type.
const KINDS_MAX: usize = 15;
/// Graphs that may fail before the rest is not begun.
const FAILURES_MAX: usize = 14;

struct Graph<'r, 'a> {
    id: &'r str,
    parts: Vec<Part<'r, 'a>>,
}

/// Answers `/composite/graph`.
pub fn call(org: &mut Org, now_ms: i64, ticket: &Ticket, body: &Json<'_>) -> Result<Response, Response> {
    let graphs = read(body)?;
    let mut failures = 0;
    let mut out = b"{\"graphs\":[".to_vec();
    for (at, graph) in graphs.iter().enumerate() {
        let done = if failures < FAILURES_MAX {
            run(org, now_ms, ticket, &graph.parts, true)
        } else {
            graph.parts.iter().map(|_| not_begun()).collect()
        };
        let failed = done.iter().any(|one| one.failed);
        failures += usize::from(failed);
        out.extend_from_slice(if at > 0 { b",{\"graphId\":" } else { b"{\"graphId\":" });
        write_text(&mut out, graph.id);
        out.extend_from_slice(b",\"graphResponse\":{\"compositeResponse\":");
        write_all(&mut out, &graph.parts, &done);
        out.extend_from_slice(format!("}},\"isSuccessful\":{}}}", !failed).as_bytes());
    }
    out.extend_from_slice(b"]}");
    Ok(Response::json(200, out))
}

fn not_begun() -> Done {
    let message = format!("Processing of this graph was halted, because {FAILURES_MAX} graphs failed before it.");
    Done::of(Response::error(400, "PROCESSING_HALTED", &message), false)
}

/// Reads the graphs and checks what refuses the whole call.
fn read<'r, 'a>(body: &'r Json<'a>) -> Result<Vec<Graph<'r, 'a>>, Response> {
    let list = body.get("graphs").and_then(Json::items);
    let list = list.ok_or_else(|| invalid("The graphs parameter is required."))?;
    if list.len() > GRAPHS_MAX {
        return Err(too_many(&format!("Limit of {GRAPHS_MAX} graphs in a payload exceeded.")));
    }
    let mut graphs: Vec<Graph<'r, 'a>> = Vec::with_capacity(list.len());
    let mut ids = HashSet::new();
    for json in list {
        let id = json.get("graphId").and_then(Json::text).filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| invalid("The graphId parameter is required in each graph, but one lacks it."))?;
        if !ids.insert(id) {
            return Err(invalid(&format!("Duplicate graphId provided in the request: {id}")));
        }
        let parts = parts_of(json)?;
        check(id, &parts)?;
        graphs.push(Graph { id, parts });
    }
    if graphs.iter().map(|graph| graph.parts.len()).sum::<usize>() > NODES_MAX {
        return Err(too_many(&format!("Limit of {NODES_MAX} nodes in a payload exceeded.")));
    }
    Ok(graphs)
}

/// Checks one graph's resources, kinds of nodes and depth.
fn check(id: &str, parts: &[Part<'_, '_>]) -> Result<(), Response> {
    let mut kinds = HashSet::new();
    let mut depths: HashMap<&str, usize> = HashMap::new();
    for part in parts {
        let (version, resource) = part.resource();
        let ["sobjects", object, ..] = resource.as_slice() else {
            let message = format!("Graph {id}: only sObject resources are allowed, not {}", part.url);
            return Err(invalid(&message));
        };
        kinds.insert((version, part.method.as_str(), object.to_ascii_lowercase()));
        let mut used = Vec::new();
        referenced(part.url, &mut used);
        if let Some(body) = part.body {
            referenced_in(body, &mut used);
        }
        let below = used.iter().filter_map(|name| depths.get(name)).max().copied().unwrap_or(0);
        depths.insert(part.reference, below + 1);
    }
    if kinds.len() > KINDS_MAX {
        return Err(too_many(&format!("Graph {id}: limit of {KINDS_MAX} different nodes in a graph exceeded.")));
    }
    if depths.values().any(|depth| *depth > DEPTH_MAX) {
        return Err(too_many(&format!("Graph {id}: limit of {DEPTH_MAX} levels in a graph exceeded.")));
    }
    Ok(())
}

/// Finds the reference ids that a text uses.
fn referenced<'t>(text: &'t str, used: &mut Vec<&'t str>) {
    for part in text.split("@{").skip(1) {
        let inside = part.split('}').next().unwrap_or_default();
        used.push(inside.split(['.', '[']).next().unwrap_or_default().trim());
    }
}

fn referenced_in<'j>(json: &'j Json<'_>, used: &mut Vec<&'j str>) {
    match json {
        Json::Text(text) => referenced(text, used),
        Json::Array(items) => items.iter().for_each(|item| referenced_in(item, used)),
        Json::Object(members) => members.iter().for_each(|(_, value)| referenced_in(value, used)),
        _ => {}
    }
}
