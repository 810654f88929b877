//! Who publishes: one connection, in whatever the server takes messages by.

use crate::{
    clock::SECOND,
    frames::{self, From},
    proto::{RoomSendRequest, rooms_client::RoomsClient},
    readers::{
        Readers,
        stamp::{self, Stamp},
        target::{SUBJECT, Target, Wire},
    },
    trouble::{Result, Trouble},
};
use bytes::Bytes;
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tonic::transport::{Channel, Endpoint};

/// For a connection and for each call: nothing is waited for for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a server is told what to publish.
#[derive(Clone, Debug)]
pub enum Way {
    /// A frame a message, on a path that all members hear.
    WebSocket(Target),
    Nats(SocketAddr),
    /// As the earlier room system's own processes do it.
    Redis {
        address: SocketAddr,
        channel: String,
        room: String,
    },
    /// A unary call for each message, many under way on one connection.
    Grpc {
        address: SocketAddr,
        room: String,
    },
}

pub struct Voice {
    way: Way,
    /// Its connection among the crowd's, which answers pings.
    number: Option<usize>,
    grpc: Option<Grpc>,
    payload: Vec<u8>,
    out: Vec<u8>,
}

impl Voice {
    pub fn open(way: Way, bytes: usize, crowd: &mut Readers) -> Result<Self> {
        let target = match &way {
            Way::WebSocket(target) => Some(target.clone()),
            Way::Nats(address) => {
                Some(Target { wire: Wire::NatsOverTcp, listens: false, ..Target::plain(*address, "/") })
            }
            Way::Redis { address, .. } => {
                Some(Target { wire: Wire::Ignored, ..Target::plain(*address, "/") })
            }
            Way::Grpc { .. } => None,
        };
        let number = match target {
            Some(target) => crowd.join(&target, 1, 1, 10 * SECOND)?.next(),
            None => None,
        };
        let grpc = match &way {
            Way::Grpc { address, .. } => Some(Grpc::connect(*address)?),
            _ => None,
        };
        Ok(Voice { way, number, grpc, payload: stamp::payload(bytes), out: Vec::new() })
    }

    /// One more message of the next write.
    pub fn say(&mut self, stamp: Stamp) {
        stamp.write(&mut self.payload);
        let Voice { way, payload, out, grpc, .. } = self;
        match way {
            Way::WebSocket(_) => frames::put(out, From::Client, frames::TEXT, payload),
            Way::Nats(_) => {
                out.extend_from_slice(format!("PUB {SUBJECT} {}\r\n", payload.len()).as_bytes());
                out.extend_from_slice(payload);
                out.extend_from_slice(b"\r\n");
            }
            Way::Redis { channel, room, .. } => {
                let body = [room.as_bytes(), b"\0", payload].concat();
                let words = [b"PUBLISH", channel.as_bytes(), &body];
                out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
                for word in words {
                    out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                    out.extend_from_slice(word);
                    out.extend_from_slice(b"\r\n");
                }
            }
            Way::Grpc { room, .. } => {
                if let Some(grpc) = grpc {
                    grpc.send(room, payload);
                }
            }
        }
    }

    /// One more call, to another room than its own. Only where there are calls.
    pub fn say_in(&mut self, room: &str, stamp: Stamp) {
        stamp.write(&mut self.payload);
        if let Some(grpc) = &mut self.grpc {
            grpc.send(room, &self.payload);
        }
    }

    /// Calls without an answer yet.
    pub fn under_way(&self) -> usize {
        self.grpc.as_ref().map_or(0, |grpc| grpc.open.load(Ordering::Relaxed))
    }

    /// Writes what was said, all of it at once.
    pub fn flush(&mut self, crowd: &mut Readers) -> Result<()> {
        if let Some(number) = self.number {
            crowd.write(number, &self.out)?;
        }
        self.out.clear();
        self.turn()
    }

    /// Lets calls under way go on. Costs nothing where there are none.
    pub fn turn(&mut self) -> Result<()> {
        self.grpc.as_mut().map_or(Ok(()), Grpc::turn)
    }
}

/// Calls on a runtime that is driven from the reading loop: a second thread on this core would have
/// to wait until the loop is interrupted.
struct Grpc {
    runtime: tokio::runtime::Runtime,
    client: RoomsClient<Channel>,
    open: Arc<AtomicUsize>,
    refused: Arc<Mutex<Option<tonic::Status>>>,
}

impl Grpc {
    fn connect(address: SocketAddr) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?
            .tcp_nodelay(true)
            .connect_timeout(PATIENCE)
            .timeout(PATIENCE);
        let channel = runtime.block_on(endpoint.connect())?;
        let (open, refused) = (Arc::default(), Arc::default());
        Ok(Grpc { runtime, client: RoomsClient::new(channel), open, refused })
    }

    fn send(&mut self, room: &str, payload: &[u8]) {
        let mut client = self.client.clone();
        let (open, refused) = (self.open.clone(), self.refused.clone());
        let message = String::from_utf8_lossy(payload).into_owned();
        let request = RoomSendRequest {
            rooms: vec![room.to_owned()],
            message,
            data: Bytes::new(),
            message_id: String::new(),
            content_type: String::new(),
        };
        open.fetch_add(1, Ordering::Relaxed);
        self.runtime.spawn(async move {
            if let Err(status) = client.send(request).await {
                *refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
            }
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }

    fn turn(&mut self) -> Result<()> {
        if self.open.load(Ordering::Relaxed) > 0 {
            self.runtime.block_on(tokio::task::yield_now());
        }
        match self.refused.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(status) => Err(Trouble::from(status)),
            None => Ok(()),
        }
    }
}
