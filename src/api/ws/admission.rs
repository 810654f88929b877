//! The way from the edge to the shard that takes a connection in.

use crate::{
    api::service::Service,
    core::{
        id::ConnectionId,
        io::{Answer, Command, Context, SocketKey},
        reason::{Fault, FaultKind},
        rooms::{Admit, RoomAnswer, RoomCommand},
        spec::Settings,
    },
    shard::mailbox::Io,
};
use std::{pin::Pin, sync::Arc};

pub type Admitted = Pin<Box<dyn Future<Output = Result<SocketKey, Fault>> + Send>>;

/// Who takes connections in. Tests answer for the shards.
pub trait Admission: Send + Sync {
    /// An id for a connection that this thread's shard will own.
    fn mint(&self) -> ConnectionId;
    /// Bounds and pings of accepted connections.
    fn settings(&self) -> Arc<Settings>;
    /// Answered when it is a member of all its rooms; the socket must come soon.
    fn admit(&self, context: Context, admit: Box<Admit>) -> Admitted;
    /// Hands over what was admitted under this id, and what was read behind its handshake.
    fn attach(&self, id: &ConnectionId, socket: SocketKey, io: Io, ahead: Vec<u8>);
}

impl Admission for Service {
    fn mint(&self) -> ConnectionId {
        self.hub().mint_accepted(&self.instance_code())
    }

    fn settings(&self) -> Arc<Settings> {
        self.defaults().settings.clone()
    }

    fn admit(&self, context: Context, admit: Box<Admit>) -> Admitted {
        if let Err(fault) = self.started() {
            return Box::pin(async { Err(fault) });
        }
        let shard = self.hub().owner(&admit.id);
        let call = self.hub().call(shard, context, Command::Room(RoomCommand::Admit(admit)));
        Box::pin(async {
            match call.await? {
                Answer::Room(RoomAnswer::Admitted { socket, .. }) => Ok(socket),
                other => {
                    tracing::error!(?other, "a shard answered with another kind");
                    Err(Fault::new(FaultKind::Internal, "an answer of another kind"))
                }
            }
        })
    }

    fn attach(&self, id: &ConnectionId, socket: SocketKey, io: Io, ahead: Vec<u8>) {
        self.hub().attach(self.hub().owner(id), socket, io, ahead);
    }
}
