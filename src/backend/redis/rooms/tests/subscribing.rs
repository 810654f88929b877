use super::*;
use crate::{limits::REDIS_ROOM_HELD_MAX, wire};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

#[test]
fn the_first_number_and_what_comes_next_fit_together() {
    let server = RedisServer::start(&["--appendfsync", "no"]);
    let (sender, reader) = (Instance::open(&server, "a"), Instance::open(&server, "b"));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                let answers: Vec<_> = (0..20).map(|_| sender.posting(&["r"], "x")).collect();
                answers.iter().for_each(|answer| drop(answer.recv_timeout(PATIENCE).expect("an answer")));
            }
        });
        for _ in 0..50 {
            reader.subscribe("r");
            let length = reader.log.len();
            wait_for("something", || reader.log.len() > length + 5);
            reader.rooms.unsubscribe(&room("r"));
        }
        stop.store(true, Relaxed);
    });
    let mut last = None;
    for heard in reader.log.all() {
        match heard {
            Heard::Subscribed(head) => last = Some(head),
            Heard::Arrived(_, place, _) => {
                let before = last.expect("subscribed first");
                assert_eq!(place, at(before.epoch, before.offset + 1));
                last = Some(place);
            }
            Heard::Resumed(..) => panic!("nothing broke"),
        }
    }
}

