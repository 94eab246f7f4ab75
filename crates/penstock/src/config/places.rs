//! Line and column of every node of a YAML text, by its path.

use granit_parser::{Event, Parser};
use std::collections::HashMap;

/// Path (`routes.requests.map.Status`, list items by number) → line and column, from 1.
#[derive(Clone, Debug, Default)]
pub struct Places {
    file: String,
    at: HashMap<String, (usize, usize)>,
}

enum Frame {
    Mapping { key: Option<(String, (usize, usize))> },
    Sequence { next: usize },
}

impl Places {
    /// Walks a YAML text. A text that does not parse gives the places up to the fault.
    pub fn of(file: &str, text: &str) -> Self {
        let mut places = Self { file: file.to_owned(), at: HashMap::new() };
        let (mut frames, mut path): (Vec<Frame>, Vec<String>) = (Vec::new(), Vec::new());
        for next in Parser::new_from_str(text) {
            let Ok((event, span)) = next else { break };
            let here = (span.start.line(), span.start.col() + 1);
            match event {
                Event::Scalar(value, ..) => {
                    if let Some(Frame::Mapping { key: key @ None }) = frames.last_mut() {
                        *key = Some((value.into_owned(), here));
                    } else {
                        places.enter(&mut frames, &mut path, here);
                        path.pop();
                    }
                }
                Event::MappingStart(..) | Event::SequenceStart(..) => {
                    let mapping = matches!(event, Event::MappingStart(..));
                    places.enter(&mut frames, &mut path, here);
                    frames.push(if mapping { Frame::Mapping { key: None } } else { Frame::Sequence { next: 0 } });
                }
                Event::MappingEnd | Event::SequenceEnd => {
                    frames.pop();
                    path.pop();
                }
                Event::Alias(..) => {
                    places.enter(&mut frames, &mut path, here);
                    path.pop();
                }
                _ => {}
            }
        }
        places
    }

    /// Enters the node that stands next in the innermost collection; a mapping's node stands at its key.
    fn enter(&mut self, frames: &mut [Frame], path: &mut Vec<String>, here: (usize, usize)) {
        let (name, at) = match frames.last_mut() {
            Some(Frame::Mapping { key }) => key.take().unwrap_or_else(|| (String::new(), here)),
            Some(Frame::Sequence { next }) => {
                *next += 1;
                ((*next - 1).to_string(), here)
            }
            None => (String::new(), here),
        };
        path.push(name);
        self.at.entry(path[1..].join(".")).or_insert(at);
    }

    /// Says where a path stands: `penstock.yaml:12:5 routes.requests.map.Status`. A path that is not in the file is
    /// placed at its nearest ancestor.
    pub fn describe(&self, path: &str) -> String {
        let path = path.replace('[', ".").replace(']', "");
        let path = path.trim_start_matches('.');
        let mut ancestor = path;
        loop {
            if let Some((line, column)) = self.at.get(ancestor) {
                return format!("{}:{line}:{column} {path}", self.file).trim_end().to_owned();
            }
            ancestor = match ancestor.rsplit_once('.') {
                Some((parent, _)) => parent,
                None if ancestor.is_empty() => return format!("{} {path}", self.file).trim_end().to_owned(),
                None => "",
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_tell_line_and_column_of_block_and_flow_nodes() {
        let places = Places::of("p.yaml", "a:\n  b: {c: 1, d: [x, y]}\n  city.agency:\n    - z\n");
        assert_eq!(places.describe("a"), "p.yaml:1:1 a");
        assert_eq!(places.describe("a.b.c"), "p.yaml:2:7 a.b.c");
        assert_eq!(places.describe("a.b.d[1]"), "p.yaml:2:20 a.b.d.1");
        assert_eq!(places.describe("a.city.agency.0"), "p.yaml:4:7 a.city.agency.0");
        assert_eq!(places.describe("a.b.missing.deep"), "p.yaml:2:3 a.b.missing.deep");
    }

    #[test]
    fn places_survive_broken_text() {
        let places = Places::of("p.yaml", "a: {b: 1\nc: [");
        assert!(places.describe("zzz").starts_with("p.yaml"));
    }
}
