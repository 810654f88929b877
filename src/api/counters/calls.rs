//! RPCs by their methods, whichever protocol brought them. One set a shard, which its thread alone adds
//! to; whoever renders metrics sums them.

use super::Counter;
use crate::{core::tally::Tally, ports::timing::Timing};
use std::{
    sync::atomic::{AtomicI64, Ordering::Relaxed},
    time::Duration,
};

/// What stands before the names of the methods of `Rooms`.
pub const ROOMS: &str = "Rooms.";

macro_rules! methods {
    ($($method:ident = $name:literal,)+) => {
        /// Those of `WebSocketManager` by their names, those of `Rooms` with that before it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Method { $($method,)+ }

        impl Method {
            pub const ALL: &'static [Method] = &[$(Method::$method,)+];
            pub const COUNT: usize = Self::ALL.len();

            pub const fn name(self) -> &'static str {
                match self { $(Method::$method => $name,)+ }
            }
        }
    };
}

methods! {
    Connect = "Connect",
    List = "List",
    Get = "Get",
    Update = "Update",
    Disconnect = "Disconnect",
    StartPublish = "StartPublish",
    StopPublish = "StopPublish",
    Send = "Send",
    SendBatch = "SendBatch",
    SendRaw = "SendRaw",
    SendStream = "SendStream",
    Receive = "Receive",
    Watch = "Watch",
    SetTag = "SetTag",
    GetTag = "GetTag",
    SetTags = "SetTags",
    GetTags = "GetTags",
    RoomSend = "Rooms.Send",
    Broadcast = "Rooms.Broadcast",
    SendToUser = "Rooms.SendToUser",
    KickUser = "Rooms.KickUser",
    Join = "Rooms.Join",
    Leave = "Rooms.Leave",
    ListRooms = "Rooms.ListRooms",
    ListMembers = "Rooms.ListMembers",
    History = "Rooms.History",
}

impl Method {
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|method| method.name() == name)
    }

    /// Its call is over when the stream stands, before its first answer: how long that takes says nothing.
    pub const fn is_stream(self) -> bool {
        matches!(self, Method::SendStream | Method::Receive | Method::Watch)
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEnd {
    Ok,
    /// The caller's doing, or a bound that it met.
    Refused,
    /// Ours or the upstream's.
    Failed,
    /// The caller went away.
    Cancelled,
}

impl CallEnd {
    pub const ALL: &'static [CallEnd] = &[CallEnd::Ok, CallEnd::Refused, CallEnd::Failed, CallEnd::Cancelled];

    pub const fn name(self) -> &'static str {
        match self {
            CallEnd::Ok => "ok",
            CallEnd::Refused => "refused",
            CallEnd::Failed => "failed",
            CallEnd::Cancelled => "cancelled",
        }
    }
}

#[derive(Debug, Default)]
struct OfMethod {
    ended: [Counter; CallEnd::ALL.len()],
    took: Timing,
    /// Of streams: those that were opened and have not ended, and how the others ended.
    open: AtomicI64,
    closed: [Counter; CallEnd::ALL.len()],
}

#[derive(Debug, Default)]
pub struct CallCounters {
    methods: [OfMethod; Method::COUNT],
    /// One may end on another thread than it began on.
    in_flight: AtomicI64,
}

impl CallCounters {
    pub fn begun(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    pub fn ended(&self, method: Method, end: CallEnd, took: Duration) {
        self.in_flight.fetch_sub(1, Relaxed);
        let of = &self.methods[method as usize];
        of.ended[end as usize].add();
        if !method.is_stream() {
            of.took.record(took);
        }
    }

    pub fn opened(&self, method: Method) {
        self.methods[method as usize].open.fetch_add(1, Relaxed);
    }

    pub fn closed(&self, method: Method, end: CallEnd) {
        let of = &self.methods[method as usize];
        of.open.fetch_sub(1, Relaxed);
        of.closed[end as usize].add();
    }
}

pub type EndsByMethod = [[u64; CallEnd::ALL.len()]; Method::COUNT];

/// What all shards together say.
#[derive(Clone, Debug, Default)]
pub struct CallsView {
    pub ended: EndsByMethod,
    /// Empty for streams.
    pub took: [Tally; Method::COUNT],
    pub in_flight: u64,
    /// Of streams alone.
    pub open: [u64; Method::COUNT],
    pub closed: EndsByMethod,
}

impl CallsView {
    pub fn read<'a>(shards: impl IntoIterator<Item = &'a CallCounters>) -> Self {
        let (mut view, mut in_flight, mut open) = (CallsView::default(), 0, [0; Method::COUNT]);
        for shard in shards {
            in_flight += shard.in_flight.load(Relaxed);
            for (n, of) in shard.methods.iter().enumerate() {
                view.took[n].add(&of.took.read());
                for (end, counter) in of.ended.iter().enumerate() {
                    view.ended[n][end] += counter.get();
                }
                open[n] += of.open.load(Relaxed);
                for (end, counter) in of.closed.iter().enumerate() {
                    view.closed[n][end] += counter.get();
                }
            }
        }
        view.in_flight = u64::try_from(in_flight).unwrap_or(0);
        view.open = open.map(|open| u64::try_from(open).unwrap_or(0));
        view
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rpc_has_a_name_and_no_other() {
        let files = prost_reflect::DescriptorPool::decode(crate::proto::DESCRIPTOR).unwrap();
        let mut named: Vec<String> = Vec::new();
        for service in files.services() {
            for method in service.methods() {
                let short = if service.name() == "Rooms" { ROOMS } else { "" };
                let name = format!("{short}{}", method.name());
                let known = Method::named(&name).unwrap_or_else(|| panic!("{name}"));
                assert_eq!(known.is_stream(), method.is_server_streaming(), "{name}");
                named.push(name);
            }
        }
        assert_eq!(named.len(), Method::COUNT);
        assert!(Method::ALL.iter().enumerate().all(|(place, method)| *method as usize == place));
        assert!(CallEnd::ALL.iter().enumerate().all(|(place, end)| *end as usize == place));
    }

    #[test]
    fn shards_are_summed() {
        let shards = [CallCounters::default(), CallCounters::default()];
        shards.iter().for_each(CallCounters::begun);
        shards[0].begun();
        shards[0].ended(Method::Send, CallEnd::Ok, Duration::from_millis(3));
        // Begun on the one thread, ended on the other.
        shards[1].begun();
        shards[0].ended(Method::Watch, CallEnd::Cancelled, Duration::from_secs(9));
        shards[0].opened(Method::Receive);
        shards[0].opened(Method::Receive);
        shards[1].closed(Method::Receive, CallEnd::Failed);
        let view = CallsView::read(&shards);
        assert_eq!(view.ended[Method::Send as usize], [1, 0, 0, 0]);
        assert_eq!(view.ended[Method::Watch as usize], [0, 0, 0, 1]);
        assert_eq!(view.took[Method::Send as usize].sum(), Duration::from_millis(3));
        assert_eq!((view.took[Method::Watch as usize].count(), view.in_flight), (0, 2));
        let receive = Method::Receive as usize;
        assert_eq!((view.open[receive], view.closed[receive]), (1, [0, 0, 1, 0]));
    }
}
