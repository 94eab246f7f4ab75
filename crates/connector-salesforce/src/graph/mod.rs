//! Composite Graph: records of several objects in one call, each graph applied whole or not at all.
//!
//! ```text
//! apply_together  parts ─▶ plan (one graph, a node for each row) ─▶ call ─▶ answers
//! apply           rows ─▶ 75 graphs of one node each a call ───────▶ call ─▶ answers
//! ```
//!
//! A text that holds `@{` would be taken for a reference to another node: no graph carries it (`carries`).
//!
//! Source: REST API Developer Guide, "Composite Graph" and "Composite Graph Limits".

mod answers;
mod each;
mod node;
mod plan;
mod together;

use crate::read::value_text;
use contract::OutRow;
use model::Cell;

/// Nodes of a call, and so of a graph.
pub(crate) const NODES_MAX: usize = 500;
/// Graphs of a call.
pub(crate) const GRAPHS_MAX: usize = 75;
/// Kinds of nodes in a graph, by method and object.
const KINDS_MAX: usize = 15;
/// Length of a chain of references from node to node.
const DEPTH_MAX: usize = 15;

/// True when a graph can say everything that the row says.
pub(crate) fn carries(row: &OutRow) -> bool {
    row.cells.iter().all(|cell| match cell {
        Cell::Value(value) => !value_text(value).contains("@{"),
        Cell::Null | Cell::Unchanged => true,
    })
}
