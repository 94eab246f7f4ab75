//! CEL expressions over a table's columns: compiled once, checked against the columns, evaluated per record.
//!
//! **Variables** are the table's columns by their names. Types:
//!
//! | column | CEL |
//! |---|---|
//! | boolean | bool |
//! | smallint, integer, bigint | int |
//! | real, double precision, numeric, money | double (a `numeric` loses digits beyond 17: map the column itself where they count) |
//! | date, timestamp with and without zone | timestamp (UTC); ±infinity and what CEL cannot hold is the year 9999 or 1 |
//! | bytea | bytes |
//! | json | map, list, string, … as it is |
//! | array | list |
//! | everything else | string, as PostgreSQL prints it |
//!
//! A null column is `null`: comparing it with `==` is false, other operators refuse it. The standard functions and
//! macros and the extensions `strings` and `math` are there.
//!
//! **Unchanged columns.** When the expression reads a column that the source left out as unchanged, the value in
//! `before` is taken where the replica identity is sure to carry it; otherwise the result is `Evaluated::Unchanged`.
//!
//! What this module refuses to know: target fields, what a result is used for.

mod compile;
mod evaluate;

pub use compile::{Expression, Leaf, Problem, ProblemKind};
pub use evaluate::{Evaluated, ExpressionError, Found};

use cel::Env;
use std::sync::{Arc, LazyLock};

/// The functions that every expression may call.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    for extension in [cel::extensions::strings, cel::extensions::math] {
        env.add_extension(extension).expect("the extensions' names do not clash with the standard library's");
    }
    Arc::new(env)
});
