//! From names to fields: a query's tree against the org's objects.

use super::conditions::{self, Filter};
use super::group::{self, Groups};
use crate::schema::{Kind, children};
use crate::soql::{DateFunction, Item, Path, Select, Term};
use crate::store::Store;
use std::sync::Arc;

/// Rows that `FIELDS(ALL)` and `FIELDS(CUSTOM)` must be limited to.
const ALL_FIELDS_ROWS_MAX: usize = 200;

/// Lookups that a path follows.
const PARENTS_MAX: usize = 5;

/// Child queries of one query.
const CHILDREN_MAX: usize = 20;

/// Stands for the name of the parent's object in a polymorphic relationship: `What.Type`.
pub const TYPE_FIELD: u16 = u16::MAX;

/// Why a query does not fit the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindError {
    pub code: &'static str,
    pub message: String,
    /// Where in the query's text, in bytes.
    pub at: Option<usize>,
}

/// An error without a place.
pub fn wrong(code: &'static str, message: impl Into<String>) -> BindError {
    BindError { code, message: message.into(), at: None }
}

/// What is wanted of a row of `table`.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    pub table: usize,
    pub outputs: Vec<Output>,
}

/// A part of what is wanted of a row, in the order of the query.
#[derive(Clone, Debug)]
pub enum Output {
    /// A field and the table that it was found in.
    Field(usize, u16),
    Parent {
        table: usize,
        lookup: u16,
        tree: Tree,
    },
    Children(Arc<Children>),
    /// What is wanted depends on the type of the parent.
    TypeOf {
        lookup: u16,
        whens: Vec<Tree>,
        otherwise: Option<Tree>,
    },
}

/// A query for the children of a row.
#[derive(Debug)]
pub struct Children {
    pub name: String,
    /// The field of the child that points to the row.
    pub field: u16,
    pub bound: Bound,
}

/// A field through lookups; each with the table that it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct BoundPath {
    pub lookups: Vec<(usize, u16)>,
    pub table: usize,
    pub field: u16,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    Field(BoundPath),
    Date(DateFunction, BoundPath),
    /// What a group has in common, by number.
    Key(usize),
    /// What is computed of a group, by number.
    Aggregate(usize),
}

/// A value in a condition or an order, with what must be known of its field.
#[derive(Clone, Debug)]
pub struct Operand {
    pub source: Source,
    pub name: String,
    pub kind: Kind,
    pub heeds_case: bool,
    pub long: bool,
}

/// One part of an order.
#[derive(Clone, Debug)]
pub struct OrderBy {
    pub source: Source,
    pub descending: bool,
    pub nulls_last: bool,
}

/// A query ready to run.
#[derive(Debug)]
pub struct Bound {
    pub table: usize,
    pub tree: Arc<Tree>,
    /// Set when the answer has groups instead of rows.
    pub groups: Option<Groups>,
    pub filter: Option<Filter>,
    pub order: Vec<OrderBy>,
    pub limit: Option<usize>,
    pub offset: usize,
}

/// What names mean in one query.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    pub store: &'a Store,
    pub table: usize,
    pub alias: Option<&'a str>,
    pub now_ms: i64,
}

/// Binds a query.
///
/// # Errors
/// `BindError` with Salesforce's code.
pub fn bind(store: &Store, select: &Select, now_ms: i64) -> Result<Bound, BindError> {
    let table = store.find_table(&select.from).filter(|table| store.table(*table).object.queryable);
    let table = table.ok_or_else(|| BindError {
        code: "INVALID_TYPE",
        message: format!(
            "sObject type '{0}' is not supported. If you are attempting to use a custom object, be sure to append the \
             '__c' after the entity name. Please reference your WSDL or the describe call for the appropriate names.",
            select.from
        ),
        at: Some(select.from_at),
    })?;
    bind_from(Scope { store, table, alias: select.alias.as_deref(), now_ms }, select)
}

