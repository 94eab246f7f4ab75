//! hstore (`"a"=>"1", "b"=>NULL`) to a string that holds a JSON object, as Debezium's `hstore.handling.mode=json`.

use super::ValueError;
use super::array::take_quoted;
use super::codec::Scratch;
use super::json_text::write_string;

pub(super) fn write_object(out: &mut Vec<u8>, text: &[u8], scratch: &mut Scratch) -> Result<(), ValueError> {
    let mut part = std::mem::take(&mut scratch.bytes);
    let mut object = Vec::with_capacity(text.len() + 2);
    let replaced = build(&mut object, text, &mut part);
    scratch.bytes = part;
    let replaced = replaced.ok_or_else(|| ValueError::of("hstore", text))?;
    scratch.invalid_utf8 += u64::from(replaced);
    write_string(out, &object);
    Ok(())
}

/// Answers whether bytes were replaced; `None` when the text is no hstore.
fn build(object: &mut Vec<u8>, text: &[u8], part: &mut Vec<u8>) -> Option<bool> {
    let mut rest = text;
    let mut replaced = false;
    object.push(b'{');
    while !rest.is_empty() {
        if object.len() > 1 {
            rest = rest.strip_prefix(b", ")?;
            object.push(b',');
        }
        rest = take_quoted(rest.strip_prefix(b"\"")?, part)?;
        replaced |= write_string(object, part);
        object.push(b':');
        rest = rest.strip_prefix(b"=>")?;
        rest = match rest.strip_prefix(b"NULL") {
            Some(rest) => {
                object.extend_from_slice(b"null");
                rest
            }
            None => {
                let rest = take_quoted(rest.strip_prefix(b"\"")?, part)?;
                replaced |= write_string(object, part);
                rest
            }
        };
    }
    object.push(b'}');
    Some(replaced)
}
