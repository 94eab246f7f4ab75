//! As much XML as Bulk API 1.0 needs: elements, texts, entities, CDATA. Namespaces are passed over.

use std::borrow::Cow;

/// The namespace of jobs, batches and results.
pub const NAMESPACE: &str = "http://www.force.com/2009/06/asyncapi/dataload";

/// Elements nested deeper than this are refused: the reader recurses.
const DEPTH_MAX: usize = 32;

/// An element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// Without its prefix.
    pub name: String,
    /// `xsi:nil="true"`
    pub nil: bool,
    pub children: Vec<Element>,
    /// What stands between the tags, put together.
    pub text: String,
}

impl Element {
    /// The text of the first child of this name.
    pub fn child(&self, name: &str) -> Option<&str> {
        self.children.iter().find(|child| child.name == name).map(|child| child.text.trim())
    }
}

/// Replaces what has a meaning in XML.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            other => out.push(other),
        }
    }
    Cow::Owned(out)
}

/// Reads a document; none when it is not well formed.
pub fn parse(text: &str) -> Option<Element> {
    let mut reader = Reader { rest: text.trim_start_matches('\u{feff}') };
    reader.misc()?;
    let element = reader.element(0)?;
    reader.misc()?;
    reader.rest.is_empty().then_some(element)
}

struct Reader<'t> {
    rest: &'t str,
}

impl<'t> Reader<'t> {
    fn take(&mut self, mark: &str) -> bool {
        let found = self.rest.strip_prefix(mark);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    /// What stands before `mark`; the mark is taken too.
    fn until(&mut self, mark: &str) -> Option<&'t str> {
        let (before, after) = self.rest.split_once(mark)?;
        self.rest = after;
        Some(before)
    }

    /// Passes over declarations, comments and space outside elements.
    fn misc(&mut self) -> Option<()> {
        loop {
            self.rest = self.rest.trim_start();
            if self.take("<?") {
                self.until("?>")?;
            } else if self.take("<!--") {
                self.until("-->")?;
            } else {
                return Some(());
            }
        }
    }

    fn element(&mut self, depth: usize) -> Option<Element> {
        if depth > DEPTH_MAX || !self.take("<") {
            return None;
        }
        let end = self.rest.find(|letter: char| letter.is_whitespace() || matches!(letter, '>' | '/'))?;
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        let mut element = Element { name: local(name).to_owned(), ..Element::default() };
        if name.is_empty() || name.starts_with(['!', '?']) {
            return None;
        }
        loop {
            self.rest = self.rest.trim_start();
            if self.take("/>") {
                return Some(element);
            }
            if self.take(">") {
                break;
            }
            let attribute = self.until("=")?.trim();
            self.rest = self.rest.trim_start();
            let quote = if self.take("\"") { "\"" } else { self.take("'").then_some("'")? };
            let value = self.until(quote)?;
            element.nil |= local(attribute) == "nil" && value == "true";
        }
        loop {
            let at = self.rest.find('<')?;
            element.text.push_str(&unescape(&self.rest[..at])?);
            self.rest = &self.rest[at..];
            if self.take("</") {
                let closed = self.until(">")?.trim_end();
                return (closed == name).then_some(element);
            }
            if self.take("<!--") {
                self.until("-->")?;
            } else if self.take("<![CDATA[") {
                element.text.push_str(self.until("]]>")?);
            } else {
                element.children.push(self.element(depth + 1)?);
            }
        }
    }
}

fn local(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or(name)
}

fn unescape(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('&') {
        return Some(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let (entity, after) = after.split_once(';')?;
        out.push(match entity {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            other => {
                let number = other.strip_prefix('#')?;
                let code = match number.strip_prefix(['x', 'X']) {
                    Some(hex) => u32::from_str_radix(hex, 16),
                    None => number.parse(),
                };
                char::from_u32(code.ok()?)?
            }
        });
        rest = after;
    }
    out.push_str(rest);
    Some(Cow::Owned(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn job_of_a_client_is_read() {
        let text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<jobInfo  xmlns=\"http://x\">\n  <operation>upsert</operation>\
                    <!-- c --><object>A&amp;B</object>\n  <a xsi:nil='true'/><t><![CDATA[<&]]> &#x41;</t>\n</jobInfo>\n";
        let job = parse(text).unwrap();
        assert_eq!(
            (job.name.as_str(), job.child("operation"), job.child("object")),
            ("jobInfo", Some("upsert"), Some("A&B"))
        );
        assert!(job.children[2].nil);
        assert_eq!(job.child("t"), Some("<& A"));
        for bad in ["", "<a>", "<a></b>", "<a>&x;</a>", "<a/><b/>", "<a b></a>", "text"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "(<|>|/|a|b:c|=|\"|&amp;|&|;|<!\\[CDATA\\[|\\]\\]>|<!--|-->|<\\?|\\?>| |é){0,30}") {
            let _ = parse(&text);
        }

        #[test]
        fn text_survives_escaping(text in "\\PC{0,40}") {
            let element = parse(&format!("<a>{}</a>", escape(&text))).unwrap();
            prop_assert_eq!(element.text, text);
        }
    }
}
