use super::*;
use crate::{
    api::{
        service::{Caller, Flow, RoomPorts},
        testing::{
            on_a_shard,
            rooms::{EPOCH, House, Outside, Plan},
        },
    },
    proto::{ReceiveRequest, receive_request::Source},
};

fn request(room: &str, cursor: &str, from_start: bool) -> ReceiveRequest {
    ReceiveRequest { source: Some(Source::Room(room.into())), cursor: cursor.into(), from_start }
}

async fn open(house: &House, cursor: &str, from_start: bool) -> Opened<ReceivedMessage> {
    house.service.receive_here(&Caller::default(), request("r", cursor, from_start)).await.unwrap()
}

async fn next(flow: &mut Flow<ReceivedMessage>) -> ReceivedMessage {
    std::future::poll_fn(|cx| flow.as_mut().poll_next(cx)).await.unwrap().unwrap()
}

/// A message as its text, a gap as its cause and ends.
async fn told(flow: &mut Flow<ReceivedMessage>) -> (String, String) {
    let message = next(flow).await;
    assert_eq!((message.room.as_str(), message.id.as_str(), message.seq), ("r", "", 0));
    let text = match &message.body {
        Some(Body::Text(text)) => {
            assert!(message.timestamp.is_some() && message.content_type == "text/plain");
            format!("{} {text}", message.offset)
        }
        Some(Body::Gap(gap)) => {
            let from = gap.from_seq.unwrap();
            format!("{} {}:{from} {}:{} {:?}", gap.cause, gap.from_epoch, gap.to_epoch, gap.to_seq, gap.count)
        }
        other => panic!("{other:?}"),
    };
    (text, message.cursor)
}

#[test]
fn from_now_on_means_what_is_sent_after_the_answer() {
    on_a_shard(async {
        let house = House::start();
        house.state.lock().add("r", "before");
        let mut opened = open(&house, "", false).await;
        house.state.lock().add("r", "a");
        house.state.lock().add("other", "not ours");
        assert_eq!(told(&mut opened.flow).await.0, "2 a");
        house.state.lock().add("r", "b");
        let (last, cursor) = told(&mut opened.flow).await;
        assert_eq!(last, "3 b");
        // Whoever comes back with what it was told first misses nothing.
        let mut again = open(&house, &opened.cursor.unwrap(), false).await;
        assert_eq!(told(&mut again.flow).await.0, "2 a");
        house.state.lock().add("r", "c");
        let mut resumed = open(&house, &cursor, false).await;
        assert_eq!(resumed.cursor, None);
        assert_eq!(told(&mut resumed.flow).await.0, "4 c");
    });
}

#[test]
fn a_room_that_nobody_knows_yet_is_followed_from_its_first_message() {
    on_a_shard(async {
        let house = House::start();
        for from_start in [false, true] {
            let mut opened = open(&house, "", from_start).await;
            house.state.lock().add("r", "first");
            assert_eq!(told(&mut opened.flow).await.0, "1 first");
            house.state.lock().rooms.clear();
        }
    });
}

#[test]
fn the_start_is_what_is_kept_without_a_gap() {
    on_a_shard(async {
        let house = House::start();
        for n in 1..=205 {
            house.state.lock().add("r", &n.to_string());
        }
        house.state.lock().rooms.values_mut().for_each(|room| drop(room.messages.drain(..3)));
        let mut opened = open(&house, "", true).await;
        for n in 4..=205 {
            assert_eq!(told(&mut opened.flow).await.0, format!("{n} {n}"));
        }
    });
}

#[test]
fn what_is_no_longer_kept_is_a_gap_at_once() {
    on_a_shard(async {
        let house = House::start();
        house.state.lock().add("r", "1");
        let cursor = open(&house, "", false).await.cursor.unwrap();
        for n in 2..=6 {
            house.state.lock().add("r", &n.to_string());
        }
        house.state.lock().rooms.values_mut().for_each(|room| drop(room.messages.drain(..4)));
        let mut opened = open(&house, &cursor, false).await;
        let (gap, at_gap) = told(&mut opened.flow).await;
        assert_eq!(gap, format!("not_retained {EPOCH}:1 {EPOCH}:5 Some(3)"));
        assert_eq!(told(&mut opened.flow).await.0, "5 5");
        let mut again = open(&house, &at_gap, false).await;
        assert_eq!(told(&mut again.flow).await.0, "5 5", "the gap was told");
        // Nothing at all is kept: it is told before the next message comes.
        house.state.lock().forget("r", None);
        let mut opened = open(&house, &cursor, false).await;
        assert_eq!(told(&mut opened.flow).await.0, format!("not_retained {EPOCH}:1 {EPOCH}:7 Some(5)"));
        house.state.lock().add("r", "7");
        assert_eq!(told(&mut opened.flow).await.0, "7 7");
    });
}

