//! As much XML as a SOAP login needs: the text of elements by their local names.
//!
//! Namespaces, attributes and the order of elements are passed over; comments and instructions are skipped.

/// Elements deeper than this are not read.
const DEPTH_MAX: usize = 64;

/// Why a text is no XML that this reader understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadXml;

/// An element that holds no other element: its path of local names and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    pub path: Vec<String>,
    pub text: String,
}

impl Leaf {
    /// The local name.
    pub fn name(&self) -> &str {
        self.path.last().map_or("", String::as_str)
    }
}

/// Reads a document's leaves in their order.
///
/// # Errors
/// `BadXml` for tags that do not close each other, an unknown entity, or too deep nesting.
pub fn leaves(text: &str) -> Result<Vec<Leaf>, BadXml> {
    let mut found = Vec::new();
    let mut path: Vec<String> = Vec::new();
    let mut value = String::new();
    let mut leaf = false;
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        unescape(&rest[..at], &mut value)?;
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("<![CDATA[") {
            let end = after.find("]]>").ok_or(BadXml)?;
            value.push_str(&after[..end]);
            rest = &after[end + 3..];
            continue;
        }
        if let Some(after) = rest.strip_prefix("<!--") {
            rest = &after[after.find("-->").ok_or(BadXml)? + 3..];
            continue;
        }
        let end = rest.find('>').ok_or(BadXml)?;
        let tag = &rest[1..end];
        rest = &rest[end + 1..];
        if tag.starts_with(['?', '!']) {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            if path.last().map(String::as_str) != Some(local(name)) {
                return Err(BadXml);
            }
            if std::mem::take(&mut leaf) {
                found.push(Leaf { path: path.clone(), text: std::mem::take(&mut value) });
            }
            path.pop();
            continue;
        }
        let (name, closed) = tag.strip_suffix('/').map_or((tag, false), |name| (name, true));
        path.push(local(name).to_owned());
        if path.len() > DEPTH_MAX || path.last().is_some_and(String::is_empty) {
            return Err(BadXml);
        }
        value.clear();
        leaf = !closed;
        if closed {
            found.push(Leaf { path: path.clone(), text: String::new() });
            path.pop();
        }
    }
    if path.is_empty() && !found.is_empty() { Ok(found) } else { Err(BadXml) }
}

/// The name of a tag without prefix and attributes.
fn local(tag: &str) -> &str {
    let name = tag.split_ascii_whitespace().next().unwrap_or_default();
    name.rsplit(':').next().unwrap_or_default()
}

fn unescape(text: &str, out: &mut String) -> Result<(), BadXml> {
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        let end = rest[at..].find(';').ok_or(BadXml)?;
        let name = &rest[at + 1..at + end];
        let code = |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
        let letter = match name {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            _ => match name.strip_prefix("#x") {
                Some(digits) => code(digits, 16),
                None => name.strip_prefix('#').and_then(|digits| code(digits, 10)),
            },
        };
        out.push(letter.ok_or(BadXml)?);
        rest = &rest[at + end + 1..];
    }
    out.push_str(rest);
    Ok(())
}

/// Escapes a text for an element.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML 1.0 has no way to write other control characters.
            '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn leaves_are_found_by_local_name_with_their_text() {
        let text = "<?xml version=\"1.0\"?><!-- c --><e:Envelope xmlns:e='x'><e:Header/><e:Body>\n <login xmlns='y'>\
                    <n:username>a&amp;b&#233;&#x41;</n:username><password><![CDATA[<p>]]>w</password></login></e:Body></e:Envelope>";
        let found = leaves(text).unwrap();
        let shown: Vec<_> = found.iter().map(|leaf| (leaf.path.join("/"), leaf.text.as_str())).collect();
        let at = |path: &str| format!("Envelope/{path}");
        assert_eq!(
            shown,
            [(at("Header"), ""), (at("Body/login/username"), "a&béA"), (at("Body/login/password"), "<p>w")]
        );
        for bad in ["", "text", "<a>", "<a></b>", "<a>&nope;</a>", "<a", "<>x</>", "</a>"] {
            assert_eq!(leaves(bad), Err(BadXml), "{bad}");
        }
        assert_eq!(leaves(&"<a>".repeat(100)), Err(BadXml));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "[<>/a:&;#x!\\[\\]CDATA é-]{0,40}") {
            let _ = leaves(&text);
        }

        #[test]
        fn escaped_text_is_read_back(text in "[^\u{0}-\u{1f}]{0,30}") {
            let found = leaves(&format!("<a>{}</a>", escaped(&text))).unwrap();
            prop_assert_eq!(&found[0].text, &text);
        }
    }
}
