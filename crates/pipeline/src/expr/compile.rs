//! From text to a checked program.

use super::ENV;
use super::evaluate::Slots;
use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue};
use cel::{ExecutionError, Program, Value};
use model::{Column, ColumnType};

/// A compiled expression. Cheap to share, evaluated from any thread.
#[derive(Debug)]
pub struct Expression {
    pub(super) program: Program,
    /// The columns that it reads, each once.
    pub(super) columns: Vec<Column>,
    text: String,
}

/// What is wrong with an expression's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub kind: ProblemKind,
    /// From 1; 0 when it is not known.
    pub line: usize,
    /// In characters, from 1; 0 when it is not known.
    pub column: usize,
    pub message: String,
}

/// Kinds of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    Syntax,
    /// A name that is no column of the table.
    UnknownVariable,
    UnknownFunction,
    /// An operator or a function does not take values of these columns' types.
    Types,
}

/// One possible result of an expression: a branch of its conditionals, evaluated over sample values.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaf {
    /// The result over the sample; tells the type.
    pub sample: Value,
    /// True when the branch is a literal, so that the sample is the value itself.
    pub literal: bool,
}

impl Expression {
    /// Compiles an expression over these columns.
    ///
    /// # Errors
    /// Every problem that was found; never empty.
    pub fn compile(text: &str, columns: &[Column]) -> Result<Self, Vec<Problem>> {
        let program = ENV.compile(text).map_err(|errors| {
            let problem = |error: &cel::ParseError| Problem {
                kind: ProblemKind::Syntax,
                line: usize::try_from(error.pos.0).unwrap_or(0),
                column: usize::try_from(error.pos.1).unwrap_or(0),
                message: error.msg.clone(),
            };
            errors.errors.iter().map(problem).collect::<Vec<_>>()
        })?;
        let mut names = Names::default();
        names.walk(program.expression());
        let mut problems = Vec::new();
        let mut read: Vec<Column> = Vec::new();
        for (name, id) in names.variables {
            match columns.iter().find(|column| column.name == name) {
                Some(column) if read.iter().all(|known| known.name != name) => read.push(column.clone()),
                Some(_) => {}
                None if TYPE_NAMES.contains(&name) => {}
                None => {
                    let (line, column) = place(&program, text, id);
                    let message = format!("{name:?} is no column of the table");
                    problems.push(Problem { kind: ProblemKind::UnknownVariable, line, column, message });
                }
            }
        }
        let expression = Self { program, columns: read, text: text.to_owned() };
        if problems.is_empty() {
            problems = expression.try_samples();
        }
        if problems.is_empty() { Ok(expression) } else { Err(problems) }
    }

    /// The text that it was compiled from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The columns that it reads, each once, in no promised order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The possible results, as far as samples of the columns' types tell them; branches that fail over the samples are
    /// left out.
    pub fn leaves(&self) -> Vec<Leaf> {
        let mut branches = Vec::new();
        collect_branches(self.program.expression(), &mut branches);
        let samples = [Sample::Empty, Sample::Full].map(|sample| Slots::of_samples(&self.columns, sample));
        let evaluate = |branch: &IdedExpr| {
            let sample = samples.iter().find_map(|slots| slots.with_context(|ctx| Value::resolve(branch, ctx)).ok())?;
            Some(Leaf { sample, literal: matches!(branch.expr, Expr::Literal(_)) })
        };
        branches.into_iter().filter_map(evaluate).collect()
    }

    /// Runs every branch over sample values and keeps the errors that do not depend on the values.
    fn try_samples(&self) -> Vec<Problem> {
        let mut branches = vec![self.program.expression()];
        collect_branches(self.program.expression(), &mut branches);
        let mut problems: Vec<Problem> = Vec::new();
        for sample in [Sample::Full, Sample::Empty] {
            let slots = Slots::of_samples(&self.columns, sample);
            for branch in &branches {
                let Err(error) = slots.with_context(|ctx| Value::resolve(branch, ctx)) else { continue };
                let kind = match &error {
                    ExecutionError::UndeclaredReference(_) => ProblemKind::UnknownFunction,
                    ExecutionError::NoSuchOverload(_)
                    | ExecutionError::UnsupportedBinaryOperator(..)
                    | ExecutionError::ValuesNotComparable(..)
                    | ExecutionError::NotSupportedAsMethod { .. }
                    | ExecutionError::InvalidArgumentCount { .. } => ProblemKind::Types,
                    _ => continue,
                };
                // A json column may hold anything: its sample proves nothing.
                if kind == ProblemKind::Types && self.columns.iter().any(|c| matches!(c.kind, ColumnType::Json)) {
                    continue;
                }
                let (line, column) = place(&self.program, &self.text, branch.id);
                let problem = Problem { kind, line, column, message: error.to_string() };
                if problems.iter().all(|known| known.message != problem.message) {
                    problems.push(problem);
                }
            }
        }
        problems
    }
}

/// Which sample value a column gets: the type's empty one, or one with something in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sample {
    Empty,
    Full,
}

/// Names that the interpreter knows as types.
const TYPE_NAMES: [&str; 12] =
    ["int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type", "optional", "math"];

