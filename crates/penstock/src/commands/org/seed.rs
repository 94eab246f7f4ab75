//! `penstock org seed`: records from a file into the org, by the API that every client uses.

use super::control::{Running, usage};
use crate::cli::SeedArgs;
use crate::output::{Answer, Exit, Problem, count, table};
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::path::Path;

/// What sObject Collections takes.
const ROWS_PER_CALL: usize = 200;
/// Refused rows that are shown.
const SHOWN_MAX: usize = 10;
const VERSION: &str = "v60.0";

/// One row that the org refused.
struct RefusedRow {
    /// From 1, without the header.
    row: usize,
    errors: Value,
}

/// Creates the file's records, or upserts them by an external id. Exit 3 when the org refused some.
pub(super) async fn seed(org: &Running, args: &SeedArgs) -> Result<Answer, Box<Problem>> {
    let records = read(&args.file)?;
    let token = log_in(org, args).await?;
    let mut refused = Vec::new();
    for (call, rows) in records.chunks(ROWS_PER_CALL).enumerate() {
        let answers = write(org, args, &token, rows).await?;
        let answers = answers.as_array().cloned().unwrap_or_default();
        for (at, answer) in answers.iter().enumerate().filter(|(_, answer)| answer["success"] != json!(true)) {
            refused.push(RefusedRow { row: call * ROWS_PER_CALL + at + 1, errors: answer["errors"].clone() });
        }
    }
    let written = records.len() - refused.len();
    let summary = match refused.len() {
        0 => format!("{} of {} written", count(written, "record"), args.object),
        n => format!("{} of {} written, {n} refused", count(written, "record"), args.object),
    };
    let shown = refused.iter().take(SHOWN_MAX).map(|refused| {
        let error = &refused.errors[0];
        let word = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        vec![refused.row.to_string(), word("statusCode"), word("message")]
    });
    let text = if refused.is_empty() { String::new() } else { table(&["row", "code", "message"], shown) };
    let result = json!({
        "object": args.object, "written": written, "refused": refused.len(),
        "errors": refused.iter().map(|refused| json!({"row": refused.row, "errors": refused.errors})).collect::<Vec<_>>(),
    });
    let exit = if refused.is_empty() { Exit::Done } else { Exit::Found };
    Ok(Answer { exit, ..Answer::done(summary, text, result) })
}

async fn log_in(org: &Running, args: &SeedArgs) -> Result<String, Box<Problem>> {
    let form =
        [("grant_type", "client_credentials"), ("client_id", &args.client_id), ("client_secret", &args.client_secret)];
    let request = org.client.post(format!("{}/services/oauth2/token", org.url)).form(&form);
    let answer = answer(org, request).await?;
    let token = answer["access_token"].as_str();
    token.map(str::to_owned).ok_or_else(|| {
        let cause = answer["error_description"].as_str().unwrap_or("the org gave no token").to_owned();
        usage("--client-id", cause, "use the credentials that `penstock org` printed")
    })
}

async fn write(
    org: &Running,
    args: &SeedArgs,
    token: &str,
    rows: &[Map<String, Value>],
) -> Result<Value, Box<Problem>> {
    let with_type = rows.iter().map(|row| {
        let mut row = row.clone();
        row.insert("attributes".into(), json!({"type": args.object}));
        Value::Object(row)
    });
    let body = json!({"allOrNone": false, "records": with_type.collect::<Vec<_>>()});
    let path = match &args.external_id {
        None => format!("{}/services/data/{VERSION}/composite/sobjects", org.url),
        Some(field) => format!("{}/services/data/{VERSION}/composite/sobjects/{}/{field}", org.url, args.object),
    };
    let method = if args.external_id.is_some() { Method::PATCH } else { Method::POST };
    let answer = answer(org, org.client.request(method, path).bearer_auth(token).json(&body)).await?;
    // A list of results has `success`; a refused call has `errorCode`.
    match answer[0]["errorCode"].as_str() {
        None => Ok(answer),
        Some(code) => {
            let message = answer[0]["message"].as_str().unwrap_or_default();
            Err(usage(
                "--object",
                format!("{code}: {message}"),
                "see `curl URL/_sim/objects`, or `penstock org --objects`",
            ))
        }
    }
}

