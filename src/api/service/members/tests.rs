use super::*;
use crate::api::testing::{
    on_a_shard,
    rooms::{EPOCH, House},
};

fn caller() -> Caller {
    Caller::default()
}

/// Connections of a few users on all shards, in rooms that overlap.
fn full() -> House {
    let house = House::start();
    for n in 0..12 {
        let user = format!("u{}", n % 3);
        let rooms: &[&str] = if n % 2 == 0 { &["even", "all"] } else { &["all", "odd"] };
        house.connect(&format!("c{n:02}"), rooms, Some(&user));
    }
    house
}

#[test]
fn rooms_are_listed_with_all_their_members_page_by_page() {
    on_a_shard(async {
        let house = full();
        let whole = house.service.list_rooms(&caller(), ListRoomsRequest::default()).await.unwrap();
        let summary = |name: &str, members| RoomSummary { name: name.into(), members };
        assert_eq!(whole.rooms, [summary("all", 12), summary("even", 6), summary("odd", 6)]);
        assert!(whole.next_page_token.is_empty());
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let request = ListRoomsRequest { page_size: 2, page_token: token, ..Default::default() };
            let page = house.service.list_rooms(&caller(), request).await.unwrap();
            assert!(page.rooms.len() <= 2);
            found.extend(page.rooms);
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(found, whole.rooms);
        let request = ListRoomsRequest { prefix: "e".into(), ..Default::default() };
        let even = house.service.list_rooms(&caller(), request).await.unwrap();
        assert_eq!(even.rooms, [summary("even", 6)]);
        for (field, request) in [
            ("page_size", ListRoomsRequest { page_size: 1001, ..Default::default() }),
            ("page_size", ListRoomsRequest { page_size: -1, ..Default::default() }),
            ("page_token", ListRoomsRequest { page_token: "?".into(), ..Default::default() }),
            ("prefix", ListRoomsRequest { prefix: "a,".into(), ..Default::default() }),
        ] {
            let fault = house.service.list_rooms(&caller(), request).await.unwrap_err();
            assert_eq!((fault.kind, fault.field.as_ref()), (FaultKind::Invalid, field));
        }
    });
}

#[test]
fn members_are_connections_with_their_rooms_and_user() {
    on_a_shard(async {
        let house = full();
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let request = ListMembersRequest { room: "odd".into(), page_size: 4, page_token: token };
            let page = house.service.list_members(&caller(), request).await.unwrap();
            found.extend(page.members);
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        let ids: Vec<_> = found.iter().map(|member| member.id.as_str()).collect();
        assert_eq!(ids, ["c01", "c03", "c05", "c07", "c09", "c11"]);
        assert_eq!((found[0].direction(), found[0].user.as_str()), (Direction::In, "u1"));
        assert_eq!(found[0].rooms, ["all", "odd"]);
        for (field, room, token) in [("room", "", ""), ("room", "a\n", ""), ("page_token", "a", "x")] {
            let request =
                ListMembersRequest { room: room.into(), page_token: token.into(), ..Default::default() };
            assert_eq!(house.service.list_members(&caller(), request).await.unwrap_err().field, field);
        }
    });
}

#[test]
fn a_connection_joins_and_leaves_at_its_shard() {
    on_a_shard(async {
        let house = full();
        let join = |room: &str, id: &str| JoinRequest { room: room.into(), id: id.into() };
        let joined = house.service.join(&caller(), join("räume/1", "c03")).await.unwrap();
        assert_eq!((joined.epoch, joined.offset), (EPOCH, 4));
        let rooms = || house.state.lock().connections[&ConnectionId::parse("c03").unwrap()].0.len();
        assert_eq!(rooms(), 3);
        let leave = LeaveRequest { room: "räume/1".into(), id: "c03".into() };
        house.service.leave(&caller(), leave).await.unwrap();
        assert_eq!(rooms(), 2);
        for (kind, field, request) in [
            (FaultKind::NotFound, "", join("a", "nobody")),
            (FaultKind::Invalid, "room", join("", "nobody")),
            (FaultKind::Invalid, "id", join("a", "no such")),
        ] {
            let fault = house.service.join(&caller(), request).await.unwrap_err();
            assert_eq!((fault.kind, fault.field.as_ref()), (kind, field));
        }
    });
}

#[test]
fn a_user_is_reached_on_every_shard() {
    on_a_shard(async {
        let house = full();
        let send = |user: &str| SendToUserRequest {
            user: user.into(),
            message: "{}".into(),
            message_id: "t".into(),
            ..Default::default()
        };
        let sent = house.service.send_to_user(&caller(), send("u1")).await.unwrap();
        assert_eq!(sent.connections, 4);
        let each = r#"user u1 Text {"MESSAGE_ID":"t","message":{}}"#;
        assert_eq!(house.log(), [each; 3]);
        assert_eq!(house.service.send_to_user(&caller(), send("nobody")).await.unwrap().connections, 0);
        for user in ["", "a\0", &"x".repeat(257)] {
            assert_eq!(house.service.send_to_user(&caller(), send(user)).await.unwrap_err().field, "user");
            let kick = KickUserRequest { user: user.into(), ..Default::default() };
            assert_eq!(house.service.kick_user(&caller(), kick).await.unwrap_err().field, "user");
        }
        // One shard is full: who was reached is in the answer, and whether all were is in doubt.
        let full = Fault::full("the mailbox", std::time::Duration::from_millis(50));
        house.state.lock().refusing_users.insert(1, full.clone());
        let part = house.service.send_to_user(&caller(), send("u1")).await.unwrap_err();
        assert_eq!((part.kind, part.certainty), (FaultKind::MaybeSent, Some(Certainty::MaybeSent)));
        assert_eq!(house.service.send_to_user(&caller(), send("nobody")).await.unwrap_err(), full);
    });
}

#[test]
fn a_user_is_kicked_from_every_shard() {
    on_a_shard(async {
        let house = full();
        let kick = KickUserRequest { user: "u2".into(), code: 4000, reason: "enough".into() };
        assert_eq!(house.service.kick_user(&caller(), kick.clone()).await.unwrap().disconnected, 4);
        assert_eq!(house.log(), ["kick u2 4000 enough"; 3]);
        assert_eq!(house.service.kick_user(&caller(), kick.clone()).await.unwrap().disconnected, 0);
        let wrong = KickUserRequest { code: 1006, ..kick };
        assert_eq!(house.service.kick_user(&caller(), wrong).await.unwrap_err().field, "code");
    });
}
