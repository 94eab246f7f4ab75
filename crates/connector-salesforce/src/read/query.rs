//! Runs a query and follows its pages.

use crate::faults::{self, fault};
use crate::transport::{Call, Transport};
use contract::SinkError;
use model::ErrorClass;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A record's fields as they came, by name. Numbers keep their digits.
pub(crate) type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// Pages followed before giving up: a query by external id that matches more is no lookup.
const PAGES_MAX: usize = 50;

#[derive(Deserialize)]
struct Page<'a> {
    done: bool,
    #[serde(rename = "nextRecordsUrl", borrow, default)]
    next: Option<Cow<'a, str>>,
    #[serde(borrow)]
    records: Vec<Fields<'a>>,
}

/// Finds a field by name without regard to ASCII case, as the org does.
pub(crate) fn field<'a>(fields: &Fields<'a>, name: &str) -> Option<&'a RawValue> {
    let exact = fields.get(name);
    exact.or_else(|| fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)).copied()
}

/// Runs a query given in encoded form and hands each record to `each`, in the org's order.
///
/// # Errors
/// `SinkError`; `PS4107` when a page is no query result.
pub(crate) async fn run(
    transport: &Transport,
    encoded: &str,
    place: &str,
    spent: &mut u32,
    mut each: impl FnMut(&Fields<'_>) + Send,
) -> Result<(), SinkError> {
    let malformed = |why: &str| fault(faults::MALFORMED, ErrorClass::Transient, place, why);
    let mut path = format!("{}/query?q={encoded}", transport.data_path);
    for _ in 0..PAGES_MAX {
        let answer = transport.call(&Call::get(path, place), spent).await?;
        let page: Page<'_> =
            serde_json::from_slice(&answer.body).map_err(|_| malformed("the answer is no query result"))?;
        page.records.iter().for_each(&mut each);
        if page.done {
            return Ok(());
        }
        // A path only: an answer never sends the token to another host.
        path = match page.next {
            Some(next) if next.starts_with("/services/data/") => next.into_owned(),
            _ => return Err(malformed("the query goes on, but its next page is not named")),
        };
    }
    Err(fault(faults::REFUSED, ErrorClass::Permanent, place, "the keys of the batch match too many records"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_page_is_read_or_refused(body: Vec<u8>) {
            let _ = serde_json::from_slice::<Page<'_>>(&body);
        }
    }

    #[test]
    fn a_page_keeps_the_digits_of_its_numbers() {
        let body = br#"{"totalSize":1,"done":true,"records":[{"attributes":{"type":"A"},"N__c":1234567890123456.78}]}"#;
        let page: Page<'_> = serde_json::from_slice(body).unwrap();
        assert_eq!(field(&page.records[0], "n__C").unwrap().get(), "1234567890123456.78");
    }
}