async fn answer(org: &Running, request: reqwest::RequestBuilder) -> Result<Value, Box<Problem>> {
    let failed = |error: reqwest::Error| {
        Box::new(Problem {
            code: "PS7103".into(),
            place: org.url.clone(),
            cause: error.without_url().to_string(),
            fix: "start one with `penstock org`, or name its address with --at".into(),
        })
    };
    let response = request.send().await.map_err(failed)?;
    let status = response.status();
    let text = response.text().await.map_err(failed)?;
    serde_json::from_str(&text).map_err(|_| {
        Box::new(Problem {
            code: "PS7103".into(),
            place: org.url.clone(),
            cause: format!("it answered {status}, and no JSON"),
            fix: "look at its fault rules: `penstock org fault list`".into(),
        })
    })
}

/// Reads records: a CSV file with a header, a JSON array, or JSON lines.
fn read(file: &Path) -> Result<Vec<Map<String, Value>>, Box<Problem>> {
    let place = file.display().to_string();
    let bytes = std::fs::read(file)
        .map_err(|error| usage(&place, format!("the file cannot be read: {error}"), "name another file"))?;
    let wrong = |cause: String| usage(&place, cause, "give CSV with a header, a JSON array of objects, or JSON lines");
    if file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) {
        return from_csv(&bytes).map_err(|error| wrong(error.to_string()));
    }
    let values: Vec<Value> = match serde_json::from_slice::<Value>(&bytes) {
        Ok(Value::Array(values)) => values,
        Ok(one) => vec![one],
        Err(_) => serde_json::Deserializer::from_slice(&bytes)
            .into_iter()
            .collect::<Result<_, _>>()
            .map_err(|error| wrong(error.to_string()))?,
    };
    let object = |(at, value): (usize, Value)| match value {
        Value::Object(object) => Ok(object),
        _ => Err(wrong(format!("record {} is not an object", at + 1))),
    };
    values.into_iter().enumerate().map(object).collect()
}

/// An empty cell leaves its field out, `#N/A` is null; `Account.Code__c` names a parent by its external id.
fn from_csv(bytes: &[u8]) -> Result<Vec<Map<String, Value>>, csv::Error> {
    let mut reader = csv::Reader::from_reader(bytes);
    let header = reader.headers()?.clone();
    let mut records = Vec::new();
    for row in reader.records() {
        let mut record = Map::new();
        for (name, cell) in header.iter().zip(&row?) {
            let value = match cell {
                "" => continue,
                "#N/A" => Value::Null,
                text => text.into(),
            };
            match name.split_once('.') {
                Some((parent, field)) => record.insert(parent.to_owned(), json!({field: value})),
                None => record.insert(name.to_owned(), value),
            };
        }
        records.push(record);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_cells_are_values_nulls_or_left_out_and_parents_are_named() {
        let records = from_csv(b"Name,Phone,Account.Code__c\nA,#N/A,X1\nB,,\n").unwrap();
        let expected = json!([{"Name": "A", "Phone": null, "Account": {"Code__c": "X1"}}, {"Name": "B"}]);
        assert_eq!(serde_json::to_value(records).unwrap(), expected);
    }

    #[test]
    fn json_is_taken_as_an_array_or_in_lines_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let read_text = |text: &str| {
            let path = dir.path().join("records.json");
            std::fs::write(&path, text).unwrap();
            read(&path)
        };
        assert_eq!(read_text(r#"[{"A": 1}, {"A": 2}]"#).unwrap().len(), 2);
        assert_eq!(read_text("{\"A\": 1}\n{\"A\": 2}\n{\"A\": 3}\n").unwrap().len(), 3);
        assert_eq!(read_text("[1]").unwrap_err().code, "PS1010");
        assert_eq!(read_text("{").unwrap_err().code, "PS1010");
    }
}
