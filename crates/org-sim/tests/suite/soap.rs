//! Sessions by SOAP, and who they belong to.

use crate::support::{Client, config, org, org_with};
use org_sim::UserConfig;
use serde_json::json;

fn envelope(header: &str, body: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><e:Envelope xmlns:e=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns:n=\"urn:partner.soap.sforce.com\">\
         <e:Header>{header}</e:Header><e:Body>{body}</e:Body></e:Envelope>"
    )
}

fn log_in(user: &str, password: &str) -> String {
    envelope("", &format!("<n:login><n:username>{user}</n:username><n:password>{password}</n:password></n:login>"))
}

fn between<'t>(text: &'t str, name: &str) -> &'t str {
    let start = text.find(&format!("<{name}>")).map(|at| at + name.len() + 2);
    start.and_then(|start| Some(&text[start..start + text[start..].find("</")?])).unwrap_or_default()
}

async fn post(client: &Client, body: String) -> (u16, String) {
    let request = client.http.post(format!("{}/services/Soap/u/62.0", client.url)).header("soapaction", "login");
    let answer = request.header("content-type", "text/xml").body(body).send().await.unwrap();
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/xml"));
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn login_gives_a_session_that_rest_takes_until_logout() {
    let (org, mut client) = org().await;
    let (status, answer) = post(&client, log_in("Integration@org-sim.example", "penstock-password")).await;
    assert_eq!(status, 200, "{answer}");
    let session = between(&answer, "sessionId").to_owned();
    assert!(between(&answer, "serverUrl").starts_with(&format!("{}/services/Soap/u/62.0/00D", org.url())));
    assert_eq!(between(&answer, "userName"), "integration@org-sim.example");
    assert_eq!(between(&answer, "sessionSecondsValid"), "7200");
    assert_eq!((between(&answer, "userId").len(), between(&answer, "organizationId").len()), (18, 18));
    client.token = session.clone();
    assert_eq!(client.get("limits").await.0, 200);
    let header = format!("<n:SessionHeader><n:sessionId>{session}</n:sessionId></n:SessionHeader>");
    let (status, answer) = post(&client, envelope(&header, "<n:getUserInfo/>")).await;
    assert_eq!((status, between(&answer, "userName")), (200, "integration@org-sim.example"));
    let (status, answer) = post(&client, envelope(&header, "<n:logout/>")).await;
    assert!(status == 200 && answer.contains("logoutResponse"));
    assert_eq!(client.get("limits").await.0, 401);
    let (status, answer) = post(&client, envelope(&header, "<n:logout/>")).await;
    assert_eq!((status, between(&answer, "sf:exceptionCode")), (500, "INVALID_SESSION_ID"));
    org.stop().await;
}

#[tokio::test]
async fn wrong_passwords_and_other_operations_are_faults() {
    let mut config = config();
    config.users.push(UserConfig {
        username: "ann@example.com".into(),
        password: Some("a&b".into()),
        security_token: Some("TOKEN".into()),
        last_name: Some("Lee".into()),
        first_name: Some("Ann".into()),
        ..UserConfig::default()
    });
    let (org, mut client) = org_with(config).await;
    for (body, code) in [
        (log_in("ann@example.com", "a&amp;b"), "INVALID_LOGIN"),
        (log_in("ann@example.com", ""), "INVALID_LOGIN"),
        (log_in("nobody@example.com", "x"), "INVALID_LOGIN"),
        (envelope("", "<n:query><n:queryString>x</n:queryString></n:query>"), "UNSUPPORTED_API_VERSION"),
        (envelope("", "<n:logout/>"), "INVALID_SESSION_ID"),
        ("<a>".into(), "MALFORMED_REQUEST"),
    ] {
        let (status, answer) = post(&client, body).await;
        assert_eq!((status, between(&answer, "sf:exceptionCode")), (500, code), "{answer}");
        assert!(between(&answer, "faultstring").starts_with(code));
    }
    let (status, answer) = post(&client, log_in("ann@example.com", "a&amp;bTOKEN")).await;
    assert_eq!((status, between(&answer, "userFullName")), (200, "Ann Lee"));
    let token = |password: &str| {
        let form = [
            ("grant_type", "password"),
            ("client_id", "penstock-client"),
            ("client_secret", "penstock-secret"),
            ("username", "ann@example.com"),
            ("password", password),
        ];
        client.http.post(format!("{}/services/oauth2/token", client.url)).form(&form).send()
    };
    assert_eq!(token("a&b").await.unwrap().status(), 400);
    let body: serde_json::Value = token("a&bTOKEN").await.unwrap().json().await.unwrap();
    client.token = body["access_token"].as_str().unwrap().to_owned();
    let (_, resources) = client.get("").await;
    assert_eq!(resources["identity"], body["id"]);
    let path = body["id"].as_str().unwrap().strip_prefix(&org.url()).unwrap().to_owned();
    let (status, identity) = client.get(&path).await;
    assert_eq!(
        (status, identity["username"].as_str(), identity["display_name"].as_str()),
        (200, Some("ann@example.com"), Some("Ann Lee"))
    );
    assert_eq!((identity["id"].clone(), identity["asserted_user"].clone()), (body["id"].clone(), json!(true)));
    let (_, user) = client.get("/services/oauth2/userinfo").await;
    assert_eq!((user["family_name"].as_str(), user["sub"].clone()), (Some("Lee"), body["id"].clone()));
    org.stop().await;
}
