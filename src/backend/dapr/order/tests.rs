use super::*;
use crate::core::{
    id::ConnectionId,
    publish::batch::{BatchId, Event, EventKind},
};

const RULES: Rules = Rules {
    in_flight: 8,
    request_events: 100,
    request_bytes: 10_000,
    ordered_bulk: false,
    dead_letter: None,
    canary: None,
};

fn event(topic: &str, connection: &str, seq: u64, length: usize) -> Event {
    Event {
        topic: topic.into(),
        connection: ConnectionId::parse(connection).unwrap(),
        kind: EventKind::Message,
        epoch: 1,
        first_seq: seq,
        last_seq: seq,
        messages: 1,
        relaxed: false,
        range: 0..length,
    }
}

fn batch(id: u64, events: Vec<Event>) -> Arc<Batch> {
    Arc::new(Batch { id: BatchId(id), bytes: vec![b'x'; 20_000], events })
}

/// One batch of a lane each connection, `count` events long, seqs from 1.
fn lanes(topic: &str, connections: usize, count: u64) -> Arc<Batch> {
    let of = |seq| (0..connections).map(move |c| event(topic, &format!("c{c}"), seq, 10));
    batch(1, (1..=count).flat_map(of).collect())
}

fn names(request: &Request) -> Vec<(String, u64)> {
    let event = |entry: &Entry| entry.batch.events[entry.index as usize].clone();
    request.entries.iter().map(event).map(|e| (e.connection.to_string(), e.first_seq)).collect()
}

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

#[test]
fn a_request_holds_one_event_of_a_lane_and_the_next_goes_after_its_answer() {
    let mut scheduler = Scheduler::new(Rules { in_flight: 2, ..RULES });
    let ticket = scheduler.offer(at(0), lanes("t", 3, 2));
    let first = scheduler.next(at(0)).unwrap();
    assert_eq!(names(&first), [("c0".into(), 1), ("c1".into(), 1), ("c2".into(), 1)]);
    assert!(scheduler.next(at(0)).is_none());
    scheduler.answer(at(1), first.number, Outcome::Partly(vec![1]));
    let second = scheduler.next(at(1)).unwrap();
    assert_eq!(names(&second), [("c0".into(), 2), ("c2".into(), 2)]);
    // The failed one goes again before its lane does.
    let due = scheduler.wake_at().unwrap();
    assert!(due > at(1));
    let again = scheduler.next(due).unwrap();
    assert_eq!(names(&again), [("c1".into(), 1)]);
    scheduler.answer(due, again.number, Outcome::Taken);
    scheduler.answer(due, second.number, Outcome::Taken);
    let last = scheduler.next(due).unwrap();
    assert_eq!(names(&last), [("c1".into(), 2)]);
    assert_eq!(scheduler.finished(), None);
    scheduler.answer(due, last.number, Outcome::Taken);
    scheduler.answer(due, last.number, Outcome::Taken);
    assert_eq!(scheduler.finished(), Some((ticket, Ok(()))));
    assert_eq!((scheduler.tally().acknowledged, scheduler.tally().retries), (6, 1));
}

#[test]
fn relaxed_events_and_an_ordered_bulk_go_many_at_a_time() {
    let mut relaxed: Vec<Event> = (1..=5).map(|seq| event("t", "c", seq, 10)).collect();
    relaxed.iter_mut().for_each(|event| event.relaxed = true);
    let mut scheduler = Scheduler::new(RULES);
    scheduler.offer(at(0), batch(1, relaxed));
    assert_eq!(scheduler.next(at(0)).unwrap().entries.len(), 5);
    let mut scheduler = Scheduler::new(Rules { ordered_bulk: true, ..RULES });
    scheduler.offer(at(0), lanes("t", 2, 3));
    let request = scheduler.next(at(0)).unwrap();
    let of = |c: &str| [1, 2, 3].map(|seq| (c.to_owned(), seq));
    assert_eq!(names(&request), [of("c0"), of("c1")].concat());
    scheduler.offer(at(0), lanes("t", 2, 1));
    assert!(scheduler.next(at(0)).is_none(), "the lanes are under way");
}

