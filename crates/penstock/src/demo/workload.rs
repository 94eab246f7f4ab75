//! The demo's shop at work: inserts, updates and deletes with hot keys, from a seed.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;
use tokio_postgres::Client;

/// Every so many-th update goes to one of a few hot rows.
const HOT_SHARE: f64 = 0.25;
const HOT_KEYS: usize = 5;
/// Rows of one transaction, at most.
const TRANSACTION_MAX: u32 = 6;

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Written {
    pub inserts: u64,
    pub updates: u64,
    pub deletes: u64,
    pub transactions: u64,
}

impl Written {
    /// All changes.
    pub fn changes(&self) -> u64 {
        self.inserts + self.updates + self.deletes
    }
}

/// One writer with keys of its own, so that several can write at once.
pub struct Workload {
    random: StdRng,
    next_key: i64,
    /// Keys of different writers differ in their remainder by this.
    step: i64,
    customers: Vec<i64>,
    orders: Vec<(i64, i64)>,
    /// So many of the first customers are never deleted.
    kept: usize,
    pub written: Written,
}

impl Workload {
    /// Makes writer number `writer` of `writers`.
    pub fn new(seed: u64, writer: u32, writers: u32) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(u64::from(writer))),
            next_key: i64::from(writer) + 1,
            step: i64::from(writers.max(1)),
            customers: Vec::new(),
            orders: Vec::new(),
            kept: HOT_KEYS,
            written: Written::default(),
        }
    }

    /// Writes one transaction of a few changes; returns how many.
    ///
    /// # Errors
    /// The database's own error; the transaction is then rolled back and the writer's memory of keys is as before.
    pub async fn transaction(&mut self, client: &mut Client) -> Result<u32, tokio_postgres::Error> {
        let before = (self.customers.clone(), self.orders.clone(), self.next_key, self.written);
        match self.write(client).await {
            Ok(changes) => Ok(changes),
            Err(error) => {
                (self.customers, self.orders, self.next_key, self.written) = before;
                Err(error)
            }
        }
    }

    /// Never deletes the customers that are there now, and counts from here on: a customer that is deleted before the first
    /// copy came to it leaves changes of its orders behind that no org can take (they become dead letters).
    pub fn keep_what_is_there(&mut self) {
        self.kept = self.customers.len();
        self.written = Written::default();
    }

    /// Goes past keys that may be taken: a commit whose answer was lost has perhaps happened.
    pub fn skip_keys(&mut self) {
        self.next_key += self.step * i64::from(TRANSACTION_MAX) * 2;
    }

    async fn write(&mut self, client: &mut Client) -> Result<u32, tokio_postgres::Error> {
        let changes = self.random.random_range(1..=TRANSACTION_MAX);
        let transaction = client.transaction().await?;
        let mut sql = String::new();
        for _ in 0..changes {
            sql.push_str(&self.statement());
        }
        transaction.batch_execute(&sql).await?;
        transaction.commit().await?;
        self.written.transactions += 1;
        Ok(changes)
    }

    fn statement(&mut self) -> String {
        let dice = self.random.random_range(0..100);
        match dice {
            _ if self.customers.len() < HOT_KEYS => self.insert_customer(),
            0..10 => self.insert_customer(),
            10..35 => self.insert_order(),
            35..50 => self.update_customer(),
            50..92 if !self.orders.is_empty() => self.update_order(),
            92..98 if !self.orders.is_empty() => self.delete_order(),
            98.. => self.delete_customer(),
            _ => self.insert_order(),
        }
    }

    fn key(&mut self) -> i64 {
        let key = self.next_key;
        self.next_key += self.step;
        key
    }

    fn insert_customer(&mut self) -> String {
        let key = self.key();
        self.customers.push(key);
        self.written.inserts += 1;
        let (name, city) = (NAMES[self.pick(NAMES.len())], CITIES[self.pick(CITIES.len())]);
        let number = self.random.random_range(1..300);
        format!(
            "insert into shop.customers (id, email, name, address) values ({key}, '{}.{key}@example.com', '{name}', \
             '{{\"city\": \"{city}\", \"street\": \"Main Street {number}\"}}');",
            name.split(' ').next().unwrap_or("x").to_lowercase(),
        )
    }

    fn insert_order(&mut self) -> String {
        let key = self.key();
        let index = self.hot(self.customers.len());
        let customer = self.customers[index];
        self.orders.push((key, customer));
        self.written.inserts += 1;
        let (total, items) = (self.total(), self.items());
        format!(
            "insert into shop.orders (id, customer_id, total, items) values ({key}, {customer}, {total}, '{items}');"
        )
    }

    fn update_customer(&mut self) -> String {
        let index = self.hot(self.customers.len());
        self.written.updates += 1;
        let (key, number) = (self.customers[index], self.random.random_range(1..300));
        let city = CITIES[self.pick(CITIES.len())];
        format!(
            "update shop.customers set address = '{{\"city\": \"{city}\", \"street\": \"Side Street {number}\"}}' where id = {key};"
        )
    }

    fn update_order(&mut self) -> String {
        let index = self.hot(self.orders.len());
        self.written.updates += 1;
        let (key, _) = self.orders[index];
        let status = ["open", "paid", "shipped"][self.pick(3)];
        format!("update shop.orders set status = '{status}', total = {} where id = {key};", self.total())
    }

    fn delete_order(&mut self) -> String {
        let index = self.random.random_range(0..self.orders.len());
        let (key, _) = self.orders.swap_remove(index);
        self.written.deletes += 1;
        format!("delete from shop.orders where id = {key};")
    }

    /// Deletes a customer with its orders, the orders first; the kept ones stay.
    fn delete_customer(&mut self) -> String {
        if self.customers.len() <= self.kept {
            return self.insert_customer();
        }
        let index = self.random.random_range(self.kept..self.customers.len());
        let key = self.customers.swap_remove(index);
        let orders = self.orders.iter().filter(|(_, customer)| *customer == key).count() as u64;
        self.orders.retain(|(_, customer)| *customer != key);
        self.written.deletes += 1 + orders;
        format!("delete from shop.orders where customer_id = {key}; delete from shop.customers where id = {key};")
    }

    /// An index below `len`: one of the first few for a share of the draws.
    fn hot(&mut self, len: usize) -> usize {
        let bound = if self.random.random_bool(HOT_SHARE) { len.min(HOT_KEYS) } else { len };
        self.random.random_range(0..bound)
    }

    fn pick(&mut self, len: usize) -> usize {
        self.random.random_range(0..len)
    }

    fn total(&mut self) -> String {
        format!("{}.{:02}", self.random.random_range(1..5_000), self.random.random_range(0..100))
    }

    fn items(&mut self) -> String {
        let lines = self.random.random_range(1..4);
        let items: Vec<String> = (0..lines)
            .map(|_| {
                let (sku, count) = (SKUS[self.pick(SKUS.len())], self.random.random_range(1..9));
                format!("{{\"sku\": \"{sku}\", \"count\": {count}}}")
            })
            .collect();
        format!("[{}]", items.join(", "))
    }
}

const NAMES: &[&str] = &[
    "Ada Lovelace",
    "Grace Hopper",
    "Zoë Müller",
    "José Álvarez",
    "Søren Kierkegaard",
    "Mei Lin",
    "Noor Haddad",
    "李娜",
];
const CITIES: &[&str] = &["Zürich", "New York", "Kraków", "São Paulo", "東京", "Lagos", "Reykjavík"];
const SKUS: &[&str] = &["tea-100", "mug-blue", "kettle-1l", "spoon-6", "tray-oak"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_writes_the_same_statements() {
        let (mut a, mut b) = (Workload::new(7, 0, 2), Workload::new(7, 0, 2));
        for _ in 0..500 {
            assert_eq!(a.statement(), b.statement());
        }
        assert!(a.written.inserts > 0 && a.written.updates > 0 && a.written.deletes > 0, "{:?}", a.written);
    }

    #[test]
    fn writers_never_share_a_key() {
        let (mut a, mut b) = (Workload::new(7, 0, 2), Workload::new(7, 1, 2));
        let (a, b): (Vec<_>, Vec<_>) = ((0..100).map(|_| a.key()).collect(), (0..100).map(|_| b.key()).collect());
        assert!(a.iter().all(|key| !b.contains(key)));
    }
}
