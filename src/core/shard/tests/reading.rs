//! Followers, watchers, List, tags, Update.

use super::*;

fn fetch(bench: &mut Bench, follow: Follow, from: FetchFrom, wait: bool) -> Ticket {
    bench.command(Command::Fetch(Box::new(Fetch { follow, from, bytes_max: 1000, wait })))
}

fn by_id(name: &str) -> Follow {
    Follow::Connection(id(name))
}

fn after(fetched: &Fetched) -> FetchFrom {
    FetchFrom::At { incarnation: fetched.incarnation, position: fetched.next }
}

fn texts(fetched: &Fetched) -> Vec<String> {
    let texts = fetched.records.iter().filter(|record| record.kind == crate::core::ring::RecordKind::Text);
    texts.map(|record| String::from_utf8(record.payload.to_vec()).unwrap()).collect()
}

#[test]
fn a_follower_gets_what_is_there_then_waits_then_hears_the_end() {
    let mut bench = Bench::new();
    let socket = bench.open(connect_to("a", settings()));
    let other = bench.open(connect_to("b", settings()));
    bench.says(socket, "one");
    let ticket = fetch(&mut bench, by_id("a"), FetchFrom::Start, true);
    let first = fetched(bench.answer(ticket));
    assert_eq!((texts(&first), first.numbering), (vec!["one".to_owned()], Some((WALL_MILLIS, 1))));
    let ticket = fetch(&mut bench, by_id("a"), after(&first), true);
    bench.says(other, "not mine");
    assert!(bench.is_open(ticket));
    bench.says(socket, "two");
    let second = fetched(bench.answer(ticket));
    assert_eq!(texts(&second), ["two"]);
    let ticket = fetch(&mut bench, by_id("a"), after(&second), true);
    bench.disconnect("a");
    let end = fetched(bench.answer(ticket));
    assert_eq!((end.records.len(), end.gone), (1, false), "the end marker");
    let ticket = fetch(&mut bench, by_id("a"), after(&end), true);
    assert!(fetched(bench.answer(ticket)).gone);
    let never = fetch(&mut bench, by_id("nobody"), FetchFrom::Now, true);
    assert_eq!(bench.fault(never).kind, FaultKind::NotFound);
}

#[test]
fn who_waits_for_a_dead_connection_hears_when_it_leaves_the_lists() {
    let mut bench = Bench::new();
    let socket = bench.open(connect_to("a", Settings { auto_reconnect: false, ..settings() }));
    bench.lose(socket);
    let ticket = fetch(&mut bench, by_id("a"), FetchFrom::Now, true);
    bench.pass(limits::DISCONNECTED_KEPT - millis(100));
    assert!(bench.is_open(ticket));
    bench.pass(millis(200));
    assert!(fetched(bench.answer(ticket)).gone);
}

#[test]
fn what_ended_before_it_was_read_can_still_be_read() {
    let mut bench = Bench::new();
    let tags = vec![("kind".into(), "feed".into())];
    let socket = bench.open(Connect { tags, ..connect_to("a", settings()) });
    bench.says(socket, "one");
    bench.disconnect("a");
    // Another Connect of the id comes to nothing.
    let failed = bench.command(Command::Connect(Box::new(connect_to("a", settings()))));
    let meanwhile = fetch(&mut bench, by_id("a"), FetchFrom::Start, true);
    bench.dial_fails();
    assert_eq!(bench.fault(failed).kind, FaultKind::DialFailed);
    let by_tag = Follow::Tags(vec![("kind".into(), "feed".into())]);
    let by_tag = fetch(&mut bench, by_tag, FetchFrom::Start, true);
    let by_id = fetch(&mut bench, by_id("a"), FetchFrom::Start, true);
    for ticket in [meanwhile, by_tag, by_id] {
        let read = fetched(bench.answer(ticket));
        assert_eq!((texts(&read), read.records.len()), (vec!["one".to_owned()], 2));
    }
}

#[test]
fn a_place_of_another_run_begins_anew_and_says_so() {
    let mut bench = Bench::new();
    let socket = bench.open(connect_to("a", settings()));
    bench.says(socket, "one");
    let from = FetchFrom::At { incarnation: 1, position: 7 };
    let ticket = fetch(&mut bench, by_id("a"), from, true);
    let read = fetched(bench.answer(ticket));
    assert!(read.overrun);
    assert_eq!(texts(&read), ["one"]);
}

#[test]
fn a_follower_that_went_away_is_not_answered() {
    let mut bench = Bench::new();
    let socket = bench.open(connect_to("a", settings()));
    let ticket = fetch(&mut bench, by_id("a"), FetchFrom::Now, true);
    let watch = bench.command(Command::Watch { after: None, wait: true });
    bench.cancel(ticket);
    bench.cancel(watch);
    bench.says(socket, "one");
    bench.lose(socket);
    assert!(bench.answers.is_empty());
    assert_eq!(bench.core.gauges().followers, 0);
}

