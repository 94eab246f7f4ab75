//! JSON strings from bytes.

/// The same byte in each lane of a word.
const fn lanes(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

const HIGH_BITS: u64 = lanes(0x80);

/// Marks lanes that need an escape (quote, backslash, below 0x20) by their high bit. Exact up to the first mark: a
/// borrow may mark a lane above it wrongly.
///
/// Source: Sean Eron Anderson, "Bit Twiddling Hacks", "Determine if a word has a byte less than n".
#[inline]
fn escapes(word: u64) -> u64 {
    let is = |byte: u8| {
        let differs = word ^ lanes(byte);
        differs.wrapping_sub(lanes(1)) & !differs
    };
    let below_space = word.wrapping_sub(lanes(0x20)) & !word;
    (below_space | is(b'"') | is(b'\\')) & HIGH_BITS
}

#[inline]
fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// What a text holds.
struct Contents {
    escape: bool,
    not_ascii: bool,
}

#[inline]
fn classify(text: &[u8]) -> Contents {
    let (words, tail) = text.as_chunks::<8>();
    let (mut escape, mut any) = (0u64, 0u64);
    for word in words {
        let word = u64::from_le_bytes(*word);
        escape |= escapes(word);
        any |= word;
    }
    let (mut tail_escape, mut tail_any) = (false, 0u8);
    for &byte in tail {
        tail_escape |= needs_escape(byte);
        tail_any |= byte;
    }
    Contents { escape: escape != 0 || tail_escape, not_ascii: any & HIGH_BITS != 0 || tail_any & 0x80 != 0 }
}

/// The index of the first byte that needs an escape; the length when none does.
#[inline]
fn first_escape(text: &[u8]) -> usize {
    let (words, tail) = text.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let marks = escapes(u64::from_le_bytes(*word));
        if marks != 0 {
            return index * 8 + marks.trailing_zeros() as usize / 8;
        }
    }
    let in_tail = tail.iter().position(|byte| needs_escape(*byte)).unwrap_or(tail.len());
    words.len() * 8 + in_tail
}

/// Appends `text` as a JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD; answers whether there were any.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &[u8]) -> bool {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let contents = classify(text);
    let mut replaced = false;
    if contents.not_ascii && std::str::from_utf8(text).is_err() {
        for chunk in text.utf8_chunks() {
            write_escaped(out, chunk.valid().as_bytes());
            if !chunk.invalid().is_empty() {
                out.extend_from_slice("\u{fffd}".as_bytes());
                replaced = true;
            }
        }
    } else if contents.escape {
        write_escaped(out, text);
    } else {
        out.extend_from_slice(text);
    }
    out.push(b'"');
    replaced
}

/// Appends UTF-8 text with what JSON demands escaped: quote, backslash and the control characters below 0x20.
fn write_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    loop {
        let (clean, dirty) = rest.split_at(first_escape(rest));
        out.extend_from_slice(clean);
        let Some((&byte, after)) = dirty.split_first() else { return };
        write_escaped_byte(out, byte);
        rest = after;
    }
}

fn write_escaped_byte(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let letter = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        0..0x20 => {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            return;
        }
        _ => {
            out.push(byte);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', letter]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_comes_back_from_a_json_parser(text in ".{0,200}") {
            let mut out = Vec::new();
            prop_assert!(!write_string(&mut out, text.as_bytes()));
            prop_assert_eq!(serde_json::from_slice::<String>(&out).expect("JSON"), text);
        }

        #[test]
        fn any_bytes_parse_as_the_lossy_text(bytes: Vec<u8>) {
            let mut out = Vec::new();
            let replaced = write_string(&mut out, &bytes);
            prop_assert_eq!(replaced, std::str::from_utf8(&bytes).is_err());
            let text = serde_json::from_slice::<String>(&out).expect("JSON");
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn every_ascii_character_comes_back_at_every_place_in_a_stretch() {
        for byte in 0..128u8 {
            for at in [0, 1, 31, 32, 33, 63] {
                let mut text = vec![b'x'; 70];
                text[at] = byte;
                let mut out = Vec::new();
                write_string(&mut out, &text);
                assert_eq!(serde_json::from_slice::<String>(&out).unwrap().as_bytes(), text);
            }
        }
    }
}
