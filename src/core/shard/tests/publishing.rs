//! Topics, and the gap records between their messages.

use super::*;

fn publishing() -> (Bench, SocketKey) {
    let mut bench = Bench::new();
    let spec = publish::Spec::new("t");
    let socket = bench.open(Connect { publish: Some(spec), ..connect_to("a", settings()) });
    (bench, socket)
}

fn start(bench: &mut Bench, topic: &str) -> (u64, u64) {
    let spec = Box::new(publish::Spec::new(topic));
    let ticket = bench.command(Command::StartPublish { id: id("a"), spec });
    if !bench.persists.is_empty() {
        bench.store(None);
    }
    match bench.answer(ticket) {
        Ok(Answer::Publishing { epoch, next_seq }) => (epoch, next_seq),
        other => panic!("{other:?}"),
    }
}

fn gap(from: Option<u64>, to: u64, cause: GapCause, count: Option<u64>) -> Body {
    let to = Some((WALL_MILLIS, to));
    Body::Gap(Gap { from: (WALL_MILLIS, from), to, cause, count })
}

#[test]
fn a_reconnect_is_announced_before_the_first_new_message() {
    let (mut bench, socket) = publishing();
    bench.says(socket, "one");
    bench.lose(socket);
    bench.pass(millis(1100));
    let socket = bench.dialled();
    bench.says(socket, "two");
    let expected = [text("one"), gap(Some(1), 2, GapCause::Reconnect, None), text("two")];
    assert_eq!(bench.published("t"), expected);
}

#[test]
fn what_was_received_while_nothing_was_published_is_a_gap() {
    let (mut bench, socket) = publishing();
    bench.says(socket, "one");
    let ticket = bench.command(Command::StopPublish(id("a")));
    bench.store(None);
    assert!(bench.answer(ticket).is_ok());
    bench.says(socket, "two");
    bench.says(socket, "three");
    assert_eq!(bench.core.counters().dropped[DropReason::NotPublished.index()], 2);
    assert_eq!(start(&mut bench, "t"), (WALL_MILLIS, 4));
    bench.says(socket, "four");
    let expected = [text("one"), gap(Some(1), 4, GapCause::NotPublished, Some(2)), text("four")];
    assert_eq!(bench.published("t"), expected);
    assert_eq!(start(&mut bench, "t"), (WALL_MILLIS, 5));
    assert_eq!(bench.published("t").len(), 3, "the same again changes nothing");
}

#[test]
fn another_topic_hears_what_it_never_got() {
    let (mut bench, socket) = publishing();
    bench.says(socket, "one");
    start(&mut bench, "u");
    bench.says(socket, "two");
    start(&mut bench, "t");
    bench.says(socket, "three");
    assert_eq!(bench.published("u"), [gap(None, 2, GapCause::NotPublished, None), text("two")]);
    let expected = [text("one"), gap(None, 3, GapCause::NotPublished, None), text("three")];
    assert_eq!(bench.published("t"), expected);
}

#[test]
fn an_end_is_marked_and_a_loss_is_a_gap_to_nowhere() {
    let (mut bench, socket) = publishing();
    bench.says(socket, "one");
    bench.disconnect("a");
    let end = Body::End { epoch: WALL_MILLIS, last_seq: 1 };
    assert_eq!(bench.published("t"), [text("one"), end]);
    let once = Settings { auto_reconnect: false, ..settings() };
    let spec = publish::Spec::new("v");
    let socket = bench.open(Connect { publish: Some(spec), ..connect_to("b", once) });
    bench.says(socket, "one");
    bench.lose(socket);
    let published = bench.published("v");
    assert!(
        matches!(&published[..], [_, Body::Gap(Gap { to: None, cause: GapCause::Lost, .. })]),
        "{published:?}"
    );
}

#[test]
fn what_the_bus_refused_is_announced_where_it_is_missing() {
    let (mut bench, socket) = publishing();
    bench.says(socket, "one");
    bench.pass(millis(10));
    start(&mut bench, "u");
    while let Some(batch) = bench.batches.pop_front() {
        let refused = (0..batch.events.len() as u32)
            .filter(|index| batch.events[*index as usize].kind == EventKind::Message)
            .collect();
        let answer = Err(PublishError::Refused(refused));
        bench.step(|core, now, _| core.published(now, batch.id, answer));
    }
    assert_eq!(bench.published("t"), [gap(Some(0), 2, GapCause::Refused, Some(1))]);
    assert_eq!(bench.core.publisher().counters().dropped_by(DropReason::BusRefused), 1);
}

#[test]
fn a_dead_connection_publishes_no_more() {
    let once = Settings { auto_reconnect: false, ..settings() };
    let mut bench = Bench::new();
    let socket = bench.open(connect_to("a", once));
    bench.lose(socket);
    let spec = Box::new(publish::Spec::new("t"));
    let ticket = bench.command(Command::StartPublish { id: id("a"), spec });
    assert_eq!(bench.fault(ticket).kind, FaultKind::NotOpen);
}
