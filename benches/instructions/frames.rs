//! WebSocket frames: read as a client and as a server, and written as both.

use crate::{Case, document};
use std::hint::black_box;
use websocket_manager::wire::ws::{Bounds, Decoder, Event, Opcode, Role, encode};

const BOUNDS: Bounds = Bounds { message_bytes_max: 1 << 20, fragments_max: 1024 };
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

pub fn cases() -> Vec<Case> {
    vec![
        decode("decode one text of 128 B", Role::Client, Opcode::Text, 1, 128),
        decode("decode eight texts of 128 B in one read", Role::Client, Opcode::Text, 8, 128),
        decode("decode one text of 4 KiB", Role::Client, Opcode::Text, 1, 4096),
        // Unmasked in place: each round masks it again, which any bytes survive.
        decode("decode one masked binary of 4 KiB", Role::Server, Opcode::Binary, 1, 4096),
        put("encode one text of 128 B", 128, None),
        put("encode one masked text of 128 B", 128, Some(MASK)),
        put("encode one masked text of 4 KiB", 4096, Some(MASK)),
    ]
}

fn decode(name: &'static str, role: Role, opcode: Opcode, frames: usize, bytes: usize) -> Case {
    let mask = (role == Role::Server).then_some(MASK);
    let mut input = Vec::new();
    for _ in 0..frames {
        encode(&mut input, opcode, document(bytes, "1").as_bytes(), mask);
    }
    let mut decoder = Decoder::new(role);
    Case::new(name, 1000, move || {
        let mut seen = 0;
        let on = &mut |event: Event<'_>| match event {
            Event::Text(text) => seen += text.len(),
            Event::Binary(data) => seen += data.len(),
            _ => {}
        };
        decoder.feed(&BOUNDS, black_box(&mut input), on).expect("sound frames");
        assert_eq!(seen, frames * bytes);
    })
}

fn put(name: &'static str, bytes: usize, mask: Option<[u8; 4]>) -> Case {
    let (payload, mut out) = (document(bytes, "1"), Vec::new());
    Case::new(name, 1000, move || {
        out.clear();
        encode(&mut out, Opcode::Text, black_box(payload.as_bytes()), mask);
        black_box(&out);
    })
}
