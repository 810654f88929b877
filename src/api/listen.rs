//! Listeners, one a shard and port: accept, hand over, and stop in order.

use super::{
    certs::Certificates,
    counters::Counters,
    serve::{self, Door, Shared},
};
use crate::limits;
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::sleep,
};

#[cfg(test)]
mod tests;

/// Tells listeners to stop; clones hear the same word.
#[derive(Clone)]
pub struct Stop(watch::Receiver<bool>);

/// The other end of `Stop`. Dropping it stops as well.
pub struct StopTrigger(watch::Sender<bool>);

impl Stop {
    pub fn new() -> (StopTrigger, Stop) {
        let (sender, receiver) = watch::channel(false);
        (StopTrigger(sender), Stop(receiver))
    }

    pub async fn wait(&self) {
        // An error means that the trigger is gone.
        let _ = self.0.clone().wait_for(|stopped| *stopped).await;
    }
}

impl StopTrigger {
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

pub struct ListenSettings {
    /// One a shard; none: no TLS.
    pub certificates: Option<Certificates>,
    pub counters: Arc<Counters>,
    pub stop: Stop,
    /// For the requests under way, from the stop on.
    pub drain: Duration,
}

/// One socket a shard, all on the same port; port 0 is drawn once. Fails when another process
/// listens there already, which shared ports alone would not notice.
pub fn bind_shards(address: SocketAddr, shards: usize) -> io::Result<Vec<std::net::TcpListener>> {
    if address.port() != 0 {
        drop(socket(address, false)?);
    }
    let first = bind(address)?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..shards.max(1) {
        listeners.push(bind(address)?);
    }
    Ok(listeners)
}

/// Listens, sharing the port with the other shards of this process.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = socket(address, true)?;
    socket.listen(limits::BACKLOG)?;
    Ok(socket.into())
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // Connections of the process before, in TIME_WAIT, must not keep the port.
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Serves until told to stop, then until the requests under way are answered, or the drain's time
/// is over. Returns how many connections were cut then. Runs on a local runtime.
pub async fn run<D: Door>(
    listener: std::net::TcpListener,
    door: D,
    settings: ListenSettings,
) -> io::Result<usize> {
    let listener = TcpListener::from_std(listener)?;
    let shared = Rc::new(Shared {
        certificates: settings.certificates,
        counters: settings.counters,
        stop: settings.stop,
    });
    let mut open = JoinSet::new();
    accept_all(&listener, &door, &shared, &mut open).await;
    drop(listener);
    let rest = async { while open.join_next().await.is_some() {} };
    if serve::within(settings.drain, rest).await {
        return Ok(0);
    }
    while open.try_join_next().is_some() {}
    let cut = open.len();
    (0..cut).for_each(|_| shared.counters.cut_at_shutdown.add());
    open.shutdown().await;
    Ok(cut)
}

async fn accept_all<D: Door>(listener: &TcpListener, door: &D, shared: &Rc<Shared>, open: &mut JoinSet<()>) {
    let half_open = HalfOpen::default();
    let mut stop = std::pin::pin!(shared.stop.wait());
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => return,
            Some(_) = open.join_next(), if !open.is_empty() => continue,
            accepted = listener.accept(), if has_room(open.len(), half_open.len()) => accepted,
        };
        match accepted {
            Ok((tcp, address)) => {
                failing = false;
                shared.counters.accepted.add();
                welcome(tcp, address, door, shared, &half_open, open);
            }
            Err(error) if of_one_connection(&error) => {}
            Err(error) => {
                shared.counters.accept_errors.add();
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "cannot accept connections");
                }
                // The listener stays readable: without a pause this would spin.
                tokio::select! {
                    biased;
                    () = &mut stop => return,
                    () = sleep(limits::ACCEPT_PAUSE) => {}
                }
            }
        }
    }
}

/// The half-open have a bound of their own, and only who comes in makes one of them go: if they counted here,
/// those who loiter could shut the door until their deadline.
fn has_room(open: usize, half_open: usize) -> bool {
    open.saturating_sub(half_open) < limits::CLIENTS_PER_LISTENER_MAX
}

