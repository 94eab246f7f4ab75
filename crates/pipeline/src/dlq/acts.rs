//! What operators did to dead letters: who, when, what, why.
//!
//! Layout: space `dlq_act`, key `<Unix milliseconds with 20 digits>/<first id with 20 digits>`, value one JSON object (frozen sample
//! below). Written in one write with what it tells of; never changed, never removed.

use super::index::id_key;
use contract::{StateError, StateOp, StateStore};
use model::{Lane, Offset, OffsetRange};
use serde::{Deserialize, Serialize};

const SPACE: &str = "dlq_act";
const PAGE: usize = 500;

/// Who acts, when and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The user of the operating system.
    pub who: String,
    /// Unix milliseconds.
    pub at_ms: i64,
    pub why: Option<String>,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Deed {
    Retry {
        lane: Lane,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rate: Option<f64>,
    },
    Drop,
    /// The columns' names; the values stand with the dead letter.
    Edit {
        columns: Vec<String>,
    },
}

/// One act.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Act {
    pub at_ms: i64,
    pub who: String,
    #[serde(flatten)]
    pub deed: Deed,
    /// The dead letters, ascending.
    pub ids: Vec<OffsetRange>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Act {
    /// Makes an act over dead letters, whose ids ascend.
    pub(crate) fn new(operator: &Operator, deed: Deed, ids: &[Offset]) -> Self {
        let ids = OffsetRange::pack(ids.iter().copied());
        Self { at_ms: operator.at_ms, who: operator.who.clone(), deed, ids, why: operator.why.clone() }
    }

    /// True when it was about this dead letter.
    pub fn concerns(&self, id: Offset) -> bool {
        self.ids.iter().any(|range| range.from <= id && id < range.to)
    }

    /// The operation that stores it.
    pub(crate) fn put(&self) -> StateOp {
        let first = self.ids.first().map_or(Offset(0), |range| range.from);
        let word = match self.deed {
            Deed::Retry { .. } => "retry",
            Deed::Drop => "drop",
            Deed::Edit { .. } => "edit",
        };
        let key = format!("{:020}/{}/{word}", self.at_ms.max(0), id_key(first));
        let value = serde_json::to_vec(self).expect("an act holds only strings, numbers and lists");
        StateOp::Put { space: SPACE, key, value }
    }
}

/// Reads acts, oldest first; at most the newest `limit` of those that `takes` takes.
///
/// # Errors
/// As `StateStore::scan`; `Malformed`.
pub async fn acts(state: &dyn StateStore, limit: usize, takes: impl Fn(&Act) -> bool) -> Result<Vec<Act>, StateError> {
    let mut found = std::collections::VecDeque::new();
    let mut after: Option<String> = None;
    loop {
        let page = state.scan(SPACE, "", after.as_deref(), PAGE).await?;
        let last = page.len() < PAGE;
        after = page.last().map(|(key, _)| key.clone());
        for (key, bytes) in page {
            let act: Act = serde_json::from_slice(&bytes).map_err(|error| StateError::Malformed {
                space: SPACE.into(),
                key,
                cause: error.to_string(),
            })?;
            if takes(&act) {
                found.push_back(act);
                if found.len() > limit {
                    found.pop_front();
                }
            }
        }
        if last {
            return Ok(found.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As written by the first version. Never change it: it is what lies on disks.
    const FROZEN: &str = r#"{"at_ms":5,"who":"ann","what":"retry","lane":"bulk","rate":50.0,"ids":[{"from":3,"to":5},{"from":9,"to":10}],"why":"rule was mended"}"#;

    #[test]
    fn frozen_act_reads_and_is_written_the_same() {
        let operator = Operator { who: "ann".into(), at_ms: 5, why: Some("rule was mended".into()) };
        let deed = Deed::Retry { lane: Lane::Bulk, rate: Some(50.0) };
        let act = Act::new(&operator, deed, &[3, 4, 9].map(Offset));
        assert_eq!(serde_json::from_str::<Act>(FROZEN).unwrap(), act);
        let StateOp::Put { key, value, .. } = act.put() else { panic!("an act is put") };
        assert_eq!(String::from_utf8(value).unwrap(), FROZEN);
        assert_eq!(key, "00000000000000000005/00000000000000000003/retry");
        assert!(act.concerns(Offset(4)) && !act.concerns(Offset(5)));
    }
}
