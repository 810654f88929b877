//! Which calls travel, how they are packed, and what may be done again when the stream broke.

use crate::{
    api::{
        counters::calls::Method,
        service::{Caller, Service},
    },
    core::reason::{Fault, FaultKind},
    proto::{
        fleet::{call::Rpc, reply::Outcome},
        *,
    },
};
use std::future::Future;

/// What the caller is told, or what we do, when nobody knows whether the owner did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// It only reads: asked once more.
    Read,
    /// Twice is as good as once: UNAVAILABLE, which clients repeat by themselves.
    Harmless,
    /// ABORTED, `maybe_sent`.
    Never,
}

/// A call that travels.
pub trait Passed: Clone + Send + Sync + 'static {
    type Answer: Send;
    const REPEAT: Repeat;
    fn pack(self) -> Rpc;
    fn unpack(outcome: Outcome) -> Option<Self::Answer>;
}

/// A call for one connection.
pub trait Routed: Passed {
    fn id(&self) -> &str;
    fn here(
        self,
        local: &Service,
        caller: &Caller,
    ) -> impl Future<Output = Result<Self::Answer, Fault>> + Send;
}

macro_rules! passed {
    ($variant:ident($request:ident) -> $response:ident, $repeat:ident) => {
        impl Passed for $request {
            type Answer = $response;
            const REPEAT: Repeat = Repeat::$repeat;
            fn pack(self) -> Rpc {
                Rpc::$variant(self)
            }
            fn unpack(outcome: Outcome) -> Option<$response> {
                match outcome {
                    Outcome::$variant(answer) => Some(answer),
                    _ => None,
                }
            }
        }
    };
}

passed!(List(ListRequest) -> ListResponse, Read);
passed!(ListRooms(ListRoomsRequest) -> ListRoomsResponse, Read);
passed!(ListMembers(ListMembersRequest) -> ListMembersResponse, Read);
passed!(SendToUser(SendToUserRequest) -> SendToUserResponse, Never);
passed!(KickUser(KickUserRequest) -> KickUserResponse, Harmless);

macro_rules! calls {
    ($($variant:ident $rpc:ident($request:ident by $id:ident) -> $response:ident, $repeat:ident;)+) => {
        $(passed!($variant($request) -> $response, $repeat);

        impl Routed for $request {
            fn id(&self) -> &str {
                &self.$id
            }
            fn here(
                self,
                local: &Service,
                caller: &Caller,
            ) -> impl Future<Output = Result<$response, Fault>> + Send {
                local.$rpc(caller, self)
            }
        })+

        /// Which call it is, and the connection that it names.
        pub fn about(rpc: &Rpc) -> Option<(Method, &str)> {
            match rpc {
                $(Rpc::$variant(request) => Some((Method::$variant, request.id())),)+
                Rpc::List(_) => Some((Method::List, "")),
                Rpc::ListRooms(_) => Some((Method::ListRooms, "")),
                Rpc::ListMembers(_) => Some((Method::ListMembers, "")),
                Rpc::SendToUser(_) => Some((Method::SendToUser, "")),
                Rpc::KickUser(_) => Some((Method::KickUser, "")),
                _ => None,
            }
        }

        /// One call of a member, from the shards of this instance alone.
        pub async fn serve(local: &Service, caller: &Caller, rpc: Rpc) -> Result<Outcome, Fault> {
            Ok(match rpc {
                $(Rpc::$variant(request) => Outcome::$variant(local.$rpc(caller, request).await?),)+
                Rpc::List(request) => Outcome::List(local.list(caller, request).await?),
                Rpc::ListRooms(request) => Outcome::ListRooms(local.list_rooms(caller, request).await?),
                Rpc::ListMembers(request) => Outcome::ListMembers(local.list_members(caller, request).await?),
                Rpc::SendToUser(request) => {
                    Outcome::SendToUser(local.send_to_user_here(caller, request).await?)
                }
                Rpc::KickUser(request) => Outcome::KickUser(local.kick_user(caller, request).await?),
                _ => return Err(Fault::new(FaultKind::Internal, "no call of a connection")),
            })
        }
    };
}

calls! {
    Connect connect(ConnectRequest by connection_id) -> ConnectResponse, Harmless;
    Get get(GetRequest by id) -> GetResponse, Read;
    Update update(UpdateRequest by id) -> UpdateResponse, Never;
    Disconnect disconnect(DisconnectRequest by id) -> DisconnectResponse, Never;
    StartPublish start_publish(StartPublishRequest by id) -> StartPublishResponse, Never;
    StopPublish stop_publish(StopPublishRequest by id) -> StopPublishResponse, Harmless;
    Send send(SendRequest by id) -> SendResponse, Never;
    SendRaw send_raw(SendRawRequest by id) -> SendRawResponse, Never;
    SetTag set_tag(SetTagRequest by id) -> SetTagResponse, Harmless;
    SetTags set_tags(SetTagsRequest by id) -> SetTagsResponse, Harmless;
    GetTag get_tag(GetTagRequest by id) -> GetTagResponse, Read;
    GetTags get_tags(GetTagsRequest by id) -> GetTagsResponse, Read;
    Join join(JoinRequest by id) -> JoinResponse, Harmless;
    Leave leave(LeaveRequest by id) -> LeaveResponse, Harmless;
}
