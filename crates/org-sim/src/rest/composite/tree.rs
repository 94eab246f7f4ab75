//! `/composite/tree/X`: records with their children below them, created together or not at all.

use super::{invalid, too_many};
use crate::answer::{Response, write_names};
use crate::dml::{RowError, Writer};
use crate::ids::SfId;
use crate::json::{Json, write_text};
use crate::org::{Org, Ticket};
use crate::schema::children;
use crate::store::Store;
use hashbrown::HashSet;
use std::borrow::Cow;

/// Records of all levels together.
const RECORDS_MAX: usize = 200;
const LEVELS_MAX: usize = 5;
/// Different types in one call.
const TYPES_MAX: usize = 5;

/// The parent's place in the list, and the field that points to it.
type Parent = Option<(usize, u16)>;

/// A record of the tree; parents stand before their children.
struct Node<'r, 'a> {
    table: usize,
    reference: &'r str,
    /// Without `attributes` and children.
    members: Vec<(Cow<'a, str>, Json<'a>)>,
    parent: Parent,
    level: usize,
}

/// Answers `/composite/tree/X`.
pub fn call(org: &mut Org, now_ms: i64, ticket: &Ticket, body: &Json<'_>) -> Result<Response, Response> {
    let object = ticket.plan.object.as_deref().unwrap_or_default();
    let table = org.store.find_table(object).ok_or_else(crate::rest::no_such_object)?;
    let records = body.get("records").and_then(Json::items);
    let records = records.ok_or_else(|| invalid("The records parameter is required."))?;
    let nodes = read(&org.store, table, records)?;
    let mut writer = org.writer(ticket, now_ms, true);
    let outcome = create(&mut writer, ticket, &nodes);
    match outcome {
        Ok(ids) => {
            writer.commit();
            Ok(Response::json(201, write_created(&nodes, &ids)))
        }
        Err(errors) => {
            writer.rollback();
            Ok(Response::json(400, write_failed(&nodes, &errors)))
        }
    }
}

/// Lists the records level by level and checks what refuses the whole call.
fn read<'r, 'a>(store: &Store, table: usize, records: &'r [Json<'a>]) -> Result<Vec<Node<'r, 'a>>, Response> {
    let mut nodes: Vec<Node<'r, 'a>> = Vec::new();
    let mut references = HashSet::new();
    let mut open: Vec<(usize, Parent, &'r [Json<'a>])> = vec![(table, None, records)];
    for level in 1.. {
        let mut next = Vec::new();
        for (table, parent, records) in open {
            for record in records {
                if nodes.len() == RECORDS_MAX {
                    return Err(too_many(&format!("Limit of {RECORDS_MAX} records in a request exceeded.")));
                }
                let node = node(store, table, parent, level, record)?;
                if !references.insert(node.reference) {
                    return Err(invalid(&format!("Duplicate ReferenceId provided in the request: {}", node.reference)));
                }
                for (name, value) in record.members().unwrap_or_default() {
                    if let Some((child, field)) = child_records(store, table, name, value) {
                        let list = value.get("records").and_then(Json::items).unwrap_or_default();
                        next.push((child, Some((nodes.len(), field)), list));
                    }
                }
                nodes.push(node);
            }
        }
        if next.iter().all(|(_, _, records)| records.is_empty()) {
            break;
        }
        if level == LEVELS_MAX {
            return Err(too_many(&format!("Limit of {LEVELS_MAX} levels in a request exceeded.")));
        }
        open = next;
    }
    if nodes.iter().map(|node| node.table).collect::<HashSet<_>>().len() > TYPES_MAX {
        return Err(too_many(&format!("Limit of {TYPES_MAX} object types in a request exceeded.")));
    }
    Ok(nodes)
}

/// The child object and its lookup, if a member holds child records.
fn child_records(store: &Store, table: usize, name: &str, value: &Json<'_>) -> Option<(usize, u16)> {
    value.get("records")?;
    children::find(store, table, name)
}

fn node<'r, 'a>(
    store: &Store,
    table: usize,
    parent: Parent,
    level: usize,
    record: &'r Json<'a>,
) -> Result<Node<'r, 'a>, Response> {
    let attributes = record.get("attributes");
    let attribute = |name: &str| attributes.and_then(|attributes| attributes.get(name)).and_then(Json::text);
    let reference = attribute("referenceId").filter(|reference| !reference.is_empty());
    let reference = reference.ok_or_else(|| invalid("Include a reference ID for each record in the request."))?;
    let object = &store.table(table).object.name;
    if !attribute("type").is_some_and(|kind| kind.eq_ignore_ascii_case(object)) {
        return Err(invalid(&format!("Include a type attribute of {object} for the record {reference}.")));
    }
    let members = record.members().unwrap_or_default().iter();
    let own = members
        .filter(|(name, value)| name != "attributes" && child_records(store, table, name, value).is_none())
        .cloned();
    Ok(Node { table, reference, members: own.collect(), parent, level })
}

/// Creates the records level by level; a level with an error is the last one.
fn create(
    writer: &mut Writer<'_>,
    ticket: &Ticket,
    nodes: &[Node<'_, '_>],
) -> Result<Vec<SfId>, Vec<(usize, RowError)>> {
    let mut ids: Vec<SfId> = Vec::with_capacity(nodes.len());
    let mut errors = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        if !errors.is_empty() && nodes[at - 1].level != node.level {
            break;
        }
        let mut members = node.members.clone();
        if let Some((parent, field)) = node.parent {
            let name = writer.store.table(node.table).object.fields[usize::from(field)].name.to_string();
            members.push((Cow::Owned(name), Json::Text(ids[parent].to_string().into())));
        }
        let created = match ticket.row_fault(at) {
            Some(fault) => Err(RowError { code: fault.code.into(), message: fault.message, fields: fault.fields }),
            None => writer.create(node.table, &members),
        };
        match created {
            Ok(id) => ids.push(id),
            Err(error) => {
                errors.push((at, error));
                // Its children are not created: the level ends the call.
                ids.push(SfId::new(*b"000", 0));
            }
        }
    }
    if errors.is_empty() { Ok(ids) } else { Err(errors) }
}

fn write_created(nodes: &[Node<'_, '_>], ids: &[SfId]) -> Vec<u8> {
    let mut out = b"{\"hasErrors\":false,\"results\":[".to_vec();
    for (at, (node, id)) in nodes.iter().zip(ids).enumerate() {
        out.extend_from_slice(if at > 0 { b",{\"referenceId\":" } else { b"{\"referenceId\":" });
        write_text(&mut out, node.reference);
        out.extend_from_slice(format!(",\"id\":\"{id}\"}}").as_bytes());
    }
    out.extend_from_slice(b"]}");
    out
}

fn write_failed(nodes: &[Node<'_, '_>], errors: &[(usize, RowError)]) -> Vec<u8> {
    let mut out = b"{\"hasErrors\":true,\"results\":[".to_vec();
    for (at, (node, error)) in errors.iter().enumerate() {
        out.extend_from_slice(if at > 0 { b",{\"referenceId\":" } else { b"{\"referenceId\":" });
        write_text(&mut out, nodes[*node].reference);
        out.extend_from_slice(b",\"errors\":[{\"statusCode\":");
        write_text(&mut out, &error.code);
        out.extend_from_slice(b",\"message\":");
        write_text(&mut out, &error.message);
        out.extend_from_slice(b",\"fields\":");
        write_names(&mut out, &error.fields);
        out.extend_from_slice(b"}]}");
    }
    out.extend_from_slice(b"]}");
    out
}
