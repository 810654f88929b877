//! Connections that no document tells of, and rooms that have members everywhere.

use super::rig::{Rig, Script, Shared};
use crate::{
    api::{
        grpc,
        service::{Caller, RoomPorts},
        testing::{
            Running, on_a_shard,
            rooms::{House, Outside, Plan},
            start,
        },
    },
    core::{
        id::{ConnectionId, instance_code},
        reason::{Certainty, Fault, FaultKind},
    },
    ports::Member,
    proto::{receive_request::Source, *},
};
use parking_lot::Mutex;
use std::sync::Arc;
use tonic::Code;

fn get(id: &str) -> GetRequest {
    GetRequest { id: id.into() }
}

/// A member at an address where nobody listens.
async fn add_dead(shared: &Mutex<Shared>) {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let member =
        Member { incarnation: "dead#1".into(), instance: "dead".into(), address: address.as_str().into() };
    shared.lock().members.insert("dead#1".into(), member);
}

#[test]
fn the_id_of_an_accepted_connection_names_its_instance() {
    on_a_shard(async {
        let rig = Rig::start(&["one", "two"]).await;
        let id = |incarnation: &str| format!("~{}{}", instance_code(incarnation), "x".repeat(22));
        let mut client = rig.client(0).await;
        for (incarnation, asks_the_other) in [("one#1", false), ("two#0", false), ("two#1", true)] {
            let id = id(incarnation);
            let missing = client.get(get(&id)).await.unwrap_err();
            assert_eq!(missing.code(), Code::NotFound, "{missing:?}");
            assert_eq!(missing.message(), format!("no connection '{id}'"));
            assert_eq!(rig.instances[1].counters.served.get() > 0, asks_the_other, "{incarnation}");
            let join = JoinRequest { room: "a,b".into(), id };
            let mut rooms = rig.rooms(0).await;
            let bad = rooms.join(join).await.unwrap_err();
            assert_eq!(bad.code(), Code::InvalidArgument, "arguments come first: {bad:?}");
        }
        assert_eq!(rig.shared.lock().located, 0, "the store is not asked");
        let of_two = ReceiveRequest { source: Some(Source::Id(id("two#1"))), ..Default::default() };
        assert_eq!(client.receive(of_two).await.unwrap_err().code(), Code::NotFound);
    });
}

#[test]
fn what_no_document_tells_of_is_asked_of_all_members() {
    on_a_shard(async {
        let rig = Rig::start(&["one", "two", "three"]).await;
        rig.connect(1, "station").await;
        rig.shared.lock().owners.remove(&ConnectionId::parse("station").unwrap());
        let mut client = rig.client(0).await;
        let found = client.get(get("station")).await.unwrap().into_inner().connection.unwrap();
        assert_eq!(found.instance_id, "two");
        let located = rig.shared.lock().located;
        let send = SendRequest { id: "station".into(), message: "hello".into(), ..Default::default() };
        assert_eq!(client.send(send).await.unwrap().into_inner().response, "hello");
        assert_eq!(rig.shared.lock().located, located, "it is remembered");
        let follow = ReceiveRequest { source: Some(Source::Id("station".into())), ..Default::default() };
        rig.client(2).await.receive(follow).await.unwrap();
        assert_eq!(client.get(get("nobody")).await.unwrap_err().code(), Code::NotFound);
        // Who cannot be asked may have it.
        add_dead(&rig.shared).await;
        let unknown = client.get(get("nobody")).await.unwrap_err();
        assert_eq!(unknown.code(), Code::Unavailable, "{unknown:?}");
        assert!(unknown.message().contains("not_sent") && unknown.message().contains("dead"), "{unknown:?}");
        assert_eq!(client.get(get("station")).await.unwrap().into_inner().connection.unwrap().id, "station");
    });
}

/// Instances whose shards are scripted, on this thread.
struct Houses {
    shared: Arc<Mutex<Shared>>,
    houses: Vec<House>,
    _running: Vec<Running>,
}

impl Houses {
    fn start(names: &[&str], ports: &RoomPorts) -> Self {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let (mut houses, mut running) = (Vec::new(), Vec::new());
        for name in names {
            let incarnation: Arc<str> = format!("{name}#1").into();
            let script = Script { me: incarnation.clone(), shared: shared.clone() };
            let plan = Plan { ports: ports.clone(), fleet: Some(Arc::new(script)), ..Plan::default() };
            let house = House::of(plan);
            let listening = start(grpc::routes(&house.service, Arc::default()));
            let address = listening.address.to_string().into();
            let member = Member { incarnation: incarnation.clone(), instance: (*name).into(), address };
            shared.lock().members.insert(incarnation.to_string(), member);
            houses.push(house);
            running.push(listening);
        }
        Houses { shared, houses, _running: running }
    }

    /// Six connections of one user, in a room of all and one of each instance.
    fn full() -> Self {
        let houses = Self::start(&["one", "two", "three"], &RoomPorts::default());
        for n in 0..6 {
            let own = format!("own-{}", n % 3);
            houses.houses[n % 3].connect(&format!("c{n}"), &["all", &own], Some("ann"));
        }
        houses
    }
}

fn caller() -> Caller {
    Caller::default()
}

