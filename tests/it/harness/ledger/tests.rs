//! Scripted streams: the honest ones pass, and each planted fault is found and named.

use super::{Account, Sent};
use serde_json::{Value, json};

const A: &str = "a";
const KIND: &str = "com.virtufin.websocketmanager.";

/// One socket after the other, with so many messages `socket/number` each, numbers from 1.
fn sent(sockets: &[usize]) -> Sent {
    let sent = Sent::default();
    for (socket, count) in sockets.iter().enumerate() {
        assert_eq!(sent.socket(A), socket);
        (1..=*count).for_each(|number| sent.says(A, socket, format!("{socket}/{number}")));
    }
    sent
}

fn message(epoch: u64, seq: u64, text: &str) -> Value {
    json!({"type": format!("{KIND}message"), "data": {"websocketId": A, "epoch": epoch, "seq": seq, "payload": text}})
}

fn marked(epoch: u64, seq: u64, text: &str) -> Value {
    let mut event = message(epoch, seq, text);
    event["data"]["possibleDuplicate"] = json!(true);
    event
}

fn gap(from: (u64, Option<u64>), to: Option<(u64, u64)>) -> Value {
    let to = to.map(|(epoch, seq)| json!({"epoch": epoch, "seq": seq}));
    let from = json!({"epoch": from.0, "seq": from.1});
    let data = json!({"websocketId": A, "from": from, "to": to, "cause": "reconnect", "count": null});
    json!({"type": format!("{KIND}gap"), "data": data})
}

fn end(epoch: u64, last_seq: u64) -> Value {
    json!({"type": format!("{KIND}end"), "data": {"websocketId": A, "epoch": epoch, "lastSeq": last_seq}})
}

/// Messages `first..=last` of epoch 1 and socket 0, each under its own number.
fn plain(first: u64, last: u64) -> Vec<Value> {
    (first..=last).map(|seq| message(1, seq, &format!("0/{seq}"))).collect()
}

fn clean(sent: &Sent, events: &[Value]) -> Account {
    let account = sent.audit(events);
    account.assert_clean();
    account
}

/// Exactly one violation, with these words in it.
#[track_caller]
fn caught(sent: &Sent, events: &[Value], words: &str) {
    let account = sent.audit(events);
    let [only] = &account.violations[..] else { panic!("not one violation: {account:?}") };
    assert!(only.contains(words), "{only}");
}

#[test]
fn a_whole_stream_is_clean_in_every_format() {
    let frames = json!({"type": format!("{KIND}message"), "data": {"websocketId": A, "epoch": 1, "messages": [
        {"seq": 1, "payload": "0/1"}, {"seq": 2, "payloadBase64": "MC8y"},
    ]}});
    let payload =
        json!({"type": format!("{KIND}message"), "websocketid": A, "epoch": "1", "seq": "3", "data": "0/3"});
    let binary = json!({"type": format!("{KIND}message"), "websocketid": A, "epoch": "1", "seq": "4", "data_base64": "MC80"});
    let others =
        [json!({"type": "other"}), json!({"type": format!("{KIND}lifecycle.connected"), "data": {}})];
    let events =
        [vec![frames, payload, binary, message(1, 5, "0/5")], others.to_vec(), vec![end(1, 5)]].concat();
    let account = clean(&sent(&[5]), &events);
    assert_eq!((account.sent, account.delivered, account.again, account.in_gaps), (5, 5, 0, 0));
}

#[test]
fn what_comes_again_under_its_number_is_counted_and_fine() {
    let events = [plain(1, 4), plain(2, 5)].concat();
    let account = clean(&sent(&[5]), &events);
    assert_eq!((account.delivered, account.again), (5, 3));
}

#[test]
fn a_reconnect_loses_only_what_its_gap_record_covers() {
    // 0/4 and 0/5 were under way when the socket broke.
    let after = [gap((1, Some(3)), Some((1, 4))), message(1, 4, "1/1"), message(1, 5, "1/2")];
    let account = clean(&sent(&[5, 2]), &[plain(1, 3), after.to_vec()].concat());
    assert_eq!((account.delivered, account.in_gaps, account.gaps), (5, 2, 1));
    let silent = [message(1, 4, "1/1"), message(1, 5, "1/2")];
    let account = sent(&[5, 2]).audit(&[plain(1, 3), silent.to_vec()].concat());
    assert_eq!(account.violations.len(), 2, "0/4 and 0/5: {account:?}");
}

#[test]
fn after_a_new_epochs_gap_record_the_old_owner_is_not_listened_to() {
    let takeover = gap((1, None), Some((7, 1)));
    let late = message(1, 4, "0/4");
    let events = [plain(1, 3), vec![takeover.clone(), late.clone(), message(7, 1, "1/1"), late]].concat();
    let account = clean(&sent(&[4, 1]), &events);
    assert_eq!((account.delivered, account.discarded, account.in_gaps), (4, 2, 1));
    // The same late message cannot stand in for one that came before the gap record.
    let events = [plain(1, 2), vec![takeover, message(7, 1, "1/1"), message(1, 3, "0/3")]].concat();
    assert_eq!(clean(&sent(&[4, 1]), &events).in_gaps, 2);
}

