//! Integers and floats: their text is JSON already, once it is checked.

use super::ValueError;
use super::json_text::write_string;

/// Appends an integer's digits.
pub(super) fn write_integer(out: &mut Vec<u8>, text: &[u8]) -> Result<(), ValueError> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = digits.first().is_some_and(|first| *first != b'0' || digits.len() == 1);
    if !canonical || !digits.iter().all(u8::is_ascii_digit) {
        return Err(ValueError::of("integer", text));
    }
    out.extend_from_slice(text);
    Ok(())
}

/// Appends a float's digits; NaN and the infinities become strings.
pub(super) fn write_float(out: &mut Vec<u8>, text: &[u8]) -> Result<(), ValueError> {
    if is_json_number(text) {
        out.extend_from_slice(text);
        return Ok(());
    }
    match text {
        b"NaN" | b"Infinity" | b"-Infinity" => {
            write_string(out, text);
            Ok(())
        }
        _ => Err(ValueError::of("float", text)),
    }
}

/// True for exactly what RFC 8259 calls a number.
fn is_json_number(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let (whole, rest) = split_digits(text);
    if whole.is_empty() || (whole.len() > 1 && whole[0] == b'0') {
        return false;
    }
    let rest = match rest.strip_prefix(b".") {
        Some(fraction) => match split_digits(fraction) {
            ([], _) => return false,
            (_, rest) => rest,
        },
        None => rest,
    };
    match rest.split_first() {
        None => true,
        Some((b'e' | b'E', exponent)) => {
            let digits = exponent.strip_prefix(b"+").or(exponent.strip_prefix(b"-")).unwrap_or(exponent);
            !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
        }
        Some(_) => false,
    }
}

fn split_digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// Appends a number in decimal.
#[inline]
pub(crate) fn write_number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_taken_for_a_number_parses_as_one(text in "[-+0-9.eE]{0,12}") {
            let parses = serde_json::from_str::<f64>(&text).is_ok() || text.parse::<f64>().is_ok_and(f64::is_infinite);
            if is_json_number(text.as_bytes()) {
                prop_assert!(parses, "{text}");
            } else {
                prop_assert!(serde_json::from_str::<f64>(&text).is_err(), "{text}");
            }
        }
    }
}
