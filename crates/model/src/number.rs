//! A JSON number by its digits.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// The literal digits of a JSON number.
///
/// `serde_json::Number` keeps more digits than an `f64` only with the feature `arbitrary_precision`, which breaks every
/// tagged or flattened type with a number in it (serde-rs/json#505); so the digits are kept here. Writing it with
/// `serde_json` writes the digits as they are; reading through serde keeps what an `f64` or a 64-bit integer keeps.
/// Numbers are equal when their digits are: `7.0` is not `7`.
#[derive(Clone)]
pub struct Number(Box<RawValue>);

/// A text that is no JSON number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a JSON number")]
pub struct NotANumber(pub String);

impl Number {
    /// Returns the digits: a valid JSON number.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Returns the nearest double; infinite when it is out of range.
    pub fn as_f64(&self) -> f64 {
        self.as_str().parse().unwrap_or(f64::NAN)
    }

    /// Returns the integer when the digits are one that fits.
    pub fn as_i64(&self) -> Option<i64> {
        self.as_str().parse().ok()
    }

    /// Writes a double in its shortest digits that read back the same; `None` for NaN and the infinities.
    pub fn from_f64(value: f64) -> Option<Self> {
        serde_json::Number::from_f64(value).and_then(|number| number.to_string().parse().ok())
    }
}

impl FromStr for Number {
    type Err = NotANumber;

    fn from_str(digits: &str) -> Result<Self, NotANumber> {
        let wrong = || NotANumber(digits.to_owned());
        // RawValue takes any JSON and allows blanks around it.
        let bytes = digits.as_bytes();
        let number = matches!(bytes.first(), Some(b'-' | b'0'..=b'9')) && bytes.last().is_some_and(u8::is_ascii_digit);
        if !number {
            return Err(wrong());
        }
        RawValue::from_string(digits.to_owned()).map(Self).map_err(|_| wrong())
    }
}

macro_rules! from_integer {
    ($($integer:ty),*) => {$(
        impl From<$integer> for Number {
            fn from(value: $integer) -> Self {
                Self(RawValue::from_string(value.to_string()).expect("an integer's digits are JSON"))
            }
        }
    )*};
}
from_integer!(i32, u32, i64, u64, usize);

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Number {}

impl Hash for Number {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Number({})", self.as_str())
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        number.to_string().parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FieldValue;

    #[test]
    fn digits_are_written_as_they_were_given() {
        for digits in ["0", "-12.3400", "12345678901234567890.123456789012345678", "1e10", "7.0"] {
            let value = FieldValue::Number(digits.parse().unwrap());
            assert_eq!(serde_json::to_string(&value).unwrap(), digits);
        }
    }

    #[test]
    fn text_that_is_no_json_number_is_refused() {
        for text in ["", " 1", "1 ", "01", "1.", ".5", "+1", "NaN", "\"1\"", "[1]", "-", "1,2", "--1"] {
            assert!(text.parse::<Number>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn numbers_read_back_inside_an_untagged_value() {
        let value: FieldValue = serde_json::from_str("-42").unwrap();
        assert_eq!(value, FieldValue::Number(Number::from(-42_i64)));
        assert_eq!(serde_json::from_str::<FieldValue>("1.5").unwrap(), FieldValue::Number("1.5".parse().unwrap()));
    }
}
