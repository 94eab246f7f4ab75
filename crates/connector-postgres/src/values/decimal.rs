//! Decimal digits to Debezium's `Decimal` and `VariableScaleDecimal`, and money to plain digits.

use super::ValueError;
use super::binary::write_base64;
use super::json_text::write_string;
use super::number::write_number;

/// Appends a numeric as a string of its own digits.
pub(super) fn write_digits(out: &mut Vec<u8>, text: &[u8]) -> Result<(), ValueError> {
    if !is_special(text) {
        Digits::parse(text)?;
    }
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
    Ok(())
}

/// Appends Debezium's form at a fixed scale: base64 of the unscaled number.
pub(super) fn write_scaled(out: &mut Vec<u8>, text: &[u8], scale: i16) -> Result<(), ValueError> {
    if is_special(text) {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    let digits = Digits::parse(text)?;
    let zeros = i64::from(scale) - digits.fraction.len() as i64;
    match usize::try_from(zeros) {
        Ok(zeros) => write_unscaled(out, &digits, digits.fraction, zeros),
        Err(_) => write_shortened(out, &digits, zeros.unsigned_abs() as usize, text),
    }
}

/// Writes digits whose last `cut` are zeros that the scale does not keep (a negative scale: numeric(5,-2)).
fn write_shortened(out: &mut Vec<u8>, digits: &Digits<'_>, cut: usize, text: &[u8]) -> Result<(), ValueError> {
    let fraction_cut = cut.min(digits.fraction.len());
    let (fraction, dropped) = digits.fraction.split_at(digits.fraction.len() - fraction_cut);
    let whole_cut = (cut - fraction_cut).min(digits.whole.len());
    let (whole, dropped_whole) = digits.whole.split_at(digits.whole.len() - whole_cut);
    if dropped.iter().chain(dropped_whole).any(|digit| *digit != b'0') {
        return Err(ValueError::of("numeric of its column's scale", text));
    }
    write_unscaled(out, &Digits { negative: digits.negative, whole, fraction: &[] }, fraction, 0)
}

/// Appends Debezium's struct for a numeric without declared scale: trailing zeros stripped, scale at least 0.
pub(super) fn write_variable(out: &mut Vec<u8>, text: &[u8]) -> Result<(), ValueError> {
    if is_special(text) {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    let digits = Digits::parse(text)?;
    let zeros = digits.fraction.iter().rev().take_while(|digit| **digit == b'0').count();
    let fraction = &digits.fraction[..digits.fraction.len() - zeros];
    out.extend_from_slice(b"{\"scale\":");
    write_number(out, fraction.len());
    out.extend_from_slice(b",\"value\":");
    write_unscaled(out, &digits, fraction, 0)?;
    out.push(b'}');
    Ok(())
}

/// Appends money (`$1,234.50`, `-$0.01` under `lc_monetary=C`) as a string of plain digits; another locale's text, which
/// cannot be read without knowing it, stays as it is.
pub(super) fn write_money_digits(out: &mut Vec<u8>, text: &[u8]) -> bool {
    let Some(plain) = Money::parse(text) else { return write_string(out, text) };
    out.push(b'"');
    out.extend_from_slice(plain.as_bytes());
    out.push(b'"');
    false
}

/// Appends money as Debezium's decimal of scale 2.
pub(super) fn write_money_scaled(out: &mut Vec<u8>, text: &[u8]) -> Result<(), ValueError> {
    let plain = Money::parse(text).ok_or_else(|| ValueError::of("money under lc_monetary=C", text))?;
    write_scaled(out, plain.as_bytes(), 2)
}

/// Money's digits without symbol and separators. The longest, `-$92,233,720,368,547,758.08`, has 21 characters here.
struct Money {
    plain: [u8; 24],
    length: usize,
}

impl Money {
    fn parse(text: &[u8]) -> Option<Self> {
        let mut money = Self { plain: [0; 24], length: 0 };
        for &byte in text {
            match byte {
                b'$' | b',' => continue,
                b'-' | b'.' | b'0'..=b'9' => {}
                _ => return None,
            }
            *money.plain.get_mut(money.length)? = byte;
            money.length += 1;
        }
        Digits::parse(money.as_bytes()).is_ok().then_some(money)
    }

    fn as_bytes(&self) -> &[u8] {
        &self.plain[..self.length]
    }
}

fn is_special(text: &[u8]) -> bool {
    matches!(text, b"NaN" | b"Infinity" | b"-Infinity")
}

/// A plain decimal number in its parts: PostgreSQL never prints a numeric with an exponent.
struct Digits<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
}

impl<'a> Digits<'a> {
    fn parse(text: &'a [u8]) -> Result<Self, ValueError> {
        let unsigned = text.strip_prefix(b"-").unwrap_or(text);
        let (whole, fraction) = match memchr::memchr(b'.', unsigned) {
            Some(point) => (&unsigned[..point], &unsigned[point + 1..]),
            None => (unsigned, &[][..]),
        };
        let digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
        if whole.is_empty() || !digits(whole) || !digits(fraction) {
            return Err(ValueError::of("numeric", text));
        }
        Ok(Self { negative: unsigned.len() != text.len(), whole, fraction })
    }
}

/// Appends base64 of `whole fraction 000…` as a two's complement number in the fewest bytes, big endian.
fn write_unscaled(out: &mut Vec<u8>, digits: &Digits<'_>, fraction: &[u8], zeros: usize) -> Result<(), ValueError> {
    /// Digits that surely fit in an `i128`.
    const SMALL: usize = 38;
    let all = || digits.whole.iter().chain(fraction).copied().chain(std::iter::repeat_n(b'0', zeros));
    if digits.whole.len() + fraction.len() + zeros <= SMALL {
        let magnitude = all().fold(0i128, |sum, digit| sum * 10 + i128::from(digit - b'0'));
        let number = if digits.negative { -magnitude } else { magnitude };
        let bytes = number.to_be_bytes();
        write_base64(out, minimal(&bytes));
    } else {
        write_base64(out, minimal(&large(all(), digits.negative)));
    }
    Ok(())
}

/// Cuts leading bytes that only repeat the sign; one byte stays.
fn minimal(bytes: &[u8]) -> &[u8] {
    let mut bytes = bytes;
    while let [first, second, ..] = bytes
        && ((*first == 0 && second & 0x80 == 0) || (*first == 0xff && second & 0x80 != 0))
    {
        bytes = &bytes[1..];
    }
    bytes
}

/// Base conversion for numbers over 38 digits: 18 digits a step, time quadratic in the length (131,072 digits at most).
fn large(digits: impl Iterator<Item = u8>, negative: bool) -> Vec<u8> {
    let mut limbs: Vec<u64> = Vec::new();
    let mut digits = digits.peekable();
    while digits.peek().is_some() {
        let (mut chunk, mut factor) = (0u64, 1u64);
        for digit in digits.by_ref().take(18) {
            chunk = chunk * 10 + u64::from(digit - b'0');
            factor *= 10;
        }
        let mut carry = u128::from(chunk);
        for limb in &mut limbs {
            let sum = u128::from(*limb) * u128::from(factor) + carry;
            *limb = sum as u64;
            carry = sum >> 64;
        }
        if carry > 0 {
            limbs.push(carry as u64);
        }
    }
    // One more limb holds the sign.
    limbs.push(0);
    if negative {
        let mut carry = true;
        for limb in &mut limbs {
            let (sum, overflow) = (!*limb).overflowing_add(u64::from(carry));
            *limb = sum;
            carry = overflow;
        }
    }
    limbs.iter().rev().flat_map(|limb| limb.to_be_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unscaled(text: &str) -> Vec<u8> {
        let digits = Digits::parse(text.as_bytes()).expect("digits");
        minimal(&large(digits.whole.iter().chain(digits.fraction).copied(), digits.negative)).to_vec()
    }

    proptest! {
        #[test]
        fn long_and_short_conversion_agree(number in -(10i128.pow(37))..10i128.pow(37)) {
            let text = number.to_string();
            prop_assert_eq!(unscaled(&text), minimal(&number.to_be_bytes()).to_vec());
        }
    }

    #[test]
    fn powers_of_256_need_one_byte_more_than_their_negatives() {
        assert_eq!(unscaled("128"), [0, 128]);
        assert_eq!(unscaled("-128"), [128]);
        assert_eq!(unscaled("-129"), [255, 127]);
        let power = "340282366920938463463374607431768211456"; // 2^128
        assert_eq!(unscaled(power), [&[1][..], &[0; 16]].concat());
        assert_eq!(unscaled(&format!("-{power}")), [&[255][..], &[0; 16]].concat());
    }
}
