//! The configured router → `pipeline::router`.

use crate::config::{ApiWord, OperationConfig, RouterConfig, RuleConfig};
use model::{Api, Lane, TableName};
use pipeline::router::{ApiRule, ApiSetting, RouterSpec};
use pipeline::spec::Operation;

/// The router's settings. Rules that say `auto` end the list: the router chooses from there on.
pub fn router_spec(config: &RouterConfig) -> RouterSpec {
    RouterSpec {
        bulk_from: config.bulk_from,
        bulk_rows_max: config.bulk_rows,
        bulk_bytes_max: config.bulk_bytes.0 as usize,
        bulk_wait: config.bulk_wait.0,
        rules: config.rules.iter().map_while(rule).collect(),
    }
}

fn rule(rule: &RuleConfig) -> Option<ApiRule> {
    let ApiSetting::Only(api) = api_setting(rule.api) else { return None };
    let when = &rule.when;
    Some(ApiRule {
        api,
        table: when.table.as_deref().and_then(|table| TableName::parse(table).ok()),
        operation: when.operation.map(operation),
        lane: when.lane.as_deref().and_then(Lane::from_word),
        rows_min: when.rows_from,
        rows_max: when.rows_to,
    })
}

/// A route's `api`.
pub fn api_setting(word: ApiWord) -> ApiSetting {
    match word {
        ApiWord::Auto => ApiSetting::Auto,
        ApiWord::Collections => ApiSetting::Only(Api::Collections),
        ApiWord::Graph => ApiSetting::Only(Api::Graph),
        ApiWord::Bulk => ApiSetting::Only(Api::Bulk),
        ApiWord::Event => ApiSetting::Only(Api::Event),
        ApiWord::PubSub => ApiSetting::Only(Api::PubSub),
        ApiWord::Rest => ApiSetting::Only(Api::Rest),
    }
}

/// A route's operation.
pub fn operation(operation: OperationConfig) -> Operation {
    match operation {
        OperationConfig::Upsert => Operation::Upsert,
        OperationConfig::Create => Operation::Create,
        OperationConfig::Update => Operation::Update,
    }
}
