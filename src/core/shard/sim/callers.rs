//! Callers of every kind, and what they want of which upstream.

use super::*;

#[derive(Debug)]
pub struct Upstream {
    pub id: ConnectionId,
    pub index: usize,
    pub manner: Manner,
    pub style: Style,
    settings: Settings,
    publish: Option<publish::Spec>,
    overflow: Overflow,
    ordering: Ordering,
    pub gaps_elsewhere: bool,
    variant: u64,
    pub next_feed: u64,
    /// The highest that was told.
    pub epoch: u64,
    next_pool: u64,
}

impl Upstream {
    pub fn new(index: usize, rng: &mut Rng) -> Self {
        use Style::*;
        let style = *rng.pick(&[Auto, Auto, Pool, Integer, Uuid, Array, Prefix, Fifo, Match]);
        let wild = rng.chance(600);
        let chance = |rng: &mut Rng, max: u64| if wild { rng.below(max) } else { 0 };
        let orderly = style.orderly();
        let manner = Manner {
            dial_fails: chance(rng, 500),
            dial_hangs: chance(rng, 100),
            never: if orderly { chance(rng, 40) } else { chance(rng, 150) },
            twice: if style == Pool { 0 } else { chance(rng, 150) },
            answer_millis: if orderly { 200 + rng.below(1000) } else { *rng.pick(&[5, 200, 3000, 20_000]) },
            feed_millis: *rng.pick(&[2000, 6000, 20_000]),
            stalls: if orderly { 0 } else { chance(rng, 300) },
            splits: !orderly && rng.chance(500),
            no_pong: wild && rng.chance(200),
            pings: rng.chance(300),
            leaves: chance(rng, 60),
            fat: rng.chance(200),
        };
        let overflow = match rng.below(8) {
            0..=3 => Overflow::Spill,
            4 => Overflow::Pause,
            5 => Overflow::DropOldest,
            6 => Overflow::DropNewest,
            _ => Overflow::KeepLatest { key: Some("/k".into()) },
        };
        let auto_reconnect = rng.chance(750);
        let settings = Settings {
            auto_reconnect,
            reconnect_attempts_max: if rng.chance(200) { 1 + rng.below(4) as u32 } else { 0 },
            reconnect_base: rng.millis(50, 1000),
            reconnect_max: rng.millis(1000, 15_000),
            ping_interval: *rng.pick(&[Duration::ZERO, Duration::from_secs(3), Duration::from_secs(25)]),
            pong_timeout: Duration::from_secs(6),
            // Only of those that speak often by themselves: any other would never be up for long.
            idle_data: if !orderly && manner.feed_millis == 2000 && rng.chance(500) {
                Duration::from_secs(10)
            } else {
                Duration::ZERO
            },
            sends_per_second: if rng.chance(200) { 2.0 } else { 0.0 },
            sends_burst: 3,
            send_bytes_max: 5000,
            sends_in_flight_max: 2 + rng.below(30) as usize,
            message_bytes_max: 1 << 20,
            correlation: Rule::Auto,
            rooms: Arc::default(),
        };
        let mut upstream = Upstream {
            id: ConnectionId::parse(&format!("c{index}")).unwrap(),
            index,
            manner,
            style,
            settings,
            publish: None,
            overflow,
            ordering: Ordering::Ordered,
            gaps_elsewhere: rng.chance(100),
            variant: 0,
            next_feed: 1,
            epoch: 0,
            next_pool: 0,
        };
        upstream.settings.correlation = upstream.rule();
        upstream.publish = rng.chance(700).then(|| upstream.publish_spec(rng));
        upstream
    }

    fn rule(&self) -> Rule {
        match self.style {
            Style::Auto | Style::Pool => Rule::Auto,
            Style::Integer => Rule::json("/id", "/id", Inject::Integer).unwrap(),
            Style::Uuid => Rule::json("/id", "", Inject::Uuid).unwrap(),
            Style::Array => Rule::array(1).unwrap(),
            Style::Prefix => Rule::Prefix,
            Style::Fifo => Rule::fifo(0).unwrap(),
            Style::Match => Rule::matching("/topic", "ack").unwrap(),
        }
    }

    fn publish_spec(&self, rng: &mut Rng) -> publish::Spec {
        publish::Spec {
            topic: format!("topic-{}", rng.below(3)).into(),
            format: *rng.pick(&[Format::Envelope, Format::Payload, Format::Frames]),
            ordering: self.ordering,
            overflow: self.overflow.clone(),
            gaps: if self.gaps_elsewhere { Gaps::Lifecycle } else { Gaps::InBand },
        }
    }

    fn spec(&self) -> Arc<Spec> {
        Arc::new(Spec {
            dial: Dial {
                target: Target::parse(&format!("ws://peer-{}.example/feed", self.index)).unwrap(),
                headers: Vec::new(),
                subprotocols: Vec::new(),
                tls: None,
                source_ip: None,
                timeout: Duration::from_secs(5),
            },
            settings: self.settings.clone().into(),
            source: format!("{}:{}", self.index, self.variant).into(),
            has_secrets: false,
        })
    }

    fn question(&mut self, nonce: u64, rng: &mut Rng) -> (String, Kind) {
        let pad = if rng.chance(50) { rng.below(6000) } else { rng.below(30) } as usize;
        let pad = format!("{:pad$}", "");
        match self.style {
            Style::Auto => (format!("{{\"id\":\"n{nonce}\",\"q\":{nonce},\"p\":\"{pad}\"}}"), Kind::Text),
            Style::Pool => {
                self.next_pool += rng.below(2);
                let id = self.next_pool % 5;
                (format!("{{\"id\":{id},\"q\":{nonce},\"p\":\"{pad}\"}}"), Kind::Text)
            }
            Style::Integer | Style::Uuid => (format!("{{\"q\":{nonce},\"p\":\"{pad}\"}}"), Kind::Text),
            Style::Array => (format!("[2,\"{nonce}\",\"q\",{nonce}]"), Kind::Text),
            Style::Prefix => (format!("q {nonce}"), Kind::Text),
            Style::Fifo => (format!("fifo {nonce}"), Kind::Text),
            Style::Match => (format!("{{\"m\":true,\"q\":{nonce}}}"), Kind::Text),
        }
    }
}

