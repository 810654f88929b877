use super::*;
use crate::limits::{FIFO_RESYNC_DEFAULT, FIFO_RESYNC_MAX, LATE_IDS_AGE, LATE_IDS_MAX};

mod model;
mod script;

const START: Time = Time::from_millis(5_000);

/// A correlator with short words for what tests do to it.
struct Bench {
    correlator: Correlator,
    now: Time,
    entropy: u64,
}

impl Bench {
    fn new() -> Self {
        Bench { correlator: Correlator::new(100), now: START, entropy: 0 }
    }

    fn try_send(&mut self, ticket: u64, rule: &Rule, message: &str) -> Result<Bytes, Fault> {
        let entropy = &mut self.entropy;
        let mut draw = || {
            *entropy += 1;
            *entropy
        };
        self.correlator.reserve(self.now, rule, Bytes::from(message.to_owned()), Ticket(ticket), &mut draw)
    }

    fn send(&mut self, ticket: u64, rule: &Rule, message: &str) -> Bytes {
        self.try_send(ticket, rule, message).unwrap_or_else(|fault| panic!("{message}: {fault}"))
    }

    fn refused(&mut self, ticket: u64, rule: &Rule, message: &str) -> (FaultKind, String) {
        let before = self.correlator.in_flight();
        let fault = self.try_send(ticket, rule, message).expect_err(message);
        assert_eq!(self.correlator.in_flight(), before, "a refusal changes nothing");
        (fault.kind, fault.field.into_owned())
    }

    fn hear(&mut self, message: &str) -> Verdict {
        self.correlator.on_message(self.now, Kind::Text, message.as_bytes())
    }

    fn time_out(&mut self, ticket: u64) -> Vec<u64> {
        self.correlator.timed_out(self.now, Ticket(ticket)).into_iter().map(|ticket| ticket.0).collect()
    }

    fn wait(&mut self, duration: Duration) {
        self.now += duration;
    }
}

fn reply(ticket: u64) -> Verdict {
    Verdict::Reply { ticket: Ticket(ticket), strip: 0, published: false }
}

fn next_in_line(ticket: u64) -> Verdict {
    Verdict::Reply { ticket: Ticket(ticket), strip: 0, published: true }
}

fn in_use() -> (FaultKind, String) {
    (FaultKind::CorrelationInUse, "message".to_owned())
}

fn fifo() -> Rule {
    Rule::fifo(0).unwrap()
}

