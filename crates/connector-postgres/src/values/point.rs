//! point (`(1.5,-2.25)`) to Debezium's struct with its well-known binary.

use super::ValueError;
use super::binary::write_base64;
use super::number::write_float;

pub(super) fn write_struct(out: &mut Vec<u8>, text: &[u8]) -> Result<(), ValueError> {
    let wrong = || ValueError::of("point", text);
    let inner = text.strip_prefix(b"(").and_then(|rest| rest.strip_suffix(b")")).ok_or_else(wrong)?;
    let comma = memchr::memchr(b',', inner).ok_or_else(wrong)?;
    let (x, y) = (&inner[..comma], &inner[comma + 1..]);
    out.extend_from_slice(b"{\"x\":");
    write_float(out, x)?;
    out.extend_from_slice(b",\"y\":");
    write_float(out, y)?;
    let coordinate = |text: &[u8]| std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
    // Byte order 1 (little endian), geometry type 1 (point), then both coordinates.
    let mut wkb = [0u8; 21];
    wkb[..5].copy_from_slice(&[1, 1, 0, 0, 0]);
    wkb[5..13].copy_from_slice(&coordinate(x).ok_or_else(wrong)?.to_le_bytes());
    wkb[13..].copy_from_slice(&coordinate(y).ok_or_else(wrong)?.to_le_bytes());
    out.extend_from_slice(b",\"wkb\":");
    write_base64(out, &wkb);
    out.extend_from_slice(b",\"srid\":null}");
    Ok(())
}
