//! Running a program over one record's columns.

use super::ENV;
use super::compile::{Expression, Sample};
use crate::event::calendar::{DAY_US, Day, Moment};
use crate::event::value::{Beyond, Scalar, decode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cel::common::types::{CelBool, CelDouble, CelInt, CelNull, CelString, CelTimestamp};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::{Context, ExecutionError, Value};
use chrono::{DateTime, FixedOffset};
use model::{Column, ColumnType, ValueMode};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What a record says of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// Its raw JSON.
    Raw(&'a [u8]),
    /// The source left it out as unchanged, and its value is not known.
    Unchanged,
    /// The record does not have it.
    Missing,
}

/// What an expression gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Evaluated {
    Value(Value),
    /// It reads a column whose value is not known since it did not change.
    Unchanged,
}

/// Why an expression gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpressionError {
    pub message: String,
}

impl Expression {
    /// Evaluates over one record's columns.
    ///
    /// # Errors
    /// `ExpressionError` when a column is missing or is not of its type, or the expression fails over these values.
    pub fn evaluate<'a>(
        &self,
        mode: ValueMode,
        find: impl Fn(&str) -> Found<'a>,
    ) -> Result<Evaluated, ExpressionError> {
        let mut slots = Slots { names: &self.columns, values: Vec::with_capacity(self.columns.len()) };
        for column in &self.columns {
            let raw = match find(&column.name) {
                Found::Raw(raw) => raw,
                Found::Unchanged => return Ok(Evaluated::Unchanged),
                Found::Missing => {
                    return Err(ExpressionError { message: format!("the record has no column {:?}", column.name) });
                }
            };
            let scalar = decode(raw, &column.kind, mode)
                .map_err(|wrong| ExpressionError { message: format!("column {:?}: {wrong}", column.name) })?;
            slots.values.push(to_val(scalar, &column.kind));
        }
        slots
            .with_context(|context| self.program.execute(context))
            .map(Evaluated::Value)
            .map_err(|error| ExpressionError { message: error.to_string() })
    }
}

/// The values of an expression's columns, in the columns' order.
pub(super) struct Slots<'a> {
    names: &'a [Column],
    values: Vec<Box<dyn Val + 'a>>,
}

impl<'a> Slots<'a> {
    /// Values made up for a dry run.
    pub(super) fn of_samples(names: &'a [Column], sample: Sample) -> Self {
        let values = names.iter().map(|column| to_val(sample_of(&column.kind, sample), &column.kind)).collect();
        Self { names, values }
    }

    /// Runs `evaluate` in a context where these are the variables.
    ///
    /// The interpreter panics where chrono does (a timestamp and a duration beyond its range); a value in a row must not
    /// end the process, so a panic becomes an error of the expression. It leaves nothing half-done: the context is dropped.
    pub(super) fn with_context(
        &self,
        evaluate: impl FnOnce(&Context<'_, '_>) -> Result<Value, ExecutionError>,
    ) -> Result<Value, ExecutionError> {
        let run = || {
            let mut context = Context::with_env(Arc::clone(&ENV));
            context.set_variable_resolver(self);
            evaluate(&context)
        };
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
            Err(ExecutionError::InternalError("the values are beyond the interpreter's range".into()))
        })
    }
}

impl VariableResolver for Slots<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let index = self.names.iter().position(|column| column.name == variable)?;
        self.values.get(index).map(|value| CowVal::Borrowed(value.as_ref()))
    }
}

fn to_val<'a>(scalar: Scalar<'a>, kind: &ColumnType) -> Box<dyn Val + 'a> {
    match scalar {
        Scalar::Null => Box::new(CelNull),
        Scalar::Bool(value) => Box::new(CelBool::from(value)),
        Scalar::Number(digits) => match digits.parse::<i64>() {
            Ok(integer) if is_integer(kind) => Box::new(CelInt::from(integer)),
            _ => Box::new(CelDouble::from(digits.parse::<f64>().unwrap_or(f64::NAN))),
        },
        Scalar::Text(text) => Box::new(CelString::from(text)),
        Scalar::Day(day) => timestamp(Moment { day, us: 0 }),
        Scalar::Moment(moment) => timestamp(moment),
        Scalar::Beyond(beyond)
            if matches!(kind, ColumnType::Float32 | ColumnType::Float64 | ColumnType::Decimal { .. }) =>
        {
            Box::new(CelDouble::from(match beyond {
                Beyond::NotANumber => f64::NAN,
                Beyond::Infinity => f64::INFINITY,
                Beyond::MinusInfinity => f64::NEG_INFINITY,
            }))
        }
        Scalar::Beyond(Beyond::MinusInfinity) => timestamp(Moment { day: Day(i64::MIN), us: 0 }),
        Scalar::Beyond(_) => timestamp(Moment { day: Day(i64::MAX), us: 0 }),
        other => from_value(to_value(other, kind)),
    }
}