#[test]
fn a_gap_that_nothing_follows_covers_the_rest() {
    let account = clean(&sent(&[5]), &[plain(1, 3), vec![gap((1, None), None)]].concat());
    assert_eq!((account.delivered, account.in_gaps), (3, 2));
}

#[test]
fn numbers_that_were_not_published_from_the_beginning_need_a_gap_record() {
    let announced = [gap((1, Some(0)), Some((1, 3)))].to_vec();
    let account = clean(&sent(&[4]), &[announced, plain(3, 4)].concat());
    assert_eq!((account.delivered, account.in_gaps), (2, 2));
    let account = sent(&[4]).audit(&plain(3, 4));
    assert!(account.violations[0].contains("(1, 1) is left out"), "{account:?}");
}

#[test]
fn a_planted_hole_is_found_by_number_and_by_message() {
    let account = sent(&[5]).audit(&[plain(1, 2), plain(4, 5)].concat());
    assert_eq!(account.violations.len(), 2, "{account:?}");
    assert!(account.violations[0].contains("(1, 3) is left out before (1, 4)"));
    assert!(account.violations[1].contains("\"0/3\", sent on socket 0, never came"));
}

#[test]
fn a_hole_that_the_numbers_hide_is_found_by_the_message() {
    let events = [message(1, 1, "0/1"), message(1, 2, "0/3")];
    caught(&sent(&[3]), &events, "\"0/2\", sent on socket 0, never came");
}

#[test]
fn a_gap_record_covers_no_more_than_it_says() {
    // Announced is (3, 5), lost was 2 as well.
    let events = [plain(1, 1), plain(3, 3), vec![gap((1, Some(3)), Some((1, 5)))], plain(5, 5)].concat();
    let account = sent(&[5]).audit(&events);
    assert!(account.violations.iter().all(|it| it.contains("(1, 2)") || it.contains("0/2")), "{account:?}");
    assert_eq!((account.violations.len(), account.in_gaps), (2, 1));
}

#[test]
fn a_gap_record_that_comes_afterwards_is_too_late() {
    let events = [plain(1, 1), plain(3, 3), vec![gap((1, Some(1)), Some((1, 3)))]].concat();
    caught(&sent(&[3]), &events, "(1, 2) is left out before (1, 3)");
}

#[test]
fn what_the_owner_had_numbered_and_not_published_must_be_announced() {
    // It says itself that it had come to 5; 4 and 5 did not.
    let events = [plain(1, 3), vec![gap((1, Some(5)), Some((7, 1))), message(7, 1, "1/1")]].concat();
    let account = sent(&[5, 1]).audit(&events);
    assert!(account.violations[0].contains("(1, 4) never came, of 5"), "{account:?}");
    let account = sent(&[5]).audit(&[plain(1, 3), vec![end(1, 5)]].concat());
    assert!(account.violations[0].contains("(1, 4) never came, of 5"), "{account:?}");
}

#[test]
fn the_end_of_the_stream_hides_nothing() {
    caught(&sent(&[4]), &plain(1, 3), "\"0/4\", sent on socket 0, never came");
}

#[test]
fn a_planted_duplicate_is_found_unless_it_is_marked() {
    let plant = |last: Value| [plain(1, 2), vec![last]].concat();
    caught(&sent(&[2]), &plant(message(1, 3, "0/2")), "repeats \"0/2\" and is not marked");
    assert_eq!(clean(&sent(&[2]), &plant(marked(1, 3, "0/2"))).marked, 1);
    caught(&sent(&[2]), &plant(message(1, 2, "0/1")), "(1, 2) is \"0/2\" and then \"0/1\"");
}

#[test]
fn planted_disorder_is_found_by_number_and_by_message() {
    let account = sent(&[3]).audit(&[plain(1, 1), plain(3, 3), plain(2, 2)].concat());
    assert!(account.violations.iter().any(|it| it.contains("(1, 2) comes for the first time after (1, 3)")));
    let swapped = [message(1, 1, "0/2"), message(1, 2, "0/1")];
    caught(&sent(&[2]), &swapped, "was sent before what came before it");
}

#[test]
fn an_epoch_without_a_gap_record_is_found() {
    let events = [plain(1, 2), vec![message(7, 1, "1/1")]].concat();
    caught(&sent(&[2, 1]), &events, "epoch 7 begins at seq 1 without a gap record");
}

#[test]
fn what_nobody_sent_and_what_cannot_be_read_is_found() {
    caught(&sent(&[1]), &[message(1, 1, "0/1"), message(1, 2, "x")], "was never sent: \"x\"");
    let broken = json!({"type": format!("{KIND}message"), "data": {"websocketId": A}});
    caught(&sent(&[0]), &[broken], "cannot be read: epoch is no number");
}