#[test]
fn requests_keep_to_one_topic_and_to_their_bounds() {
    let mut events: Vec<Event> = (0..30).map(|c| event("a", &format!("c{c}"), 1, 1000)).collect();
    events.push(event("b", "c0", 1, 15_000));
    events.push(event("b", "c1", 1, 10));
    let mut scheduler = Scheduler::new(RULES);
    scheduler.offer(at(0), batch(1, events));
    let mut seen = 0;
    while let Some(request) = scheduler.next(at(0)) {
        seen += request.entries.len();
        let size = |entry: &Entry| entry.batch.events[entry.index as usize].range.len();
        let bytes: usize = request.entries.iter().map(size).sum();
        assert!(bytes <= 10_000 || request.entries.len() == 1);
        let topic = |entry: &Entry| entry.batch.events[entry.index as usize].topic.clone();
        assert!(request.entries.iter().all(|entry| topic(entry) == request.topic));
    }
    assert_eq!(seen, 32);
}

/// Answers `Failed` while the poisoned connection is in a request, `Taken` else.
fn run_poisoned(scheduler: &mut Scheduler, poison: &str, answer: &Outcome) -> (Vec<(String, u64)>, Time) {
    let mut taken = Vec::new();
    let mut now = at(1);
    for _ in 0..10_000 {
        while let Some(request) = scheduler.next(now) {
            let hit = names(&request).iter().any(|(name, seq)| name == poison && *seq == 1);
            if hit && &*request.topic != "dead" {
                scheduler.answer(now, request.number, answer.clone());
            } else {
                taken.extend(names(&request));
                scheduler.answer(now, request.number, Outcome::Taken);
            }
        }
        match scheduler.wake_at() {
            Some(at) => now = now.max(at),
            None => return (taken, now),
        }
    }
    panic!("no end");
}

#[test]
fn the_neighbours_of_a_poisoned_event_flow_and_it_alone_is_refused() {
    for outcome in [Outcome::Failed, Outcome::Never] {
        for ordered_bulk in [false, true] {
            let mut scheduler =
                Scheduler::new(Rules { ordered_bulk, canary: Some("canary".into()), ..RULES });
            let ticket = scheduler.offer(at(0), lanes("t", 64, 3));
            let (taken, end) = run_poisoned(&mut scheduler, "c17", &outcome);
            assert_eq!(taken.len(), 64 * 3 - 1, "{outcome:?}");
            let poison = Err(PublishError::Refused(vec![17]));
            assert_eq!(scheduler.finished(), Some((ticket, poison)));
            assert_eq!(scheduler.tally().refused, 1);
            assert!(outcome != Outcome::Never || end == at(1), "a permanent error needs no waiting");
        }
    }
}

#[test]
fn refused_events_go_to_the_dead_letter_topic_first() {
    let mut scheduler = Scheduler::new(Rules { dead_letter: Some("dead".into()), ..RULES });
    let ticket = scheduler.offer(at(0), lanes("t", 3, 2));
    let (taken, _) = run_poisoned(&mut scheduler, "c1", &Outcome::Never);
    assert_eq!(taken.len(), 6);
    assert_eq!(scheduler.finished(), Some((ticket, Err(PublishError::Refused(vec![1])))));
    assert_eq!((scheduler.tally().refused, scheduler.tally().dead_lettered), (1, 1));
}

