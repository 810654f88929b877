//! Rooms on shards with real sockets: members that were accepted, and one that reads nothing.

use super::*;
use crate::{
    core::{
        io::SocketKey,
        rooms::{Access, Admit, Entry, Format, Place, Post, RoomAnswer, RoomCommand, RoomName},
    },
    shard::io::Io,
};
use tokio_tungstenite::tungstenite::protocol::Role;

type Member = WebSocketStream<TcpStream>;

/// Shards that know one another, on one thread.
struct Rooms {
    hub: Hub,
    locals: Vec<Rc<Local>>,
    listener: TcpListener,
}

fn name(text: &str) -> RoomName {
    RoomName::parse("room", text).unwrap()
}

/// A room whose home is this shard.
fn at_home(shard: u32, shards: u32) -> RoomName {
    (0..).map(|nth| name(&format!("room{nth}"))).find(|room| room.home(shards) == shard).unwrap()
}

/// An id of this shard.
fn id_at(shard: u32, shards: u32, nth: usize) -> ConnectionId {
    let ids = (0..).map(|more| ConnectionId::parse(&format!("member{nth}x{more}")).unwrap());
    ids.into_iter().find(|id| id.shard(shards) == shard).unwrap()
}

impl Rooms {
    async fn call(&self, shard: u32, command: RoomCommand) -> RoomAnswer {
        match self.hub.call(shard, Context::default(), Command::Room(command)).await {
            Ok(Answer::Room(answer)) => answer,
            other => panic!("{other:?}"),
        }
    }

    async fn admit(&self, id: ConnectionId, format: Format, rooms: &[&RoomName]) -> (u32, SocketKey) {
        let shard = self.hub.owner(&id);
        let rooms = rooms.iter().map(|room| Entry { room: (*room).clone(), after: None });
        let admit = Admit {
            id,
            given: true,
            spec: spec_of_member(),
            tags: Vec::new(),
            user: None,
            subprotocol: None,
            format,
            rooms: rooms.collect(),
            may_join: Access::None,
            feeds: Vec::new(),
            publish: None,
            protocol: false,
            valid_for: None,
        };
        match self.call(shard, RoomCommand::Admit(Box::new(admit))).await {
            RoomAnswer::Admitted { socket, .. } => (shard, socket),
            other => panic!("{other:?}"),
        }
    }

    /// Its handshake is over.
    async fn attach(&self, (shard, socket): (u32, SocketKey)) -> TcpStream {
        let address = self.listener.local_addr().unwrap();
        let (ours, theirs) = tokio::join!(self.listener.accept(), TcpStream::connect(address));
        self.hub.attach(shard, socket, Io::Plain(ours.unwrap().0), Vec::new());
        theirs.unwrap()
    }

    async fn member(&self, id: ConnectionId, format: Format, rooms: &[&RoomName]) -> Member {
        let admitted = self.admit(id, format, rooms).await;
        WebSocketStream::from_raw_socket(self.attach(admitted).await, Role::Client, None).await
    }

    async fn post(&self, room: &RoomName, payload: impl Into<Bytes>) -> u64 {
        let post = Post { kind: Kind::Text, payload: payload.into() };
        let command = RoomCommand::Post { room: room.clone(), post };
        match self.call(room.home(self.hub.shards()), command).await {
            RoomAnswer::Placed(at) => at.offset,
            other => panic!("{other:?}"),
        }
    }
}

fn spec_of_member() -> Arc<Spec> {
    let mut spec = Arc::into_inner(spec(1)).unwrap();
    spec.settings = Arc::new(Settings { auto_reconnect: false, ..(*spec.settings).clone() });
    Arc::new(spec)
}

async fn next(member: &mut Member) -> String {
    match member.next().await {
        Some(Ok(tungstenite::Message::Text(text))) => text.to_string(),
        Some(Ok(tungstenite::Message::Close(Some(frame)))) => format!("closed {}", u16::from(frame.code)),
        other => panic!("{other:?}"),
    }
}

fn on_shards<F: Future<Output = ()>>(shards: u32, test: impl FnOnce(Rooms) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let mailboxes: Vec<_> = (0..shards).map(|_| Mailbox::new(16)).collect();
        let hub = Hub::new(mailboxes.clone(), 1);
        let mut running = Vec::new();
        let mut locals = Vec::new();
        for (shard, mailbox) in mailboxes.into_iter().enumerate() {
            let mut world = world(Arc::new(open_for_ever()));
            world.rooms.neighbours = hub.clone();
            let setup = Setup { shard: shard as u32, shards, ..setup() };
            let local = Local::start(shard as u32, setup, mailbox, world);
            running.push(tokio::task::spawn_local(run(local.clone())));
            locals.push(local);
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        test(Rooms { hub, locals: locals.clone(), listener }).await;
        locals.iter().for_each(|local| local.stop());
        for task in running {
            task.await.unwrap();
        }
    });
}