/// The free variables of an expression with the node that names them.
#[derive(Default)]
struct Names<'e> {
    variables: Vec<(&'e str, u64)>,
    bound: Vec<&'e str>,
}

impl<'e> Names<'e> {
    fn walk(&mut self, node: &'e IdedExpr) {
        match &node.expr {
            Expr::Unspecified | Expr::Literal(_) => {}
            Expr::Ident(name) => {
                if !name.starts_with('@') && !self.bound.contains(&name.as_str()) {
                    self.variables.push((name, node.id));
                }
            }
            Expr::Call(call) => {
                // `math.greatest(a)`: the target spells the function's namespace.
                let namespace = call.target.as_ref().is_some_and(
                    |target| matches!(&target.expr, Expr::Ident(name) if name == "math" || name == "optional"),
                );
                if let Some(target) = call.target.as_ref().filter(|_| !namespace) {
                    self.walk(target);
                }
                call.args.iter().for_each(|arg| self.walk(arg));
            }
            Expr::List(list) => list.elements.iter().for_each(|element| self.walk(element)),
            Expr::Select(select) => self.walk(&select.operand),
            Expr::Map(map) => map.entries.iter().for_each(|entry| self.walk_entry(&entry.expr)),
            Expr::Struct(made) => made.entries.iter().for_each(|entry| self.walk_entry(&entry.expr)),
            Expr::Comprehension(all) => {
                self.walk(&all.iter_range);
                self.walk(&all.accu_init);
                let depth = self.bound.len();
                self.bound.extend([all.iter_var.as_str(), all.accu_var.as_str()]);
                self.bound.extend(all.iter_var2.as_deref());
                for inner in [&all.loop_cond, &all.loop_step, &all.result] {
                    self.walk(inner);
                }
                self.bound.truncate(depth);
            }
        }
    }

    fn walk_entry(&mut self, entry: &'e EntryExpr) {
        match entry {
            EntryExpr::StructField(field) => self.walk(&field.value),
            EntryExpr::MapEntry(entry) => {
                self.walk(&entry.key);
                self.walk(&entry.value);
            }
        }
    }
}

/// The branches of nested conditionals; the node itself when it is none.
fn collect_branches<'e>(node: &'e IdedExpr, branches: &mut Vec<&'e IdedExpr>) {
    match &node.expr {
        Expr::Call(call) if call.func_name == "_?_:_" && call.args.len() == 3 => {
            collect_branches(&call.args[1], branches);
            collect_branches(&call.args[2], branches);
        }
        Expr::Literal(LiteralValue::Null) => {}
        _ => branches.push(node),
    }
}

/// Line and column of a node, from 1.
fn place(program: &Program, text: &str, id: u64) -> (usize, usize) {
    let Some((start, _)) = program.source_info().offset_for(id) else { return (0, 0) };
    let before: Vec<char> = text.chars().take(start as usize).collect();
    let line = before.iter().filter(|c| **c == '\n').count() + 1;
    let column = before.iter().rev().take_while(|c| **c != '\n').count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<Column> {
        let column = |name: &str, kind| Column { name: name.into(), kind, nullable: true };
        vec![
            column("status", ColumnType::Text { length: None }),
            column("count", ColumnType::Int32),
            column("tags", ColumnType::Array { of: Box::new(ColumnType::Text { length: None }) }),
            column("doc", ColumnType::Json),
            column("at", ColumnType::TimestampTz { precision: 6 }),
        ]
    }

    fn problems(text: &str) -> Vec<Problem> {
        Expression::compile(text, &columns()).err().unwrap_or_default()
    }

    #[test]
    fn good_expressions_compile() {
        for text in [
            "status == \"Closed\" ? \"Closed\" : \"New\"",
            "tags.exists(t, t == status)",
            "count > 3 && math.greatest(count, 2) == count",
            "status.lowerAscii() + string(count)",
            "doc.items.size() > 0",
            "at < timestamp('2024-01-01T00:00:00Z')",
            "type(count) == int",
            "has(doc.a) ? doc.a : null",
            "status == null ? 'x' : status.trim()",
        ] {
            assert_eq!(problems(text), vec![], "{text}");
        }
    }

    #[test]
    fn problems_name_kind_and_place() {
        let found = |text: &str| problems(text).iter().map(|p| (p.kind, p.line, p.column)).collect::<Vec<_>>();
        assert_eq!(found("count >\n  nothing"), [(ProblemKind::UnknownVariable, 2, 3)]);
        assert_eq!(found("status ==")[0].0, ProblemKind::Syntax);
        assert_eq!(found("frobnicate(status)")[0].0, ProblemKind::UnknownFunction);
        assert_eq!(found("status > 3")[0].0, ProblemKind::Types);
        assert_eq!(found("count == 1 ? status - 1 : 'x'")[0].0, ProblemKind::Types);
    }

    #[test]
    fn leaves_are_the_branches_of_conditionals() {
        let expression = Expression::compile("count > 9 ? 'a' : (count > 5 ? 'b' : status)", &columns()).unwrap();
        let literals: Vec<bool> = expression.leaves().iter().map(|leaf| leaf.literal).collect();
        assert_eq!(literals, [true, true, false]);
        assert_eq!(expression.leaves()[1].sample, Value::from("b"));
    }
}
