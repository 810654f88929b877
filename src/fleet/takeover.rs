//! The taking side of an orderly hand-over: a connection is dialled here before its owner lets go.

use super::{
    handle::{Handle, Mail, stopped},
    run::{Take, Taken},
};
use crate::{
    core::{
        fleet::record_key,
        id::ConnectionId,
        io::{Answer, Command, Context},
        reason::FaultKind,
    },
    ports::{Adoption, BackendError, Documents, Pending},
    shard::mailbox::Hub,
};
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::oneshot;

#[derive(Clone)]
pub struct Takeover {
    pub handle: Handle,
    pub hub: Hub,
    pub documents: Arc<dyn Documents>,
    pub take: Take,
}

impl Takeover {
    /// Noted first, dialled then: if this instance dies in the middle, whoever cleans up after it
    /// looks for the connection.
    async fn prepare(self, id: ConnectionId, document: Bytes, epoch: u64) -> Result<(), String> {
        let restore = match (self.take)(&document, epoch)? {
            Taken::Restore(restore) => restore,
            Taken::Forget => return Err("this instance clears what it finds".into()),
        };
        self.ask(|reply| Mail::Expect { id: id.clone(), reply }).await?;
        let shard = self.hub.owner(&id);
        let prepared = self.hub.call(shard, Context::default(), Command::Prepare(restore)).await;
        if let Err(fault) = prepared {
            self.forget(id).await;
            return Err(fault.to_string());
        }
        Ok(())
    }

    async fn commit_here(self, id: ConnectionId, epoch: u64, last_seq: u64) -> Result<(), BackendError> {
        let shard = self.hub.owner(&id);
        let command = Command::Commit { id: id.clone(), epoch, last_seq };
        match self.hub.call(shard, Context::default(), command).await {
            Ok(_) => Ok(()),
            // It was given up meanwhile; the document is ours all the same.
            Err(fault) if fault.kind == FaultKind::NotFound => self.restore(id, epoch).await,
            Err(fault) => Err(failed(fault.to_string())),
        }
    }

    async fn restore(self, id: ConnectionId, epoch: u64) -> Result<(), BackendError> {
        let found = self.documents.get(vec![record_key(&id)]).await?;
        let Some(Some(document)) = found.into_iter().next() else {
            return Err(failed(format!("'{id}' has no document any more")));
        };
        let Taken::Restore(restore) = (self.take)(&document.value, epoch).map_err(failed)? else {
            return Ok(());
        };
        let answer: Result<Answer, _> = self.hub.order(self.hub.owner(&id), Command::Restore(restore)).await;
        answer.map(drop).map_err(|fault| failed(fault.to_string()))
    }

    async fn give_up(self, id: ConnectionId) {
        let dropped = self.hub.order(self.hub.owner(&id), Command::Abort(id.clone())).await;
        if dropped.is_ok() {
            self.forget(id).await;
        }
    }

    async fn forget(&self, id: ConnectionId) {
        // It was only expected; nobody waits for this.
        let _ = self.ask(|reply| Mail::Unexpect { id, reply }).await;
    }

    async fn ask(
        &self,
        mail: impl FnOnce(oneshot::Sender<Result<(), String>>) -> Mail,
    ) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        self.handle.0.mail.send(mail(reply)).await.map_err(|_| stopped().message)?;
        answer.await.unwrap_or_else(|_| Err(stopped().message))
    }
}

fn failed(message: String) -> BackendError {
    BackendError { message, transient: true }
}

impl Adoption for Takeover {
    fn offer(
        &self,
        from: Arc<str>,
        id: ConnectionId,
        document: Bytes,
        epoch: u64,
    ) -> Pending<Result<(), String>> {
        tracing::debug!(%id, %from, "a connection is offered");
        Box::pin(self.clone().prepare(id, document, epoch))
    }

    fn commit(
        &self,
        _: Arc<str>,
        id: ConnectionId,
        epoch: u64,
        last_seq: u64,
    ) -> Pending<Result<(), BackendError>> {
        Box::pin(self.clone().commit_here(id, epoch, last_seq))
    }

    fn abort(&self, _: Arc<str>, id: ConnectionId) -> Pending<()> {
        Box::pin(self.clone().give_up(id))
    }
}