fn is_integer(kind: &ColumnType) -> bool {
    matches!(kind, ColumnType::Int16 | ColumnType::Int32 | ColumnType::Int64)
}

/// What has no borrowed form goes through CEL's own value.
fn to_value(scalar: Scalar<'_>, kind: &ColumnType) -> Value {
    match scalar {
        Scalar::Bytes(base64) => Value::from(STANDARD.decode(base64.as_bytes()).unwrap_or_default()),
        Scalar::Json(text) => serde_json::from_str::<serde_json::Value>(&text)
            .ok()
            .and_then(|json| cel::to_value(json).ok())
            .unwrap_or_else(|| Value::from(text.into_owned())),
        Scalar::List(items) => {
            let of = match kind {
                ColumnType::Array { of } => of,
                other => other,
            };
            Value::from(items.into_iter().map(|item| to_value(item, of)).collect::<Vec<_>>())
        }
        Scalar::Clock(us) => Value::from(clock_text(us)),
        simple => Value::try_from(to_val(simple, kind).as_ref()).unwrap_or(Value::Null),
    }
}

fn from_value(value: Value) -> Box<dyn Val> {
    let made: Result<Box<dyn Val>, _> = value.try_into();
    made.unwrap_or_else(|_| Box::new(CelNull))
}

/// `hh:mm:ss` with as many places as are needed.
fn clock_text(us: i64) -> String {
    let (seconds, fraction) = (us / 1_000_000, us % 1_000_000);
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if fraction == 0 { clock } else { format!("{clock}.{fraction:06}").trim_end_matches('0').to_owned() }
}

/// CEL's timestamps go from 0001-01-01 to 9999-12-31 (its specification, "Timestamps"); what lies beyond becomes the end.
fn timestamp(moment: Moment) -> Box<dyn Val> {
    const FIRST_S: i64 = -62_135_596_800;
    const LAST_S: i64 = 253_402_300_799;
    let seconds = moment.day.0.saturating_mul(DAY_US / 1_000_000).saturating_add(moment.us / 1_000_000);
    let nanos = (moment.us % 1_000_000 * 1_000) as u32;
    let at = DateTime::<chrono::Utc>::from_timestamp(seconds.clamp(FIRST_S, LAST_S), nanos).unwrap_or_default();
    Box::new(CelTimestamp::from(DateTime::<FixedOffset>::from(at)))
}