fn bind_from(scope: Scope<'_>, select: &Select) -> Result<Bound, BindError> {
    let filter = match &select.filter {
        Some(expr) => {
            Some(conditions::bind_condition(expr, scope.now_ms, scope.store, &mut |term| operand(&scope, term))?)
        }
        None => None,
    };
    let (tree, groups, order) = if select.counts_only() {
        (Tree::default(), None, Vec::new())
    } else if select.grouped() {
        let (groups, order) = group::bind(&scope, select)?;
        (Tree::default(), Some(groups), order)
    } else {
        if select.having.is_some() {
            return Err(wrong("MALFORMED_QUERY", "HAVING clause requires GROUP BY"));
        }
        (tree(&scope, select)?, None, row_order(&scope, select)?)
    };
    let (limit, offset) = (select.limit, select.offset);
    Ok(Bound { table: scope.table, tree: Arc::new(tree), groups, filter, order, limit, offset })
}

fn row_order(scope: &Scope<'_>, select: &Select) -> Result<Vec<OrderBy>, BindError> {
    let order = select.order.iter().map(|order| {
        let operand = operand(scope, &order.term)?;
        if operand.long {
            let message = format!("field '{}' can not be sorted in a query call", operand.name);
            return Err(wrong("MALFORMED_QUERY", message));
        }
        Ok(OrderBy { source: operand.source, descending: order.descending, nulls_last: order.nulls_last })
    });
    order.collect()
}

fn tree(scope: &Scope<'_>, select: &Select) -> Result<Tree, BindError> {
    let mut tree = Tree { table: scope.table, outputs: Vec::new() };
    let children = select.items.iter().filter(|item| matches!(item, Item::Children(_))).count();
    if children > CHILDREN_MAX {
        let message = format!("maximum number of child relationship queries exceeded: {CHILDREN_MAX}");
        return Err(wrong("MALFORMED_QUERY", message));
    }
    for item in &select.items {
        match item {
            Item::Term { alias: Some(_), .. } | Item::Label { alias: Some(_), .. } => {
                return Err(wrong("MALFORMED_QUERY", "only aggregate expressions use field aliasing"));
            }
            Item::Term { term: Term::Path(path), .. } | Item::Label { path, .. } => {
                select_path(scope, &mut tree, path)?
            }
            Item::Term { term, .. } => {
                let message = "a function in the SELECT list must be grouped or aggregated";
                return Err(BindError { code: "MALFORMED_QUERY", message: message.into(), at: term.place() });
            }
            Item::Fields { standard, custom } => {
                if *custom && select.limit.is_none_or(|limit| limit > ALL_FIELDS_ROWS_MAX) {
                    let message = "The SOQL FIELDS function must have a LIMIT of at most 200";
                    return Err(wrong("MALFORMED_QUERY", message));
                }
                let fields = scope.store.table(scope.table).object.fields.iter().enumerate();
                let wanted = fields.filter(|(number, field)| {
                    scope.store.sees(scope.table, *number as u16) && if field.custom() { *custom } else { *standard }
                });
                for (number, field) in wanted {
                    insert(&mut tree, &[], scope.table, number as u16).map_err(|()| duplicate(&field.name, None))?;
                }
            }
            Item::Children(select) => tree.outputs.push(Output::Children(Arc::new(child_query(scope, select)?))),
            Item::TypeOf { path, whens, otherwise } => {
                let output = type_of(scope, path, whens, otherwise)?;
                let relationship = |output: &Output| match output {
                    Output::Parent { lookup, .. } | Output::TypeOf { lookup, .. } => Some(*lookup),
                    _ => None,
                };
                if tree
                    .outputs
                    .iter()
                    .any(|known| relationship(known) == relationship(&output) && relationship(known).is_some())
                {
                    return Err(duplicate(&path.names.join("."), Some(path.at)));
                }
                tree.outputs.push(output);
            }
        }
    }
    Ok(tree)
}

fn select_path(scope: &Scope<'_>, tree: &mut Tree, path: &Path) -> Result<(), BindError> {
    let bound = bind_path(scope, path)?;
    insert(tree, &bound.lookups, bound.table, bound.field).map_err(|()| duplicate(&path.names.join("."), Some(path.at)))
}

fn duplicate(name: &str, at: Option<usize>) -> BindError {
    BindError { code: "INVALID_FIELD", message: format!("duplicate field selected: {name}"), at }
}

