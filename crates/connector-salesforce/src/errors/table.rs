//! Salesforce's error codes and what each means for a row or a call.
//!
//! Source: the codes of the SOAP API Developer Guide's "Core Data Types", REST's "Status Codes and Error Responses"; the
//! classes are ours. A code that is not in the table is `Permanent`: the row goes to the dead letters where somebody sees
//! the code, instead of being retried for ever. Codes are classified by name, never by HTTP status: the same code comes
//! with several.

use model::ErrorClass::{self, Auth, BusinessRule, Collateral, Lock, ParentMissing, Permanent, Quota, Transient};
use std::time::Duration;

/// What an error code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub class: ErrorClass,
    /// How long to wait at least, where the code tells.
    pub retry_after: Option<Duration>,
    /// False for a code that the table does not hold.
    pub known: bool,
}

const NOW: u64 = 0;

/// Code, class, seconds to wait at least (0: the caller's own backoff). Sorted by code.
static RULES: &[(&str, ErrorClass, u64)] = &[
    ("ALL_OR_NONE_OPERATION_ROLLED_BACK", Collateral, NOW),
    ("ALREADY_IN_PROCESS", BusinessRule, NOW),
    // Despite its name a temporary problem of the platform.
    ("API_CURRENTLY_DISABLED", Transient, 30),
    ("API_DISABLED_FOR_ORG", Auth, NOW),
    ("BATCH_PROCESSING_HALTED", Collateral, NOW),
    ("CANNOT_EXECUTE_FLOW_TRIGGER", BusinessRule, NOW),
    // Also what an Apex trigger's exception looks like.
    ("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", BusinessRule, NOW),
    ("DELETE_FAILED", BusinessRule, NOW),
    ("DEPENDENCY_EXISTS", BusinessRule, NOW),
    ("DUPLICATES_DETECTED", BusinessRule, NOW),
    ("DUPLICATE_EXTERNAL_ID", Permanent, NOW),
    ("DUPLICATE_VALUE", Permanent, NOW),
    ("ENTITY_IS_DELETED", Permanent, NOW),
    ("ENTITY_IS_LOCKED", BusinessRule, NOW),
    // Bulk writes its own codes without spaces.
    ("EXCEEDEDQUOTA", Quota, 300),
    ("EXCEEDED_ID_LIMIT", Permanent, NOW),
    ("EXCEEDED_MAX_SIZE_REQUEST", Permanent, NOW),
    ("EXCEEDED_QUOTA", Quota, 300),
    ("EXTERNAL_SERVICE_CONNECTION_EXCEPTION", Transient, 5),
    ("FEATURENOTENABLED", Auth, NOW),
    ("FIELD_CUSTOM_VALIDATION_EXCEPTION", BusinessRule, NOW),
    ("FIELD_FILTER_VALIDATION_EXCEPTION", BusinessRule, NOW),
    ("FIELD_INTEGRITY_EXCEPTION", Permanent, NOW),
    // Worded both as temporarily disabled and as off; the pipeline's attempts are bounded, so it ends as a dead letter.
    ("FUNCTIONALITY_NOT_ENABLED", Transient, 30),
    ("IDEMPOTENCY_FEATURE_NOT_ENABLED", Permanent, NOW),
    ("IDEMPOTENCY_NOT_SUPPORTED", Permanent, NOW),
    ("INACTIVE_OWNER_OR_USER", BusinessRule, NOW),
    ("INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE", Transient, 60),
    ("INSUFFICIENT_ACCESS", BusinessRule, NOW),
    ("INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY", BusinessRule, NOW),
    ("INSUFFICIENT_ACCESS_OR_READONLY", BusinessRule, NOW),
    ("INTERNAL_ERROR", Transient, 5),
    ("INVALID_AUTH_HEADER", Auth, NOW),
    ("INVALID_CROSS_REFERENCE_KEY", ParentMissing, NOW),
    ("INVALID_EXTERNAL_ID_FIELD_NAME", Permanent, NOW),
    ("INVALID_FIELD", Permanent, NOW),
    ("INVALID_FIELD_FOR_INSERT_UPDATE", Permanent, NOW),
    ("INVALID_IDEMPOTENCY_KEY", Permanent, NOW),
    ("INVALID_ID_FIELD", Permanent, NOW),
    ("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", Permanent, NOW),
    ("INVALID_QUERY_LOCATOR", Transient, NOW),
    ("INVALID_READ_ONLY_USER_DML", Transient, 60),
    ("INVALID_REPLICATION_DATE", Permanent, NOW),
    ("INVALID_SERVER_ERROR", Transient, 5),
    ("INVALID_SESSION_ID", Auth, NOW),
    ("INVALID_TYPE", Permanent, NOW),
    ("INVALID_TYPE_ON_FIELD_IN_RECORD", Permanent, NOW),
    ("JSON_PARSER_ERROR", Permanent, NOW),
    ("LICENSE_LIMIT_EXCEEDED", Auth, NOW),
    ("LIMIT_EXCEEDED", Quota, 60),
    ("MALFORMED_ID", Permanent, NOW),
    ("MALFORMED_QUERY", Permanent, NOW),
    ("MISSING_ARGUMENT", Permanent, NOW),
    ("MIXED_DML_OPERATION", Permanent, NOW),
    ("NOT_FOUND", Permanent, NOW),
    ("NUMBER_OUTSIDE_VALID_RANGE", Permanent, NOW),
    ("OPERATION_TOO_LARGE", Permanent, NOW),
    ("ORG_LOCKED", Auth, NOW),
    ("PLATFORM_EVENT_PUBLISHING_UNAVAILABLE", Transient, 5),
    ("PLATFORM_EVENT_PUBLISH_FAILED", Transient, 5),
    ("PROCESSING_HALTED", Collateral, NOW),
    ("QUERY_TIMEOUT", Transient, 5),
    ("QUERY_TOO_COMPLICATED", Permanent, NOW),
    ("RECORD_NOT_FOUND", Permanent, NOW),
    // Which of its three limits it was stands in the message: `classify` looks.
    ("REQUEST_LIMIT_EXCEEDED", Quota, 300),
    ("REQUEST_RUNNING_TOO_LONG", Transient, 5),
    ("REQUIRED_FIELD_MISSING", Permanent, NOW),
    ("SELF_REFERENCE_FROM_TRIGGER", BusinessRule, NOW),
    ("SERVER_UNAVAILABLE", Transient, 5),
    ("SSO_SERVICE_DOWN", Transient, 30),
    ("STORAGE_LIMIT_EXCEEDED", Quota, 300),
    ("STRING_TOO_LONG", Permanent, NOW),
    ("TEXT_DATA_OUTSIDE_SUPPORTED_CHARSET", Permanent, NOW),
    ("TOO_MANY_APEX_REQUESTS", Transient, 5),
    ("TOO_MANY_ENUM_VALUE", Permanent, NOW),
    ("TOO_MANY_JOBS", Quota, 60),
    ("TRIAL_EXPIRED", Auth, NOW),
    ("TXN_SECURITY_APEX_ERROR", BusinessRule, NOW),
    ("TXN_SECURITY_METERING_ERROR", Transient, 5),
    ("TXN_SECURITY_NO_ACCESS", BusinessRule, NOW),
    ("TXN_SECURITY_RUNTIME_ERROR", Transient, 5),
    ("UNABLE_TO_LOCK_ROW", Lock, NOW),
    ("UNKNOWN_EXCEPTION", Transient, 5),
    ("UNSUPPORTED_DML", Permanent, NOW),
];

