use super::*;
use crate::api::testing::{
    on_a_shard,
    rooms::{EPOCH, House, Outside, Plan},
};
use std::time::Duration;

fn send(rooms: &[&str], message: &str) -> RoomSendRequest {
    let rooms = rooms.iter().map(ToString::to_string).collect();
    RoomSendRequest { rooms, message: message.into(), ..Default::default() }
}

fn position(room: &str, offset: u64) -> RoomPosition {
    RoomPosition { room: room.into(), epoch: EPOCH, offset }
}

fn caller() -> Caller {
    Caller::default()
}

#[test]
fn one_room_is_asked_of_its_home_and_several_get_one_message() {
    on_a_shard(async {
        let house = House::start();
        let one = house.service.room_send(&caller(), send(&["b"], "first")).await.unwrap();
        assert_eq!(one.positions, [position("b", 1)]);
        assert_eq!(house.log(), ["post b Text first"]);
        let several =
            house.service.room_send(&caller(), send(&["c", "b", "a", "b"], "second")).await.unwrap();
        assert_eq!(several.positions, [position("a", 1), position("b", 2), position("c", 1)]);
        let mut log = house.log();
        log[3..].sort();
        let expected = ["reserve a", "reserve b", "reserve c"].into_iter();
        let fills = ["fill a a+b+c second", "fill b a+b+c second", "fill c a+b+c second"];
        assert_eq!(log, expected.chain(fills).collect::<Vec<_>>());
        let all = BroadcastRequest { data: "x".into(), ..Default::default() };
        let all = house.service.broadcast(&caller(), all).await.unwrap();
        assert_eq!(all.positions, [position("", 1)]);
        assert_eq!(house.log(), ["post  Binary x"]);
    });
}

