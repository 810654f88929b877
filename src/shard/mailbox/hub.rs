//! All shards of this instance, as the edges and the shards themselves see them.

use super::{
    Mail, Mailbox,
    call::{Call, Calls},
    here::{at_home, here, shard_here},
};
use crate::{
    core::{
        id::{ConnectionId, instance_code},
        io::{Command, Context, SocketKey},
        names::RoomName,
        random,
        reason::Fault,
        rooms::Position,
    },
    shard::{
        Local,
        io::Io,
        waiters::{Reply, gone},
    },
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::sync::oneshot;

/// All shards of this instance. Its clones are one.
#[derive(Clone)]
pub struct Hub {
    shards: Arc<[Arc<Mailbox>]>,
    entropy: Arc<AtomicU64>,
    code: Arc<str>,
}

impl Default for Hub {
    /// No shards at all.
    fn default() -> Self {
        Hub::new(Vec::new(), 0)
    }
}

impl Hub {
    pub fn new(shards: Vec<Arc<Mailbox>>, seed: u64) -> Self {
        let mut state = seed;
        let code = instance_code(&format!("{:016x}", random::next(&mut state)));
        Hub { shards: shards.into(), entropy: Arc::new(AtomicU64::new(seed)), code: code.into() }
    }

    /// The short code of this run of the process, where no fleet gives it a name: drawn at random.
    pub fn code(&self) -> &Arc<str> {
        &self.code
    }

    pub fn shards(&self) -> u32 {
        self.shards.len() as u32
    }

    pub fn owner(&self, id: &ConnectionId) -> u32 {
        id.shard(self.shards())
    }

    /// An id for a new dialled connection, on the shard that has the fewest.
    pub fn mint(&self) -> ConnectionId {
        let mut least = 0;
        for (shard, mailbox) in self.shards.iter().enumerate() {
            if mailbox.load.load(Ordering::Relaxed) < self.shards[least].load.load(Ordering::Relaxed) {
                least = shard;
            }
        }
        // Scrambled once: neighbouring seeds would walk the same stream, one step apart.
        let mut seed = self.entropy.fetch_add(random::STEP, Ordering::Relaxed);
        let mut state = random::next(&mut seed);
        ConnectionId::mint(least as u32, self.shards(), || random::next(&mut state))
    }

    /// An id for a connection that this thread's shard accepts (or the first shard, elsewhere).
    pub fn mint_accepted(&self, code: &str) -> ConnectionId {
        let shard = shard_here().unwrap_or(0);
        let mut seed = self.entropy.fetch_add(random::STEP, Ordering::Relaxed);
        let mut state = random::next(&mut seed);
        ConnectionId::mint_accepted(code, shard, self.shards(), || random::next(&mut state))
    }

    /// Hands an accepted socket, and what was read behind its handshake, to the shard that admitted it.
    pub fn attach(&self, shard: u32, socket: SocketKey, io: Io, ahead: Vec<u8>) {
        if let Some(local) = here(shard) {
            return local.attach(socket, io, ahead);
        }
        let Some(mailbox) = self.shards.get(shard as usize) else { return };
        match io.leave() {
            Ok(_) if mailbox.closed.load(Ordering::Acquire) => {}
            Ok(io) => mailbox.push(Mail::Attach { socket, io, ahead }),
            // The connection that waits for it is dropped by its deadline.
            Err(error) => tracing::debug!(%error, "an accepted socket could not be handed over"),
        }
    }

    /// Hands a command to a shard, whose answer nobody waits for. Refused when its mailbox is full.
    pub fn post(&self, shard: u32, command: Command) -> Result<(), Fault> {
        let mail = Mail::Command { context: Context::default(), command, reply: Reply::Nobody };
        self.shards.get(shard as usize).ok_or_else(gone)?.post(mail)
    }

    /// What numbers a room outside was away, and is at this number now. Never refused: there is one
    /// for each room that is heard.
    pub fn resumed(&self, room: RoomName, head: Position) {
        self.tell(room.home(self.shards()), Mail::RoomResumed(room, head));
    }

    /// A word of one core to another's.
    pub(in crate::shard) fn tell(&self, shard: u32, word: Mail) {
        if let Some(mailbox) = self.shards.get(shard as usize) {
            mailbox.push(word);
        }
    }

    /// Hands a command to a shard. Dropping the call before it is answered takes the command back.
    pub fn call(&self, shard: u32, context: Context, command: Command) -> Call {
        if let Some(local) = here(shard) {
            let writes = command.may_write();
            let ticket = local.submit(context, command);
            return Call::local(shard, ticket, writes);
        }
        let (reply, answer) = oneshot::channel();
        let Some(mailbox) = self.shards.get(shard as usize) else {
            return Call::refused(gone());
        };
        let writes = command.may_write();
        let home = at_home(|local| local.mailbox.clone());
        match mailbox.post(Mail::Command { context, command, reply: Reply::Once(reply, home) }) {
            Ok(()) => Call::remote(answer, mailbox, writes),
            Err(fault) => Call::refused(fault),
        }
    }

    /// As `call`, but ahead of what waits and never refused for a full mailbox: for the few commands
    /// by which the fleet tells a shard what it owns.
    pub fn order(&self, shard: u32, command: Command) -> Call {
        let (reply, answer) = oneshot::channel();
        let Some(mailbox) = self.shards.get(shard as usize) else {
            return Call::refused(gone());
        };
        if mailbox.closed.load(Ordering::Acquire) {
            return Call::refused(gone());
        }
        let reply = Reply::Once(reply, None);
        mailbox.push(Mail::Command { context: Context::default(), command, reply });
        Call::remote(answer, mailbox, false)
    }

    /// Many commands whose answers come back in any order, each with the number it was given.
    pub fn calls(&self, in_flight_max: usize) -> Calls {
        Calls::new(self.clone(), in_flight_max)
    }

    pub fn inspect(&self, shard: u32, look: Box<dyn FnOnce(&Local) + Send>) -> Result<(), Fault> {
        self.shards[shard as usize].look(look)
    }

    pub fn mailbox(&self, shard: u32) -> &Arc<Mailbox> {
        &self.shards[shard as usize]
    }

    pub(super) fn mailboxes(&self) -> impl Iterator<Item = &Arc<Mailbox>> {
        self.shards.iter()
    }
}
