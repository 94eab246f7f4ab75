//! Decimals by their digits: never through a float.

/// Turns a two's complement big-endian integer and a scale (Debezium's `Decimal`) into JSON number digits.
/// The scale may be negative; at most 20,000 places are written, more gives `None`.
pub fn from_twos_complement(bytes: &[u8], scale: i32) -> Option<String> {
    if scale.unsigned_abs() > 20_000 || bytes.is_empty() {
        return None;
    }
    let negative = bytes[0] & 0x80 != 0;
    let digits = if bytes.len() <= 16 {
        let mut wide = [if negative { 0xff } else { 0 }; 16];
        wide[16 - bytes.len()..].copy_from_slice(bytes);
        i128::from_be_bytes(wide).unsigned_abs().to_string()
    } else {
        magnitude(bytes, negative)
    };
    Some(place_point(&digits, negative, scale))
}

/// The absolute value's digits, by repeated division; for what does not fit in 128 bits.
fn magnitude(bytes: &[u8], negative: bool) -> String {
    let mut limbs: Vec<u8> = bytes.to_vec();
    if negative {
        limbs.iter_mut().for_each(|byte| *byte = !*byte);
        for byte in limbs.iter_mut().rev() {
            let (sum, carry) = byte.overflowing_add(1);
            *byte = sum;
            if !carry {
                break;
            }
        }
    }
    let mut groups: Vec<u32> = Vec::new();
    let mut start = 0;
    while start < limbs.len() {
        let mut rest = 0_u64;
        for byte in &mut limbs[start..] {
            let value = rest << 8 | u64::from(*byte);
            *byte = (value / 1_000_000) as u8;
            rest = value % 1_000_000;
            debug_assert!(value / 1_000_000 < 256, "the remainder is below the divisor");
        }
        groups.push(rest as u32);
        while limbs.get(start) == Some(&0) {
            start += 1;
        }
    }
    let mut digits = groups.pop().unwrap_or(0).to_string();
    groups.iter().rev().for_each(|group| digits.push_str(&format!("{group:06}")));
    digits
}

fn place_point(digits: &str, negative: bool, scale: i32) -> String {
    let sign = if negative { "-" } else { "" };
    let places = scale.unsigned_abs() as usize;
    if scale <= 0 {
        let zeros = if digits == "0" { 0 } else { places };
        return format!("{sign}{digits}{}", "0".repeat(zeros));
    }
    let padded = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = padded.split_at(padded.len() - places);
    format!("{sign}{whole}.{fraction}")
}

/// True when the text is a JSON number without an exponent: what PostgreSQL writes for every finite `numeric`.
pub fn is_plain(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text).as_bytes();
    let whole = unsigned.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let leading_zero = whole > 1 && unsigned[0] == b'0';
    let fraction = match unsigned.get(whole) {
        None => true,
        Some(b'.') => unsigned.len() > whole + 1 && unsigned[whole + 1..].iter().all(u8::is_ascii_digit),
        Some(_) => false,
    };
    whole > 0 && !leading_zero && fraction
}

/// Digits before the point and significant digits after it (trailing zeros do not count), exponent included.
/// `None` when the text is no number or its exponent is beyond reason.
pub fn places(number: &str) -> Option<(u32, u32)> {
    let unsigned = number.strip_prefix('-').unwrap_or(number);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (unsigned, 0),
    };
    if exponent.abs() > 10_000 {
        return None;
    }
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    let count = whole.len() + fraction.len();
    if count == 0 || !digits().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let leading = digits().take_while(|b| *b == b'0').count();
    if leading == count {
        return Some((0, 0));
    }
    let trailing = digits().rev().take_while(|b| *b == b'0').count();
    let point = i32::try_from(whole.len()).ok()? + exponent;
    let first = i32::try_from(leading).ok()?;
    let last = i32::try_from(count - trailing).ok()?;
    Some(((point - first).max(0) as u32, (last - point).max(0) as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn twos_complement_becomes_exact_digits() {
        assert_eq!(from_twos_complement(&[0x04, 0xd2], 2).as_deref(), Some("12.34"));
        assert_eq!(from_twos_complement(&[0xff], 2).as_deref(), Some("-0.01"));
        assert_eq!(from_twos_complement(&[0], 4).as_deref(), Some("0.0000"));
        assert_eq!(from_twos_complement(&[5], -3).as_deref(), Some("5000"));
        assert_eq!(from_twos_complement(&[], 0), None);
    }

    #[test]
    fn integers_beyond_128_bits_become_exact_digits() {
        let mut two_to_the_136 = vec![1_u8];
        two_to_the_136.extend([0; 17]);
        let digits = "87112285931760246646623899502532662132736";
        assert_eq!(from_twos_complement(&two_to_the_136, 0).as_deref(), Some(digits));
        let mut minus = vec![0xff_u8];
        minus.extend([0; 17]);
        assert_eq!(from_twos_complement(&minus, 0).as_deref(), Some(format!("-{digits}").as_str()));
    }

    #[test]
    fn places_are_counted_with_the_exponent() {
        for (number, wanted) in [
            ("12.3400", (2, 2)),
            ("-0.01", (0, 2)),
            ("1e3", (4, 0)),
            ("1.25E-3", (0, 5)),
            ("0.0", (0, 0)),
            ("007", (1, 0)),
        ] {
            assert_eq!(places(number), Some(wanted), "{number}");
        }
        assert_eq!(places("x"), None);
        assert_eq!(places(""), None);
    }

    proptest! {
        #[test]
        fn short_and_long_ways_agree(value: i128, scale in 0..40_i32) {
            let bytes = value.to_be_bytes();
            let mut long = vec![if value < 0 { 0xff } else { 0 }; 4];
            long.extend(bytes);
            prop_assert_eq!(from_twos_complement(&bytes, scale), from_twos_complement(&long, scale));
        }

        #[test]
        fn plain_numbers_are_what_the_json_parser_takes(text in "-?[0-9]{0,4}(\\.[0-9]{0,3})?") {
            prop_assert_eq!(is_plain(&text), text.parse::<model::Number>().is_ok());
        }
    }
}