#[test]
fn members_of_two_shards_get_what_is_posted_from_their_admission_on() {
    on_shards(2, async |rooms: Rooms| {
        let room = at_home(0, 2);
        let mut near = rooms.member(id_at(0, 2, 1), Format::Numbered, &[&room]).await;
        let admitted = rooms.admit(id_at(1, 2, 2), Format::Verbatim, &[&room]).await;
        for offset in 1..=3 {
            assert_eq!(rooms.post(&room, format!("m{offset}")).await, offset);
        }
        // Its 101 was on the way meanwhile.
        let mut far =
            WebSocketStream::from_raw_socket(rooms.attach(admitted).await, Role::Client, None).await;
        for offset in 1..=3 {
            assert_eq!(next(&mut far).await, format!("m{offset}"));
            let frame = next(&mut near).await;
            assert!(frame.contains(&format!("\"offset\":{offset},\"data\":\"m{offset}\"")), "{frame}");
        }
        assert_eq!(rooms.post(&RoomName::everyone(), "to all").await, 1);
        assert_eq!(next(&mut far).await, "to all");
        assert!(next(&mut near).await.contains("\"room\":\"\""));
        near.send(tungstenite::Message::text("{\"ping\":1,\"id\":2}")).await.unwrap();
        assert_eq!(next(&mut near).await, "{\"pong\":1,\"id\":2}");
        for local in &rooms.locals {
            local.core().check();
        }
    });
}

#[test]
fn a_message_of_several_rooms_comes_once() {
    on_shards(2, async |rooms: Rooms| {
        let both = [at_home(0, 2), at_home(1, 2)];
        let mut member = rooms.member(id_at(1, 2, 1), Format::Verbatim, &[&both[0], &both[1]]).await;
        let mut places = Vec::new();
        for room in &both {
            let reserve = RoomCommand::Reserve(room.clone());
            let RoomAnswer::Placed(at) = rooms.call(room.home(2), reserve).await else { panic!("no number") };
            places.push(Place { room: room.clone(), at });
        }
        let message = Arc::new(crate::core::rooms::Message {
            kind: Kind::Text,
            payload: Bytes::from_static(b"once"),
            wall: Wall::default(),
            places: places.clone().into(),
            from: None,
        });
        for Place { room, at } in places {
            let fill = RoomCommand::Fill { room: room.clone(), at, message: message.clone() };
            rooms.hub.call(room.home(2), Context::default(), Command::Room(fill)).await.unwrap();
            rooms.post(&room, "after").await;
        }
        assert_eq!(next(&mut member).await, "once");
        assert_eq!((next(&mut member).await, next(&mut member).await), ("after".into(), "after".into()));
    });
}

#[test]
fn who_reads_nothing_is_closed_and_nobody_else_waits_for_it() {
    on_shards(1, async |rooms: Rooms| {
        let room = name("busy");
        let slow = rooms.admit(id_at(0, 1, 1), Format::Verbatim, &[&room]).await;
        let silent = rooms.attach(slow).await;
        let mut others = Vec::new();
        for nth in 2..5 {
            others.push(rooms.member(id_at(0, 1, nth), Format::Verbatim, &[&room]).await);
        }
        let payload = Bytes::from("x".repeat(64 * 1024));
        let mut posted = 0;
        // What the kernels of both sides take, and what one may be behind.
        while rooms.locals[0].core().rooms_here().deliveries.dropped_closed == 0 {
            posted = rooms.post(&room, payload.clone()).await;
            assert!(posted < 2000, "it is never closed");
            for other in &mut others {
                assert_eq!(next(other).await.len(), payload.len());
            }
        }
        let deliveries = rooms.locals[0].core().rooms_here().deliveries;
        assert_eq!(deliveries.accepted, posted * 4);
        assert!(deliveries.delivered >= posted * 3);
        rooms.locals[0].core().check();
        // When it reads at last, there is a close frame behind what was on its way.
        let mut silent = WebSocketStream::from_raw_socket(silent, Role::Client, None).await;
        let mut last = next(&mut silent).await;
        while !last.starts_with("closed") {
            last = next(&mut silent).await;
        }
        assert_eq!(last, "closed 1013");
        assert_eq!(rooms.post(&room, "last").await, posted + 1);
        for other in &mut others {
            assert_eq!(next(other).await, "last");
        }
    });
}

#[test]
fn many_messages_of_one_turn_reach_everybody_in_order() {
    on_shards(2, async |rooms: Rooms| {
        let room = at_home(1, 2);
        let mut members = Vec::new();
        for nth in 0..20 {
            members.push(rooms.member(id_at(nth as u32 % 2, 2, nth), Format::Verbatim, &[&room]).await);
        }
        // All are on their way before the first is answered.
        let posts: Vec<_> = (0..50)
            .map(|nth| {
                let post = Post { kind: Kind::Text, payload: format!("m{nth}").into() };
                let command = Command::Room(RoomCommand::Post { room: room.clone(), post });
                rooms.hub.call(1, Context::default(), command)
            })
            .collect();
        for post in posts {
            post.await.unwrap();
        }
        for member in &mut members {
            for nth in 0..50 {
                assert_eq!(next(member).await, format!("m{nth}"));
            }
        }
        let deliveries = rooms.locals.iter().map(|local| local.core().rooms_here().deliveries);
        let (accepted, delivered) =
            deliveries.fold((0, 0), |sum, of| (sum.0 + of.accepted, sum.1 + of.delivered));
        assert_eq!((accepted, delivered), (1000, 1000));
    });
}