/// Classifies a code, with the help of its sentence where the code alone does not tell.
pub fn classify(code: &str, message: &str) -> Verdict {
    // A trigger or flow that met a lock reports it inside its own error.
    if message.contains("UNABLE_TO_LOCK_ROW") || message.contains("unable to obtain exclusive access") {
        return Verdict { class: Lock, retry_after: None, known: true };
    }
    if is_parent_missing(code, message) {
        return Verdict { class: ParentMissing, retry_after: None, known: true };
    }
    // Only the 24-hour quota is a long stop; the two limits of concurrency pass in seconds.
    if code == "REQUEST_LIMIT_EXCEEDED" && message.contains("Concurrent") {
        return Verdict { class: Quota, retry_after: Some(Duration::from_secs(5)), known: true };
    }
    match RULES.binary_search_by(|rule| rule.0.cmp(code)) {
        Ok(at) => {
            let (_, class, seconds) = RULES[at];
            Verdict { class, retry_after: (seconds > 0).then(|| Duration::from_secs(seconds)), known: true }
        }
        Err(_) => Verdict { class: Permanent, retry_after: None, known: false },
    }
}

/// True when the row was refused because a record that it refers to by external id is not there (yet).
pub fn is_parent_missing(code: &str, message: &str) -> bool {
    match code {
        "INVALID_CROSS_REFERENCE_KEY" => true,
        "INVALID_FIELD" | "NOT_FOUND" | "INVALID_FIELD_FOR_INSERT_UPDATE" => {
            message.contains("Foreign key external ID") && message.contains("not found")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_sorted_and_unique() {
        assert!(RULES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn unknown_code_is_permanent_and_said_to_be_unknown() {
        let verdict = classify("SOMETHING_NEW_IN_V99", "?");
        assert_eq!((verdict.class, verdict.known), (Permanent, false));
    }

    #[test]
    fn request_limit_is_a_long_stop_only_for_the_daily_quota() {
        let wait = |message| classify("REQUEST_LIMIT_EXCEEDED", message).retry_after;
        assert_eq!(wait("TotalRequests Limit exceeded."), Some(Duration::from_secs(300)));
        assert_eq!(wait("ConcurrentPerOrgLongTxn Limit exceeded."), Some(Duration::from_secs(5)));
        assert_eq!(wait("ConcurrentRequests (Concurrent API Requests) Limit exceeded."), Some(Duration::from_secs(5)));
    }

    #[test]
    fn a_lock_inside_a_triggers_error_is_a_lock() {
        let message = "OrderTrigger: execution of AfterUpdate caused by: System.DmlException: Update failed. First exception \
                       on row 0; first error: UNABLE_TO_LOCK_ROW, unable to obtain exclusive access to this record: []";
        assert_eq!(classify("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", message).class, Lock);
        assert_eq!(classify("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "credit hold").class, BusinessRule);
    }

    #[test]
    fn a_missing_parent_is_told_from_a_missing_field() {
        let message = "Foreign key external ID: fdny not found for field Agency_Code__c in entity Account";
        assert_eq!(classify("INVALID_FIELD", message).class, ParentMissing);
        assert_eq!(classify("INVALID_FIELD", "No such column 'Foo__c' on sobject of type Account").class, Permanent);
        assert_eq!(classify("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id").class, ParentMissing);
    }
}
