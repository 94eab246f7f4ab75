use super::*;
use model::StreamId;

fn stream() -> StreamPartition {
    StreamPartition::first(StreamId::new("city"))
}

fn record() -> SlotRecord {
    SlotRecord {
        format: FORMAT,
        system: 7,
        timeline: 1,
        database: "d".into(),
        slot: "s".into(),
        epoch: 3,
        adopted: Lsn(10),
        allowed: Lsn(100),
        streams: vec![stream()],
    }
}

fn slot(confirmed: u64) -> SlotFacts {
    SlotFacts {
        name: "s".into(),
        plugin: "pgoutput".into(),
        database: "d".into(),
        restart: Some(Lsn(5)),
        confirmed: Some(Lsn(confirmed)),
        wal_status: "reserved".into(),
        ..SlotFacts::default()
    }
}

fn server() -> Identity {
    Identity { system: 7, timeline: 1, ends: Vec::new() }
}

fn mark(position: Option<(u64, Lsn)>) -> Vec<StreamMark> {
    vec![StreamMark { to: stream(), position }]
}

fn code(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Mismatch(refusal) => refusal.code,
        Verdict::Continue => "continue",
        Verdict::Create { .. } => "create",
        Verdict::Adopt { .. } => "adopt",
    }
}

#[test]
fn slot_at_or_before_what_was_allowed_is_read_on() {
    for confirmed in [10, 99, 100] {
        let verdict = judge(Some(&record()), Some(&slot(confirmed)), &server(), &mark(Some((3, Lsn(90)))));
        assert_eq!(verdict, Verdict::Continue);
    }
}

#[test]
fn moved_dropped_lost_and_foreign_slots_are_refused() {
    let marks = mark(Some((3, Lsn(90))));
    let other_system = Identity { system: 8, ..server() };
    let promoted = Identity { timeline: 2, ..server() };
    let lost = SlotFacts { wal_status: "lost".into(), ..slot(50) };
    let foreign = SlotFacts { database: "other".into(), ..slot(50) };
    let record = record();
    assert_eq!(code(&judge(Some(&record), Some(&slot(101)), &server(), &marks)), "PS2154");
    assert_eq!(code(&judge(Some(&record), None, &server(), &marks)), "PS2153");
    assert_eq!(code(&judge(Some(&record), Some(&lost), &server(), &marks)), "PS2155");
    assert_eq!(code(&judge(Some(&record), Some(&slot(50)), &other_system, &marks)), "PS2156");
    assert_eq!(code(&judge(Some(&record), Some(&slot(50)), &promoted, &marks)), "PS2157");
    assert_eq!(code(&judge(Some(&record), Some(&foreign), &server(), &marks)), "PS2158");
}

#[test]
fn log_that_was_emptied_or_is_of_another_life_is_refused() {
    for position in [None, Some((2, Lsn(90)))] {
        let verdict = judge(Some(&record()), Some(&slot(50)), &server(), &mark(position));
        assert_eq!(code(&verdict), "PS2159");
    }
}

#[test]
fn stream_that_is_new_in_the_configuration_needs_no_position() {
    let record = SlotRecord { streams: Vec::new(), ..record() };
    assert_eq!(judge(Some(&record), Some(&slot(50)), &server(), &mark(None)), Verdict::Continue);
}

#[test]
fn without_a_record_the_log_decides() {
    assert_eq!(judge(None, None, &server(), &mark(None)), Verdict::Create { epoch: 1 });
    assert_eq!(judge(None, Some(&slot(500)), &server(), &mark(None)), Verdict::Adopt { epoch: 1 });
    assert_eq!(judge(None, Some(&slot(90)), &server(), &mark(Some((4, Lsn(90))))), Verdict::Adopt { epoch: 4 });
    assert_eq!(code(&judge(None, Some(&slot(91)), &server(), &mark(Some((4, Lsn(90)))))), "PS2154");
    assert_eq!(code(&judge(None, None, &server(), &mark(Some((4, Lsn(90)))))), "PS2153");
}

#[test]
fn only_a_slot_of_the_same_history_can_be_accepted() {
    let marks = mark(Some((3, Lsn(90))));
    let record = record();
    let accepted = |code: &'static str, server: &Identity| {
        acceptable(&Refusal::new(code, "", "", ""), Some(&record), server, &marks)
    };
    assert!(accepted("PS2154", &server()));
    assert!(!accepted("PS2156", &server()), "positions of another cluster mean nothing here");
    assert!(!accepted("PS2158", &server()));
    let promoted_at = |end: u64| Identity { timeline: 2, ends: vec![(1, Lsn(end))], ..server() };
    assert!(accepted("PS2157", &promoted_at(91)), "the log ends before the promotion");
    assert!(!accepted("PS2157", &promoted_at(89)), "the log holds what the promoted server never had");
    assert!(!accepted("PS2157", &Identity { timeline: 2, ..server() }), "where it ended is not known");
}
