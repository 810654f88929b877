//! One call to wherever its connection lives.

use super::{
    Peers, Until,
    all::Said,
    fault::{not_sent, orphan},
    link::{Calling, Ended},
    page::{merged, page_size, recorded},
    rpc::{self, Repeat, Routed},
    unknown,
};
use crate::{
    api::{
        counters::{Counter, PeerCounters},
        service::{Caller, Service},
        validate,
    },
    core::{
        id::ConnectionId,
        reason::{Certainty, Fault, FaultKind},
    },
    limits,
    ports::{Holder, Member},
    proto::{
        ConnectRequest, ConnectResponse, GetRequest, ListRequest, ListResponse,
        fleet::{Abort, Call, Commit, Offer, call::Rpc, reply::Outcome},
    },
};
use std::{future::Future, pin::Pin};
use tokio::time::{Instant, sleep};

/// Boxed: a service without members need not have room for it.
pub type Routing<'a, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'a>>;

/// How passing a call on went.
enum Passed<T> {
    Done(Result<T, Fault>),
    /// It is not there, or nothing got there: whoever has it may be asked.
    Elsewhere(Fault),
    /// It may have been done.
    Unknown(String),
}

/// Every forwarded call ends under one counter, also when its caller goes away.
struct Counted<'a>(&'a PeerCounters, bool);

impl Counted<'_> {
    fn ended(mut self, which: impl Fn(&PeerCounters) -> &Counter) {
        self.1 = true;
        which(self.0).add();
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if !self.1 {
            self.0.forwarded_cancelled.add();
        }
    }
}

impl Peers {
    pub fn route<'a, R: Routed>(&'a self, caller: &'a Caller, request: R) -> Routing<'a, R::Answer> {
        Box::pin(self.routed(caller, request, false))
    }

    /// The local shard has just said that it is not here.
    pub fn route_absent<'a, R: Routed>(&'a self, caller: &'a Caller, request: R) -> Routing<'a, R::Answer> {
        Box::pin(self.routed(caller, request, true))
    }

    async fn routed<R: Routed>(&self, caller: &Caller, request: R, absent: bool) -> Result<R::Answer, Fault> {
        let until = Until::of(caller);
        let Ok(id) = ConnectionId::parse(request.id()) else {
            // Says what is wrong with it.
            return request.here(&self.local, caller).await;
        };
        let mut asked_here = absent;
        if !absent {
            match self.remembered(&id) {
                Some(member) => match self.pass(&member, caller, until, request.clone()).await {
                    Passed::Done(answer) => return answer,
                    Passed::Elsewhere(_) => self.forget(&id),
                    Passed::Unknown(why) => {
                        self.forget(&id);
                        if R::REPEAT != Repeat::Read {
                            return Err(in_doubt(R::REPEAT, why));
                        }
                    }
                },
                None => {
                    match request.clone().here(&self.local, caller).await {
                        Err(fault) if fault.kind == FaultKind::NotFound => {}
                        answer => return answer,
                    }
                    asked_here = true;
                }
            }
        }
        self.search(&id, caller, until, request, asked_here).await
    }

    /// Asks the directory, and once more if it has moved meanwhile.
    async fn search<R: Routed>(
        &self,
        id: &ConnectionId,
        caller: &Caller,
        until: Until,
        request: R,
        asked_here: bool,
    ) -> Result<R::Answer, Fault> {
        let mut last = None;
        for _ in 0..2 {
            let member = match self.locate(id).await? {
                Holder::Me => {
                    let here = request.here(&self.local, &until.caller(caller)).await;
                    return self.unless_unsettled(id, here).await;
                }
                Holder::Member(member) => member,
                gone @ (Holder::Orphan | Holder::Nobody) => {
                    if !asked_here {
                        // Argument errors come first.
                        match request.here(&self.local, &until.caller(caller)).await {
                            Err(fault) if fault.kind == FaultKind::NotFound => {}
                            answer => return answer,
                        }
                    }
                    let orphaned = gone == Holder::Orphan;
                    return Err(if orphaned { orphan(id.as_str()) } else { Fault::not_found(id.as_str()) });
                }
            };
            match self.pass(&member, caller, until, request.clone()).await {
                Passed::Done(answer) => {
                    self.remember(id, &member);
                    return answer;
                }
                Passed::Elsewhere(fault) => last = Some(fault),
                Passed::Unknown(why) if R::REPEAT == Repeat::Read => last = Some(in_doubt(R::REPEAT, why)),
                Passed::Unknown(why) => return Err(in_doubt(R::REPEAT, why)),
            }
        }
        let absent = last.unwrap_or_else(|| Fault::not_found(id.as_str()));
        self.unless_unsettled(id, Err(absent)).await
    }

