//! When to look at a job: seldom, since each look is an API call, but soon after it has ended.

use super::settings::BulkSettings;
use parking_lot::Mutex;
use std::time::Duration;

/// Rows a second of one job when nothing is known yet: a quick org, so that small jobs are not waited for in vain.
const ROWS_PER_SECOND: f64 = 1_000.0;
/// The weight of the newest job in what is known.
const NEWEST: f64 = 0.5;
/// The first look at a job that is larger than what is known comes not later than this: what it sees tells more than a guess.
const FIRST_LOOK_MAX: Duration = Duration::from_secs(15);

/// How fast the org works jobs off, learned from those that have ended.
#[derive(Default)]
pub(crate) struct Speed(Mutex<Known>);

/// Rows and seconds of the jobs that have ended, the older ones for less: a small job, of which the org's start is the most, says
/// little of a large one.
#[derive(Clone, Copy, Default)]
struct Known {
    rows: f64,
    seconds: f64,
    /// Rows of the largest job.
    largest: usize,
}

impl Speed {
    /// Takes a job into account, by the time that the org worked on it.
    pub fn learn(&self, rows: usize, took: Duration) {
        let mut known = self.0.lock();
        known.rows = known.rows * (1.0 - NEWEST) + rows as f64;
        known.seconds = known.seconds * (1.0 - NEWEST) + took.as_secs_f64().max(0.001);
        known.largest = known.largest.max(rows);
    }

    fn of(&self, rows: usize) -> Duration {
        let known = *self.0.lock();
        let rate = if known.rows > 0.0 { known.rows / known.seconds } else { ROWS_PER_SECOND };
        let time = Duration::try_from_secs_f64(rows as f64 / rate.max(0.1)).unwrap_or(Duration::MAX);
        let like_known = rows <= known.largest.saturating_mul(2);
        if like_known { time.saturating_add(time / 50) } else { time.min(FIRST_LOOK_MAX) }
    }
}

/// The looks at one job.
pub(crate) struct Looks {
    rows: usize,
    looks: u32,
    /// When the job was handed over, and what it had worked off at the last look that saw more than before.
    started: Duration,
    done: u64,
    advanced: Duration,
    /// The same at the look before that one.
    before: (u64, Duration),
    troubles: u32,
}

impl Looks {
    /// Begins with a job that is handed over now (`Clock::monotonic`).
    pub fn new(rows: usize, now: Duration) -> Self {
        Self { rows, looks: 0, started: now, done: 0, advanced: now, before: (0, now), troubles: 0 }
    }

