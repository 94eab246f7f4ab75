//! The SOAP API's `login`, `logout`, `getUserInfo` and `getServerTimestamp`: how older clients come by a session.
//!
//! Every other operation is refused with a fault.

pub mod xml;

use crate::answer::{Request, Response};
use crate::oauth::{Caller, Sessions};
use crate::value::Value;
use http::Method;
use xml::{Leaf, escaped};

/// Which of the two SOAP APIs, and its version, as they stand in the path.
pub struct Endpoint<'a> {
    /// `u` for partner, `c` for enterprise.
    pub kind: &'a str,
    pub version: &'a str,
}

/// Answers `POST /services/Soap/{u|c}/{version}`; `base` is the org's own address.
pub fn handle(
    sessions: &mut Sessions,
    endpoint: &Endpoint<'_>,
    request: &Request<'_>,
    base: &str,
    now_ms: i64,
) -> Response {
    if request.method != Method::POST {
        return fault("UNKNOWN_EXCEPTION", "The HTTP method is not POST");
    }
    let text = String::from_utf8_lossy(request.body);
    let Ok(leaves) = xml::leaves(&text) else {
        return fault("MALFORMED_REQUEST", "The request is no well-formed XML");
    };
    let operation = leaves.iter().find_map(|leaf| match leaf.path.as_slice() {
        [_, body, operation, ..] if body == "Body" => Some(operation.as_str()),
        _ => None,
    });
    let field = |name: &str| leaves.iter().find(|leaf| leaf.name() == name).map_or("", |leaf| leaf.text.as_str());
    match operation {
        Some("login") => match sessions.soap_log_in(field("username"), field("password"), now_ms) {
            Some((session, caller)) => logged_in(sessions, endpoint, &session, &caller, base),
            None => {
                let message = "Invalid username, password, security token; or user locked out.";
                fault("INVALID_LOGIN", message)
            }
        },
        Some("logout" | "getUserInfo" | "getServerTimestamp") => {
            let session = session_of(&leaves);
            let Some(caller) = sessions.use_token(Some(&format!("Bearer {session}")), now_ms) else {
                let message = "Invalid Session ID found in SessionHeader: Illegal Session. Session not found, missing session key";
                return fault("INVALID_SESSION_ID", message);
            };
            match operation {
                Some("logout") => {
                    sessions.revoke(session);
                    answer(endpoint, "<logoutResponse/>")
                }
                Some("getUserInfo") => {
                    let info = user_info(sessions, &caller);
                    answer(endpoint, &format!("<getUserInfoResponse><result>{info}</result></getUserInfoResponse>"))
                }
                _ => {
                    let now = Value::Datetime(now_ms).to_string().replace("+0000", "Z");
                    let result = format!("<result><timestamp>{now}</timestamp></result>");
                    answer(endpoint, &format!("<getServerTimestampResponse>{result}</getServerTimestampResponse>"))
                }
            }
        }
        Some(other) => fault("UNSUPPORTED_API_VERSION", &format!("{other} is not supported by this simulated org")),
        None => fault("MALFORMED_REQUEST", "The request has no operation in its body"),
    }
}

/// The answer that stands for a SOAP call that a fault rule refused.
pub fn refused(code: &str, message: &str) -> Response {
    fault(code, message)
}

fn session_of(leaves: &[Leaf]) -> &str {
    let in_header = |leaf: &&Leaf| leaf.name() == "sessionId" && leaf.path.iter().any(|name| name == "SessionHeader");
    leaves.iter().find(in_header).map_or("", |leaf| leaf.text.as_str())
}

fn logged_in(sessions: &Sessions, endpoint: &Endpoint<'_>, session: &str, caller: &Caller, base: &str) -> Response {
    let (kind, version) = (endpoint.kind, endpoint.version);
    let url = |kind: &str| format!("{base}/services/Soap/{kind}/{version}/{}", sessions.org_id.short());
    let result = format!(
        "<metadataServerUrl>{}</metadataServerUrl><passwordExpired>false</passwordExpired><sandbox>false</sandbox>\
         <serverUrl>{}</serverUrl><sessionId>{session}</sessionId><userId>{}</userId><userInfo>{}</userInfo>",
        escaped(&url("m")),
        escaped(&url(kind)),
        caller.user,
        user_info(sessions, caller)
    );
    answer(endpoint, &format!("<loginResponse><result>{result}</result></loginResponse>"))
}

fn user_info(sessions: &Sessions, caller: &Caller) -> String {
    let person = sessions.person(&caller.username);
    let field = |name: &str, value: &str| format!("<{name}>{}</{name}>", escaped(value));
    [
        field("accessibilityMode", "false"),
        field("currencySymbol", "$"),
        field("orgDefaultCurrencyIsoCode", "USD"),
        field("orgHasPersonAccounts", "false"),
        field("organizationId", sessions.org_id.as_str()),
        field("organizationMultiCurrency", "false"),
        field("organizationName", "Simulated Org"),
        field("sessionSecondsValid", &sessions.timeout_s().to_string()),
        "<userDefaultCurrencyIsoCode xsi:nil=\"true\"/>".to_owned(),
        field("userEmail", &person.email),
        field("userFullName", &person.name()),
        field("userId", caller.user.as_str()),
        field("userLanguage", "en_US"),
        field("userLocale", "en_US"),
        field("userName", &caller.username),
        field("userTimeZone", "GMT"),
        field("userType", "Standard"),
        field("userUiSkin", "Theme3"),
    ]
    .concat()
}

fn answer(endpoint: &Endpoint<'_>, body: &str) -> Response {
    let space = if endpoint.kind == "c" { "enterprise" } else { "partner" };
    envelope(
        200,
        &format!("xmlns=\"urn:{space}.soap.sforce.com\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\""),
        body,
    )
}

fn fault(code: &str, message: &str) -> Response {
    let kind = if code == "INVALID_LOGIN" { "LoginFault" } else { "UnexpectedErrorFault" };
    let (code, message) = (escaped(code), escaped(message));
    let body = format!(
        "<soapenv:Fault><faultcode>sf:{code}</faultcode><faultstring>{code}: {message}</faultstring><detail>\
         <sf:{kind} xsi:type=\"sf:{kind}\"><sf:exceptionCode>{code}</sf:exceptionCode>\
         <sf:exceptionMessage>{message}</sf:exceptionMessage></sf:{kind}></detail></soapenv:Fault>"
    );
    let spaces =
        "xmlns:sf=\"urn:fault.partner.soap.sforce.com\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"";
    envelope(500, spaces, &body)
}

fn envelope(status: u16, spaces: &str, body: &str) -> Response {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soapenv:Envelope \
         xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" {spaces}><soapenv:Body>{body}</soapenv:Body>\
         </soapenv:Envelope>"
    );
    let mut response = Response::json(status, text.into_bytes());
    response.content_type = "text/xml;charset=UTF-8";
    response
}
