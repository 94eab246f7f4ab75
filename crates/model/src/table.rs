//! Tables and columns as a source describes them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A table's schema and name, unquoted, as the catalogue stores them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableName {
    pub schema: String,
    pub name: String,
}

impl TableName {
    /// Parses `schema.table`; without a dot the schema is `public`. A part may be double-quoted as in SQL.
    ///
    /// # Errors
    /// A sentence when a quote is not closed, a part is empty, or there are more than two parts.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = vec![String::new()];
        let mut chars = text.chars().peekable();
        let mut quoted = false;
        while let Some(c) = chars.next() {
            match c {
                '"' if quoted && chars.peek() == Some(&'"') => {
                    chars.next();
                    if let Some(part) = parts.last_mut() {
                        part.push('"');
                    }
                }
                '"' => quoted = !quoted,
                '.' if !quoted => parts.push(String::new()),
                other => {
                    if let Some(part) = parts.last_mut() {
                        part.push(other);
                    }
                }
            }
        }
        if quoted {
            return Err(format!("the quote in {text:?} is not closed"));
        }
        if parts.iter().any(String::is_empty) {
            return Err(format!("{text:?} is not a table name; write schema.table"));
        }
        let mut parts = parts.into_iter();
        match (parts.next(), parts.next(), parts.next()) {
            (Some(name), None, None) => Ok(Self { schema: "public".into(), name }),
            (Some(schema), Some(name), None) => Ok(Self { schema, name }),
            _ => Err(format!("{text:?} has more than two parts; write schema.table")),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// What a column holds, as far as mapping and checks need to know. A domain is given as its base type.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    Bool,
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    /// `numeric`; precision and scale when the column declares them.
    Decimal {
        precision: Option<u16>,
        scale: Option<i16>,
    },
    Money,
    /// `text`, `varchar(n)`, `char(n)`, `name`, `citext`: length in characters when declared.
    Text {
        length: Option<u32>,
    },
    Enum {
        labels: Vec<String>,
    },
    Uuid,
    Json,
    Bytes,
    Date,
    /// `time` without zone; fractional digits (0 to 6).
    Time {
        precision: u8,
    },
    TimeTz,
    /// `timestamp` without zone; fractional digits (0 to 6).
    Timestamp {
        precision: u8,
    },
    TimestampTz {
        precision: u8,
    },
    Interval,
    Array {
        of: Box<ColumnType>,
    },
    /// Anything else, by PostgreSQL's name; its value is PostgreSQL's text.
    Other {
        name: String,
    },
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("boolean"),
            Self::Int16 => f.write_str("smallint"),
            Self::Int32 => f.write_str("integer"),
            Self::Int64 => f.write_str("bigint"),
            Self::Float32 => f.write_str("real"),
            Self::Float64 => f.write_str("double precision"),
            Self::Decimal { precision: Some(p), scale: Some(s) } => write!(f, "numeric({p},{s})"),
            Self::Decimal { .. } => f.write_str("numeric"),
            Self::Money => f.write_str("money"),
            Self::Text { length: Some(n) } => write!(f, "text({n})"),
            Self::Text { length: None } => f.write_str("text"),
            Self::Enum { .. } => f.write_str("enum"),
            Self::Uuid => f.write_str("uuid"),
            Self::Json => f.write_str("json"),
            Self::Bytes => f.write_str("bytea"),
            Self::Date => f.write_str("date"),
            Self::Time { .. } => f.write_str("time"),
            Self::TimeTz => f.write_str("time with time zone"),
            Self::Timestamp { .. } => f.write_str("timestamp"),
            Self::TimestampTz { .. } => f.write_str("timestamp with time zone"),
            Self::Interval => f.write_str("interval"),
            Self::Array { of } => write!(f, "{of}[]"),
            Self::Other { name } => f.write_str(name),
        }
    }
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    pub kind: ColumnType,
    pub nullable: bool,
}

/// PostgreSQL's replica identity: which columns of the old row a change carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplicaIdentity {
    /// The primary key.
    Default,
    /// Every column.
    Full,
    /// The columns of a chosen unique index.
    Index,
    Nothing,
}

/// A table as its source describes it now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSchema {
    pub table: TableName,
    /// In the table's own order.
    pub columns: Vec<Column>,
    /// Primary key columns in key order; empty when there is none.
    pub primary_key: Vec<String>,
    pub replica_identity: ReplicaIdentity,
    /// The columns that a delete's `before` is sure to carry; sorted as in the table.
    pub identity_columns: Vec<String>,
}

impl TableSchema {
    /// Finds a column by its exact name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_name_parses_quotes_dots_and_default_schema() {
        let name = |schema: &str, name: &str| TableName { schema: schema.into(), name: name.into() };
        assert_eq!(TableName::parse("city.agency"), Ok(name("city", "agency")));
        assert_eq!(TableName::parse("agency"), Ok(name("public", "agency")));
        assert_eq!(TableName::parse(r#""Große.Stadt"."Ämter""x""#), Ok(name("Große.Stadt", "Ämter\"x")));
        assert!(TableName::parse("a.b.c").is_err());
        assert!(TableName::parse("\"a").is_err());
        assert!(TableName::parse("").is_err());
    }
}
