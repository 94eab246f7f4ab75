//! Exact decimals, for comparing numbers without a float in between.

/// A decimal in normal form: `0.d1d2d3… × 10^exponent`, `d1` and the last digit not 0; zero has no digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

/// No number field has more digits by far; a longer text is not compared.
const DIGITS_MAX: usize = 400;

impl Decimal {
    /// Parses `[-+]digits[.digits][e[-+]digits]`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (negative, text) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, i64::from(exponent.parse::<i32>().ok()?)),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        if whole.len() + fraction.len() > DIGITS_MAX {
            return None;
        }
        let digits = whole.bytes().chain(fraction.bytes()).map(|b| b - b'0').collect();
        Some(Self { negative, digits, exponent: exponent + whole.len() as i64 }.normal())
    }

    fn normal(mut self) -> Self {
        let zeros = self.digits.iter().take_while(|digit| **digit == 0).count();
        self.digits.drain(..zeros);
        self.exponent -= zeros as i64;
        while self.digits.last() == Some(&0) {
            self.digits.pop();
        }
        if self.digits.is_empty() {
            return Self { negative: false, digits: Vec::new(), exponent: 0 };
        }
        self
    }

    /// Rounds half away from zero to `scale` digits after the point, as the org does with a field's scale.
    pub fn rounded(mut self, scale: u32) -> Self {
        let keep = self.exponent + i64::from(scale);
        if keep >= self.digits.len() as i64 {
            return self;
        }
        if keep < 0 {
            return Self { negative: false, digits: Vec::new(), exponent: 0 };
        }
        let keep = keep as usize;
        let up = self.digits[keep] >= 5;
        self.digits.truncate(keep);
        if up {
            let mut at = keep;
            loop {
                if at == 0 {
                    self.digits.insert(0, 1);
                    self.exponent += 1;
                    break;
                }
                at -= 1;
                if self.digits[at] < 9 {
                    self.digits[at] += 1;
                    break;
                }
                self.digits[at] = 0;
            }
        }
        self.normal()
    }

    /// Writes it without an exponent, as SOQL wants it; none when that would be absurdly long.
    pub fn plain(&self) -> Option<String> {
        if self.digits.is_empty() {
            return Some("0".into());
        }
        if self.exponent.unsigned_abs() > 64 {
            return None;
        }
        let mut text = String::from(if self.negative { "-" } else { "" });
        let digit =
            |at: i64| usize::try_from(at).ok().and_then(|at| self.digits.get(at)).map_or('0', |d| (b'0' + d) as char);
        if self.exponent <= 0 {
            text.push('0');
        }
        (0..self.exponent).for_each(|at| text.push(digit(at)));
        if (self.digits.len() as i64) > self.exponent {
            text.push('.');
            (self.exponent.min(0)..0).for_each(|_| text.push('0'));
            (self.exponent.max(0)..self.digits.len() as i64).for_each(|at| text.push(digit(at)));
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn same(a: &str, b: &str) -> bool {
        Decimal::parse(a).unwrap() == Decimal::parse(b).unwrap()
    }

    #[test]
    fn spellings_of_one_number_are_equal() {
        assert!(same("1.0", "1") && same("1e2", "100.00") && same("-0", "0") && same("0.0010", "1e-3"));
        assert!(!same("1234567890123456.78", "1234567890123456.77"));
        assert!(Decimal::parse("").is_none() && Decimal::parse("1x").is_none() && Decimal::parse(".").is_none());
    }

    #[test]
    fn rounding_goes_away_from_zero_and_carries() {
        let rounded = |text: &str, scale| Decimal::parse(text).unwrap().rounded(scale).plain().unwrap();
        assert_eq!(rounded("1.005", 2), "1.01");
        assert_eq!(rounded("9.999", 2), "10");
        assert_eq!(rounded("-0.005", 2), "-0.01");
        assert_eq!(rounded("0.004", 2), "0");
        assert_eq!(rounded("0.0004", 2), "0");
        assert_eq!(rounded("123", 0), "123");
        assert_eq!(rounded("0.5", 0), "1");
    }

    proptest! {
        #[test]
        fn plain_text_reads_back_as_the_same_number(mantissa: i64, exponent in -20i32..20) {
            let number = Decimal::parse(&format!("{mantissa}e{exponent}")).unwrap();
            let plain = number.plain().unwrap();
            prop_assert_eq!(Decimal::parse(&plain).unwrap(), number, "{}", plain);
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in ".{0,30}", scale in 0u32..20) {
            if let Some(number) = Decimal::parse(&text) {
                let _ = number.rounded(scale).plain();
            }
        }
    }
}
