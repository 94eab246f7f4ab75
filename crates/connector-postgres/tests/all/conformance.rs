//! The suite of `contract` for sources.

use crate::bed::Bed;
use async_trait::async_trait;
use contract::conformance::source::{SourceFixture, run_all};
use contract::{Source, SourceContext};
use model::Record;
use std::sync::Arc;

struct Upstream {
    bed: Option<Bed>,
}

impl Upstream {
    fn bed(&self) -> &Bed {
        self.bed.as_ref().expect("there is a bed")
    }
}

#[async_trait]
impl SourceFixture for Upstream {
    async fn open(&mut self) -> (Arc<dyn Source>, SourceContext) {
        let bed = self.bed.take().expect("there is a bed").reopened().await;
        let opened = (Arc::new(bed.source()) as Arc<dyn Source>, bed.context());
        self.bed = Some(bed);
        opened
    }

    async fn add(&mut self, first: u64, count: u64) {
        let statement = format!("INSERT INTO t SELECT g FROM generate_series({first}, {}) g", first + count - 1);
        self.bed().execute(&statement).await;
    }

    async fn cut(&mut self) {
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'penstock'";
        self.bed().execute(cut).await;
    }

    fn number(&self, record: &Record<'_>) -> u64 {
        let key: serde_json::Value = serde_json::from_slice(record.key.expect("a key")).expect("JSON");
        key["id"].as_u64().expect("a number")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_source_keeps_the_contract() {
    run_all(async || Upstream {
        bed: Some(Bed::new("CREATE TABLE t (id bigint PRIMARY KEY)", &[("t", &["id"])]).await),
    })
    .await;
}
