//! SOQL: text to a tree. Knows nothing of objects or rows; `query` binds and runs the tree.

mod clauses;
mod dates;
mod lexer;
mod parser;

pub use dates::{DateFunction, Relative};
pub use parser::parse;

/// Longest query that Salesforce takes, in characters.
pub const QUERY_CHARS_MAX: usize = 100_000;

/// A field, perhaps through parents (`Account.Owner.Name`), and where it stands in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    pub names: Vec<String>,
    /// Bytes from the start of the query.
    pub at: usize,
}

/// What is computed from rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Aggregate {
    Count,
    CountDistinct,
    Sum,
    Avg,
    Min,
    Max,
}

/// A field or something computed from one.
#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    Path(Path),
    /// `COUNT(Id)`; only `COUNT()` has no path.
    Aggregate(Aggregate, Option<Path>, usize),
    Date(DateFunction, Path),
}

/// One thing that a query wants of each row or group.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    Term {
        term: Term,
        alias: Option<String>,
    },
    /// `toLabel(Status)`: the value, since labels are the values here.
    Label {
        path: Path,
        alias: Option<String>,
    },
    /// `FIELDS(ALL)`, `FIELDS(STANDARD)`, `FIELDS(CUSTOM)`
    Fields {
        standard: bool,
        custom: bool,
    },
    /// `(SELECT … FROM Contacts)`
    Children(Box<Select>),
    /// `TYPEOF Owner WHEN User THEN Name ELSE Id END`
    TypeOf {
        path: Path,
        whens: Vec<(String, Vec<Path>)>,
        otherwise: Vec<Path>,
    },
}

/// A query.
#[derive(Clone, Debug, PartialEq)]
pub struct Select {
    pub items: Vec<Item>,
    /// An object, or in a child query a relationship.
    pub from: String,
    pub from_at: usize,
    pub alias: Option<String>,
    pub filter: Option<Expr>,
    pub group: Vec<Term>,
    pub having: Option<Expr>,
    pub order: Vec<Order>,
    pub limit: Option<usize>,
    pub offset: usize,
    /// `FOR VIEW` or `FOR REFERENCE`
    pub viewed: bool,
}

impl Select {
    /// True for `SELECT COUNT() FROM …`: only the number is wanted.
    pub fn counts_only(&self) -> bool {
        matches!(self.items.as_slice(), [Item::Term { term: Term::Aggregate(Aggregate::Count, None, _), .. }])
    }

    /// True when the answer has groups instead of rows.
    pub fn grouped(&self) -> bool {
        let aggregate = |item: &Item| matches!(item, Item::Term { term: Term::Aggregate(..), .. });
        !self.group.is_empty() || self.items.iter().any(aggregate)
    }
}

/// One part of `ORDER BY`.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    pub term: Term,
    pub descending: bool,
    pub nulls_last: bool,
}

/// A condition.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    Compare {
        term: Term,
        op: Op,
        value: Literal,
    },
    In {
        term: Term,
        negated: bool,
        values: Vec<Literal>,
    },
    /// `Id IN (SELECT AccountId FROM Contact)`
    InQuery {
        term: Term,
        negated: bool,
        query: Box<Select>,
    },
    /// `INCLUDES ('A;B', 'C')`: any of the lists, of each all.
    Includes {
        term: Term,
        negated: bool,
        values: Vec<Literal>,
    },
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Like,
}

/// A value in a query's text.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    /// Days since 1970-01-01.
    Date(i32),
    /// Unix milliseconds.
    Datetime(i64),
    /// Milliseconds since midnight.
    Time(i32),
    /// `TODAY`, `LAST_N_MONTHS:3`, …
    Relative(Relative),
}

/// Why a text is no query, and where (in bytes from its start).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoqlError {
    pub message: String,
    pub at: usize,
}
