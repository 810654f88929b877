//! Those who want connections: shards that claim, dial, store, forget and hand over.

use super::*;

/// What a shard or an edge does next.
pub enum Planned {
    Dialled(ConnectionId, u64),
    DialFailed(ConnectionId),
    TakeOver(ConnectionId, u64),
    Again(ConnectionId),
    HandOver(ConnectionId, usize),
    Forget(ConnectionId),
}

/// Why a caller waits.
#[derive(Debug)]
pub enum Wants {
    /// The last: it is not held yet.
    Store(ConnectionId, u64, bool),
    Claim(ConnectionId),
    Forget(ConnectionId),
    Transfer(ConnectionId, u64, usize),
    /// From which instance it comes.
    Expect(ConnectionId, usize),
}

impl Wants {
    pub fn id(&self) -> &ConnectionId {
        match self {
            Wants::Store(id, ..) | Wants::Expect(id, _) => id,
            Wants::Claim(id) | Wants::Forget(id) | Wants::Transfer(id, ..) => id,
        }
    }
}

impl World {
    pub fn caller(&mut self, at: usize) {
        if self.healed || self.instances[at].fleet.is_none() || self.instances[at].leaving {
            return;
        }
        let wait = self.rng.nanos(100, 3000);
        self.after(wait, Event::Caller(at));
        let held: Vec<(ConnectionId, u64)> =
            self.instances[at].held.iter().map(|(id, epoch)| (id.clone(), *epoch)).collect();
        let held: Vec<_> = held.into_iter().filter(|(id, _)| !self.is_busy(at, id)).collect();
        match self.rng.below(10) {
            0..3 if self.standing.len() < 40 => {
                self.next_id += 1;
                let id = ConnectionId::parse(&format!("minted-{}", self.next_id)).unwrap();
                let epoch = self.clocks(at).wall.unix_millis();
                self.store(at, id, epoch);
            }
            3..5 => {
                let id = ConnectionId::parse(&format!("chosen-{}", self.rng.below(12))).unwrap();
                let asked: Vec<_> =
                    self.instances[at].asked.values().map(|wants| wants.id().clone()).collect();
                // An edge asks no shard first: it may claim what is held here, or just being done with.
                let id = match asked.is_empty() || self.rng.chance(500) {
                    true => id,
                    false => self.rng.pick(&asked).clone(),
                };
                let asker = self.asker(at, Wants::Claim(id.clone()));
                self.step(at, |fleet, now, fx| fleet.handle(now, FleetInput::Claim { asker, id }, fx));
            }
            _ if held.is_empty() => {}
            5..8 => {
                let (id, epoch) = held[self.rng.below(held.len() as u64) as usize].clone();
                self.store(at, id, epoch);
            }
            8 => {
                let (id, _) = held[self.rng.below(held.len() as u64) as usize].clone();
                self.planned(at, Planned::Forget(id));
            }
            _ => {
                let (id, _) = held[self.rng.below(held.len() as u64) as usize].clone();
                self.offer(at, id);
            }
        }
    }

    /// The other one is asked first.
    fn offer(&mut self, at: usize, id: ConnectionId) {
        let members = self.instances[at].fleet.as_ref().map(|fleet| fleet.members());
        let members = members.unwrap_or_else(|| Arc::from([]));
        if members.is_empty() {
            return;
        }
        let to = members[self.rng.below(members.len() as u64) as usize].incarnation.clone();
        let other = self
            .instances
            .iter()
            .position(|instance| instance.fleet.as_ref().is_some_and(|fleet| fleet.me().incarnation == to));
        let Some(other) = other else { return };
        let asker = self.asker(other, Wants::Expect(id.clone(), at));
        self.step(other, |fleet, now, fx| fleet.handle(now, FleetInput::Expect { asker, id }, fx));
    }

