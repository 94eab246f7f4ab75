//! What can be said of a configuration without asking anybody: names that must meet, values that must fit.

use super::{
    ApiWord, AuthFlow, Config, DeletesConfig, OperationConfig, OverflowConfig, Places, RetryConfig, SecretText,
    StreamConfig, WordOrCel,
};
use model::{Finding, Lane, TableName};

/// Checks names and values across the file; sorted as in the code, so that every run prints the same.
pub(super) fn check(config: &Config, places: &Places) -> Vec<Finding> {
    let mut checker = Checker { config, places, findings: Vec::new() };
    checker.orgs();
    checker.sources();
    checker.streams();
    checker.routes();
    checker.retries();
    checker.router();
    checker.findings
}

/// Eight segments of 8 MiB: retention removes whole ones.
const STREAM_BYTES_MIN: u64 = 64 << 20;

struct Checker<'a> {
    config: &'a Config,
    places: &'a Places,
    findings: Vec<Finding>,
}

impl Checker<'_> {
    fn error(&mut self, code: &'static str, path: &str, cause: impl Into<String>, fix: impl Into<String>) {
        self.findings.push(Finding::error(code, self.places.describe(path), cause, fix));
    }

    fn orgs(&mut self) {
        for (name, org) in &self.config.orgs {
            let path = format!("orgs.{name}");
            let auth = format!("{path}.auth");
            let lanes = org.lanes.critical.0 + org.lanes.standard.0 + org.lanes.bulk.0;
            if lanes > 100.0 {
                self.error(
                    "PS1008",
                    &format!("{path}.lanes"),
                    format!("the lanes add up to {lanes}%"),
                    "make them 100% or less",
                );
            }
            for unknown in org.share.unknown() {
                self.error(
                    "PS1008",
                    &format!("{path}.share"),
                    format!("{unknown} is not an allocation that a share can be given of"),
                    format!("write one of: default, {}", super::Shares::names().join(", ")),
                );
            }
            if org.api_version.parse::<f64>().map_or(true, |version| version < 46.0) {
                let cause = format!("API version {:?} is not one from 46.0 on", org.api_version);
                self.error("PS1008", &format!("{path}.api_version"), cause, "write for example \"62.0\", in quotes");
            }
            if let Some(wrong) = org.breaker.resolve().nonsense() {
                self.error("PS1042", &format!("{path}.breaker"), wrong, "correct it, or leave it out for the default");
            }
            match org.auth.flow {
                AuthFlow::ClientCredentials => self.secret(&auth, "client_secret", org.auth.client_secret.as_ref()),
                AuthFlow::JwtBearer => {
                    self.secret(&auth, "private_key", org.auth.private_key.as_ref());
                    if org.auth.username.is_none() {
                        self.error("PS1005", &auth, "jwt_bearer needs a username", "add username: the user to act as");
                    }
                }
            }
        }
    }

    /// A secret must be there and must stand outside the file.
    fn secret(&mut self, path: &str, key: &str, secret: Option<&SecretText>) {
        match secret {
            None => self.error("PS1005", path, format!("{key} is missing"), format!("add {key}: \"${{env:NAME}}\"")),
            Some(text) if !text.is_reference() => self.error(
                "PS1006",
                &format!("{path}.{key}"),
                format!("{key} stands in the file in clear"),
                "write ${env:NAME} or ${file:PATH} instead, and change the secret",
            ),
            Some(_) => {}
        }
    }

    fn sources(&mut self) {
        for (name, source) in &self.config.sources {
            let path = format!("sources.{name}");
            if has_password(source.url.written()) {
                self.error(
                    "PS1006",
                    &format!("{path}.url"),
                    "the password stands in the file in clear",
                    "write ${env:NAME} or ${file:PATH} in its place, and change the password",
                );
            }
            if source.tables.is_empty() {
                self.error("PS1005", &format!("{path}.tables"), "no table is named", "list the tables to capture");
            }
            for table in source.secret.keys() {
                let parsed = TableName::parse(table).ok();
                if parsed.is_none() || !source.tables.iter().any(|known| TableName::parse(known).ok() == parsed) {
                    let cause = format!("source {name} does not capture {table}");
                    self.error("PS1007", &format!("{path}.secret.{table}"), cause, "name one of its tables");
                }
            }
            for (index, table) in source.tables.iter().enumerate() {
                self.table(&format!("{path}.tables.{index}"), table);
            }
        }
    }

    fn table(&mut self, path: &str, text: &str) -> Option<TableName> {
        match TableName::parse(text) {
            Ok(table) => Some(table),
            Err(cause) => {
                self.error("PS1008", path, cause, "write schema.table, quoted as in SQL where needed");
                None
            }
        }
    }

    fn streams(&mut self) {
        for (name, stream) in &self.config.streams {
            let path = format!("streams.{name}");
            self.overflow(&path, stream);
            let Some(source) = self.config.sources.get(&stream.from) else {
                self.error(
                    "PS1007",
                    &format!("{path}.from"),
                    format!("there is no source {}", stream.from),
                    format!("name one of: {}", names(self.config.sources.keys())),
                );
                continue;
            };
            for (table, columns) in &stream.keys {
                let key_path = format!("{path}.keys.{table}");
                let Some(parsed) = self.table(&key_path, table) else { continue };
                if !source.tables.iter().filter_map(|t| TableName::parse(t).ok()).any(|t| t == parsed) {
                    let cause = format!("source {} does not capture {table}", stream.from);
                    self.error("PS1007", &key_path, cause, format!("add it to sources.{}.tables", stream.from));
                }
                if columns.is_empty() {
                    self.error("PS1005", &key_path, "the business key has no column", "name at least one column");
                }
            }
        }
    }

    /// The pipeline's own settings first: a route is blamed only for what it adds.
    fn retries(&mut self) {
        let fix = "correct it, or leave it out for the default";
        let own = RetryConfig::resolve(&self.config.retry, &RetryConfig::default());
        let before: Vec<_> = own.policies().map(|(class, policy)| (class, policy.nonsense())).into();
        for (class, wrong) in &before {
            if let Some(wrong) = wrong {
                self.error("PS1041", &format!("retry.{class}"), *wrong, fix);
            }
        }
        for (name, route) in &self.config.routes {
            let retry = RetryConfig::resolve(&self.config.retry, &route.retry);
            for ((class, policy), (_, before)) in retry.policies().into_iter().zip(&before) {
                if let Some(wrong) = policy.nonsense().filter(|wrong| Some(*wrong) != *before) {
                    self.error("PS1041", &format!("routes.{name}.retry.{class}"), wrong, fix);
                }
            }
        }
    }

    fn overflow(&mut self, path: &str, stream: &StreamConfig) {
        let drops = stream.overflow != OverflowConfig::Block;
        if drops && !stream.expendable {
            let cause = "its overflow gives records up, and nobody said that they may be";
            self.error("PS1043", &format!("{path}.overflow"), cause, "add expendable: true, or say overflow: block");
        }
        match stream.max_bytes {
            None if drops => {
                let cause = "without max_bytes the stream is never full";
                self.error("PS1043", &format!("{path}.overflow"), cause, "add max_bytes: the room that it may take");
            }
            Some(size) if size.0 < STREAM_BYTES_MIN => {
                let cause = "a limit below 64MiB is less than the log needs for its segments";
                self.error("PS1043", &format!("{path}.max_bytes"), cause, "write 64MiB or more");
            }
            _ => {}
        }
    }

    fn routes(&mut self) {
        for (name, route) in &self.config.routes {
            let path = format!("routes.{name}");
            self.route_stream(&path, &route.stream, &route.table, "table");
            for (parent, reference) in &route.references {
                self.table(&format!("{path}.references.{parent}.table"), &reference.table);
            }
            if !self.config.orgs.contains_key(&route.to.org) {
                self.error(
                    "PS1007",
                    &format!("{path}.to.org"),
                    format!("there is no org {}", route.to.org),
                    format!("name one of: {}", names(self.config.orgs.keys())),
                );
            }
            if route.to.operation != OperationConfig::Create && route.to.external_id.is_none() {
                let cause = "upsert and update match rows by an external id, and none is named";
                self.error("PS1005", &format!("{path}.to"), cause, "add external_id, or say operation: create");
            }
            let keys = self.config.streams.get(&route.stream).into_iter().flat_map(|stream| &stream.keys);
            let key = keys.filter(|(table, _)| TableName::parse(table) == TableName::parse(&route.table));
            let key: Vec<&String> = key.flat_map(|(_, columns)| columns).collect();
            if let Some(shown) = self.config.secret_columns(name).iter().find(|column| key.contains(column)) {
                let cause = format!("{shown} is secret and part of the business key, which is shown everywhere");
                self.error("PS1044", &format!("{path}.secret"), cause, "choose another key, or another column");
            }
            if let DeletesConfig::Set(fields) = &route.deletes
                && fields.len() != 1
            {
                self.error(
                    "PS1008",
                    &format!("{path}.deletes"),
                    "set takes exactly one field",
                    "write set: {Field__c: value}",
                );
            }
            if let WordOrCel::Word(word) = &route.lane
                && Lane::from_word(word).is_none()
            {
                let cause = format!("{word:?} is not a lane");
                self.error("PS1008", &format!("{path}.lane"), cause, "write critical, standard, bulk or {cel: '…'}");
            }
            if route.api == ApiWord::Bulk && route.to.operation == OperationConfig::Update {
                let cause = "a Bulk job updates by record id, which the source does not know";
                self.error("PS1008", &format!("{path}.api"), cause, "write operation: upsert, or another api");
            }
            if matches!(route.api, ApiWord::Event | ApiWord::PubSub)
                && !route.to.object.to_ascii_lowercase().ends_with("__e")
            {
                let cause = format!("{} is no platform event", route.to.object);
                self.error(
                    "PS1008",
                    &format!("{path}.api"),
                    cause,
                    "name an object that ends with __e, or another api",
                );
            }
            if let Some((key, cause, fix)) = super::ordering::misfit(route) {
                self.error("PS1008", &format!("{path}.{key}"), cause, fix);
            }
            if route.parallel == 0 || route.batch.rows == 0 || route.batch.rows > 200 {
                let cause = "parallel must be 1 or more, batch.rows 1 to 200 (the Collections limit)";
                self.error("PS1008", &path, cause, "choose values inside these bounds");
            }
        }
    }

    fn router(&mut self) {
        let router = &self.config.router;
        if router.bulk_rows == 0 || router.bulk_rows > 150_000_000 || router.bulk_bytes.0 == 0 {
            let cause = "bulk_rows must be 1 to 150,000,000 and bulk_bytes above 0";
            self.error("PS1008", "router", cause, "choose values inside these bounds, or leave them out");
        }
        for (at, rule) in router.rules.iter().enumerate() {
            let path = format!("router.rules.{at}");
            if let Some(table) = &rule.when.table {
                self.table(&format!("{path}.when.table"), table);
            }
            if let Some(word) = rule.when.lane.as_deref().filter(|word| Lane::from_word(word).is_none()) {
                let cause = format!("{word:?} is not a lane");
                self.error("PS1008", &format!("{path}.when.lane"), cause, "write critical, standard or bulk");
            }
        }
    }

    fn route_stream(&mut self, path: &str, stream: &str, table: &str, key: &str) {
        let Some(found) = self.config.streams.get(stream) else {
            self.error(
                "PS1007",
                &format!("{path}.stream"),
                format!("there is no stream {stream}"),
                format!("name one of: {}", names(self.config.streams.keys())),
            );
            return;
        };
        let Some(parsed) = self.table(&format!("{path}.{key}"), table) else { return };
        if !found.keys.keys().filter_map(|t| TableName::parse(t).ok()).any(|t| t == parsed) {
            let cause = format!("stream {stream} has no business key for {table}");
            self.error("PS1007", &format!("{path}.{key}"), cause, format!("add it to streams.{stream}.keys"));
        }
    }
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.map(String::as_str).collect();
    if names.is_empty() { "(none is configured)".to_owned() } else { names.join(", ") }
}