#[test]
fn two_thousand_rooms_are_heard_and_come_back() {
    const ROOMS: usize = 2000;
    let server = RedisServer::start(&["--appendfsync", "no"]);
    let (sender, reader) = (Instance::open(&server, "a"), Instance::open(&server, "b"));
    let (answers, subscribed) = mpsc::sync_channel(ROOMS);
    let names: Vec<_> = (0..ROOMS).map(|n| format!("room-{n}")).collect();
    for name in &names {
        let answers = answers.clone();
        reader.rooms.subscribe(&room(name), Box::new(move |answer| drop(answers.send(answer))));
    }
    for _ in 0..ROOMS {
        subscribed.recv_timeout(PATIENCE).expect("an answer").expect("subscribed");
    }
    assert_eq!(reader.rooms.stats().subscribed, ROOMS as u64);
    for name in &names {
        sender.placed(name, "x");
    }
    wait_for("all", || reader.log.len() == ROOMS);
    server.call(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    wait_for("all rooms again", || reader.rooms.stats().resumed == ROOMS as u64);
    assert!(names.iter().all(|name| reader.log.resumed(&room(name)).iter().all(|head| head.offset == 1)));
    for name in &names[..1990] {
        reader.rooms.unsubscribe(&room(name));
    }
    wait_for("the rest", || reader.rooms.stats().subscribed == 10);
    wait_for("the server", || {
        let channels = server.call(&["PUBSUB", "CHANNELS"]);
        matches!(channels, redis::Value::Array(channels) if channels.len() == 10)
    });
}

#[test]
fn garbage_on_a_channel_is_counted_and_nobody_is_disturbed() {
    let server = RedisServer::start(&[]);
    let instance = Instance::open(&server, "a");
    instance.subscribe("r");
    instance.placed("r", "1");
    wait_for("the first", || instance.arrived("r").len() == 1);
    let (_, message) = instance.arrived("r").pop().expect("a message");
    let mut newer = wire::rooms::encode(&message);
    newer[0] = wire::rooms::VERSION + 1;
    let other = Message { places: Arc::new([Place { room: room("s"), at: at(1, 1) }]), ..(*message).clone() };
    let client = redis::Client::open(server.url()).expect("a client");
    let mut connection = client.get_connection().expect("a connection");
    for garbage in [&b""[..], b"\x01", b"hello", &newer, &wire::rooms::encode(&other), &[0xff; 5000]] {
        let mut publish = redis::cmd("PUBLISH");
        let heard: u64 = publish.arg("wsm:rooms:m:r").arg(garbage).query(&mut connection).expect("an answer");
        assert_eq!(heard, 1, "it is still there");
    }
    assert_eq!(instance.placed("r", "2").offset, 2);
    wait_for("the second", || instance.arrived("r").len() == 2);
    let stats = instance.rooms.stats();
    assert_eq!((stats.malformed, stats.connection_failures), (6, 0));
}

#[test]
fn a_closed_one_drops_what_waits() {
    let mut server = RedisServer::start(&[]);
    let instance = Instance::open(&server, "a");
    server.kill();
    wait_for("the loss to be seen", || instance.rooms.health().is_err());
    let (sender, answer) = mpsc::sync_channel::<Result<Position, _>>(1);
    instance.rooms.subscribe(&room("r"), Box::new(move |answer| drop(sender.send(answer))));
    instance.rooms.close().expect("closed");
    assert!(answer.recv_timeout(PATIENCE).is_err(), "dropped");
    assert!(instance.posting(&["r"], "x").recv().is_err());
    let (sender, answer) = mpsc::sync_channel::<Result<Position, _>>(1);
    instance.rooms.subscribe(&room("r"), Box::new(move |answer| drop(sender.send(answer))));
    assert!(answer.recv().is_err());
}

mod interest {
    use super::*;
    use crate::backend::redis::rooms::interest::{Interest, Subscribed, Word};
    use tokio::time::Instant;

    fn message(offset: u64) -> Arc<Message> {
        let places = Arc::new([Place { room: room("r"), at: at(1, offset) }]);
        let (payload, wall) = Default::default();
        Arc::new(Message { kind: Kind::Text, payload, wall, places, from: None })
    }

    fn nobody() -> Subscribed {
        Box::new(|_| {})
    }

    fn names(words: Vec<Word>) -> Vec<String> {
        let name = |word| match word {
            Word::Subscribed(_, head) => format!("subscribed {}", head.offset),
            Word::Failed(_) => "failed".into(),
            Word::Resumed(_, head) => format!("resumed {}", head.offset),
            Word::Corrected(_, head) => format!("corrected {}", head.offset),
            Word::Arrived(_, at, _) => format!("arrived {}", at.offset),
        };
        words.into_iter().map(name).collect()
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    #[test]
    fn what_comes_before_the_number_waits_for_it() {
        let interest = Interest::default();
        interest.want(&room("r"), later(), nobody());
        let tasks = interest.next(10);
        assert_eq!((tasks.subscribe.len(), tasks.heads.len()), (1, 1));
        for offset in [4, 5, 6] {
            assert!(interest.arrived("r", at(1, offset), message(offset), false).is_none());
        }
        let words = interest.answered(&tasks.heads, &[at(1, 4)]);
        assert_eq!(names(words), ["subscribed 4", "arrived 5", "arrived 6"]);
        assert!(interest.arrived("r", at(1, 7), message(7), false).is_some());
        // An answer that nobody waits for changes nothing; a check finds what is missing.
        interest.check_all();
        let tasks = interest.next(10);
        assert!(interest.answered(&tasks.heads, &[at(1, 7)]).is_empty());
        interest.check_all();
        let tasks = interest.next(10);
        assert_eq!(names(interest.answered(&tasks.heads, &[at(1, 9)])), ["corrected 9"]);
        interest.lost();
        let tasks = interest.next(10);
        assert_eq!(tasks.subscribe.len(), 1);
        assert_eq!(names(interest.answered(&tasks.heads, &[at(1, 9)])), ["resumed 9"]);
    }

    #[test]
    fn an_answer_to_an_older_question_does_not_count() {
        let interest = Interest::default();
        interest.want(&room("r"), later(), nobody());
        let old = interest.next(10);
        interest.unwant(&room("r"));
        interest.want(&room("r"), later(), nobody());
        interest.arrived("r", at(1, 1), message(1), false);
        assert!(interest.answered(&old.heads, &[at(1, 0)]).is_empty());
        let new = interest.next(10);
        assert!(new.subscribe.is_empty() && new.unsubscribe.is_empty(), "it is subscribed");
        assert_eq!(names(interest.answered(&new.heads, &[at(1, 0)])), ["subscribed 0", "arrived 1"]);
        interest.unwant(&room("r"));
        let end = interest.next(10);
        assert_eq!((end.unsubscribe.len(), end.forgotten), (1, vec![(room("r"), at(1, 1))]));
        assert_eq!(interest.len(), 0);
    }

    #[test]
    fn too_much_for_waiting_is_asked_for_anew() {
        let interest = Interest::default();
        interest.want(&room("r"), later(), nobody());
        let first = interest.next(10);
        let most = REDIS_ROOM_HELD_MAX as u64 + 1;
        for offset in 1..=most {
            assert!(interest.arrived("r", at(1, offset), message(offset), false).is_none());
        }
        assert!(interest.answered(&first.heads, &[at(1, 0)]).is_empty());
        let second = interest.next(10);
        let words = names(interest.answered(&second.heads, &[at(1, most)]));
        assert_eq!(words, [format!("subscribed {most}")]);
    }

    #[test]
    fn a_question_ends_at_its_deadline() {
        let interest = Interest::default();
        let until = Instant::now();
        interest.want(&room("r"), until, nobody());
        let tasks = interest.next(10);
        let (words, next) = interest.expire(until);
        assert_eq!((names(words), next), (vec!["failed".to_owned()], None));
        assert!(interest.answered(&tasks.heads, &[at(1, 0)]).is_empty());
        assert_eq!(interest.next(10).unsubscribe.len(), 1);
    }
}