#[test]
fn rooms_and_members_are_listed_over_all_instances() {
    on_a_shard(async {
        let houses = Houses::full();
        for house in &houses.houses {
            let whole = house.service.list_rooms(&caller(), ListRoomsRequest::default()).await.unwrap();
            let rooms: Vec<_> = whole.rooms.iter().map(|room| (room.name.as_str(), room.members)).collect();
            assert_eq!(rooms, [("all", 6), ("own-0", 2), ("own-1", 2), ("own-2", 2)]);
        }
        let (mut rooms, mut members) = (Vec::new(), Vec::new());
        let mut token = String::new();
        for page in 0.. {
            let request = ListRoomsRequest { page_size: 3, page_token: token, ..Default::default() };
            let answer = houses.houses[page % 3].service.list_rooms(&caller(), request).await.unwrap();
            rooms.extend(answer.rooms.into_iter().map(|room| room.members));
            token = answer.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(rooms, [6, 2, 2, 2]);
        for page in 0.. {
            let request = ListMembersRequest { room: "all".into(), page_size: 4, page_token: token };
            let answer = houses.houses[page % 3].service.list_members(&caller(), request).await.unwrap();
            members.extend(answer.members.into_iter().map(|member| (member.id, member.instance_id)));
            token = answer.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        let expected: Vec<_> =
            (0..6).map(|n| (format!("c{n}"), format!("{}#1", ["one", "two", "three"][n % 3]))).collect();
        assert_eq!(members, expected);
        // One that cannot be asked is named; once it has left, the rest is all.
        add_dead(&houses.shared).await;
        let service = &houses.houses[0].service;
        let part = service.list_rooms(&caller(), ListRoomsRequest::default()).await.unwrap_err();
        assert_eq!(part.kind, FaultKind::NotSent);
        assert!(part.message.contains("instance dead"), "{part}");
        houses.shared.lock().members.remove("dead#1");
        service.list_rooms(&caller(), ListRoomsRequest::default()).await.unwrap();
    });
}

#[test]
fn a_user_is_reached_and_kicked_on_all_instances() {
    on_a_shard(async {
        let houses = Houses::full();
        let service = &houses.houses[0].service;
        let send =
            |user: &str| SendToUserRequest { user: user.into(), message: "x".into(), ..Default::default() };
        assert_eq!(service.send_to_user(&caller(), send("ann")).await.unwrap().connections, 6);
        assert!(houses.houses.iter().all(|house| house.log() == ["user ann Text x"; 3]), "each shard once");
        add_dead(&houses.shared).await;
        let part = service.send_to_user(&caller(), send("ann")).await.unwrap_err();
        assert_eq!((part.kind, part.certainty), (FaultKind::MaybeSent, Some(Certainty::MaybeSent)));
        let none = service.send_to_user(&caller(), send("nobody")).await.unwrap_err();
        assert_eq!((none.kind, none.certainty), (FaultKind::NotSent, Some(Certainty::NotSent)));
        houses.shared.lock().members.remove("dead#1");
        let kick = KickUserRequest { user: "ann".into(), ..Default::default() };
        let kicked = houses.houses[1].service.kick_user(&caller(), kick).await.unwrap();
        assert_eq!(kicked.disconnected, 6);
        assert!(houses.houses.iter().all(|house| house.state.lock().connections.is_empty()));
    });
}

#[test]
fn a_connection_joins_wherever_it_is() {
    on_a_shard(async {
        let houses = Houses::full();
        let minted = format!("~{}{}", instance_code("three#1"), "y".repeat(22));
        houses.houses[2].connect(&minted, &[], None);
        // One given by a route, and one whose id names its instance.
        for (id, at) in [("c1", 1), (minted.as_str(), 2)] {
            let join = JoinRequest { room: "den".into(), id: id.into() };
            let joined = houses.houses[0].service.join(&caller(), join).await.unwrap();
            assert_eq!(joined.offset, 4);
            let id = ConnectionId::parse(id).unwrap();
            let rooms = || houses.houses[at].state.lock().connections[&id].0.len();
            let before = rooms();
            let leave = LeaveRequest { room: "den".into(), id: id.to_string() };
            houses.houses[0].service.leave(&caller(), leave).await.unwrap();
            assert_eq!(rooms(), before - 1);
        }
        let join = JoinRequest { room: "den".into(), id: "nobody".into() };
        let absent: Fault = houses.houses[0].service.join(&caller(), join).await.unwrap_err();
        assert_eq!(absent.kind, FaultKind::NotFound);
    });
}

#[test]
fn what_is_sent_in_a_fleet_needs_something_that_carries_it() {
    on_a_shard(async {
        let send = || RoomSendRequest { rooms: vec!["a".into()], message: "x".into(), ..Default::default() };
        let bare = Houses::start(&["one", "two"], &RoomPorts::default());
        let fault = bare.houses[0].service.room_send(&caller(), send()).await.unwrap_err();
        assert_eq!((fault.kind, fault.certainty), (FaultKind::Unavailable, Some(Certainty::NotSent)));
        let outside = Arc::new(Outside::default());
        let ports = RoomPorts { bus: Some(outside.clone()), relay: None };
        let carried = Houses::start(&["one", "two"], &ports);
        for (n, house) in carried.houses.iter().enumerate() {
            let sent = house.service.room_send(&caller(), send()).await.unwrap();
            assert_eq!(sent.positions[0].offset, n as u64 + 1);
        }
        assert_eq!(std::mem::take(&mut outside.state.lock().log), ["bus a Text x"; 2]);
    });
}