/// True when a connection URL carries a literal password.
fn has_password(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let Some((user, _)) = rest.rsplit_once('@') else { return false };
    user.split_once(':').is_some_and(|(_, password)| !password.is_empty() && !password.starts_with("${"))
}

#[cfg(test)]
mod tests {
    use super::super::load_text;
    use super::*;

    const CITY: &str = include_str!("../../../../examples/city.yaml");

    fn codes(text: &str) -> Vec<&'static str> {
        load_text("city.yaml", text).findings.iter().map(|finding| finding.code.0).collect()
    }

    #[test]
    fn names_that_do_not_meet_are_found() {
        for (from, to) in [
            ("from: city_db", "from: town_db"),
            ("stream: city\n", "stream: town\n"),
            ("org: main", "org: other"),
            ("table: city.agency\n", "table: city.agncy\n"),
        ] {
            let text = CITY.replacen(from, to, 1);
            assert_ne!(text, CITY, "{from}");
            assert!(codes(&text).contains(&"PS1007"), "{from} -> {to}: {:?}", codes(&text));
        }
    }

    #[test]
    fn a_secret_in_clear_is_refused_and_not_repeated() {
        let text = CITY.replacen("${env:SF_CLIENT_SECRET}", "s3cr3t-value", 1);
        let loaded = load_text("city.yaml", &text);
        assert_eq!(loaded.findings[0].code.0, "PS1006");
        assert!(!format!("{:?}", loaded.findings).contains("s3cr3t-value"));
        assert!(has_password("postgres://u:pw@h/db"));
        assert!(!has_password("postgres://u:${env:PW}@h/db"));
        assert!(!has_password("postgres://u@h/db"));
        assert!(!has_password("${env:DATABASE_URL}"));
    }

    #[test]
    fn values_out_of_bounds_are_found() {
        for (from, to) in [
            ("lane: critical", "lane: urgent"),
            ("share: 50%", "share: 50%\n    lanes: {critical: 90%, standard: 90%}"),
            ("share: 50%", "share: {default: 50%, DailyApiRequest: 10%}"),
        ] {
            let text = CITY.replacen(from, to, 1);
            assert_ne!(text, CITY, "{from}");
            assert!(codes(&text).contains(&"PS1008"), "{from} -> {to}: {:?}", codes(&text));
        }
    }

    #[test]
    fn overflow_that_gives_records_up_must_be_meant() {
        let with = |extra: &str| CITY.replacen("    from: city_db\n", &format!("    from: city_db\n    {extra}\n"), 1);
        for good in [
            "max_bytes: 1GiB",
            "max_bytes: 1GiB\n    overflow: drop_oldest\n    expendable: true",
            "max_bytes: 64MiB\n    overflow: {sample: {keep: 1 of 10}}\n    expendable: true",
        ] {
            assert!(codes(&with(good)).is_empty(), "{good}: {:?}", codes(&with(good)));
        }
        for wrong in [
            "max_bytes: 63MiB",
            "max_bytes: 1GiB\n    overflow: drop_oldest",
            "overflow: drop_oldest\n    expendable: true",
        ] {
            assert_eq!(codes(&with(wrong)), ["PS1043"], "{wrong}");
        }
        assert_eq!(codes(&with("overflow: {sample: {keep: 2 of 10}}")), ["PS1004"]);
    }

    #[test]
    fn what_does_not_go_with_transactions_is_found() {
        let with = |settings: &str| CITY.replacen("    lane: critical", &format!("    lane: critical\n{settings}"), 1);
        assert_eq!(codes(&with("    ordering: transaction\n    too_large: by_key")), codes(CITY));
        for settings in [
            "    too_large: by_key",
            "    ordering: transaction\n    coalesce: latest",
            "    ordering: transaction\n    api: bulk",
            "    ordering: transaction\n    api: collections",
        ] {
            assert_ne!(with(settings), CITY);
            assert!(codes(&with(settings)).contains(&"PS1008"), "{settings}");
        }
        let create =
            with("    ordering: transaction").replacen("object: Account,", "object: Account, operation: create,", 1);
        assert!(create.contains("operation: create") && codes(&create).contains(&"PS1008"));
    }

    #[test]
    fn secret_columns_of_route_and_table_add_up_and_are_no_keys() {
        let source = CITY.replacen(
            "    publication:",
            "    secret: {city.service_request: [incident_address]}\n    publication:",
            1,
        );
        let text = source.replacen("    deadline: 5m", "    secret: [descriptor]\n    deadline: 5m", 1);
        assert!(text != source && source != CITY);
        let loaded = load_text("city.yaml", &text);
        assert!(loaded.findings.is_empty(), "{:?}", loaded.findings);
        let config = loaded.config.unwrap();
        assert_eq!(config.secret_columns("requests"), ["descriptor", "incident_address"]);
        assert!(config.secret_columns("agencies").is_empty());
        assert!(codes(&text.replacen("[descriptor]", "[unique_key]", 1)).contains(&"PS1044"));
        assert!(codes(&text.replacen("{city.service_request:", "{city.nothing:", 1)).contains(&"PS1007"));
    }
}