#[test]
fn a_lone_event_is_refused_only_after_a_canary_got_through() {
    for (canary_lives, refused) in [(true, 1), (false, 0)] {
        let mut scheduler = Scheduler::new(Rules { canary: Some("canary".into()), ..RULES });
        let ticket = scheduler.offer(at(0), lanes("t", 1, 2));
        let (mut now, mut taken) = (at(0), 0);
        let answer = loop {
            while let Some(request) = scheduler.next(now) {
                let canary = request.entries.is_empty();
                assert_eq!(canary, &*request.topic == "canary");
                let second = names(&request) == [("c0".to_owned(), 2)];
                taken += u64::from(second);
                let lives = second || (canary && canary_lives);
                let outcome = if lives { Outcome::Taken } else { Outcome::Failed };
                scheduler.answer(now, request.number, outcome);
            }
            match scheduler.finished() {
                Some(answer) => break answer,
                None => now = now.max(scheduler.wake_at().expect("it goes on")),
            }
        };
        let expected = if canary_lives { PublishError::Refused(vec![0]) } else { PublishError::Retry };
        assert_eq!(answer, (ticket, Err(expected)));
        assert_eq!((scheduler.tally().refused, taken), (refused, refused));
    }
}

#[test]
fn a_refused_topic_refuses_its_events_and_no_others() {
    let mut scheduler = Scheduler::new(RULES);
    let mut events = lanes("t", 3, 1).events.clone();
    events.push(event("forbidden", "c0", 1, 10));
    events.push(event("forbidden", "c1", 1, 10));
    let ticket = scheduler.offer(at(0), batch(1, events));
    while let Some(request) = scheduler.next(at(0)) {
        let outcome = if &*request.topic == "forbidden" { Outcome::TopicRefused } else { Outcome::Taken };
        scheduler.answer(at(0), request.number, outcome);
    }
    assert_eq!(scheduler.finished(), Some((ticket, Err(PublishError::Refused(vec![3, 4])))));
}

#[test]
fn a_sidecar_that_is_away_gives_everything_back_and_nothing_is_refused() {
    for outcome in [Outcome::Away, Outcome::Failed] {
        let mut scheduler = Scheduler::new(RULES);
        let batches = [lanes("t", 40, 2), lanes("u", 40, 2)];
        let tickets: Vec<Ticket> = batches.iter().map(|b| scheduler.offer(at(0), b.clone())).collect();
        // One request gets through, then the broker is gone.
        let first = scheduler.next(at(0)).unwrap();
        let gone = names(&first).len();
        scheduler.answer(at(0), first.number, Outcome::Taken);
        let mut now = at(1);
        let mut requests = 0;
        let answers = loop {
            while let Some(request) = scheduler.next(now) {
                requests += 1;
                scheduler.answer(now, request.number, outcome.clone());
            }
            let answers: Vec<_> = std::iter::from_fn(|| scheduler.finished()).collect();
            if !answers.is_empty() {
                break answers;
            }
            now = scheduler.wake_at().expect("it goes on trying");
        };
        assert!(now < at(10_000) && requests < 40, "{requests} requests until {now:?}");
        let retry = |ticket| (ticket, Err(PublishError::Retry));
        assert_eq!(answers, tickets.into_iter().map(retry).collect::<Vec<_>>());
        // The first failure after that gives back at once; a success goes on with what was left.
        scheduler.offer(now, batches[0].clone());
        now = scheduler.wake_at().unwrap().max(now);
        let probe = scheduler.next(now).unwrap();
        assert!(scheduler.next(now).is_none(), "one request feels the way");
        scheduler.answer(now, probe.number, Outcome::Away);
        assert!(matches!(scheduler.finished(), Some((_, Err(PublishError::Retry)))));
        let ticket = scheduler.offer(now, batches[0].clone());
        now = scheduler.wake_at().unwrap();
        let mut sent = 0;
        while let Some(request) = scheduler.next(now) {
            sent += request.entries.len();
            scheduler.answer(now, request.number, Outcome::Taken);
        }
        assert_eq!(sent, 80 - gone, "what was acknowledged is not sent again");
        assert_eq!(scheduler.finished(), Some((ticket, Ok(()))));
        assert_eq!(scheduler.tally().refused, 0);
    }
}

mod model;