fn sample_of(kind: &ColumnType, sample: Sample) -> Scalar<'static> {
    let full = sample == Sample::Full;
    match kind {
        ColumnType::Bool => Scalar::Bool(full),
        kind if is_integer(kind) => Scalar::Number(if full { "1" } else { "0" }.into()),
        ColumnType::Float32 | ColumnType::Float64 | ColumnType::Decimal { .. } | ColumnType::Money => {
            Scalar::Number(if full { "1.5" } else { "0.0" }.into())
        }
        ColumnType::Date | ColumnType::Timestamp { .. } | ColumnType::TimestampTz { .. } => {
            Scalar::Moment(Moment { day: Day(if full { 19_000 } else { 0 }), us: 0 })
        }
        ColumnType::Time { .. } | ColumnType::TimeTz => Scalar::Clock(if full { 1 } else { 0 }),
        ColumnType::Bytes => Scalar::Bytes(if full { "AA==" } else { "" }.into()),
        ColumnType::Json => Scalar::Json("{}".into()),
        ColumnType::Array { of } => Scalar::List(if full { vec![sample_of(of, sample)] } else { vec![] }),
        ColumnType::Enum { labels } => Scalar::Text(labels.first().cloned().unwrap_or_default().into()),
        _ => Scalar::Text(if full { "1" } else { "" }.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluate(text: &str, kind: ColumnType, raw: &'static str) -> Result<Evaluated, ExpressionError> {
        let columns = [Column { name: "c".into(), kind, nullable: true }];
        let find = |_: &str| Found::Raw(raw.as_bytes());
        Expression::compile(text, &columns).unwrap().evaluate(ValueMode::Readable, find)
    }

    #[test]
    fn columns_come_in_with_their_types() {
        let value = |value: Value| Ok(Evaluated::Value(value));
        let text = ColumnType::Text { length: None };
        assert_eq!(evaluate("c == 'é' ? 1 : 2", text.clone(), "\"\\u00e9\""), value(Value::Int(1)));
        assert_eq!(evaluate("c == 'x'", text.clone(), "null"), value(Value::Bool(false)));
        assert_eq!(evaluate("c == null ? 'none' : c", text, "null"), value(Value::from("none")));
        assert_eq!(evaluate("c + 1", ColumnType::Int64, "41"), value(Value::Int(42)));
        let decimal = ColumnType::Decimal { precision: None, scale: None };
        assert_eq!(evaluate("c > 1.0", decimal.clone(), "\"2\""), value(Value::Bool(true)));
        assert_eq!(evaluate("c", decimal, "\"12.25\""), value(Value::Float(12.25)));
        assert_eq!(evaluate("c.a[1]", ColumnType::Json, "\"{\\\"a\\\":[1,2]}\""), value(Value::Int(2)));
        assert_eq!(evaluate("c.getFullYear()", ColumnType::Date, "\"2024-02-29\""), value(Value::Int(2024)));
        let forever = "c > timestamp('2999-01-01T00:00:00Z')";
        assert_eq!(evaluate(forever, ColumnType::Timestamp { precision: 6 }, "\"infinity\""), value(Value::Bool(true)));
        let list = ColumnType::Array { of: Box::new(ColumnType::Int32) };
        assert_eq!(evaluate("c.map(x, x * 2)[1]", list, "[1,2]"), value(Value::Int(4)));
        assert_eq!(
            evaluate("c", ColumnType::Time { precision: 6 }, "\"01:02:03.500\""),
            value(Value::from("01:02:03.5"))
        );
    }

    #[test]
    fn extreme_values_fail_without_a_panic() {
        let stamp = ColumnType::TimestampTz { precision: 6 };
        for text in [
            "c + duration('24h')",
            "c + duration('2562047h') + duration('2562047h') + duration('9999999999999h')",
            "c - duration('24h')",
            "c - timestamp('2000-01-01T00:00:00Z')",
            "string(c)",
        ] {
            for raw in ["\"infinity\"", "\"-infinity\"", "\"-4712-01-01T00:00:00Z\"", "\"+294276-12-31T23:59:59Z\""] {
                let _ = evaluate(text, stamp.clone(), raw);
            }
        }
        for text in ["c + 1", "c - 1", "c * c", "-c", "c % -1", "c / -1", "uint(c)", "double(c)", "int(double(c))"] {
            for raw in ["9223372036854775807", "-9223372036854775808", "0"] {
                let _ = evaluate(text, ColumnType::Int64, raw);
            }
        }
        let text = ColumnType::Text { length: None };
        for expression in
            ["c.substring(1)", "c.substring(0, 2)", "c.charAt(1)", "c.indexOf('é')", "int(c)", "c.split('')"]
        {
            for raw in ["\"\"", "\"é\"", "\"😀😀\"", "\"9999999999999999999999\""] {
                let _ = evaluate(expression, text.clone(), raw);
            }
        }
    }

    #[test]
    fn failures_are_errors_and_unchanged_is_unchanged() {
        assert!(evaluate("1 / c", ColumnType::Int32, "0").is_err());
        assert!(evaluate("c + 1", ColumnType::Int32, "null").is_err());
        assert!(evaluate("c + 1", ColumnType::Int32, "\"x\"").is_err());
        let columns = [Column { name: "c".into(), kind: ColumnType::Int32, nullable: true }];
        let expression = Expression::compile("c + 1", &columns).unwrap();
        assert_eq!(expression.evaluate(ValueMode::Readable, |_| Found::Unchanged), Ok(Evaluated::Unchanged));
        assert!(expression.evaluate(ValueMode::Readable, |_| Found::Missing).is_err());
    }
}