#[test]
fn a_watcher_waits_for_the_next_event() {
    let mut bench = Bench::new();
    let ticket = bench.command(Command::Watch { after: None, wait: true });
    assert!(bench.is_open(ticket));
    bench.command(Command::Connect(Box::new(connect_to("a", settings()))));
    let Ok(Answer::Watched { events, start, next, .. }) = bench.answer(ticket) else { panic!() };
    assert_eq!((events.len(), start, next), (1, 0, 1));
    assert!(!events[0].url.contains("s3cret"));
}

#[test]
fn tags_merge_and_have_a_bound() {
    let mut bench = Bench::new();
    bench.open(connect_to("a", settings()));
    let pairs = |pairs: &[(&str, &str)]| -> Tags {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    };
    for (change, outcome) in
        [(pairs(&[("b", "1"), ("a", "2")]), Some(2)), (pairs(&[("a", ""), ("c", "3")]), Some(2))]
    {
        let ticket = bench.command(Command::SetTags { id: id("a"), tags: change });
        assert!(bench.is_open(ticket), "it is answered when it is stored");
        let record = bench.store(None);
        assert!(bench.answer(ticket).is_ok());
        assert_eq!(Some(record.tags.len()), outcome);
    }
    let many: Tags = (0..50).map(|n| (format!("k{n:02}").into(), "v".into())).collect();
    let ticket = bench.command(Command::SetTags { id: id("a"), tags: many });
    assert_eq!(bench.fault(ticket).kind, FaultKind::Invalid);
    let ticket = bench.command(Command::GetTags(id("a")));
    assert!(
        matches!(bench.answer(ticket), Ok(Answer::Tags(tags)) if tags == pairs(&[("b", "1"), ("c", "3")]))
    );
    let ticket = bench.command(Command::SetTags { id: id("a"), tags: pairs(&[("d", "4")]) });
    bench.store(Some("disk full"));
    assert_eq!(bench.fault(ticket).kind, FaultKind::Unavailable);
}

#[test]
fn lists_come_in_pages_by_id() {
    let mut bench = Bench::new();
    for name in ["c", "a", "d", "b"] {
        bench.open(connect_to(name, settings()));
    }
    let mut after = None;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let list = List { after: after.clone(), limit: 2, ..List::default() };
        let ticket = bench.command(Command::List(Box::new(list)));
        let Ok(Answer::Listed { infos, total }) = bench.answer(ticket) else { panic!() };
        assert_eq!(total, 4);
        seen.extend(infos.iter().map(|info| info.id.to_string()));
        after = infos.last().map(|info| info.id.clone());
    }
    assert_eq!(seen, ["a", "b", "c", "d"]);
    let list = List { status: vec![Status::Reconnecting], limit: 9, ..List::default() };
    let ticket = bench.command(Command::List(Box::new(list)));
    assert!(matches!(bench.answer(ticket), Ok(Answer::Listed { total: 0, .. })));
}

#[test]
fn an_update_takes_effect_at_once_unless_somebody_was_quicker() {
    let mut bench = Bench::new();
    let socket = bench.open(connect_to("a", settings()));
    let pinging = spec_of(Settings { ping_interval: millis(1000), ..settings() }, "b");
    let update = |expected: &'static str| {
        Command::Update(Box::new(Update { id: id("a"), expected: expected.into(), spec: pinging.clone() }))
    };
    let ticket = bench.command(update("a"));
    bench.store(None);
    assert!(matches!(bench.answer(ticket), Ok(Answer::Updated { live: true, .. })));
    bench.pass(millis(1010));
    assert_eq!(bench.write(socket, 99), ["ping"]);
    let ticket = bench.command(update("a"));
    assert_eq!(bench.fault(ticket).kind, FaultKind::NotOpen);
}

#[test]
fn a_topic_is_followed_through_the_ring() {
    let mut bench = Bench::new();
    let publishing = |topic: &str| Some(publish::Spec::new(topic));
    let a = bench.open(Connect { publish: publishing("t"), ..connect_to("a", settings()) });
    let b = bench.open(Connect { publish: publishing("t"), ..connect_to("b", settings()) });
    let c = bench.open(Connect { publish: publishing("other"), ..connect_to("c", settings()) });
    let topic = || Follow::Topic("t".into());
    let parked = fetch(&mut bench, topic(), FetchFrom::Now, true);
    bench.says(c, "not this");
    assert!(bench.is_open(parked));
    bench.says(a, "one");
    let read = fetched(bench.answer(parked));
    assert_eq!(texts(&read), ["one"]);
    bench.says(b, "two");
    bench.command(Command::StopPublish(id("b")));
    bench.says(b, "unpublished");
    bench.disconnect("a");
    let from = FetchFrom::At { incarnation: read.incarnation, position: read.next };
    let rest = fetch(&mut bench, topic(), from, true);
    let read = fetched(bench.answer(rest));
    assert_eq!((texts(&read), read.records.len()), (vec!["two".to_owned()], 2), "and the end of a");
}