impl World {
    /// Issues a command; its answer may come at once.
    pub fn command(&mut self, pending: Pending, command: Command) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.pending.insert(ticket, pending);
        self.issuing = Some(ticket);
        let handle = self.step(|core, now, fx| core.command(now, ticket, &Context::default(), command, fx));
        self.issuing = None;
        if let Some(
            Pending::Send { handle: kept, .. }
            | Pending::Raw { handle: kept, .. }
            | Pending::Connect { handle: kept, .. },
        ) = self.pending.get_mut(&ticket)
        {
            *kept = handle;
        }
        ticket
    }

    pub fn caller(&mut self) {
        if self.down {
            return;
        }
        let wait = self.rng.millis(0, self.caller_millis * 2);
        // Some go on for a while in the healed world.
        if self.now.mono < Time::from_millis(FAULTS_MILLIS + 5000) {
            self.after(wait, Event::Caller);
        }
        let index = self.rng.below(self.upstreams.len() as u64) as usize;
        let id = self.upstreams[index].id.clone();
        match self.rng.below(100) {
            0..=44 => (0..1 + self.rng.below(3)).for_each(|_| self.send(index)),
            45..=52 => self.send_raw(index),
            53..=60 => self.cancel_one(),
            61..=63 => {
                let command = Command::Disconnect { id, code: 1000, reason: "bye".into() };
                self.command(Pending::Other, command);
            }
            64..=77 => self.connect(index),
            78..=81 => {
                let upstream = &self.upstreams[index];
                let spec = upstream.publish_spec(&mut self.rng);
                self.command(Pending::Other, Command::StartPublish { id, spec: Box::new(spec) });
            }
            82..=83 => {
                self.command(Pending::Other, Command::StopPublish(id));
            }
            84..=86 => {
                let value = self.rng.below(3).to_string();
                let tags = vec![("mood".into(), value.into())];
                self.command(Pending::Other, Command::SetTags { id, tags });
            }
            87..=89 => {
                self.command(Pending::Other, Command::Get(id));
                let list = List { limit: 5, ..List::default() };
                self.command(Pending::Other, Command::List(Box::new(list)));
            }
            90..=92 => self.update(index),
            93..=96 if self.followers.len() < 25 => self.new_follower(),
            _ => {
                if let Some(after) = self.watch_at.take() {
                    self.command(Pending::Watch(after), Command::Watch { after: Some(after), wait: true });
                }
            }
        }
    }

    pub fn connect(&mut self, index: usize) {
        let upstream = &self.upstreams[index];
        let connect = Connect {
            id: upstream.id.clone(),
            chosen: true,
            spec: upstream.spec(),
            tags: vec![("group".into(), (index % 3).to_string().into())],
            publish: upstream.publish.clone(),
        };
        self.command(Pending::Connect { upstream: index, handle: None }, Command::Connect(Box::new(connect)));
    }

    fn send(&mut self, index: usize) {
        let nonce = self.next_nonce;
        self.next_nonce += 1;
        let upstream = &mut self.upstreams[index];
        let (text, kind) = upstream.question(nonce, &mut self.rng);
        let id = upstream.id.clone();
        // Given or left to the connection, it is the same rule.
        let rule = self.rng.chance(200).then(|| Box::new(self.upstreams[index].rule()));
        let timeout = self.rng.millis(20, 3000);
        let send = Send { id, payload: Bytes::from(text), kind, timeout, rule };
        let due = self.now.mono + timeout;
        self.note("send", nonce, index as u64);
        self.command(Pending::Send { nonce, due, handle: None }, Command::Send(send));
    }

    fn send_raw(&mut self, index: usize) {
        let nonce = self.next_nonce;
        self.next_nonce += 1;
        let kind = if self.rng.chance(500) { Kind::Text } else { Kind::Binary };
        let pad = if kind == Kind::Text { self.rng.below(3000) as usize } else { 0 };
        let payload = Bytes::from(format!("raw {nonce}{:pad$}", ""));
        let id = self.upstreams[index].id.clone();
        self.command(Pending::Raw { nonce, handle: None }, Command::SendRaw { id, payload, kind });
    }

    /// Somebody who waits goes away.
    fn cancel_one(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let nth = self.rng.below(self.pending.len() as u64) as usize;
        let (ticket, handle) = match self.pending.iter().nth(nth) {
            Some((
                ticket,
                Pending::Send { handle: Some(handle), .. }
                | Pending::Raw { handle: Some(handle), .. }
                | Pending::Connect { handle: Some(handle), .. },
            )) => (*ticket, *handle),
            _ => return,
        };
        self.note("cancel", ticket.0, 0);
        self.pending.remove(&ticket);
        self.cancelling = Some(ticket);
        self.step(|core, now, fx| core.cancel(now, ticket, handle, fx));
        self.cancelling = None;
    }

    fn update(&mut self, index: usize) {
        let upstream = &mut self.upstreams[index];
        let expected = upstream.spec().source.clone();
        upstream.variant += 1;
        upstream.settings.ping_interval = *self.rng.pick(&[Duration::ZERO, Duration::from_secs(2)]);
        let update = Update { id: upstream.id.clone(), expected, spec: upstream.spec() };
        self.command(Pending::Other, Command::Update(Box::new(update)));
    }
}