    fn hand_over(&mut self, at: usize, id: ConnectionId, other: usize) {
        let Some(epoch) = self.instances[at].held.get(&id).copied() else {
            return self.planned(other, Planned::Forget(id));
        };
        let Some(to) = self.instances[other].fleet.as_ref().map(|fleet| fleet.me().incarnation.clone())
        else {
            return;
        };
        self.stats.transfers += 1;
        self.instances[at].held.remove(&id);
        let epoch = epoch + 1;
        let document = document(&id, epoch, self.rng.word());
        let asker = self.asker(at, Wants::Transfer(id.clone(), epoch, other));
        let input = FleetInput::Transfer { asker, id, to, epoch, document };
        self.step(at, |fleet, now, fx| fleet.handle(now, input, fx));
    }

    pub fn planned(&mut self, at: usize, what: Planned) {
        if self.instances[at].fleet.is_none() {
            return;
        }
        match what {
            Planned::Dialled(id, epoch) => {
                self.instances[at].dialling.remove(&id);
                if self.is_there(at, &id) {
                    // Handed to it or taken meanwhile: one connection of this id is enough for a shard.
                    return;
                }
                let epoch = epoch.max(self.clocks(at).wall.unix_millis());
                self.store(at, id, epoch);
            }
            Planned::DialFailed(id) => {
                self.instances[at].dialling.remove(&id);
                if self.is_there(at, &id) {
                    return;
                }
                self.note(at, "claims no more", id.as_str());
                self.step(at, |fleet, now, fx| fleet.handle(now, FleetInput::Unclaim { id }, fx));
            }
            Planned::TakeOver(id, epoch) => self.store(at, id, epoch),
            Planned::Again(id) => {
                if let Some(epoch) = self.instances[at].held.get(&id).copied() {
                    self.store(at, id, epoch);
                }
            }
            Planned::HandOver(id, other) => self.hand_over(at, id, other),
            Planned::Forget(id) => {
                // What a late write brings back begins anew.
                self.epochs.remove(&id);
                self.standing.remove(&id);
                self.instances[at].held.remove(&id);
                for wants in self.instances[at].asked.values_mut() {
                    if let Wants::Store(other, _, fresh) = wants
                        && *other == id
                    {
                        *fresh = false;
                    }
                }
                let asker = self.asker(at, Wants::Forget(id.clone()));
                self.step(at, |fleet, now, fx| fleet.handle(now, FleetInput::Forget { asker, id }, fx));
            }
        }
    }

    pub fn store(&mut self, at: usize, id: ConnectionId, epoch: u64) {
        let document = document(&id, epoch, self.rng.word());
        let fresh = !self.instances[at].held.contains_key(&id);
        let asker = self.asker(at, Wants::Store(id.clone(), epoch, fresh));
        let input = FleetInput::Store { asker, id, epoch, document };
        self.step(at, |fleet, now, fx| fleet.handle(now, input, fx));
    }

    /// The shard has a connection of this id: whoever connects it again joins that one.
    pub fn is_there(&self, at: usize, id: &ConnectionId) -> bool {
        let instance = &self.instances[at];
        let stores = |wants: &Wants| matches!(wants, Wants::Store(other, _, true) if other == id);
        instance.held.contains_key(id)
            || instance.dialling.contains(id)
            || instance.asked.values().any(stores)
    }

    /// Something else is being done about it; a shard knows.
    fn is_busy(&self, at: usize, id: &ConnectionId) -> bool {
        let instance = &self.instances[at];
        instance.dialling.contains(id) || instance.asked.values().any(|wants| wants.id() == id)
    }

    pub fn asker(&mut self, at: usize, wants: Wants) -> Asker {
        self.next_asker += 1;
        let asker = Asker(self.next_asker);
        self.note(at, "asks:", &format!("{wants:?}"));
        self.instances[at].asked.insert(asker, wants);
        asker
    }
}

pub fn document(id: &ConnectionId, epoch: u64, nonce: u64) -> Bytes {
    format!(
        "{{\"id\":\"{id}\",\"url\":\"ws://a/\",\"status\":\"Connected\",\"epoch\":{epoch},\"nonce\":{nonce}}}"
    )
    .into()
}