/// Puts a field into the tree; an error when it is there already.
fn insert(tree: &mut Tree, lookups: &[(usize, u16)], table: usize, field: u16) -> Result<(), ()> {
    let Some(((above, first), rest)) = lookups.split_first() else {
        let same = |output: &Output| matches!(output, Output::Field(t, f) if (*t, *f) == (table, field));
        if tree.outputs.iter().any(same) {
            return Err(());
        }
        tree.outputs.push(Output::Field(table, field));
        return Ok(());
    };
    let same = |output: &Output| match output {
        Output::Parent { table, lookup, .. } => (table, lookup) == (above, first),
        Output::TypeOf { lookup, .. } => lookup == first && *above == tree.table,
        _ => false,
    };
    let known = tree.outputs.iter().position(same);
    let at = known.unwrap_or_else(|| {
        let below = Tree { table: rest.first().map_or(table, |(table, _)| *table), outputs: Vec::new() };
        tree.outputs.push(Output::Parent { table: *above, lookup: *first, tree: below });
        tree.outputs.len() - 1
    });
    match &mut tree.outputs[at] {
        Output::Parent { tree, .. } => insert(tree, rest, table, field),
        // TYPEOF has this relationship already.
        _ => Err(()),
    }
}

fn child_query(scope: &Scope<'_>, select: &Select) -> Result<Children, BindError> {
    let found = children::find(scope.store, scope.table, &select.from);
    let (table, field) = found.ok_or_else(|| BindError {
        code: "INVALID_TYPE",
        message: format!(
            "Didn't understand relationship '{}' in FROM part of query call. If you are attempting to use a custom \
             relationship, be sure to append the '__r' after the custom relationship name. Please reference your WSDL \
             or the describe call for the appropriate names.",
            select.from
        ),
        at: Some(select.from_at),
    })?;
    if select.grouped() {
        return Err(wrong("MALFORMED_QUERY", "aggregate functions are not supported in child queries"));
    }
    let object = &scope.store.table(table).object;
    let name = children::name(object, &object.fields[usize::from(field)]).unwrap_or_else(|| select.from.clone());
    let bound = bind_from(Scope { table, alias: select.alias.as_deref(), ..*scope }, select)?;
    Ok(Children { name, field, bound })
}

fn type_of(
    scope: &Scope<'_>,
    path: &Path,
    whens: &[(String, Vec<Path>)],
    otherwise: &[Path],
) -> Result<Output, BindError> {
    let [name] = path.names.as_slice() else {
        return Err(BindError { at: Some(path.at), ..wrong("MALFORMED_QUERY", "TYPEOF takes one relationship") });
    };
    let object = &scope.store.table(scope.table).object;
    let seen = object.relationship(name).filter(|lookup| scope.store.sees(scope.table, *lookup));
    let lookup = seen.ok_or_else(|| no_relationship(name, path.at))?;
    let targets = targets(scope.store, scope.table, lookup);
    let tree = |table: usize, paths: &[Path]| {
        let mut tree = Tree { table, outputs: Vec::new() };
        paths.iter().try_for_each(|path| select_path(&Scope { table, alias: None, ..*scope }, &mut tree, path))?;
        Ok::<_, BindError>(tree)
    };
    let mut trees = Vec::new();
    for (object, paths) in whens {
        let table = scope.store.find_table(object).filter(|table| targets.contains(table));
        let message = || wrong("INVALID_TYPE", format!("'{object}' is not a type of the relationship '{name}'"));
        trees.push(tree(table.ok_or_else(message)?, paths)?);
    }
    let otherwise = match (otherwise, targets.first()) {
        ([], _) | (_, None) => None,
        (paths, Some(first)) => Some(tree(*first, paths)?),
    };
    Ok(Output::TypeOf { lookup, whens: trees, otherwise })
}

/// Binds what a condition or an order of a query about rows names.
pub fn operand(scope: &Scope<'_>, term: &Term) -> Result<Operand, BindError> {
    match term {
        Term::Path(path) => {
            let bound = bind_path(scope, path)?;
            Ok(field_operand(scope.store, bound))
        }
        Term::Date(function, path) => {
            let mut operand = field_operand(scope.store, bind_path(scope, path)?);
            let fits =
                operand.kind == Kind::Datetime || operand.kind == Kind::Date && *function != DateFunction::HourInDay;
            let Source::Field(bound) = operand.source.clone() else { return Ok(operand) };
            if !fits {
                let message = format!("field '{}' does not support this date function", operand.name);
                return Err(BindError { code: "INVALID_FIELD", message, at: Some(path.at) });
            }
            operand.kind = if *function == DateFunction::DayOnly { Kind::Date } else { Kind::Int };
            operand.source = Source::Date(*function, bound);
            Ok(operand)
        }
        Term::Aggregate(_, _, at) => {
            let message = "Aggregate expressions are only allowed in SELECT, HAVING and ORDER BY of a grouped query";
            Err(BindError { code: "MALFORMED_QUERY", message: message.into(), at: Some(*at) })
        }
    }
}

