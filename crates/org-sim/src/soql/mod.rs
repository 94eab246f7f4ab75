//! SOQL: text to a tree. Knows nothing of objects or rows; `query` binds and runs the tree.

mod lexer;
mod parser;

pub use parser::parse;

/// Longest query that Salesforce takes, in characters.
pub const QUERY_CHARS_MAX: usize = 100_000;

/// A field, perhaps through parents: `Account.Owner.Name`.
pub type Path = Vec<String>;

/// What a query wants of each row.
#[derive(Clone, Debug, PartialEq)]
pub enum Items {
    /// `COUNT()`
    Count,
    Fields(Vec<Path>),
    /// `FIELDS(ALL)`, `FIELDS(STANDARD)`, `FIELDS(CUSTOM)`
    All {
        standard: bool,
        custom: bool,
    },
}

/// A query.
#[derive(Clone, Debug, PartialEq)]
pub struct Select {
    pub items: Items,
    pub from: String,
    pub filter: Option<Expr>,
    pub order: Vec<Order>,
    pub limit: Option<usize>,
    pub offset: usize,
}

/// One part of `ORDER BY`.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    pub path: Path,
    pub descending: bool,
    pub nulls_last: bool,
}

/// A condition.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    Compare { path: Path, op: Op, value: Literal },
    In { path: Path, negated: bool, values: Vec<Literal> },
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
    /// `TODAY`, `LAST_N_DAYS:7`, …: first day and number of days, counted from today.
    Days {
        from: i32,
        count: i32,
    },
}

/// Why a text is no query, and where (in bytes from its start).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoqlError {
    pub message: String,
    pub at: usize,
}