#[test]
fn a_new_epoch_is_a_gap() {
    on_a_shard(async {
        let house = House::start();
        house.state.lock().add("r", "1");
        let mut opened = open(&house, "", false).await;
        let cursor = opened.cursor.clone().unwrap();
        house.state.lock().forget("r", Some(2000));
        house.state.lock().add("r", "a");
        assert_eq!(told(&mut opened.flow).await.0, format!("new_epoch {EPOCH}:1 2000:1 None"));
        let (message, newest) = told(&mut opened.flow).await;
        assert_eq!(message, "1 a");
        let mut resumed = open(&house, &cursor, false).await;
        assert_eq!(told(&mut resumed.flow).await.0, format!("new_epoch {EPOCH}:1 2000:1 None"));
        assert_eq!(told(&mut resumed.flow).await.0, "1 a");
        // Its numbers went back: what numbered it has lost its state.
        house.state.lock().forget("r", Some(1500));
        let mut resumed = open(&house, &newest, false).await;
        assert_eq!(told(&mut resumed.flow).await.0, "new_epoch 2000:1 1500:1 None");
        house.state.lock().add("r", "b");
        assert_eq!(told(&mut resumed.flow).await.0, "1 b");
    });
}

#[test]
fn what_the_home_does_not_have_comes_from_outside() {
    on_a_shard(async {
        let outside = Arc::new(Outside::default());
        let ports = RoomPorts { bus: Some(outside.clone()), relay: None };
        let house = House::of(Plan { ports, ..Plan::default() });
        let both = |text: &str| {
            outside.state.lock().add("r", text);
            house.state.lock().add("r", text);
        };
        both("1");
        let mut opened = open(&house, "", false).await;
        // The home has lost some of them.
        for text in ["2", "3"] {
            outside.state.lock().add("r", text);
        }
        {
            let mut state = house.state.lock();
            state.rooms.values_mut().for_each(|room| room.head.offset = 3);
            state.forget("r", None);
        }
        both("4");
        for expected in ["2 2", "3 3", "4 4"] {
            assert_eq!(told(&mut opened.flow).await.0, expected);
        }
        let mut start = open(&house, "", true).await;
        assert_eq!(told(&mut start.flow).await.0, "1 1");
        // While the outside is away the home goes on, with a gap.
        *outside.stopped.lock() = true;
        {
            let mut state = house.state.lock();
            state.forget("r", None);
            state.rooms.values_mut().for_each(|room| room.head.offset = 8);
        }
        house.state.lock().add("r", "9");
        assert_eq!(told(&mut opened.flow).await.0, format!("not_retained {EPOCH}:4 {EPOCH}:9 Some(4)"));
        assert_eq!(told(&mut opened.flow).await.0, "9 9");
    });
}

#[test]
fn a_wrong_room_or_cursor_is_refused() {
    on_a_shard(async {
        let house = House::start();
        let refused = async |request: ReceiveRequest| {
            let opened = house.service.receive_here(&Caller::default(), request).await;
            opened.err().expect("refused").field.into_owned()
        };
        let foreign = Cursor::Room { room: "other".into(), epoch: 1, offset: 1 }.encode();
        let topic = Cursor::Topic { offset: 1 }.encode();
        for cursor in [foreign.as_str(), topic.as_str(), "x"] {
            assert_eq!(refused(request("r", cursor, false)).await, "cursor");
        }
        assert_eq!(refused(request("r", &topic, true)).await, "cursor");
        for room in ["", "a,b", "a\u{7f}"] {
            assert_eq!(refused(request(room, "", false)).await, "room");
        }
    });
}