fn field_operand(store: &Store, path: BoundPath) -> Operand {
    match store.table(path.table).object.fields.get(usize::from(path.field)) {
        Some(field) => Operand {
            name: field.name.to_string(),
            kind: field.kind,
            heeds_case: field.case_sensitive,
            long: !field.filterable(),
            source: Source::Field(path),
        },
        None => Operand {
            name: "Type".into(),
            kind: Kind::Picklist,
            heeds_case: false,
            long: false,
            source: Source::Field(path),
        },
    }
}

/// Follows a path. In a polymorphic relationship the first target that has the next name is taken.
///
/// # Errors
/// `INVALID_FIELD` for a name that is not there.
pub fn bind_path(scope: &Scope<'_>, path: &Path) -> Result<BoundPath, BindError> {
    let store = scope.store;
    let at = path.at;
    let (last, mut parents) = path.names.split_last().ok_or_else(|| wrong("MALFORMED_QUERY", "a field is missing"))?;
    // `Case.Subject` and, with the alias, `c.Subject` name the object itself.
    if let Some((first, rest)) = parents.split_first() {
        let object = &store.table(scope.table).object;
        let own = object.name.eq_ignore_ascii_case(first) && object.relationship(first).is_none();
        if own || scope.alias.is_some_and(|alias| alias.eq_ignore_ascii_case(first)) {
            parents = rest;
        }
    }
    if parents.len() > PARENTS_MAX {
        let message = format!("a query follows at most {PARENTS_MAX} parent relationships");
        return Err(BindError { at: Some(at), ..wrong("INVALID_FIELD", message) });
    }
    let mut tables = vec![scope.table];
    let mut lookups: Vec<(usize, u16)> = Vec::new();
    for name in parents {
        let lookup =
            |table: usize| store.table(table).object.relationship(name).filter(|lookup| store.sees(table, *lookup));
        let found = tables.iter().find_map(|table| Some((*table, lookup(*table)?)));
        let (table, lookup) = found.ok_or_else(|| no_relationship(name, at))?;
        lookups.push((table, lookup));
        tables = targets(store, table, lookup);
    }
    let found = tables.iter().find_map(|table| Some((*table, store.visible_field(*table, last)?)));
    match (found, tables.first()) {
        (_, Some(table)) if tables.len() > 1 && last.eq_ignore_ascii_case("Type") => {
            Ok(BoundPath { lookups, table: *table, field: TYPE_FIELD })
        }
        (Some((table, field)), _) => Ok(BoundPath { lookups, table, field }),
        (None, table) => {
            let object = table.map_or("Name", |table| &*store.table(*table).object.name);
            let message = format!(
                "No such column '{last}' on entity '{object}'. If you are attempting to use a custom field, be sure to \
                 append the '__c' after the custom field name. Please reference your WSDL or the describe call for the \
                 appropriate names."
            );
            Err(BindError { code: "INVALID_FIELD", message, at: Some(at) })
        }
    }
}

/// The tables that a lookup points to.
fn targets(store: &Store, table: usize, lookup: u16) -> Vec<usize> {
    let reference = store.table(table).object.fields[usize::from(lookup)].reference.as_ref();
    reference.map_or(Vec::new(), |reference| reference.to.iter().filter_map(|to| store.find_table(to)).collect())
}

fn no_relationship(name: &str, at: usize) -> BindError {
    let message = format!(
        "Didn't understand relationship '{name}' in field path. If you are attempting to use a custom relationship, be \
         sure to append the '__r' after the custom relationship name. Please reference your WSDL or the describe call \
         for the appropriate names."
    );
    BindError { code: "INVALID_FIELD", message, at: Some(at) }
}

impl Term {
    /// Where the term stands in the query, in bytes.
    pub fn place(&self) -> Option<usize> {
        Some(match self {
            Term::Path(path) | Term::Date(_, path) => path.at,
            Term::Aggregate(_, _, at) => *at,
        })
    }
}