fn welcome<D: Door>(
    tcp: TcpStream,
    address: SocketAddr,
    door: &D,
    shared: &Rc<Shared>,
    half_open: &HalfOpen,
    open: &mut JoinSet<()>,
) {
    // Gathered writes are whole already: waiting for more would only add delay.
    let _ = tcp.set_nodelay(true);
    let now = Instant::now();
    let (number, ticket) = half_open.enter(address.ip(), now);
    let task = open.spawn_local(serve::connection(tcp, address, door.clone(), shared.clone(), ticket));
    if half_open.admit(number, task, now) {
        shared.counters.handshakes_evicted.add();
    }
}

/// Errors of accept that say nothing of the listener.
fn of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        error.kind(),
        K::ConnectionAborted | K::ConnectionReset | K::ConnectionRefused | K::Interrupted | K::TimedOut
    )
}

/// Connections that have not sent their first request. Over a bound the oldest goes, not the
/// newest: an honest client needs milliseconds, and must come in while others loiter. Those milliseconds
/// each of them has, also when thousands come back at once.
#[derive(Clone, Default)]
struct HalfOpen(Rc<RefCell<Waiting>>);

#[derive(Default)]
struct Waiting {
    next: u64,
    by_age: BTreeMap<u64, Place>,
    /// Never an empty one.
    by_address: BTreeMap<IpAddr, BTreeSet<u64>>,
}

struct Place {
    address: IpAddr,
    since: Instant,
    task: Option<AbortHandle>,
}

/// A place among the half-open; dropped when the first request is there.
pub struct Ticket {
    number: u64,
    half_open: HalfOpen,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.half_open.0.borrow_mut().leave(self.number);
    }
}

impl Waiting {
    fn leave(&mut self, number: u64) -> Option<AbortHandle> {
        let Place { address, task, .. } = self.by_age.remove(&number)?;
        if let Some(numbers) = self.by_address.get_mut(&address) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_address.remove(&address);
            }
        }
        task
    }

    /// Who must go, if anybody.
    fn surplus(&self, newest: IpAddr, now: Instant) -> Option<u64> {
        let from_there = self.by_address.get(&newest);
        let (count, bound, oldest) =
            match from_there.filter(|it| it.len() > limits::HALF_OPEN_PER_ADDRESS_MAX) {
                Some(there) => (there.len(), limits::HALF_OPEN_PER_ADDRESS_MAX, there.first()),
                None => (self.by_age.len(), limits::HALF_OPEN_MAX, self.by_age.keys().next()),
            };
        if count <= bound {
            return None;
        }
        let number = *oldest?;
        let place = self.by_age.get(&number)?;
        let had_its_time = now.saturating_duration_since(place.since) >= limits::HALF_OPEN_GRACE;
        (had_its_time || count > bound * limits::HALF_OPEN_CROWD).then_some(number)
    }
}

impl HalfOpen {
    fn len(&self) -> usize {
        self.0.borrow().by_age.len()
    }

    fn enter(&self, address: IpAddr, now: Instant) -> (u64, Ticket) {
        let mut waiting = self.0.borrow_mut();
        let number = waiting.next;
        waiting.next += 1;
        waiting.by_age.insert(number, Place { address, since: now, task: None });
        waiting.by_address.entry(address).or_default().insert(number);
        drop(waiting);
        (number, Ticket { number, half_open: self.clone() })
    }

    /// Makes room; true when somebody was evicted.
    fn admit(&self, number: u64, task: AbortHandle, now: Instant) -> bool {
        let mut waiting = self.0.borrow_mut();
        let Some(place) = waiting.by_age.get_mut(&number) else { return false };
        place.task = Some(task);
        let address = place.address;
        let evicted = waiting.surplus(address, now).and_then(|number| waiting.leave(number));
        drop(waiting);
        evicted.map(|task| task.abort()).is_some()
    }
}
