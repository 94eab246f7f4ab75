//! Single-row transactions on a schedule that does not wait for answers: a slow database or pipeline cannot slow the load.

use anyhow::Context;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use penstock::demo::stage::Stage;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::Duration;
use tokio::time::Instant;
use tokio_postgres::{Client, Statement};

/// Customers and orders that are there from the start; updates go to them, evenly.
pub const ROWS_BEFORE: i64 = 10_000;

/// A load.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub commits_per_second: u64,
    pub connections: u64,
    pub duration: Duration,
    pub seed: u64,
    /// Orders get keys from here on.
    pub first_key: i64,
}

/// One single-row transaction. Texts are cast in SQL.
enum Write {
    UpdateCustomer { id: i64, address: String },
    InsertOrder { id: i64, customer: i64, total: String },
    UpdateOrder { id: i64, status: &'static str, total: String },
}

/// The statements of one connection, prepared.
struct Prepared {
    update_customer: Statement,
    insert_order: Statement,
    update_order: Statement,
}

impl Load {
    /// All commits of the load.
    pub fn commits(&self) -> u64 {
        self.commits_per_second * self.duration.as_secs()
    }

    /// Commits at the rate until the duration is over, and waits for the last answer.
    ///
    /// # Errors
    /// The database's own error.
    pub async fn run(self, stage: &Stage) -> anyhow::Result<()> {
        let mut ready = Vec::new();
        for _ in 0..self.connections {
            let client = stage.connect().await?;
            let prepared = Prepared::new(&client).await?;
            ready.push((client, prepared));
        }
        let start = Instant::now() + Duration::from_millis(50);
        let tasks: Vec<_> = ready
            .into_iter()
            .zip(0..)
            .map(|((client, prepared), number)| tokio::spawn(self.drive(client, prepared, number, start)))
            .collect();
        for task in tasks {
            task.await?.context("the load")?;
        }
        Ok(())
    }

    /// One connection: every `connections`-th commit of the schedule.
    async fn drive(
        self,
        client: Client,
        prepared: Prepared,
        number: u64,
        start: Instant,
    ) -> Result<(), tokio_postgres::Error> {
        let mut random = StdRng::seed_from_u64(self.seed.wrapping_mul(1_000_003).wrapping_add(number));
        let mut waiting = FuturesUnordered::new();
        for nth in (number..self.commits()).step_by(self.connections as usize) {
            let due = start + Duration::from_secs_f64(nth as f64 / self.commits_per_second as f64);
            loop {
                tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(due) => break,
                    Some(answer) = waiting.next() => { answer?; }
                }
            }
            let write = Write::draw(&mut random, self.first_key + nth as i64);
            waiting.push(prepared.execute(&client, write));
        }
        while let Some(answer) = waiting.next().await {
            answer?;
        }
        Ok(())
    }
}

impl Write {
    fn draw(random: &mut StdRng, key: i64) -> Self {
        let total = format!("{}.{:02}", random.random_range(1..5_000), random.random_range(0..100));
        let id = random.random_range(1..=ROWS_BEFORE);
        match random.random_range(0..5) {
            0 => {
                let street = random.random_range(1..10_000);
                Self::UpdateCustomer {
                    id,
                    address: format!(r#"{{"city": "Zürich", "street": "Side Street {street}"}}"#),
                }
            }
            1 | 2 => Self::InsertOrder { id: key, customer: id, total },
            _ => Self::UpdateOrder { id, status: ["open", "paid", "shipped"][random.random_range(0..3)], total },
        }
    }
}

impl Prepared {
    async fn new(client: &Client) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            update_customer: client
                .prepare("update shop.customers set address = $2::text::jsonb where id = $1")
                .await?,
            insert_order: client
                .prepare(
                    "insert into shop.orders (id, customer_id, total, items) \
                     values ($1, $2, $3::text::numeric, '[{\"sku\": \"tea-100\", \"count\": 2}]')",
                )
                .await?,
            update_order: client
                .prepare("update shop.orders set status = $2, total = $3::text::numeric where id = $1")
                .await?,
        })
    }

    async fn execute(&self, client: &Client, write: Write) -> Result<u64, tokio_postgres::Error> {
        match write {
            Write::UpdateCustomer { id, address } => client.execute(&self.update_customer, &[&id, &address]).await,
            Write::InsertOrder { id, customer, total } => {
                client.execute(&self.insert_order, &[&id, &customer, &total]).await
            }
            Write::UpdateOrder { id, status, total } => {
                client.execute(&self.update_order, &[&id, &status, &total]).await
            }
        }
    }
}