    async fn pass<R: Routed>(
        &self,
        member: &Member,
        caller: &Caller,
        until: Until,
        request: R,
    ) -> Passed<R::Answer> {
        let (counted, since) = (Counted(&self.fleet.counters, false), Instant::now());
        let calling = match self.hand_over(member, caller, until, request.pack()) {
            Ok(calling) => calling,
            Err(fault) if fault.kind == FaultKind::NotSent => {
                counted.ended(|counters| &counters.forwarded_not_sent);
                return Passed::Elsewhere(fault);
            }
            Err(fault) => {
                counted.ended(|counters| &counters.forwarded_full);
                return Passed::Done(Err(fault));
            }
        };
        let Some(ended) = until.wait(calling).await else {
            counted.ended(|counters| &counters.forwarded_timed_out);
            let silent = format!("instance {} did not answer within the deadline", member.instance);
            let fault = Fault::new(FaultKind::TimedOut, silent);
            return Passed::Done(Err(match R::REPEAT {
                Repeat::Never => fault.with_certainty(Certainty::MaybeSent),
                Repeat::Read | Repeat::Harmless => fault,
            }));
        };
        match ended {
            Ended::Answered(outcome) => {
                self.fleet.counters.answered.record(since.elapsed());
                counted.ended(|counters| &counters.forwarded_answered);
                Passed::Done(unpacked::<R>(*outcome))
            }
            Ended::Refused(fault) => {
                counted.ended(|counters| &counters.forwarded_refused);
                if fault.kind == FaultKind::NotFound {
                    Passed::Elsewhere(fault)
                } else {
                    Passed::Done(Err(fault))
                }
            }
            Ended::NotSent(why) => {
                counted.ended(|counters| &counters.forwarded_not_sent);
                Passed::Elsewhere(not_sent(why))
            }
            Ended::Broken(why) => {
                counted.ended(|counters| &counters.forwarded_maybe_sent);
                Passed::Unknown(why)
            }
        }
    }

    pub(super) fn hand_over(
        &self,
        member: &Member,
        caller: &Caller,
        until: Until,
        rpc: Rpc,
    ) -> Result<Calling, Fault> {
        let left = until.left().map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        self.links.to(member).start(Call {
            number: 0,
            principal: caller.principal.clone(),
            deadline_ms: left,
            traceparent: caller.traceparent.clone().unwrap_or_default(),
            rpc: Some(rpc),
        })
    }

