//! Text → configuration, or findings with line and column.

use super::{Config, Places, cross};
use model::Finding;
use serde_json::Value;
use std::path::Path;

/// What came of a configuration text: the configuration when its types fit, and everything that is wrong with it.
#[derive(Debug)]
pub struct Loaded {
    /// None when a value has the wrong type or a key is missing: then nothing more can be checked.
    pub config: Option<Config>,
    pub findings: Vec<Finding>,
    pub places: Places,
}

/// Reads a file. A file that cannot be read is a finding too.
pub fn load_file(path: &Path) -> Loaded {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => load_text(&name, &text),
        Err(error) => Loaded {
            config: None,
            findings: vec![Finding::error(
                "PS1001",
                &name,
                format!("the configuration cannot be read: {error}"),
                "name another file with --config, or make one with `penstock init`",
            )],
            places: Places::default(),
        },
    }
}

/// Parses a text; `name` is what places call it.
pub fn load_text(name: &str, text: &str) -> Loaded {
    let places = Places::of(name, text);
    let mut findings = Vec::new();
    let config = parse(name, text, &places, &mut findings);
    if let Some(config) = &config {
        findings.extend(cross::check(config, &places));
    }
    Loaded { config, findings, places }
}

fn parse(name: &str, text: &str, places: &Places, findings: &mut Vec<Finding>) -> Option<Config> {
    let value: Value = match serde_saphyr::from_str(text) {
        Ok(value) => value,
        Err(error) => {
            let place =
                error.location().map_or_else(|| name.to_owned(), |at| format!("{name}:{}:{}", at.line(), at.column()));
            let cause = format!("this is not valid YAML: {}", error.without_snippet());
            findings.push(Finding::error("PS1002", place, cause, "mend the text at this place"));
            return None;
        }
    };
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let deserializer = serde_path_to_error::Deserializer::new(&value, &mut track);
    let parsed = serde_ignored::deserialize(deserializer, |path| unknown.push(path.to_string()));
    for path in unknown {
        // serde_ignored writes `?` where it steps through an Option or a newtype.
        let path = path.split('.').filter(|part| *part != "?").collect::<Vec<_>>().join(".");
        findings.push(unknown_key(&path, places));
    }
    match parsed {
        Ok(config) => Some(config),
        Err(error) => {
            let path = track.path().to_string();
            findings.push(Finding::error(
                "PS1004",
                places.describe(if path == "." { "" } else { &path }),
                error.to_string(),
                "see `penstock schema` for what may stand here",
            ));
            None
        }
    }
}

fn unknown_key(path: &str, places: &Places) -> Finding {
    let key = path.rsplit('.').next().unwrap_or(path);
    let known = known_keys();
    let near = known.iter().map(|word| (distance(key, word), word)).filter(|(far, _)| (1..=2).contains(far)).min();
    let fix = match near {
        Some((_, word)) => format!("did you mean {word}? `penstock schema` lists every key"),
        None => "remove it; `penstock schema` lists every key".to_owned(),
    };
    Finding::error("PS1003", places.describe(path), format!("unknown key {key}"), fix)
}

/// Every property name of the schema, for suggestions.
fn known_keys() -> Vec<String> {
    fn walk(value: &Value, out: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                if let Some(Value::Object(properties)) = object.get("properties") {
                    out.extend(properties.keys().cloned());
                }
                object.values().for_each(|value| walk(value, out));
            }
            Value::Array(items) => items.iter().for_each(|value| walk(value, out)),
            _ => {}
        }
    }
    let mut out = Vec::new();
    walk(&schema(), &mut out);
    out.sort();
    out.dedup();
    out
}

/// The edit distance between two words.
pub(super) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The configuration's JSON Schema.
pub fn schema() -> Value {
    schemars::schema_for!(Config).to_value()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) const CITY: &str = include_str!("../../../../examples/city.yaml");

    #[test]
    fn the_example_loads_without_findings() {
        let loaded = load_text("city.yaml", CITY);
        assert_eq!(loaded.findings, vec![]);
        assert_eq!(loaded.config.expect("valid").routes.len(), 2);
    }

    #[test]
    fn an_unknown_key_is_refused_with_place_and_suggestion_and_the_rest_is_still_read() {
        let text = CITY.replacen("lane: critical", "lanes: critical", 1);
        let loaded = load_text("city.yaml", &text);
        let unknown: Vec<_> = loaded.findings.iter().filter(|f| f.code.0 == "PS1003").collect();
        assert_eq!(unknown.len(), 1, "{:?}", loaded.findings);
        assert!(unknown[0].place.starts_with("city.yaml:"), "{}", unknown[0].place);
        assert!(unknown[0].fix.contains("lane"), "{}", unknown[0].fix);
        assert!(loaded.config.is_some());
    }

    #[test]
    fn a_wrong_type_names_path_line_and_what_was_expected() {
        let text = CITY.replacen("deadline: 5s", "deadline: soon", 1);
        let loaded = load_text("city.yaml", &text);
        assert!(loaded.config.is_none());
        let finding = &loaded.findings[0];
        assert_eq!(finding.code.0, "PS1004");
        assert!(finding.place.contains("routes.agencies.deadline"), "{}", finding.place);
        assert!(finding.cause.contains("length of time"), "{}", finding.cause);
    }

    #[test]
    fn broken_yaml_is_a_finding_with_line_and_column() {
        let loaded = load_text("x.yaml", "pipeline: [a\norgs: {");
        assert_eq!(loaded.findings[0].code.0, "PS1002");
        assert!(loaded.findings[0].place.starts_with("x.yaml:"), "{}", loaded.findings[0].place);
    }

    #[test]
    fn schema_lists_every_top_level_key() {
        let schema = schema();
        for key in ["pipeline", "orgs", "sources", "streams", "routes", "limits"] {
            assert!(schema["properties"][key].is_object(), "{key}");
        }
        assert_eq!(schema["additionalProperties"], false);
    }

    proptest::proptest! {
        #[test]
        fn any_text_gives_findings_not_a_panic(text: String) {
            let loaded = load_text("x.yaml", &text);
            proptest::prop_assert!(loaded.config.is_some() || !loaded.findings.is_empty());
        }
    }
}
