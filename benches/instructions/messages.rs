//! What a message is looked through for, paired with, rendered into and handed on as.

use crate::{Case, document};
use bytes::Bytes;
use std::{hint::black_box, time::Duration};
use websocket_manager::{
    core::{
        correlation::{Correlator, Kind, Rule, Verdict},
        id::{ConnectionId, Ticket},
        json,
        publish::{Action, Bounds, Publisher, Spec},
        random,
        time::{Now, Time, Wall},
    },
    wire::event::{Format, LanePrefix, Stamp, TimeText, append_frame_element, append_message},
};

const WALL_MILLIS: u64 = 1_700_000_000_000;

pub fn cases() -> Vec<Case> {
    vec![
        extract("find the id at the end of 256 B", 256),
        extract("find the id at the end of 4 KiB", 4096),
        pair("pair a Send of 256 B with its reply, 100 others waiting", true),
        pair("see that 256 B are no reply, 100 waiting", false),
        render("render an envelope of 256 B", Format::Envelope),
        render("render a payload event of 256 B", Format::Payload),
        render("render one of many frames of 256 B", Format::Frames),
        publish(),
    ]
}

fn extract(name: &'static str, bytes: usize) -> Case {
    let text = document(bytes, "abc-123");
    Case::new(name, 1000, move || {
        let found = json::top_level(black_box(text.as_bytes()), "id");
        assert!(black_box(found).is_some());
    })
}

fn pair(name: &'static str, answered: bool) -> Case {
    let (now, mut state) = (Time::from_millis(5), 1);
    let mut correlator = Correlator::new(1000);
    for nth in 0..100 {
        let message = Bytes::from(document(256, &format!("other-{nth}")));
        let kept =
            correlator.reserve(now, &Rule::Auto, message, Ticket(nth), &mut || random::next(&mut state));
        kept.expect("a place");
    }
    let (request, reply) = (Bytes::from(document(256, "mine")), document(256, "mine"));
    Case::new(name, 1000, move || {
        if answered {
            let draw = &mut || random::next(&mut state);
            let kept = correlator.reserve(now, &Rule::Auto, request.clone(), Ticket(100), draw);
            black_box(kept.expect("a place"));
        }
        let verdict = correlator.on_message(now, Kind::Text, black_box(reply.as_bytes()));
        assert_eq!(matches!(verdict, Verdict::Reply { .. }), answered);
    })
}

fn render(name: &'static str, format: Format) -> Case {
    let id = ConnectionId::parse("connection-000001").expect("valid");
    let prefix = LanePrefix::new(format, &id, "wss://upstream.example/feed");
    let time = TimeText::at(Wall::from_unix_millis(WALL_MILLIS));
    let (payload, mut out, mut seq) = (document(256, "1"), Vec::new(), 1_000_000);
    Case::new(name, 1000, move || {
        out.clear();
        seq += 1;
        let stamp = Stamp { epoch: WALL_MILLIS, seq, ..Stamp::default() };
        let payload = black_box(payload.as_bytes());
        match format {
            Format::Frames => append_frame_element(&mut out, &stamp, &time, Kind::Text, payload),
            _ => append_message(&mut out, &prefix, &stamp, &time, Kind::Text, payload),
        }
        black_box(&out);
    })
}

/// Of each hundred messages a batch is made, handed to the bus, and taken by it.
fn publish() -> Case {
    let mut millis = 0;
    let at =
        |millis| Now { mono: Time::from_millis(millis), wall: Wall::from_unix_millis(WALL_MILLIS + millis) };
    let bounds = Bounds { batch_count: 100, linger: Duration::from_millis(5), ..Bounds::default() };
    let mut publisher = Publisher::new(at(0), bounds, "lifecycle", |_, _| None);
    let id = ConnectionId::parse("connection-000001").expect("valid");
    let lane = publisher.open_lane(&id, "wss://upstream.example/feed", Spec::new("ticks"));
    let (payload, mut seq) = (document(256, "1"), 0);
    Case::new("publish 100 messages of 256 B as one batch", 100, move || {
        millis += 1;
        for _ in 0..100 {
            seq += 1;
            let stamp = Stamp { epoch: WALL_MILLIS, seq, ..Stamp::default() };
            publisher.message(at(millis), lane, stamp, Kind::Text, black_box(payload.as_bytes()));
        }
        let mut batches = 0;
        while let Some(action) = publisher.poll(at(millis)) {
            if let Action::Publish(batch) = action {
                publisher.published(at(millis), batch.id, Ok(()));
                batches += 1;
            }
        }
        // The first asks the spill log, which is empty; all others are one batch each.
        black_box(batches);
    })
}
