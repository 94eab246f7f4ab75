//! bytea and bit strings to base64.

use super::ValueError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Appends a JSON string of the bytes in base64.
pub(super) fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let at = out.len();
    out.resize(at + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[at..]).expect("four characters for each three bytes are there");
    out.truncate(at + written);
    out.push(b'"');
}

/// Appends a bytea (`\x0a1b`, `bytea_output=hex`) in base64; `scratch` takes its bytes.
pub(super) fn write_bytea(out: &mut Vec<u8>, text: &[u8], scratch: &mut Vec<u8>) -> Result<(), ValueError> {
    let wrong = || ValueError::of("bytea in hex", text);
    let (pairs, odd) = text.strip_prefix(b"\\x").ok_or_else(wrong)?.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(wrong());
    }
    scratch.clear();
    scratch.reserve(pairs.len());
    // One bad digit sets the high bits of `bad`; the loop stays free of branches.
    let mut bad = 0u8;
    for [high, low] in pairs {
        let (high, low) = (NIBBLE[usize::from(*high)], NIBBLE[usize::from(*low)]);
        bad |= high | low;
        scratch.push(high << 4 | low & 15);
    }
    if bad > 15 {
        return Err(wrong());
    }
    write_base64(out, scratch);
    Ok(())
}

/// The value of each hex digit; 0xff for every other byte.
const NIBBLE: [u8; 256] = {
    let mut table = [0xff; 256];
    let mut digit = 0u8;
    while digit < 16 {
        let letter = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
        table[letter as usize] = digit;
        table[letter.to_ascii_uppercase() as usize] = digit;
        digit += 1;
    }
    table
};

/// Appends a bit string as Debezium does: little endian, without the bytes above the highest 1.
pub(super) fn write_bits(out: &mut Vec<u8>, text: &[u8], scratch: &mut Vec<u8>) -> Result<(), ValueError> {
    scratch.clear();
    for (index, &bit) in text.iter().rev().enumerate() {
        match bit {
            b'0' => {}
            b'1' => {
                scratch.resize(index / 8 + 1, 0);
                scratch[index / 8] |= 1 << (index % 8);
            }
            _ => return Err(ValueError::of("bit string", text)),
        }
    }
    write_base64(out, scratch);
    Ok(())
}

/// Appends a bit string of declared length 1 as a boolean.
pub(super) fn write_bit(out: &mut Vec<u8>, text: &[u8]) -> Result<(), ValueError> {
    match text {
        b"1" => out.extend_from_slice(b"true"),
        b"0" | b"" => out.extend_from_slice(b"false"),
        _ => return Err(ValueError::of("single bit", text)),
    }
    Ok(())
}
