//! One question to many members at once: what is known of each connection lies at its instance.

use super::{
    Peers, Until,
    fault::not_sent,
    link::{Calling, Ended},
    route::{Routing, in_doubt, unpacked},
    rpc::{Passed, Repeat},
};
use crate::{
    api::{
        service::{Caller, merged_members, merged_rooms, reached},
        validate,
    },
    core::{
        id::ConnectionId,
        reason::{Fault, FaultKind},
    },
    limits,
    ports::Member,
    proto::*,
};

/// What one member answered.
pub struct Said<T> {
    pub member: Member,
    pub answer: Result<T, Fault>,
}

impl Peers {
    /// All are asked before the first is waited for, and once more if it did not get there. A member
    /// that has left meanwhile is left out.
    pub(super) async fn ask_all<R: Passed>(
        &self,
        members: impl Iterator<Item = &Member>,
        caller: &Caller,
        until: Until,
        request: &R,
    ) -> Vec<Said<R::Answer>> {
        let ask = |member: &Member| self.hand_over(member, caller, until, request.clone().pack());
        let asked: Vec<_> = members.map(|member| (member.clone(), ask(member))).collect();
        let mut all = Vec::with_capacity(asked.len());
        for (member, calling) in asked {
            let mut answer = heard::<R>(calling, until).await;
            if matches!(&answer, Err(fault) if fault.kind == FaultKind::NotSent) {
                if self.fleet.member(&member.incarnation).is_none() {
                    continue;
                }
                answer = heard::<R>(ask(&member), until).await;
            }
            all.push(Said { member, answer });
        }
        all
    }

    /// This instance's answer, and those of all others.
    async fn everywhere<R: Passed>(
        &self,
        here: impl Future<Output = Result<R::Answer, Fault>>,
        caller: &Caller,
        request: &R,
    ) -> Vec<Result<R::Answer, Fault>> {
        let (until, members) = (Until::of(caller), self.fleet.directory.members());
        let (here, others) = tokio::join!(here, self.ask_all(members.iter(), caller, until, request));
        let told = |said: Said<R::Answer>| said.answer.map_err(|fault| unreached(&said.member, fault));
        std::iter::once(here).chain(others.into_iter().map(told)).collect()
    }

    pub fn list_rooms<'a>(
        &'a self,
        caller: &'a Caller,
        request: ListRoomsRequest,
    ) -> Routing<'a, ListRoomsResponse> {
        Box::pin(async move {
            let size = validate::page_size(request.page_size)?;
            let here = self.local.list_rooms(caller, request.clone());
            let pages = self.everywhere(here, caller, &request).await;
            Ok(merged_rooms(pages.into_iter().collect::<Result<_, _>>()?, size))
        })
    }

    pub fn list_members<'a>(
        &'a self,
        caller: &'a Caller,
        request: ListMembersRequest,
    ) -> Routing<'a, ListMembersResponse> {
        Box::pin(async move {
            let size = validate::page_size(request.page_size)?;
            let here = self.local.list_members(caller, request.clone());
            let pages = self.everywhere(here, caller, &request).await;
            Ok(merged_members(pages.into_iter().collect::<Result<_, _>>()?, size))
        })
    }

    /// The message was checked.
    pub fn send_to_user<'a>(
        &'a self,
        caller: &'a Caller,
        request: SendToUserRequest,
    ) -> Routing<'a, SendToUserResponse> {
        Box::pin(async move {
            let here = self.local.send_to_user_here(caller, request.clone());
            let answers = self.everywhere(here, caller, &request).await;
            let counts = answers.into_iter().map(|answer| answer.map(|answer| answer.connections));
            Ok(SendToUserResponse { connections: reached(counts)? })
        })
    }

    pub fn kick_user<'a>(
        &'a self,
        caller: &'a Caller,
        request: KickUserRequest,
    ) -> Routing<'a, KickUserResponse> {
        Box::pin(async move {
            let here = self.local.kick_user(caller, request.clone());
            let mut disconnected = 0;
            for answer in self.everywhere(here, caller, &request).await {
                disconnected += answer?.disconnected;
            }
            Ok(KickUserResponse { disconnected })
        })
    }

    /// Which member has a connection that no document tells of. The newest, when two say so: its
    /// client has come back elsewhere.
    pub(super) async fn find(&self, id: &ConnectionId) -> Result<Option<Member>, String> {
        let caller = Caller { deadline: Some(limits::PEER_FIND_TIMEOUT), ..Caller::default() };
        let (until, members) = (Until::of(&caller), self.fleet.directory.members());
        let request = GetRequest { id: id.to_string() };
        let mut newest: Option<(u64, Member)> = None;
        let mut unasked = None;
        for Said { member, answer } in self.ask_all(members.iter(), &caller, until, &request).await {
            match answer {
                Ok(found) => {
                    let epoch = found.connection.map_or(0, |connection| connection.epoch);
                    if newest.as_ref().is_none_or(|(known, _)| *known < epoch) {
                        newest = Some((epoch, member));
                    }
                }
                Err(fault) if fault.kind == FaultKind::NotFound => {}
                Err(fault) => unasked = Some(unreached(&member, fault).message.into_owned()),
            }
        }
        match (newest, unasked) {
            (Some((_, member)), _) => Ok(Some(member)),
            (None, Some(why)) => Err(why),
            (None, None) => Ok(None),
        }
    }
}

/// An error that names the instance that is missing.
fn unreached(member: &Member, fault: Fault) -> Fault {
    if fault.kind != FaultKind::NotSent {
        return fault;
    }
    let message = format!("instance {} cannot be asked: {}", member.instance, fault.message);
    Fault { message: message.into(), ..fault }
}

async fn heard<R: Passed>(calling: Result<Calling, Fault>, until: Until) -> Result<R::Answer, Fault> {
    let calling = calling?;
    let late = || Fault::new(FaultKind::TimedOut, "not all instances answered within the deadline");
    match until.wait(calling).await.ok_or_else(late)? {
        Ended::Answered(outcome) => unpacked::<R>(*outcome),
        Ended::Refused(fault) => Err(fault),
        Ended::NotSent(why) => Err(not_sent(why)),
        Ended::Broken(why) if R::REPEAT == Repeat::Never => Err(in_doubt(R::REPEAT, why)),
        // Asked again it does no harm.
        Ended::Broken(why) => Err(not_sent(why)),
    }
}
