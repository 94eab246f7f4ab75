//! `PENSTOCK_CRASH_AT=after_append:3`: a chaos run tells a worker where to die. Unset in production: it then costs nothing.

use contract::{CrashPoint, CrashPoints};

/// Reads the variable's text: a point's name, and for the how-manieth time.
pub fn parse(text: &str) -> Option<(CrashPoint, u64)> {
    let (name, nth) = text.split_once(':')?;
    let point = CrashPoint::ALL.into_iter().find(|point| point.name() == name)?;
    Some((point, nth.parse().ok().filter(|nth| *nth > 0)?))
}

/// The points of this process.
pub fn from_environment() -> CrashPoints {
    let Some((point, nth)) = std::env::var("PENSTOCK_CRASH_AT").ok().as_deref().and_then(parse) else {
        return CrashPoints::default();
    };
    CrashPoints::armed(point, nth, || {
        // SIGKILL: no destructor, no flush, as if the machine had lost the process.
        let _unreachable = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_parses_and_nonsense_arms_nothing() {
        for point in CrashPoint::ALL {
            assert_eq!(parse(&format!("{}:7", point.name())), Some((point, 7)));
        }
        for wrong in ["", "after_append", "after_append:0", "nowhere:1", "after_append:x"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
