//! The order that a route promises, as configured.

use super::{ApiWord, CoalesceConfig, OperationConfig, RouteConfig};
use schemars::JsonSchema;
use serde::Deserialize;

/// The order promised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OrderingConfig {
    #[default]
    Key,
    Fifo,
    None,
    /// As `key`, and the changes of one source transaction are applied together or not at all: by Composite Graph, or by Collections
    /// with `allOrNone`. The routes of a stream to one org that say so take part together.
    Transaction,
}

/// What becomes of a transaction that is too large.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TooLargeConfig {
    /// All of its changes become dead letters (PS5541).
    #[default]
    Refuse,
    /// They are applied one by one, as with `ordering: key`; their settlements say so (PS5542).
    ByKey,
}

/// What of a route does not go with its ordering: the key, why not, and what to write instead.
pub(super) fn misfit(route: &RouteConfig) -> Option<(&'static str, &'static str, &'static str)> {
    if route.ordering != OrderingConfig::Transaction {
        let cause = "it says what happens to large transactions, and the route is not ordered by transaction";
        let stands = route.too_large != TooLargeConfig::default();
        return stands.then_some(("too_large", cause, "add ordering: transaction, or remove it"));
    }
    match () {
        () if route.to.operation != OperationConfig::Upsert => Some((
            "to.operation",
            "a transaction without an answer is sent again as a whole, so its rows must be upserts",
            "write operation: upsert and name an external_id, or use another ordering",
        )),
        () if route.coalesce != CoalesceConfig::Never => Some((
            "coalesce",
            "records of one key are not merged over the bounds of transactions",
            "remove coalesce, or write ordering: key",
        )),
        () if !matches!(route.api, ApiWord::Auto | ApiWord::Graph) => {
            Some(("api", "only a graph applies a transaction as one", "write api: auto, or another ordering"))
        }
        () if route.to.object.to_ascii_lowercase().ends_with("__e") => {
            Some(("to.object", "a published event cannot be taken back", "use another ordering for events"))
        }
        () => None,
    }
}
