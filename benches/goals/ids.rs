//! One member out of a message that is not parsed.

use crate::common::{median, os, runs, scaled, table::Row};
use serde_json::value::RawValue;
use std::hint::black_box;
use websocket_manager::core::json;

pub fn run() -> Vec<Row> {
    [(256, 120.0, "256 B"), (4096, 1000.0, "4 KiB")]
        .into_iter()
        .map(|(bytes, bound, name)| {
            let (last, absent) = (document(bytes, true), document(bytes, false));
            let worst = cost(bytes, |_| {
                black_box(json::top_level(black_box(last.as_bytes()), "id"));
            })
            .max(cost(bytes, |_| {
                black_box(json::top_level(black_box(absent.as_bytes()), "id"));
            }));
            let parsed = cost(bytes, |_| {
                black_box(serde_json::from_str::<Ided<'_>>(black_box(&last)).expect("JSON").id);
            });
            let mut row = Row::absolute(
                &format!("id extraction, {name}, id last or absent"),
                bound,
                worst,
                f64::NAN,
                "ns",
            );
            row.floor = format!("serde RawValue {parsed:.0} ns");
            row
        })
        .collect()
}

#[derive(serde::Deserialize)]
struct Ided<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

fn cost(bytes: usize, mut one: impl FnMut(usize)) -> f64 {
    let count = scaled(400_000_000 / bytes);
    let clock = os::CpuClock::of_this_thread();
    median(
        (0..runs())
            .map(|_| {
                let before = clock.nanos();
                (0..count).for_each(&mut one);
                (clock.nanos() - before) as f64 / count as f64
            })
            .collect(),
    )
}

/// Nested objects, arrays and escapes before the place where the id may be.
fn document(bytes: usize, with_id: bool) -> String {
    let item = r#"{"p":"6.1\"x","q":[1,2,{"a":"b"}],"s":"BTC"}"#;
    let tail = if with_id { r#"],"id":"abc-123"}"# } else { r#"],"ix":"abc-123"}"# };
    let mut text = String::from(r#"{"e":"t","data":["#);
    loop {
        text.push_str(item);
        if text.len() + item.len() + 1 + tail.len() > bytes {
            break;
        }
        text.push(',');
    }
    while text.len() + tail.len() < bytes {
        text.push(' ');
    }
    text + tail
}
