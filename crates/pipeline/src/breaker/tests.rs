use super::*;
use proptest::prelude::*;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn config() -> BreakerConfig {
    BreakerConfig { probes: 10, ..BreakerConfig::default() }
}

fn fail(breaker: &mut Breaker, now: Duration, calls: usize) {
    for _ in 0..calls {
        breaker.report(now, true);
    }
}

fn opened() -> Breaker {
    let mut breaker = Breaker::new(config());
    fail(&mut breaker, s(1), 10);
    assert_eq!(breaker.state(s(1)), BreakerState::Open);
    breaker
}

#[test]
fn opens_at_half_of_the_calls_and_not_below() {
    let mut breaker = Breaker::new(config());
    for call in 0..100 {
        assert_eq!(breaker.report(s(1), call % 20 >= 11), None, "45 % at call {call}");
    }
    let mut breaker = Breaker::new(config());
    let changes: Vec<_> = (0..10).filter_map(|call| breaker.report(s(1), call % 2 == 1)).collect();
    assert_eq!(changes, [BreakerState::Open]);
    assert_eq!(breaker.may_send(s(2)), Err(Some(s(6))));
}

#[test]
fn few_calls_say_nothing() {
    let mut breaker = Breaker::new(config());
    for _ in 0..9 {
        assert_eq!(breaker.report(s(1), true), None);
    }
    assert_eq!(breaker.may_send(s(1)), Ok(()));
}

#[test]
fn failures_older_than_the_window_are_forgotten() {
    let mut breaker = Breaker::new(config());
    fail(&mut breaker, s(1), 9);
    for call in 0..9 {
        assert_eq!(breaker.report(s(62 + call), call % 2 == 0), None);
    }
    assert!(breaker.calls.len() <= 9);
}

#[test]
fn only_one_probe_goes_at_once_and_all_must_go_well() {
    let mut breaker = opened();
    assert_eq!(breaker.may_send(s(5)), Err(Some(s(6))));
    for probe in 0..10 {
        assert_eq!(breaker.may_send(s(6)), Ok(()), "probe {probe}");
        assert!(breaker.begin(s(6)));
        assert_eq!(breaker.may_send(s(6)), Err(None));
        // One of ten may fail.
        let change = breaker.report(s(6), probe == 3);
        assert_eq!(change, (probe == 9).then_some(BreakerState::Closed));
        breaker.ended();
    }
    assert_eq!(breaker.may_send(s(6)), Ok(()));
    assert!(!breaker.begin(s(6)));
}

#[test]
fn second_failed_probe_opens_it_again_for_twice_as_long() {
    let mut breaker = opened();
    breaker.begin(s(6));
    assert_eq!(breaker.report(s(6), true), None);
    breaker.ended();
    breaker.begin(s(7));
    assert_eq!(breaker.report(s(7), true), Some(BreakerState::Open));
    breaker.ended();
    assert_eq!(breaker.may_send(s(8)), Err(Some(s(17))));
}

#[test]
fn wait_grows_to_its_limit() {
    let mut breaker = Breaker::new(BreakerConfig { probes: 1, ..config() });
    fail(&mut breaker, s(0), 10);
    let mut waits = Vec::new();
    let mut now = s(0);
    for _ in 0..6 {
        let until = breaker.may_send(now).unwrap_err().unwrap();
        waits.push((until - now).as_secs());
        now = until;
        breaker.begin(now);
        breaker.report(now, true);
        breaker.ended();
    }
    assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
}

#[test]
fn probe_that_was_never_sent_gives_its_place_back() {
    let mut breaker = opened();
    assert!(breaker.begin(s(6)));
    breaker.ended();
    assert_eq!(breaker.may_send(s(6)), Ok(()));
}

#[test]
fn answer_of_a_call_from_before_it_opened_changes_nothing() {
    let mut breaker = opened();
    assert_eq!((breaker.report(s(2), false), breaker.report(s(2), true)), (None, None));
    assert_eq!(breaker.may_send(s(5)), Err(Some(s(6))));
}

#[test]
fn one_that_is_off_never_opens() {
    let mut breaker = Breaker::new(BreakerConfig { enabled: false, ..config() });
    (0..1000).for_each(|_| assert_eq!(breaker.report(s(1), true), None));
    assert_eq!(breaker.may_send(s(1)), Ok(()));
}

#[test]
fn what_makes_no_sense_is_told() {
    let good = BreakerConfig::default();
    assert_eq!(good.nonsense(), None);
    let wrong = [
        BreakerConfig { window: Duration::ZERO, ..good },
        BreakerConfig { calls_min: 0, ..good },
        BreakerConfig { calls_min: 101, ..good },
        BreakerConfig { open_at: 0.0, ..good },
        BreakerConfig { open_at: f64::NAN, ..good },
        BreakerConfig { close_at: 0.5, ..good },
        BreakerConfig { probes: 0, ..good },
        BreakerConfig { wait_max: s(1), ..good },
    ];
    assert!(wrong.iter().all(|config| config.nonsense().is_some()));
}

proptest! {
    /// Whatever happens: memory stays bounded, the counts agree with the calls, and once the target is well it closes.
    #[test]
    fn any_history_ends_closed_when_the_target_is_well(steps in prop::collection::vec((0..2_000_u64, any::<bool>(), any::<bool>()), 0..400)) {
        let config = BreakerConfig { calls_max: 20, ..config() };
        let mut breaker = Breaker::new(config);
        let mut now = Duration::ZERO;
        let mut probes = 0;
        for (ms, failed, answered) in steps {
            now += Duration::from_millis(ms);
            if breaker.may_send(now).is_ok() {
                probes += usize::from(breaker.begin(now));
                prop_assert!(breaker.under_way <= config.probes_at_once);
            }
            if answered {
                breaker.report(now, failed);
                if probes > 0 { probes -= 1; breaker.ended(); }
            }
            prop_assert!(breaker.calls.len() <= config.calls_max);
            prop_assert_eq!(breaker.failed, breaker.calls.iter().filter(|(_, failed)| *failed).count());
        }
        (0..probes).for_each(|_| breaker.ended());
        for _ in 0..1000 {
            match breaker.may_send(now) {
                Err(Some(until)) => now = until,
                Err(None) => break,
                Ok(()) => {
                    let probe = breaker.begin(now);
                    breaker.report(now, false);
                    if probe { breaker.ended(); }
                }
            }
        }
        prop_assert_eq!(breaker.state(now), BreakerState::Closed);
    }
}
