//! A room's message on its way to its members.

use crate::{Case, document};
use bytes::Bytes;
use std::{hint::black_box, sync::Arc};
use websocket_manager::core::{
    correlation::Kind,
    id::ConnKey,
    io::SocketKey,
    rooms::{
        Format, Message, Place, Position, RoomName, Setup, Slow,
        here::{Here, Wrote},
    },
    time::Wall,
};

const MEMBERS: u32 = 1000;

pub fn cases() -> Vec<Case> {
    vec![
        fan_out("a message of 256 B to 1000 members as it came", Format::Verbatim),
        fan_out("a message of 256 B to 1000 members, numbered", Format::Numbered),
    ]
}

/// Appended to the room's log, then written to each member, whose kernel takes all of it.
fn fan_out(name: &'static str, format: Format) -> Case {
    let room = RoomName::parse("room", "bench-room").expect("valid");
    let mut here = Here::new(&Setup { reader_bytes_max: 1 << 20, ..Setup::default() });
    for index in 0..MEMBERS {
        let key = here.entering(&room, || Slow::DropOldest);
        let socket = SocketKey { conn: ConnKey { index, generation: 0 }, nth: 1 };
        here.entered(key, socket, format, Position { epoch: 1, offset: 0 });
    }
    let (payload, mut offset) = (Bytes::from(document(256, "1")), 0);
    Case::new(name, 100, move || {
        offset += 1;
        let at = Position { epoch: 1, offset };
        let places = [Place { room: room.clone(), at }].into();
        let payload = payload.clone();
        let message = Message { kind: Kind::Text, payload, wall: Wall::default(), places, from: None };
        here.deliver(&room, at, &Arc::new(message));
        let mut written = 0;
        let write = &mut |_: SocketKey, bytes: &[u8]| {
            written += usize::from(black_box(bytes).len() >= 256);
            Wrote::Taken(bytes.len())
        };
        here.flush(&mut (MEMBERS as usize), &|_, _, _| false, write, &mut |_, _| {
            unreachable!("nobody is slow")
        });
        assert_eq!(written, MEMBERS as usize);
    })
}