    /// Minted ids are always of this instance; a chosen one is claimed before it is dialled.
    pub fn connect<'a>(
        &'a self,
        caller: &'a Caller,
        request: ConnectRequest,
    ) -> Routing<'a, ConnectResponse> {
        Box::pin(async move {
            if request.connection_id.is_empty() {
                return self.local.connect(caller, request).await;
            }
            let until = Until::of(caller);
            // Argument errors come before anybody is asked.
            let id = validate::connect(&request, self.local.defaults(), || self.local.mint())?.id;
            if let Some(member) = self.remembered(&id) {
                match self.pass(&member, caller, until, request.clone()).await {
                    Passed::Done(answer) => return answer,
                    Passed::Elsewhere(_) => self.forget(&id),
                    Passed::Unknown(why) => return Err(in_doubt(Repeat::Harmless, why)),
                }
            }
            self.connect_claimed(&id, caller, until, request).await
        })
    }

    async fn connect_claimed(
        &self,
        id: &ConnectionId,
        caller: &Caller,
        until: Until,
        request: ConnectRequest,
    ) -> Result<ConnectResponse, Fault> {
        let patience =
            until.left().map_or(limits::PEER_ORPHAN_WAIT, |left| left.min(limits::PEER_ORPHAN_WAIT));
        let give_up = Instant::now() + patience;
        let mut unreached = None;
        loop {
            let claimed = self.fleet.directory.claim(id).await;
            match claimed.map_err(|error| unknown(id, &error.message))? {
                Holder::Me => {
                    let claim = Claim { peers: self, id: Some(id.clone()) };
                    let answer = self.local.connect(&until.caller(caller), request).await;
                    match &answer {
                        Ok(_) => claim.keep(),
                        Err(_) => claim.give_back().await,
                    }
                    return answer;
                }
                Holder::Member(member) => match self.pass(&member, caller, until, request.clone()).await {
                    Passed::Done(answer) => {
                        self.remember(id, &member);
                        return answer;
                    }
                    Passed::Elsewhere(fault) => match unreached {
                        None => unreached = Some(fault),
                        Some(_) => return Err(fault),
                    },
                    Passed::Unknown(why) => return Err(in_doubt(Repeat::Harmless, why)),
                },
                Holder::Orphan | Holder::Nobody if Instant::now() < give_up => {
                    sleep(limits::PEER_ORPHAN_POLL).await;
                }
                Holder::Orphan | Holder::Nobody => return Err(orphan(id.as_str())),
            }
        }
    }

    /// A page of all instances: complete, or an error that names the one that is missing.
    pub fn list<'a>(&'a self, caller: &'a Caller, request: ListRequest) -> Routing<'a, ListResponse> {
        Box::pin(async move {
            let until = Until::of(caller);
            let mut pages = vec![self.local.list(caller, request.clone()).await?];
            let members = self.fleet.directory.members();
            let wanted = members
                .iter()
                .filter(|member| request.instance.is_empty() || *member.instance == *request.instance);
            for Said { member, answer } in self.ask_all(wanted, caller, until, &request).await {
                pages.push(match answer {
                    Err(fault) if fault.kind == FaultKind::NotSent => {
                        self.recorded_of(&member, &fault, &request).await?
                    }
                    answer => answer?,
                });
            }
            Ok(merged(pages, page_size(&request)))
        })
    }

    /// It died, most likely, and its lease has not run out: the store knows what it had.
    async fn recorded_of(
        &self,
        member: &Member,
        fault: &Fault,
        request: &ListRequest,
    ) -> Result<ListResponse, Fault> {
        let records = self.fleet.directory.recorded(&member.incarnation).await;
        let records = records.map_err(|error| {
            let text = format!("{}; nor can the store: {error}", fault.message);
            let message = format!("instance {} cannot be asked: {text}", member.instance);
            Fault::new(FaultKind::Unavailable, message)
        })?;
        recorded(&records, request)
    }

    /// Asks a member to take a connection over. The answer says why not, if not.
    pub async fn offer(&self, member: &Member, offer: Offer) -> Result<Result<(), String>, Fault> {
        match self.admit(member, Rpc::Offer(offer)).await? {
            Outcome::Offer(answer) if answer.refused.is_empty() => Ok(Ok(())),
            Outcome::Offer(answer) => Ok(Err(answer.refused)),
            _ => Err(Fault::new(FaultKind::Internal, "an answer of another kind")),
        }
    }

    pub async fn commit(&self, member: &Member, commit: Commit) -> Result<(), Fault> {
        self.admit(member, Rpc::Commit(commit)).await.map(drop)
    }

    pub async fn abort(&self, member: &Member, abort: Abort) -> Result<(), Fault> {
        self.admit(member, Rpc::Abort(abort)).await.map(drop)
    }

    async fn admit(&self, member: &Member, rpc: Rpc) -> Result<Outcome, Fault> {
        let caller = Caller::default();
        match self.hand_over(member, &caller, Until::of(&caller), rpc)?.await {
            Ended::Answered(outcome) => Ok(*outcome),
            Ended::Refused(fault) => Err(fault),
            Ended::NotSent(why) => Err(not_sent(why)),
            Ended::Broken(why) => Err(in_doubt(Repeat::Never, why)),
        }
    }
}

pub(super) fn unpacked<R: rpc::Passed>(outcome: Outcome) -> Result<R::Answer, Fault> {
    R::unpack(outcome).ok_or_else(|| Fault::new(FaultKind::Internal, "an answer of another kind"))
}

/// The stream broke while the owner may have had the call.
pub(super) fn in_doubt(repeat: Repeat, why: String) -> Fault {
    match repeat {
        Repeat::Never => Fault::new(FaultKind::MaybeSent, why).with_certainty(Certainty::MaybeSent),
        Repeat::Read | Repeat::Harmless => Fault::new(FaultKind::Unavailable, why),
    }
}

/// Held while a claimed id is dialled: nothing of it stays when that fails or nobody waits for it.
struct Claim<'a> {
    peers: &'a Peers,
    id: Option<ConnectionId>,
}

impl Claim<'_> {
    fn keep(mut self) {
        self.id = None;
    }

    async fn give_back(mut self) {
        if let Some(id) = self.id.take() {
            unclaim(self.peers.local.clone(), self.peers.fleet.directory.clone(), id).await;
        }
    }
}

/// An id that another Connect holds open, or opened before, stays.
async fn unclaim(local: Service, directory: std::sync::Arc<dyn crate::ports::Directory>, id: ConnectionId) {
    let there = local.get(&Caller::default(), GetRequest { id: id.to_string() }).await;
    if matches!(there, Err(fault) if fault.kind == FaultKind::NotFound) {
        directory.unclaim(&id);
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            tokio::spawn(unclaim(self.peers.local.clone(), self.peers.fleet.directory.clone(), id));
        }
    }
}
