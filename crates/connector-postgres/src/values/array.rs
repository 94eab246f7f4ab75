//! Array literals (`{1,NULL,"a \"b\""}`, `[0:1]={…}`) to JSON arrays.

use super::ValueError;
use super::codec::{Codec, Scratch};

/// PostgreSQL's `MAXDIM`.
const DIMENSIONS_MAX: usize = 6;

/// Appends the array; each element by `element`, unquoted NULL as `null`.
pub(super) fn write(
    out: &mut Vec<u8>,
    text: &[u8],
    element: &Codec,
    delimiter: u8,
    scratch: &mut Scratch,
) -> Result<(), ValueError> {
    // The element's own text is taken apart while its codec may need the scratch too.
    let mut unquoted = std::mem::take(&mut scratch.element);
    let written = Literal { rest: text, delimiter }.write(out, element, &mut unquoted, scratch);
    scratch.element = unquoted;
    match written {
        Err(Broken::Literal) => Err(ValueError::of("array", text)),
        Err(Broken::Element(cause)) => Err(cause),
        Ok(()) => Ok(()),
    }
}

enum Broken {
    Literal,
    Element(ValueError),
}

impl From<ValueError> for Broken {
    fn from(cause: ValueError) -> Self {
        Self::Element(cause)
    }
}

struct Literal<'a> {
    rest: &'a [u8],
    delimiter: u8,
}

impl Literal<'_> {
    fn write(
        mut self,
        out: &mut Vec<u8>,
        element: &Codec,
        unquoted: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> Result<(), Broken> {
        self.skip_bounds()?;
        let mut depth = 0usize;
        // True where an element or an inner array may stand: after an opening brace or a delimiter.
        let mut expects_value = true;
        loop {
            let (&byte, rest) = self.rest.split_first().ok_or(Broken::Literal)?;
            if expects_value && byte == b'{' && depth < DIMENSIONS_MAX {
                depth += 1;
                out.push(b'[');
                self.rest = rest;
                if let Some(rest) = rest.strip_prefix(b"}") {
                    self.rest = rest;
                    depth -= 1;
                    out.push(b']');
                    expects_value = false;
                }
            } else if depth == 0 {
                return Err(Broken::Literal);
            } else if expects_value {
                self.write_element(out, element, unquoted, scratch)?;
                expects_value = false;
            } else if byte == b'}' {
                depth -= 1;
                out.push(b']');
                self.rest = rest;
            } else if byte == self.delimiter {
                out.push(b',');
                self.rest = rest;
                expects_value = true;
            } else {
                return Err(Broken::Literal);
            }
            if depth == 0 {
                return if self.rest.is_empty() { Ok(()) } else { Err(Broken::Literal) };
            }
        }
    }

    /// Skips `[2:4][0:1]=`, which stands before an array whose lower bounds are not 1.
    fn skip_bounds(&mut self) -> Result<(), Broken> {
        if self.rest.first() == Some(&b'[') {
            let end = memchr::memchr(b'=', self.rest).ok_or(Broken::Literal)?;
            self.rest = &self.rest[end + 1..];
        }
        Ok(())
    }

    fn write_element(
        &mut self,
        out: &mut Vec<u8>,
        element: &Codec,
        unquoted: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> Result<(), Broken> {
        if let Some(quoted) = self.rest.strip_prefix(b"\"") {
            self.rest = take_quoted(quoted, unquoted).ok_or(Broken::Literal)?;
            element.write(out, unquoted, scratch)?;
            return Ok(());
        }
        let end = self.rest.iter().position(|byte| *byte == self.delimiter || *byte == b'}').ok_or(Broken::Literal)?;
        let (bare, rest) = self.rest.split_at(end);
        self.rest = rest;
        match bare {
            b"" => return Err(Broken::Literal),
            b"NULL" => out.extend_from_slice(b"null"),
            _ if bare.iter().any(|byte| matches!(byte, b'{' | b'"' | b'\\')) => return Err(Broken::Literal),
            _ => element.write(out, bare, scratch)?,
        }
        Ok(())
    }
}

/// Reads up to the closing quote into `unquoted` (cleared first), without the backslashes; answers what follows.
pub(super) fn take_quoted<'a>(mut rest: &'a [u8], unquoted: &mut Vec<u8>) -> Option<&'a [u8]> {
    unquoted.clear();
    loop {
        let end = memchr::memchr2(b'"', b'\\', rest)?;
        unquoted.extend_from_slice(&rest[..end]);
        let (special, after) = rest[end..].split_first()?;
        if *special == b'"' {
            return Some(after);
        }
        let (escaped, after) = after.split_first()?;
        unquoted.push(*escaped);
        rest = after;
    }
}