    /// How long the job has been with the org.
    pub fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.started)
    }

    /// Notes what a look has seen.
    pub fn seen(&mut self, done: u64, now: Duration) {
        self.troubles = 0;
        if done != self.done {
            self.before = (self.done, self.advanced);
            (self.done, self.advanced) = (done, now);
        }
    }

    /// Notes a look without an answer.
    pub fn failed(&mut self) {
        self.troubles += 1;
    }

    /// True when nothing was worked off for `patience`.
    pub fn is_stuck(&self, now: Duration, patience: Duration) -> bool {
        now.saturating_sub(self.advanced) >= patience
    }

    /// Tells how long to wait before the next look: first what the speed promises, then what is left at the speed seen so
    /// far, and ever longer parts of the job's age, so that an estimate that is wrong costs few calls.
    pub fn next_wait(&mut self, speed: &Speed, settings: &BulkSettings, now: Duration) -> Duration {
        let age = self.age(now);
        let wait = match (self.looks, self.done) {
            _ if self.troubles > 0 => Duration::from_secs(1) * 2_u32.pow(self.troubles.min(6)),
            (0, _) => speed.of(self.rows),
            (_, 0) => age,
            (looks, _) => {
                let floor = match looks {
                    ..=6 => age / 100,
                    7 => age / 20,
                    _ => age / 4,
                };
                self.rest(now).unwrap_or(settings.poll_max).max(floor)
            }
        };
        self.looks += 1;
        wait.clamp(settings.poll_min, settings.poll_max.max(settings.poll_min))
    }

    /// The time for what is left. What is in work is not in the numbers yet, so that the speed between two looks is better
    /// than the one since the start; and a job that has hardly begun says little.
    fn rest(&self, now: Duration) -> Option<Duration> {
        let age = self.age(now);
        let left = (self.rows as u64).saturating_sub(self.done) as f64;
        let (since, done) = match self.before {
            (0, _) => (age, self.done),
            (before, at) => (self.advanced.saturating_sub(at), self.done.saturating_sub(before)),
        };
        let rest = Duration::try_from_secs_f64(since.as_secs_f64() * left / done as f64).ok()?;
        // Far from the end it is a guess, and one that is too long cannot be taken back.
        let early = self.looks <= 3 && self.done < self.rows as u64 / 2;
        // Close to it, what is in work may end at any moment.
        let late = self.done >= self.rows as u64 / 10 * 9;
        let rest = rest.mul_f64(if early {
            0.7
        } else if late {
            0.5
        } else {
            0.9
        });
        Some(if self.done < self.rows as u64 / 4 { rest.min(age * 3) } else { rest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays a job of `rows` at `rate` rows a second that tells its progress in steps of `step` rows; how many looks it took
    /// and how much longer than the job.
    fn play(speed: &Speed, rows: u64, rate: f64, step: u64) -> (u32, f64) {
        let settings = BulkSettings { poll_max: Duration::from_secs(3600), ..BulkSettings::default() };
        let mut looks = Looks::new(rows as usize, Duration::ZERO);
        let end = Duration::from_secs_f64(rows as f64 / rate);
        let mut now = Duration::ZERO;
        loop {
            now += looks.next_wait(speed, &settings, now);
            if now >= end {
                speed.learn(rows as usize, end);
                return (looks.looks, now.as_secs_f64() / end.as_secs_f64());
            }
            let done = (now.as_secs_f64() * rate) as u64 / step * step;
            looks.seen(done, now);
        }
    }

    #[test]
    fn few_looks_find_the_end_soon_whatever_the_speed() {
        for rate in [30.0, 175.0, 1_000.0, 9_000.0] {
            for (rows, step) in [(2_000, 200), (10_000, 10_000), (50_000, 200), (100_000, 10_000)] {
                let speed = Speed::default();
                let (looks, _) = play(&speed, rows, rate, step);
                assert!(looks <= 8, "{rows} rows at {rate}/s, never seen before: {looks} looks");
                for _ in 0..3 {
                    play(&speed, rows, rate, step);
                }
                let (looks, late) = play(&speed, rows, rate, step);
                let short = (rows as f64) < 4.0 * rate;
                assert!(looks <= 6 && (short || late < 1.6), "{rows} rows at {rate}/s: {looks} looks, {late} times");
            }
        }
    }

    #[test]
    fn a_first_job_among_many_is_not_waited_for_much_longer_than_it_takes() {
        // The org tells parts of 200 rows that take 5.6 s each, three at a time: the first look sees next to nothing.
        let (speed, settings) = (Speed::default(), BulkSettings::default());
        let mut looks = Looks::new(10_000, Duration::ZERO);
        let end = 5.6 * (50.0_f64 / 3.0).ceil();
        let mut now = Duration::ZERO;
        loop {
            now += looks.next_wait(&speed, &settings, now);
            if now.as_secs_f64() >= end {
                break;
            }
            looks.seen((now.as_secs_f64() / 5.6) as u64 * 600, now);
        }
        let late = now.as_secs_f64() / end;
        assert!(looks.looks <= 7 && late < 1.05, "{} looks, {late} times", looks.looks);
    }

    #[test]
    fn small_jobs_say_little_of_a_large_one() {
        let (speed, settings) = (Speed::default(), BulkSettings::default());
        for _ in 0..10 {
            speed.learn(2, Duration::from_secs(1));
        }
        assert!(Looks::new(400, Duration::ZERO).next_wait(&speed, &settings, Duration::ZERO) <= FIRST_LOOK_MAX);
        speed.learn(400, Duration::from_secs(2));
        speed.learn(2, Duration::from_secs(1));
        assert!(Looks::new(400, Duration::ZERO).next_wait(&speed, &settings, Duration::ZERO) <= Duration::from_secs(8));
    }

    #[test]
    fn a_job_that_stood_still_for_a_moment_is_not_left_alone_for_minutes() {
        let (speed, settings) = (Speed::default(), BulkSettings::default());
        let mut looks = Looks::new(400, Duration::ZERO);
        let mut now = Duration::ZERO;
        // Twenty rows, then nothing for twenty seconds, then the rest at once.
        while now < Duration::from_secs(20) {
            now += looks.next_wait(&speed, &settings, now);
            looks.seen(20, now);
        }
        assert!(now <= Duration::from_secs(64), "{now:?}");
    }

    #[test]
    fn a_job_without_progress_is_stuck_and_one_with_progress_is_not() {
        let mut looks = Looks::new(10, Duration::ZERO);
        let patience = Duration::from_secs(60);
        looks.seen(1, Duration::from_secs(50));
        assert!(!looks.is_stuck(Duration::from_secs(109), patience));
        looks.seen(1, Duration::from_secs(109));
        assert!(looks.is_stuck(Duration::from_secs(110), patience));
    }

    #[test]
    fn trouble_makes_the_waits_longer_up_to_the_longest() {
        let (speed, settings) = (Speed::default(), BulkSettings::default());
        let mut looks = Looks::new(10, Duration::ZERO);
        let mut last = Duration::ZERO;
        for _ in 0..40 {
            looks.failed();
            let wait = looks.next_wait(&speed, &settings, Duration::ZERO);
            assert!(wait >= last && wait <= settings.poll_max);
            last = wait;
        }
        assert!(last >= Duration::from_secs(60));
    }
}
