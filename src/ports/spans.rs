//! Spans of traces: who works on a call, a dial, a batch or a takeover says what it was and how long it
//! took. A bounded queue takes them to whoever exports them; what does not fit is dropped and counted,
//! and with nobody to export them nothing is made at all. Times are handed in.

use std::{
    fmt::Write,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// What became of spans, as labels name it.
pub const SPAN_OUTCOMES: [&str; 3] = ["sent", "dropped", "failed"];

/// A place in a trace, as the W3C's `traceparent` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    pub trace: u128,
    pub span: u64,
    pub sampled: bool,
}

impl Trace {
    /// None: no context of a version that is known, or one of zeros.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace) = (parts.next()?, parts.next()?);
        let (span, flags) = (parts.next()?, parts.next()?);
        let sizes = [version.len(), trace.len(), span.len(), flags.len()];
        if sizes != [2, 32, 16, 2] || version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        // `from_str_radix` would take a sign as well.
        if ![trace, span, flags].iter().all(|part| part.bytes().all(|digit| digit.is_ascii_hexdigit())) {
            return None;
        }
        let (trace, span) = (u128::from_str_radix(trace, 16).ok()?, u64::from_str_radix(span, 16).ok()?);
        let flags = u8::from_str_radix(flags, 16).ok()?;
        (trace != 0 && span != 0).then_some(Trace { trace, span, sampled: flags & 1 == 1 })
    }

    /// As the header has it.
    pub fn header(self) -> String {
        let mut text = String::with_capacity(55);
        // Writing to a string cannot fail.
        let _ = write!(text, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled));
        text
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    Internal,
    Server,
    Client,
    Producer,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Number(i64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Value::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub at: Trace,
    pub parent: Option<u64>,
    pub name: &'static str,
    pub kind: SpanKind,
    pub begun_unix_nanos: u64,
    pub ended_unix_nanos: u64,
    pub attributes: Vec<(&'static str, Value)>,
    /// What went wrong; None: nothing did.
    pub fault: Option<String>,
}

/// A span that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    pub at: Trace,
    pub parent: Option<u64>,
}

/// Where spans go. Off by default.
#[derive(Clone, Default)]
pub struct Spans(Option<Arc<Inner>>);

struct Inner {
    queue: Sender<Span>,
    /// Of traces that begin here, one in this many is kept.
    one_in: u64,
    /// Seeded by the process; with the count it gives numbers that nobody foresees.
    random: RandomState,
    drawn: AtomicU64,
    outcomes: [AtomicU64; SPAN_OUTCOMES.len()],
}

impl Spans {
    /// With room for so many that wait.
    pub fn open(room: usize, one_in: u64) -> (Self, Receiver<Span>) {
        let (queue, spans) = channel(room);
        let (random, drawn, outcomes) = (RandomState::new(), AtomicU64::new(0), Default::default());
        let inner = Inner { queue, one_in: one_in.max(1), random, drawn, outcomes };
        (Spans(Some(Arc::new(inner))), spans)
    }

    /// A span within the trace of whoever asks, when that one is kept, or else perhaps one that begins a
    /// trace. None: there is none.
    pub fn begin(&self, traceparent: Option<&str>) -> Option<Begun> {
        let inner = self.0.as_ref()?;
        match traceparent.and_then(Trace::parse) {
            Some(parent) => parent.sampled.then(|| {
                let at = Trace { span: inner.draw(), ..parent };
                Begun { at, parent: Some(parent.span) }
            }),
            None if inner.one_in > 1 && !inner.draw().is_multiple_of(inner.one_in) => None,
            None => {
                let trace = u128::from(inner.draw()) << 64 | u128::from(inner.draw());
                Some(Begun { at: Trace { trace, span: inner.draw(), sampled: true }, parent: None })
            }
        }
    }

    /// Never waits.
    pub fn record(&self, span: Span) {
        let Some(inner) = &self.0 else { return };
        if inner.queue.try_send(span).is_err() {
            inner.outcomes[1].fetch_add(1, Relaxed);
        }
    }

    /// What the collector took.
    pub fn sent(&self, count: u64) {
        self.count(0, count);
    }

    /// What it did not take.
    pub fn failed(&self, count: u64) {
        self.count(2, count);
    }

    fn count(&self, outcome: usize, count: u64) {
        if let Some(inner) = &self.0 {
            inner.outcomes[outcome].fetch_add(count, Relaxed);
        }
    }

    /// In the order of `SPAN_OUTCOMES`.
    pub fn outcomes(&self) -> [u64; SPAN_OUTCOMES.len()] {
        let read = |inner: &Arc<Inner>| std::array::from_fn(|n| inner.outcomes[n].load(Relaxed));
        self.0.as_ref().map(read).unwrap_or_default()
    }
}

impl Inner {
    /// Never zero, which would be no id.
    fn draw(&self) -> u64 {
        self.random.hash_one(self.drawn.fetch_add(1, Relaxed)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn span(begun: Begun) -> Span {
        Span {
            at: begun.at,
            parent: begun.parent,
            name: "test",
            kind: SpanKind::Internal,
            begun_unix_nanos: 1,
            ended_unix_nanos: 2,
            attributes: Vec::new(),
            fault: None,
        }
    }

    #[test]
    fn a_traceparent_is_read_as_the_w3c_has_it() {
        let trace = Trace::parse(PARENT).unwrap();
        assert_eq!((trace.span, trace.sampled), (0xb7ad_6b71_6920_3331, true));
        assert_eq!(trace.header(), PARENT);
        // A later version may have more behind.
        assert!(Trace::parse(&PARENT.replacen("00", "cc", 1).replace("-01", "-01-what")).is_some());
        let zeros = "0".repeat(32);
        for bad in [
            "",
            "00",
            &PARENT.replacen("00", "ff", 1),
            &format!("{PARENT}-01"),
            &PARENT.replace("0af7651916cd43dd8448eb211c80319c", &zeros),
            &PARENT.replace("b7ad6b7169203331", "0000000000000000"),
            &PARENT.replace("b7ad", "+7ad"),
        ] {
            assert_eq!(Trace::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn who_asks_decides_whether_its_trace_is_kept() {
        let (spans, _queue) = Spans::open(4, 1_000_000);
        let begun = spans.begin(Some(PARENT)).unwrap();
        assert_eq!(begun.at.trace, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!(begun.parent, Some(0xb7ad_6b71_6920_3331));
        assert_ne!(Some(begun.at.span), begun.parent);
        assert_eq!(spans.begin(Some(&PARENT.replace("-01", "-00"))), None);
        assert!((0..100).filter(|_| spans.begin(None).is_some()).count() < 5);
        let (all, _queue) = Spans::open(4, 1);
        let (one, other) = (all.begin(None).unwrap(), all.begin(None).unwrap());
        assert!(one.parent.is_none() && one.at.sampled && one.at.trace != other.at.trace);
        assert_eq!(Spans::default().begin(Some(PARENT)), None);
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let (spans, mut queue) = Spans::open(2, 1);
        for _ in 0..5 {
            spans.record(span(spans.begin(None).unwrap()));
        }
        spans.sent(2);
        let kept = std::iter::from_fn(|| queue.try_recv().ok()).count();
        assert_eq!((kept, spans.outcomes()), (2, [2, 3, 0]));
        drop(queue);
        spans.record(span(spans.begin(None).unwrap()));
        assert_eq!(spans.outcomes(), [2, 4, 0]);
        Spans::default().record(span(spans.begin(None).unwrap()));
        assert_eq!(Spans::default().outcomes(), [0; 3]);
    }
}
