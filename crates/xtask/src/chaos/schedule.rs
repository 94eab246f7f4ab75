//! Which blow comes next, from a seed.

use contract::CrashPoint;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::Duration;

/// Something bad that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blow {
    /// SIGKILL at a random moment.
    Kill {
        after: Duration,
    },
    /// The worker kills itself when it reaches a point for the n-th time.
    AtPoint {
        point: CrashPoint,
        nth: u64,
    },
    RestartPostgres {
        after: Duration,
        hard: bool,
    },
    TerminateWalsender {
        after: Duration,
    },
}

impl Blow {
    /// The variables that a worker is started with.
    pub fn environment(&self) -> Vec<(String, String)> {
        match self {
            Blow::AtPoint { point, nth } => vec![("PENSTOCK_CRASH_AT".into(), format!("{}:{nth}", point.name()))],
            _ => Vec::new(),
        }
    }
}

/// An endless row of blows.
pub struct Schedule {
    random: StdRng,
}

impl Schedule {
    /// Starts a schedule.
    pub fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed) }
    }

    /// Draws the next blow: half of the kills at named points, one in ten is the database's.
    pub fn next(&mut self) -> Blow {
        let after = Duration::from_millis(self.random.random_range(20..900));
        match self.random.random_range(0..100) {
            0..5 => Blow::RestartPostgres { after, hard: self.random.random_bool(0.5) },
            5..10 => Blow::TerminateWalsender { after },
            10..55 => Blow::Kill { after },
            _ => {
                let point = CrashPoint::ALL[self.random.random_range(0..CrashPoint::ALL.len())];
                // Small numbers mostly: the first times are the most delicate.
                let nth = 1 + (self.random.random_range(0.0f64..1.0).powi(3) * 60.0) as u64;
                Blow::AtPoint { point, nth }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_blows_and_every_point_comes_up() {
        let draw = |seed| {
            let mut schedule = Schedule::new(seed);
            (0..400).map(|_| schedule.next()).collect::<Vec<_>>()
        };
        let blows = draw(3);
        assert_eq!(blows, draw(3));
        assert_ne!(blows, draw(4));
        for point in CrashPoint::ALL {
            assert!(
                blows.iter().any(|blow| matches!(blow, Blow::AtPoint { point: p, .. } if *p == point)),
                "{point:?}"
            );
        }
    }
}
