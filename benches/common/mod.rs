//! What every goal needs: pinned threads and their CPU clocks, raw peers, the real shell of a
//! shard, real servers for the backends, and the table.

pub mod bus;
pub mod calls;
pub mod clients;
pub mod events;
pub mod fleet;
pub mod os;
pub mod peer;
pub mod raw;
pub mod rooms;
pub mod servers;
pub mod service;
pub mod shard;
pub mod table;
pub mod upstream;

/// Quick runs show that everything works; their figures are noise.
pub fn quick() -> bool {
    std::env::var_os("BENCH_QUICK").is_some()
}

pub fn scaled(full: usize) -> usize {
    if quick() { (full / 10).max(1) } else { full }
}

/// Alternating runs of floor and ours; the medians are compared.
pub fn runs() -> usize {
    if quick() { 1 } else { 5 }
}

pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A JSON message of this length with an id in it, as its last member: the dearest place.
pub fn message(id: &str, bytes: usize) -> String {
    let head = r#"{"stream":"btcusdt@trade","data":{"e":"trade","p":"64123.10","q":"0.012","m":true,"x":[1,2,3]},"pad":""#;
    let tail = format!(r#"","id":"{id}"}}"#);
    let pad = bytes.saturating_sub(head.len() + tail.len());
    format!("{head}{}{tail}", "x".repeat(pad))
}
