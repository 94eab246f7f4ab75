//! JSON strings from bytes.

/// What a stretch of bytes holds; the bits are or-ed over the stretch.
const NEEDS_ESCAPE: u8 = 1;
const NOT_ASCII: u8 = 0x80;

/// Ors what the bytes hold. Written without a branch so that it compiles to vector instructions.
#[inline]
fn classify(bytes: &[u8]) -> u8 {
    let mut seen = 0u8;
    for &byte in bytes {
        let escape = u8::from(byte < 0x20) | u8::from(byte == b'"') | u8::from(byte == b'\\');
        seen |= escape | (byte & NOT_ASCII);
    }
    seen
}

/// Appends `text` as a JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD; answers whether there were any.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &[u8]) -> bool {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let seen = classify(text);
    let mut replaced = false;
    if seen & NOT_ASCII != 0 && std::str::from_utf8(text).is_err() {
        for chunk in text.utf8_chunks() {
            write_escaped(out, chunk.valid().as_bytes());
            if !chunk.invalid().is_empty() {
                out.extend_from_slice("\u{fffd}".as_bytes());
                replaced = true;
            }
        }
    } else if seen & NEEDS_ESCAPE != 0 {
        write_escaped(out, text);
    } else {
        out.extend_from_slice(text);
    }
    out.push(b'"');
    replaced
}

/// Appends UTF-8 text with what JSON demands escaped: quote, backslash and the control characters below 0x20.
fn write_escaped(out: &mut Vec<u8>, text: &[u8]) {
    const STRETCH: usize = 32;
    for stretch in text.chunks(STRETCH) {
        if classify(stretch) & NEEDS_ESCAPE == 0 {
            out.extend_from_slice(stretch);
            continue;
        }
        for &byte in stretch {
            write_escaped_byte(out, byte);
        }
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