#[test]
fn auto_goes_by_id_of_the_same_type_else_by_order() {
    for (sent, received, expected) in [
        (r#"{"id":1}"#, r#"{"id":1}"#, reply(1)),
        (r#"{"id":1}"#, r#"{"x":{"id":1}}"#, Verdict::Unclaimed),
        (r#"{"id":1}"#, r#"{"id":"1"}"#, Verdict::Unclaimed),
        (r#"{"id":"1"}"#, r#"{"id":1}"#, Verdict::Unclaimed),
        (r#"{"id":1}"#, r#"{"result":0,"id":1.0}"#, reply(1)),
        (r#"{"id":"a"}"#, r#"{"id":"\u0061"}"#, reply(1)),
        (r#"{"id":true}"#, r#"{"id":true}"#, reply(1)),
        (r#"{"id":1}"#, "pong", Verdict::Unclaimed),
        (r#"{"id":1}"#, r#"[{"id":1}]"#, Verdict::Unclaimed),
        (r#"{"id":null}"#, "anything", next_in_line(1)),
        (r#"{"id":{"a":1}}"#, "anything", next_in_line(1)),
        (r#"{"op":"ping"}"#, r#"{"op":"pong"}"#, next_in_line(1)),
        ("ping", "pong", next_in_line(1)),
        (r#"["id",1]"#, "7", next_in_line(1)),
    ] {
        let mut bench = Bench::new();
        assert_eq!(bench.send(1, &Rule::Auto, sent), sent.as_bytes());
        assert_eq!(bench.hear(received), expected, "{sent} {received}");
        assert_eq!(bench.correlator.in_flight(), usize::from(expected == Verdict::Unclaimed));
    }
    let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(257));
    assert_eq!(Bench::new().refused(1, &Rule::Auto, &long), (FaultKind::Invalid, "message".into()));
}

#[test]
fn binary_messages_that_are_json_have_ids_too() {
    let mut bench = Bench::new();
    bench.send(1, &Rule::Auto, r#"{"id":1}"#);
    bench.send(2, &Rule::Auto, r#"{"id":2}"#);
    assert_eq!(bench.correlator.on_message(START, Kind::Binary, b" {\"id\":2}"), reply(2));
    assert_eq!(bench.correlator.on_message(START, Kind::Binary, b"\x00{\"id\":1}"), Verdict::Unclaimed);
}

#[test]
fn json_goes_by_any_pointer() {
    let rule = Rule::json("/req/id", "/header/correlationId", Inject::No).unwrap();
    let mut bench = Bench::new();
    bench.send(1, &rule, r#"{"req":{"id":"a"}}"#);
    assert_eq!(bench.hear(r#"{"req":{"id":"a"}}"#), Verdict::Unclaimed);
    assert_eq!(bench.hear(r#"{"header":{"correlationId":"a"}}"#), reply(1));
    for message in [r#"{"req":{}}"#, "[]", "text", r#"{"req":{"id":null}}"#, r#"{"req":{"id":[]}}"#] {
        assert_eq!(bench.refused(2, &rule, message), (FaultKind::Invalid, "message".into()), "{message}");
    }
    let same = Rule::json("/req_id", "", Inject::No).unwrap();
    bench.send(3, &same, r#"{"req_id":9}"#);
    assert_eq!(bench.hear(r#"{"req_id":9}"#), reply(3));
}

#[test]
fn integers_are_injected_and_skip_ids_in_flight() {
    let rule = Rule::json("/id", "/id", Inject::Integer).unwrap();
    let mut bench = Bench::new();
    bench.send(1, &Rule::Auto, r#"{"id":2}"#);
    assert_eq!(bench.send(2, &rule, r#"{"a":0}"#), &br#"{"id":1,"a":0}"#[..]);
    assert_eq!(bench.send(3, &rule, "{}"), &br#"{"id":3}"#[..]);
    assert_eq!(bench.send(4, &rule, r#"{"id":"own"}"#), &br#"{"id":"own"}"#[..]);
    assert_eq!(bench.send(5, &rule, r#"{"id":2}"#), &br#"{"id":4}"#[..], "in use, so it is given another");
    for (id, ticket) in [("4", 5), ("2", 1), ("\"own\"", 4), ("1", 2), ("3", 3)] {
        assert_eq!(bench.hear(&format!("{{\"id\":{id}}}")), reply(ticket));
    }
    assert_eq!(bench.correlator.next_integer(), 5);
    for message in ["[]", "text", r#"{"a" 1}"#] {
        assert_eq!(bench.refused(6, &rule, message).0, FaultKind::Invalid, "{message}");
    }
    assert_eq!(bench.correlator.next_integer(), 5, "a refusal changes nothing");
    let mut later = Correlator::resuming(9, bench.correlator.next_integer());
    let sent = later.reserve(START, &rule, Bytes::from_static(b"{}"), Ticket(1), &mut || 0).unwrap();
    assert_eq!(sent, &br#"{"id":5}"#[..]);
}

#[test]
fn uuids_are_injected_at_any_depth() {
    let rule = Rule::json("/h/cid", "/h/cid", Inject::Uuid).unwrap();
    let mut bench = Bench::new();
    let sent = bench.send(1, &rule, "{}");
    assert_eq!(sent, &br#"{"h":{"cid":"00000000-0000-4001-8000-000000000002"}}"#[..]);
    assert_eq!(bench.hear(std::str::from_utf8(&sent).unwrap()), reply(1));
    assert_eq!(bench.refused(2, &rule, r#"{"h":[]}"#).0, FaultKind::Invalid);
    let mut stuck = Correlator::new(9);
    let mut reserve =
        |ticket| stuck.reserve(START, &rule, Bytes::from_static(b"{}"), Ticket(ticket), &mut || 7);
    assert!(reserve(1).is_ok());
    assert_eq!(reserve(2).unwrap_err().kind, FaultKind::Internal, "broken entropy ends, and hangs nobody");
}

#[test]
fn json_rpc_takes_results_and_errors_but_not_the_peers_own_calls() {
    let mut bench = Bench::new();
    let request = |id: &str| format!(r#"{{"jsonrpc":"2.0","method":"m","id":{id}}}"#);
    bench.send(1, &Rule::JsonRpc, &request("1"));
    bench.send(2, &Rule::JsonRpc, &request("\"b\""));
    assert_eq!(
        bench.hear(r#"{"jsonrpc":"2.0","method":"subscription","params":{"id":1}}"#),
        Verdict::Unclaimed
    );
    assert_eq!(bench.hear(&request("1")), Verdict::Unclaimed);
    assert_eq!(bench.hear(r#"{"jsonrpc":"2.0","error":{"code":-32601},"id":"b"}"#), reply(2));
    assert_eq!(bench.hear(r#"{"jsonrpc":"2.0","result":{"method":1},"id":1}"#), reply(1));
    for message in [r#"{"method":"notify"}"#, r#"{"id":true}"#, "[]", "x", r#"{"id":null}"#] {
        assert_eq!(
            bench.refused(3, &Rule::JsonRpc, message),
            (FaultKind::Invalid, "message".into()),
            "{message}"
        );
    }
}

#[test]
fn arrays_carry_their_id_at_a_position() {
    let mut bench = Bench::new();
    let rule = Rule::array(0).unwrap();
    bench.send(1, &rule, r#"[2,"19223201","BootNotification",{}]"#);
    bench.send(2, &rule, r#"[2,"b","Heartbeat",{}]"#);
    assert_eq!(bench.hear(r#"[2,"b","Reset",{}]"#), Verdict::Unclaimed, "a call of the peer's own");
    assert_eq!(bench.hear(r#"[4, "b", "InternalError", "", {}]"#), reply(2));
    assert_eq!(bench.hear(r#"[3,"19223201",{}]"#), reply(1));
    let second = Rule::array(2).unwrap();
    bench.send(3, &second, r#"[2,"x",7]"#);
    assert_eq!(bench.hear(r#"[3,7,1]"#), Verdict::Unclaimed);
    assert_eq!(bench.hear(r#"[3,"y",7]"#), reply(3));
    for message in ["{}", "[]", r#"[3,"a"]"#, "[2]", "[2,null]", r#"[2,{"a":1}]"#] {
        assert_eq!(bench.refused(4, &rule, message), (FaultKind::Invalid, "message".into()), "{message}");
    }
}

#[test]
fn prefixes_are_put_before_the_payload_and_stripped_from_the_reply() {
    let mut bench = Bench::new();
    let sent = bench.send(1, &Rule::Prefix, "payload");
    let other = bench.send(2, &Rule::Prefix, "");
    assert_eq!((sent.len(), other.len()), (23, 16));
    assert!(Rule::Prefix.forces_binary() && !Rule::Auto.forces_binary());
    let echo = [&sent[..16], b"answer"].concat();
    assert_eq!(bench.correlator.on_message(START, Kind::Text, &echo), Verdict::Unclaimed);
    assert_eq!(bench.correlator.on_message(START, Kind::Binary, &echo[..15]), Verdict::Unclaimed);
    let expected = Verdict::Reply { ticket: Ticket(1), strip: 16, published: false };
    assert_eq!(bench.correlator.on_message(START, Kind::Binary, &echo), expected);
    assert_eq!(bench.correlator.on_message(START, Kind::Binary, &echo), Verdict::Unclaimed);
    assert!(bench.time_out(2).is_empty());
    assert_eq!(bench.correlator.on_message(START, Kind::Binary, &other), Verdict::Late);
}

#[test]
fn predicates_take_messages_in_order_of_reservation() {
    let by_type = Rule::matching("/type", "ack").unwrap();
    let by_code = Rule::matching("/code", "200").unwrap();
    let mut bench = Bench::new();
    bench.send(1, &by_type, "a");
    bench.send(2, &by_code, "b");
    bench.send(3, &by_type, "c");
    assert_eq!(bench.hear(r#"{"type":"nack","code":"200"}"#), Verdict::Unclaimed);
    assert_eq!(bench.hear(r#"{"code":200,"type":"ack"}"#), reply(1));
    assert_eq!(bench.hear(r#"{"code":200,"type":"ack"}"#), reply(2));
    assert_eq!(bench.hear(r#"{"code":200,"type":"ack"}"#), reply(3));
}

#[test]
fn a_late_match_reply_answers_nobody_else() {
    let rule = Rule::matching("/type", "ack").unwrap();
    let mut bench = Bench::new();
    bench.send(1, &rule, "a");
    bench.send(2, &rule, "b");
    assert!(bench.time_out(1).is_empty());
    assert_eq!(bench.refused(3, &rule, "c"), (FaultKind::CorrelationInUse, "correlation.match".into()));
    assert_eq!(bench.hear(r#"{"type":"ack"}"#), Verdict::Late);
    assert_eq!(bench.hear(r#"{"type":"ack"}"#), reply(2));
    bench.send(4, &rule, "d");
    bench.correlator.cancelled(bench.now, Ticket(4), true);
    assert_eq!(bench.refused(5, &rule, "c").0, FaultKind::CorrelationInUse);
    bench.correlator.reconnected();
    bench.send(5, &rule, "e");
}

#[test]
fn ids_claim_before_predicates_and_predicates_before_the_queue() {
    let mut bench = Bench::new();
    bench.send(1, &fifo(), "first in line");
    bench.send(2, &Rule::matching("/id", "5").unwrap(), "{}");
    bench.send(3, &Rule::Auto, r#"{"id":5}"#);
    assert_eq!(bench.hear(r#"{"id":5}"#), reply(3));
    assert_eq!(bench.hear(r#"{"id":5}"#), reply(2));
    assert_eq!(bench.hear(r#"{"id":5}"#), next_in_line(1));
    assert_eq!(bench.hear(r#"{"id":5}"#), Verdict::Unclaimed);
}

#[test]
fn one_id_belongs_to_one_send_whatever_its_rule() {
    let mut bench = Bench::new();
    bench.send(1, &Rule::Auto, r#"{"id":1}"#);
    assert_eq!(bench.refused(2, &Rule::Auto, r#"{"id":1}"#), in_use());
    assert_eq!(bench.refused(2, &Rule::JsonRpc, r#"{"id":1.0}"#), in_use());
    let elsewhere = Rule::json("/n", "/id", Inject::No).unwrap();
    assert_eq!(bench.refused(2, &elsewhere, r#"{"n":1}"#), in_use());
    bench.send(2, &Rule::Auto, r#"{"id":"1"}"#);
    assert_eq!(bench.hear(r#"{"id":1}"#), reply(1));
    bench.send(3, &Rule::Auto, r#"{"id":1}"#);
    assert_eq!(bench.hear(r#"{"id":1}"#), reply(3));
}

#[test]
fn the_id_of_a_timed_out_send_is_remembered_until_its_reply_or_for_a_while() {
    let mut bench = Bench::new();
    let inject = Rule::json("/id", "/id", Inject::Integer).unwrap();
    bench.send(1, &Rule::Auto, r#"{"id":1}"#);
    assert!(bench.time_out(1).is_empty());
    assert!(bench.time_out(1).is_empty(), "it ended already");
    assert_eq!(bench.refused(2, &Rule::Auto, r#"{"id":1}"#), in_use());
    assert_eq!(bench.send(2, &inject, r#"{"id":1}"#), &br#"{"id":2}"#[..]);
    bench.send(3, &fifo(), "x");
    assert_eq!(bench.hear(r#"{"id":1}"#), Verdict::Late, "not the next in line's");
    assert_eq!(bench.hear(r#"{"id":1}"#), next_in_line(3), "it came; a second one is like any other");
    bench.send(4, &Rule::Auto, r#"{"id":1}"#);
    bench.correlator.cancelled(bench.now, Ticket(4), true);
    bench.wait(LATE_IDS_AGE - Duration::from_nanos(1));
    assert_eq!(bench.refused(5, &Rule::Auto, r#"{"id":1}"#), in_use());
    bench.wait(Duration::from_nanos(1));
    bench.send(5, &Rule::Auto, r#"{"id":1}"#);
    bench.correlator.not_written(Ticket(5));
    bench.send(6, &Rule::Auto, r#"{"id":1}"#);
    bench.correlator.cancelled(bench.now, Ticket(6), false);
    bench.send(7, &Rule::Auto, r#"{"id":1}"#);
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut bench = Bench::new();
    for id in 0..LATE_IDS_MAX as u64 + 5 {
        bench.send(id, &Rule::Auto, &format!("{{\"id\":{id}}}"));
        assert!(bench.time_out(id).is_empty());
    }
    for id in 0..5 {
        assert_eq!(bench.hear(&format!("{{\"id\":{id}}}")), Verdict::Unclaimed, "the oldest are forgotten");
    }
    assert_eq!(bench.hear(r#"{"id":5}"#), Verdict::Late);
}

#[test]
fn the_queue_is_in_doubt_after_a_timeout_until_there_was_silence() {
    let mut bench = Bench::new();
    for ticket in 1..=4 {
        bench.send(ticket, &fifo(), "x");
    }
    assert_eq!(bench.time_out(2), [3, 4], "those behind it cannot be paired any more");
    let fault = bench.try_send(5, &fifo(), "x").unwrap_err();
    assert_eq!((fault.kind, fault.retry_after), (FaultKind::FifoResync, Some(FIFO_RESYNC_DEFAULT)));
    bench.wait(FIFO_RESYNC_DEFAULT * 3);
    assert_eq!(
        bench.refused(5, &Rule::Auto, "x").0,
        FaultKind::FifoResync,
        "1 still waits for its own reply"
    );
    assert_eq!(bench.hear("reply of 1"), next_in_line(1));
    bench.wait(FIFO_RESYNC_DEFAULT / 2);
    bench.send(6, &Rule::Auto, r#"{"id":6}"#);
    assert_eq!(bench.hear("late reply of 2"), Verdict::Unclaimed);
    bench.wait(FIFO_RESYNC_DEFAULT / 2);
    assert_eq!(bench.hear(r#"{"id":6}"#), reply(6), "ids are never in doubt; but this ends the silence");
    let left = Duration::from_millis(1);
    bench.wait(FIFO_RESYNC_DEFAULT - left);
    assert_eq!(bench.try_send(7, &fifo(), "x").unwrap_err().retry_after, Some(left));
    assert!(!bench.correlator.is_idle(bench.now) && bench.correlator.wants_messages());
    bench.wait(left);
    assert!(bench.correlator.is_idle(bench.now));
    bench.send(7, &fifo(), "x");
    assert_eq!(bench.hear("y"), next_in_line(7));
}

#[test]
fn a_new_socket_or_a_drain_ends_the_doubt() {
    let mut bench = Bench::new();
    bench.send(1, &fifo(), "x");
    assert!(bench.time_out(1).is_empty());
    assert_eq!(bench.refused(2, &fifo(), "x").0, FaultKind::FifoResync);
    bench.correlator.reconnected();
    bench.send(2, &fifo(), "x");
    bench.send(3, &Rule::Auto, r#"{"id":1}"#);
    bench.send(4, &fifo(), "x");
    bench.correlator.cancelled(bench.now, Ticket(2), true);
    assert_eq!(bench.correlator.drain(), [Ticket(3), Ticket(4)]);
    assert!(bench.correlator.is_idle(bench.now) && !bench.correlator.wants_messages());
    bench.send(5, &Rule::Auto, r#"{"id":1}"#);
    assert_eq!(bench.correlator.drain(), [Ticket(5)]);
}

#[test]
fn a_cancelled_place_in_the_queue_still_takes_its_reply() {
    let mut bench = Bench::new();
    for ticket in 1..=3 {
        bench.send(ticket, &fifo(), "x");
    }
    bench.correlator.cancelled(bench.now, Ticket(1), true);
    bench.correlator.cancelled(bench.now, Ticket(2), false);
    assert_eq!(bench.hear("reply of 1"), Verdict::Abandoned);
    assert_eq!(bench.hear("reply of 3"), next_in_line(3));
    bench.send(4, &fifo(), "x");
    bench.correlator.cancelled(bench.now, Ticket(4), true);
    assert!(bench.correlator.wants_messages() && !bench.correlator.is_idle(bench.now));
    bench.wait(LATE_IDS_AGE);
    assert!(bench.correlator.is_idle(bench.now), "nobody waits for ever for what nobody waits for");
    bench.send(5, &fifo(), "x");
    assert_eq!(bench.hear("y"), next_in_line(5));
}

#[test]
fn every_table_is_bounded() {
    let mut bench = Bench { correlator: Correlator::new(3), ..Bench::new() };
    for ticket in 1..=3 {
        bench.send(ticket, &fifo(), "x");
    }
    let fault = bench.try_send(4, &Rule::Auto, "x").unwrap_err();
    assert!(fault.kind == FaultKind::Full && fault.retry_after.is_some());
    bench.correlator.cancelled(bench.now, Ticket(1), true);
    assert_eq!(bench.refused(4, &Rule::Auto, "x").0, FaultKind::Full, "its place is still taken");
    assert_eq!(bench.hear("y"), Verdict::Abandoned);
    bench.send(4, &Rule::Auto, "x");
    let mut places = Bench::new();
    for ticket in 0..9 {
        let rule = Rule::json(&format!("/p{ticket}"), "", Inject::Integer).unwrap();
        match places.try_send(ticket, &rule, "{}") {
            Ok(_) => assert!(ticket < 8),
            Err(fault) => assert!(ticket == 8 && fault.kind == FaultKind::Full),
        }
    }
    assert_eq!(places.hear(r#"{"p3":4}"#), reply(3));
    places.send(8, &Rule::array(1).unwrap(), r#"[2,"a"]"#);
    assert_eq!(places.hear(r#"[3,"a"]"#), reply(8));
}

#[test]
fn arguments_of_rules_are_checked_when_they_are_made() {
    let field = |made: Result<Rule, Fault>| {
        let fault = made.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Invalid);
        fault.field.into_owned()
    };
    assert_eq!(field(Rule::json("", "/id", Inject::No)), "correlation.json.request_path");
    assert_eq!(field(Rule::json("id", "/id", Inject::No)), "correlation.json.request_path");
    assert_eq!(field(Rule::json("/id", "/~", Inject::No)), "correlation.json.response_path");
    assert_eq!(field(Rule::array(16)), "correlation.array.position");
    assert_eq!(field(Rule::array(u64::MAX)), "correlation.array.position");
    assert_eq!(field(Rule::fifo(60_001)), "correlation.fifo.resync_ms");
    assert_eq!(field(Rule::matching("", "x")), "correlation.match.path");
    assert_eq!(field(Rule::matching("/a", &"x".repeat(257))), "correlation.match.equals");
    assert_eq!(Rule::fifo(60_000).unwrap(), Rule::Fifo { resync: FIFO_RESYNC_MAX });
    assert_eq!(Rule::fifo(0).unwrap(), Rule::Fifo { resync: FIFO_RESYNC_DEFAULT });
    assert_eq!(Rule::array(0).unwrap(), Rule::Array { position: 1 });
}