#[test]
fn arguments_are_checked_before_anybody_is_asked() {
    struct OnlyShort;
    impl CheckMessage for OnlyShort {
        fn check_message(&self, payload: &[u8]) -> Result<(), Fault> {
            let fits = payload.len() < 40;
            fits.then_some(()).ok_or_else(|| Fault::invalid("message", "does not fit its schema"))
        }
    }
    on_a_shard(async {
        let house = House::of(Plan { check: Some(Arc::new(OnlyShort)), ..Plan::default() });
        let many: Vec<_> = (0..=limits::ROOMS_PER_SEND_MAX).map(|n| format!("r{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let long = "x".repeat(limits::ROOM_NAME_BYTES_MAX + 1);
        for (field, request) in [
            ("rooms", send(&[], "x")),
            ("rooms", send(&[""], "x")),
            ("rooms", send(&["a,b"], "x")),
            ("rooms", send(&["a\0"], "x")),
            ("rooms", send(&[&long], "x")),
            ("rooms", send(&many, "x")),
            ("message", send(&["a"], "")),
            ("message", RoomSendRequest { data: "y".into(), ..send(&["a"], "x") }),
            ("message", RoomSendRequest { message_id: "t".into(), ..send(&["a"], "no json") }),
            ("message", RoomSendRequest { message_id: "t".into(), ..send(&["a"], r#"{"longer":true}"#) }),
        ] {
            let fault = house.service.room_send(&caller(), request).await.unwrap_err();
            assert_eq!((fault.kind, fault.field.as_ref()), (FaultKind::Invalid, field), "{fault}");
        }
        let long = BroadcastRequest { message: "x".repeat(40), ..Default::default() };
        assert_eq!(house.service.broadcast(&caller(), long).await.unwrap_err().field, "message");
        let to_user = SendToUserRequest { user: "u".into(), message: "x".repeat(40), ..Default::default() };
        assert_eq!(house.service.send_to_user(&caller(), to_user).await.unwrap_err().field, "message");
        assert_eq!(house.log(), [""; 0]);
        // As many as there may be, each named twice.
        let most: Vec<_> = many[1..].iter().chain(&many[1..]).copied().collect();
        assert_eq!(
            house.service.room_send(&caller(), send(&most, "x")).await.unwrap().positions.len(),
            limits::ROOMS_PER_SEND_MAX
        );
    });
}

#[test]
fn a_number_that_was_given_is_filled_though_the_caller_goes_away() {
    on_a_shard(async {
        let house = House::start();
        house.state.lock().silent.push(crate::api::testing::rooms::name("b"));
        let caller = caller();
        {
            let sending = house.service.room_send(&caller, send(&["a", "b"], "kept"));
            tokio::select! {
                biased;
                _ = sending => panic!("one of the homes is silent"),
                () = house.sees("held") => {}
            }
        }
        let (answer, at) = {
            let mut state = house.state.lock();
            state.silent.clear();
            (state.held.pop().unwrap(), Position { epoch: EPOCH, offset: 1 })
        };
        answer(Ok(Answer::Room(RoomAnswer::Placed(at))));
        house.sees("fill a").await;
        house.sees("fill b").await;
    });
}

#[test]
fn a_deadline_leaves_in_doubt_what_was_under_way() {
    on_a_shard(async {
        let house = House::start();
        house.state.lock().silent.push(crate::api::testing::rooms::name("b"));
        let hurried = Caller { deadline: Some(Duration::from_millis(20)), ..Caller::default() };
        for rooms in [&["b"][..], &["a", "b"]] {
            let fault = house.service.room_send(&hurried, send(rooms, "x")).await.unwrap_err();
            assert_eq!((fault.kind, fault.certainty), (FaultKind::TimedOut, Some(Certainty::MaybeSent)));
        }
        let asked = HistoryRequest { room: "b".into(), ..Default::default() };
        let late = house.service.history(&hurried, asked).await.unwrap_err();
        assert_eq!((late.kind, late.certainty), (FaultKind::TimedOut, None));
    });
}

#[test]
fn a_room_that_refuses_is_told_with_what_became_of_the_others() {
    on_a_shard(async {
        let house = House::start();
        let full = Fault::full("no more rooms", Duration::from_secs(1));
        house.state.lock().refusing.insert(crate::api::testing::rooms::name("b"), full.clone());
        // Nobody had it: as the room said.
        for rooms in [&["b"][..], &["b", "c"]] {
            assert_eq!(house.service.room_send(&caller(), send(rooms, "x")).await.unwrap_err(), full);
        }
        house.log();
        let fault = house.service.room_send(&caller(), send(&["a", "b", "c"], "x")).await.unwrap_err();
        assert_eq!((fault.kind, fault.certainty), (FaultKind::MaybeSent, Some(Certainty::MaybeSent)));
        assert!(fault.message.contains("'b'") && fault.message.contains("no more rooms"), "{fault}");
        assert_eq!(house.log(), ["reserve a", "reserve b", "fill a a x"]);
    });
}

#[test]
fn what_stands_outside_numbers_instead() {
    on_a_shard(async {
        let outside = Arc::new(Outside::default());
        let ports = RoomPorts { bus: Some(outside.clone()), relay: None };
        let house = House::of(Plan { ports, ..Plan::default() });
        let sent = house.service.room_send(&caller(), send(&["b", "a"], "x")).await.unwrap();
        assert_eq!(sent.positions, [position("a", 1), position("b", 1)]);
        house
            .service
            .broadcast(&caller(), BroadcastRequest { message: "y".into(), ..Default::default() })
            .await
            .unwrap();
        let log = std::mem::take(&mut outside.state.lock().log);
        assert_eq!(log, ["bus a+b Text x", "bus  Text y"]);
        let away = Fault::new(FaultKind::NotSent, "away").with_certainty(Certainty::NotSent);
        *outside.fault.lock() = Some(away.clone());
        assert_eq!(house.service.room_send(&caller(), send(&["a"], "x")).await.unwrap_err(), away);
        *outside.stopped.lock() = true;
        let fault = house.service.room_send(&caller(), send(&["a"], "x")).await.unwrap_err();
        assert_eq!((fault.kind, fault.certainty), (FaultKind::MaybeSent, Some(Certainty::MaybeSent)));
        assert_eq!(house.log(), [""; 0], "the homes are not asked");
    });
}

#[test]
fn another_systems_bus_gets_bytes_and_gives_no_numbers() {
    on_a_shard(async {
        let outside = Arc::new(Outside::default());
        let ports = RoomPorts { bus: Some(outside.clone()), relay: Some(outside.clone()) };
        let house = House::of(Plan { ports, ..Plan::default() });
        let sent = house.service.room_send(&caller(), send(&["b", "a"], "x")).await.unwrap();
        assert!(sent.positions.is_empty());
        let all = BroadcastRequest { message: "y".into(), ..Default::default() };
        assert!(house.service.broadcast(&caller(), all).await.unwrap().positions.is_empty());
        let log = std::mem::take(&mut outside.state.lock().log);
        assert_eq!(log, ["relay a+b Binary x", "relay  Binary y"]);
        // What it brings is kept here.
        house.state.lock().add("a", "heard");
        let asked = HistoryRequest { room: "a".into(), ..Default::default() };
        let kept = house.service.history(&caller(), asked).await.unwrap();
        assert_eq!(kept.messages[0].text, "heard");
    });
}

#[test]
fn history_comes_from_whoever_keeps_it() {
    on_a_shard(async {
        let house = House::start();
        for n in 1..=150 {
            house.state.lock().add("a", &n.to_string());
        }
        let ask = async |epoch, offset, limit| {
            let asked = HistoryRequest { room: "a".into(), epoch, offset, limit };
            house.service.history(&caller(), asked).await
        };
        let last = ask(0, 0, 0).await.unwrap();
        assert_eq!((last.messages.len(), last.recovered), (100, true));
        assert_eq!((last.epoch, last.offset), (EPOCH, 150));
        let first = &last.messages[0];
        assert_eq!(
            (first.offset, first.text.as_str(), first.content_type.as_str()),
            (51, "51", "text/plain")
        );
        assert!(first.timestamp.is_some());
        let since = ask(EPOCH, 148, 1).await.unwrap();
        assert_eq!((since.messages.len(), since.messages[0].offset, since.recovered), (1, 149, true));
        house.state.lock().forget("a", None);
        house.state.lock().add("a", "151");
        let cut = ask(EPOCH, 100, 0).await.unwrap();
        assert_eq!((cut.messages.len(), cut.recovered), (1, false));
        for (field, epoch, offset, limit) in [("epoch", 0, 5, 0), ("limit", 0, 0, 1001), ("limit", 0, 0, -1)]
        {
            assert_eq!(ask(epoch, offset, limit).await.unwrap_err().field, field);
        }
        let outside = Arc::new(Outside::default());
        outside.state.lock().add("a", "outside");
        let ports = RoomPorts { bus: Some(outside.clone()), relay: None };
        let house = House::of(Plan { ports, ..Plan::default() });
        let asked = HistoryRequest { room: "a".into(), ..Default::default() };
        let kept = house.service.history(&caller(), asked.clone()).await.unwrap();
        assert_eq!(kept.messages[0].text, "outside");
        *outside.stopped.lock() = true;
        let away = house.service.history(&caller(), asked).await.unwrap_err();
        assert_eq!((away.kind, away.message.as_ref()), (FaultKind::Unavailable, "the outside is away"));
    });
}
