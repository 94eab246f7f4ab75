//! Any sequence of calls keeps the documented transitions; any upload comes out whole; limits let no batch too many through.

use crate::bulk_support::{World, insert, upsert};
use crate::support::config;
use org_sim::{Api, Effect, FaultMatch, FaultRule, LatencyModel, ServiceTime, Work};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    Ingest,
    Query,
    Upload(usize, u16),
    Close(usize),
    Abort(usize),
    Delete(usize),
    Results(usize),
    Work(u8),
    Wait(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let job = 0usize..4;
    prop_oneof![
        2 => Just(Step::Ingest),
        1 => Just(Step::Query),
        3 => (job.clone(), 0u16..900).prop_map(|(job, rows)| Step::Upload(job, rows)),
        3 => job.clone().prop_map(Step::Close),
        1 => job.clone().prop_map(Step::Abort),
        1 => job.clone().prop_map(Step::Delete),
        2 => job.prop_map(Step::Results),
        6 => (1u8..12).prop_map(Step::Work),
        1 => (1u32..400_000).prop_map(Step::Wait),
    ]
}

struct Known {
    path: String,
    state: String,
    uploaded: bool,
}

impl Known {
    fn is_query(&self) -> bool {
        self.path.starts_with("jobs/query")
    }

    fn has_ended(&self) -> bool {
        ["JobComplete", "Failed", "Aborted"].contains(&self.state.as_str())
    }
}

/// Whether the org may take a job from one state to another by itself, in one or more steps.
fn may_become(from: &str, to: &str) -> bool {
    from == to
        || match from {
            "UploadComplete" => ["InProgress", "JobComplete", "Failed"].contains(&to),
            "InProgress" => ["JobComplete", "Failed"].contains(&to),
            _ => false,
        }
}

struct Model {
    world: World,
    jobs: Vec<Known>,
    deleted: Vec<String>,
}

impl Model {
    fn look(&mut self) {
        for at in 0..self.jobs.len() {
            let path = self.jobs[at].path.clone();
            let state = self.world.state(&path);
            assert!(may_become(&self.jobs[at].state, &state), "{} became {state}", self.jobs[at].state);
            self.jobs[at].state = state;
        }
        for path in self.deleted.clone() {
            assert_eq!(self.world.get(&path).status, 404);
        }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Ingest => self.create(upsert(), "Open"),
            Step::Query => {
                let body = json!({ "operation": "queryAll", "query": "SELECT Id, Name FROM Account" });
                self.create(body, "UploadComplete");
            }
            Step::Work(times) => (0..*times).for_each(|_| {
                self.world.org.work(self.world.now_ms);
            }),
            Step::Wait(ms) => self.world.now_ms += i64::from(*ms),
            Step::Upload(job, _) | Step::Close(job) | Step::Abort(job) | Step::Delete(job) | Step::Results(job) => {
                if *job < self.jobs.len() {
                    self.call(step, *job);
                }
            }
        }
        self.look();
    }

    fn create(&mut self, body: Value, state: &str) {
        let path = self.world.create(body);
        self.jobs.push(Known { path, state: state.to_owned(), uploaded: false });
    }

    fn call(&mut self, step: &Step, at: usize) {
        let Known { path, state, uploaded } = &self.jobs[at];
        let (path, state, uploaded) = (path.clone(), state.clone(), *uploaded);
        let (query, ended) = (self.jobs[at].is_query(), self.jobs[at].has_ended());
        match step {
            Step::Upload(_, rows) => {
                let text: String = (0..*rows).map(|n| format!("k{n},N\n")).collect();
                let status = self.world.upload(&path, &format!("Code__c,Name\n{text}")).status;
                match (query, state.as_str(), uploaded) {
                    (true, ..) => assert_eq!(status, 404),
                    (_, "Open", false) => assert_eq!(status, 201),
                    _ => assert_eq!(status, 400),
                }
                self.jobs[at].uploaded |= status == 201;
            }
            Step::Close(_) => {
                let status = self.world.set(&path, "UploadComplete").status;
                assert_eq!(status == 200, !query && state == "Open", "close in {state}: {status}");
                if status == 200 {
                    self.jobs[at].state = "UploadComplete".into();
                }
            }
            Step::Abort(_) => {
                let status = self.world.set(&path, "Aborted").status;
                assert_eq!(status == 200, !ended, "abort in {state}: {status}");
                if status == 200 {
                    self.jobs[at].state = "Aborted".into();
                }
            }
            Step::Delete(_) => {
                let status = self.world.json("DELETE", &path, Value::Null).status;
                assert_eq!(status == 204, ended || state == "UploadComplete", "delete in {state}: {status}");
                if status == 204 {
                    self.deleted.push(self.jobs.remove(at).path);
                }
            }
            _ => {
                let file = if query { "results" } else { "failedResults" };
                let ready = if query { state == "JobComplete" } else { ended };
                let status = self.world.get(&format!("{path}/{file}")).status;
                assert_eq!(status, if ready { 200 } else { 400 }, "results in {state}");
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Good,
    NoName,
    Quote,
    Short,
}

impl Line {
    fn text(self, n: usize) -> String {
        match self {
            Line::Good => format!("k{n},\"Name, {n}\",x\n"),
            Line::NoName => format!("k{n},,x\n"),
            Line::Quote => format!("k{n}, \"N\",x\n"),
            Line::Short => format!("k{n},N\n"),
        }
    }
}

fn line() -> impl Strategy<Value = Line> {
    prop_oneof![20 => Just(Line::Good), 1 => Just(Line::NoName), 1 => Just(Line::Quote), 1 => Just(Line::Short)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn any_calls_keep_the_documented_transitions(steps in prop::collection::vec(step(), 1..60), slow in any::<bool>()) {
        let mut config = config();
        if slow {
            let bulk = ServiceTime { base_ms: 0.0, per_record_ms: 28.0 };
            config.latency = LatencyModel { bulk, bulk_query: bulk, ..LatencyModel::none() };
            config.bulk.start_delay_ms = 1_000;
        }
        let mut model = Model { world: World::with(config), jobs: Vec::new(), deleted: Vec::new() };
        for step in &steps {
            model.run(step);
        }
        // Left alone, every job that was closed ends.
        model.world.work_out();
        model.look();
        prop_assert!(model.jobs.iter().all(|job| job.has_ended() || job.state == "Open"));
    }

    #[test]
    fn each_row_is_in_exactly_one_result_file(
        lines in prop::collection::vec(line(), 0..1500),
        abort_after in prop::option::of(0usize..40),
        fraction in 0.0f64..0.3,
        slow in any::<bool>(),
    ) {
        let mut config = config();
        if slow {
            config.latency.bulk = ServiceTime { base_ms: 0.0, per_record_ms: 28.0 };
        }
        let mut world = World::with(config);
        let on = FaultMatch { api: Some(Api::Bulk), ..FaultMatch::default() };
        world.org.add_fault(FaultRule::new(on, Effect::LockRows { row_fraction: fraction }));
        let job = world.create(upsert());
        let text: String = lines.iter().enumerate().map(|(n, line)| line.text(n)).collect();
        world.upload(&job, &format!("Code__c,Name,Phone\n{text}"));
        world.set(&job, "UploadComplete");
        for _ in 0..abort_after.unwrap_or(0) {
            if let Work::At(ms) = world.org.work(world.now_ms) {
                world.now_ms = ms;
            }
        }
        if abort_after.is_some() {
            world.set(&job, "Aborted");
        }
        world.work_out();
        let info = world.get(&job).json();
        let [done, failed, unprocessed] = world.files(&job);
        prop_assert_eq!(info["numberRecordsProcessed"].as_u64().unwrap(), (done.len() + failed.len()) as u64);
        prop_assert_eq!(info["numberRecordsFailed"].as_u64().unwrap(), failed.len() as u64);
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let keys = done.iter().chain(&failed).map(|row| &row[2]).chain(unprocessed.iter().map(|row| &row[0]));
        for key in keys {
            *seen.entry(key.clone()).or_default() += 1;
        }
        prop_assert_eq!(seen.len(), lines.len());
        prop_assert!(seen.values().all(|times| *times == 1));
        // Only good rows can succeed, and those that succeeded are the org's records.
        for row in &done {
            let n: usize = row[2][1..].parse().unwrap();
            prop_assert_eq!(lines[n], Line::Good);
        }
        prop_assert_eq!(world.org.records("Account").len(), done.len());
    }

    #[test]
    fn no_batch_too_many_in_any_24_hours(sizes in prop::collection::vec((1usize..30_000, 0i64..20), 1..8), max in 1u64..6) {
        let mut config = config();
        config.bulk.daily_batches_max = max;
        let mut world = World::with(config);
        let mut taken: Vec<(i64, u64)> = Vec::new();
        for (rows, hours) in sizes {
            world.now_ms += hours * 3_600_000;
            let left = world.get("limits").json()["DailyBulkApiBatches"]["Remaining"].as_u64().unwrap();
            let last_day: u64 = taken.iter().filter(|(at, _)| world.now_ms - at < 86_400_000).map(|(_, n)| n).sum();
            prop_assert!(left + last_day <= max);
            if left == 0 {
                prop_assert_eq!(world.json("POST", "jobs/ingest", insert("Account")).code(), "EXCEEDEDQUOTA");
                continue;
            }
            let job = world.ingest(insert("Account"), &format!("Name\n{}", "N\n".repeat(rows)));
            let wanted = rows.div_ceil(10_000) as u64;
            taken.push((world.now_ms, wanted.min(left)));
            prop_assert_eq!(world.state(&job), if wanted <= left { "JobComplete" } else { "Failed" });
        }
    }
}
