//! What most scenarios stand on: a service, an upstream, connections between them, and calls that are
//! made when they are due.

use crate::{
    clock::{GLANCE, SECOND, Timer, now},
    proto::{ConnectRequest, web_socket_manager_client::WebSocketManagerClient},
    report::Outcome,
    sample::Watched,
    schedule::Schedule,
    scrape::Scrape,
    service::Service,
    stage::Stage,
    stop,
    trouble::{Result, Trouble},
    upstream::{Manner, Upstream},
};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::{runtime::Runtime, task::JoinSet};
use tonic::transport::Channel;

/// Connects under way at once.
const AT_ONCE: usize = 128;

/// Opens all of them and tells their ids, in order.
pub async fn connect(channel: &Channel, requests: Vec<ConnectRequest>) -> Result<Vec<String>> {
    let mut ids = vec![String::new(); requests.len()];
    let mut under_way = JoinSet::new();
    let mut requests = requests.into_iter().enumerate();
    loop {
        while under_way.len() < AT_ONCE
            && let Some((number, request)) = requests.next()
        {
            let mut client = WebSocketManagerClient::new(channel.clone());
            under_way.spawn(async move { (number, client.connect(request).await) });
        }
        let Some(ended) = under_way.join_next().await else { return Ok(ids) };
        let (number, answer) = ended.map_err(|error| Trouble::Failed(format!("a Connect: {error}")))?;
        ids[number] = answer?.into_inner().id;
        if stop::asked() {
            return Err(Trouble::Interrupted);
        }
    }
}

/// Calls that wait for their answers. More would be a queue in the generator: what is due then is
/// late, and said to be.
const UNDER_WAY_MAX: usize = 10_000;
/// Operations in a row before others of the runtime have their turn.
const ROW: u64 = 32;
/// Longer than the service's own patience.
const PATIENCE: u64 = 20 * SECOND;

/// Begins an operation whenever one is due, whatever became of those before. Returns when all ended.
pub async fn dispatch<F>(schedule: Schedule, mut begin: impl FnMut(u64, u64) -> F) -> Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut under_way = JoinSet::new();
    let mut timer = Timer::new()?;
    for number in 0..schedule.total() {
        let due = schedule.due(number);
        timer.until_or_stop(due).await;
        if stop::asked() {
            break;
        }
        while under_way.try_join_next().is_some() {}
        if under_way.len() >= UNDER_WAY_MAX {
            under_way.join_next().await;
        }
        under_way.spawn(begin(number, due));
        if number % ROW == 0 {
            tokio::task::yield_now().await;
        }
    }
    let all = async {
        while under_way.join_next().await.is_some() {}
        Ok(())
    };
    match in_time(schedule.end(), all).await? {
        true => Ok(()),
        false => Err(Trouble::Failed("calls were not answered in time".to_owned())),
    }
}

/// Waits for what is under way, and for longer than the service's own patience with it: from its end
/// on, or from Ctrl-C. False when that was not enough.
pub async fn in_time(end: u64, all: impl Future<Output = Result<()>>) -> Result<bool> {
    let mut all = std::pin::pin!(all);
    let mut give_up = end.max(now()) + PATIENCE;
    loop {
        if let Ok(ended) = tokio::time::timeout(Duration::from_nanos(GLANCE), &mut all).await {
            return ended.map(|()| true);
        }
        if stop::asked() {
            give_up = give_up.min(now() + PATIENCE);
        }
        if now() > give_up {
            return Ok(false);
        }
    }
}

/// One thread, no stealing: what the generator takes stays small and on its core.
pub fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Connections of one kind to the upstream.
pub struct Doors<'a> {
    /// `echo`, `feed` or `quiet`.
    pub kind: &'a str,
    pub count: usize,
    /// Of the service.
    pub flags: &'a [&'a str],
}

/// A service with connections to an upstream, and a way to call it.
pub struct House {
    pub service: Service,
    pub upstream: Upstream,
    pub runtime: Arc<Runtime>,
    pub channel: Channel,
    pub ids: Vec<String>,
    /// The service's counters before the load.
    pub before: Scrape,
}

impl House {
    /// `change` sees each Connect before it is made. Puts the machine's noise and cores into the outcome.
    pub fn open(
        stage: &Stage,
        outcome: &mut Outcome,
        doors: Doors,
        change: impl Fn(&mut ConnectRequest),
    ) -> Result<Self> {
        crate::limits::need_files(doors.count as u64, &format!("{} connections", doors.count))?;
        let service = stage.service(doors.flags)?;
        let upstream = stage.upstream(Manner::default())?;
        outcome.fact("shards", stage.shards());
        outcome.fact("cores", stage.cores(stage.shards()).says());
        outcome.noise = Some(stage.noise());
        let runtime = Arc::new(runtime()?);
        let requests: Vec<ConnectRequest> = (0..doors.count)
            .map(|number| {
                let mut request =
                    ConnectRequest { url: upstream.url(doors.kind, number), ..ConnectRequest::default() };
                change(&mut request);
                request
            })
            .collect();
        let (channel, ids) = runtime.block_on(async {
            let channel = service.channel().await?;
            let ids = connect(&channel, requests).await?;
            Ok::<_, Trouble>((channel, ids))
        })?;
        let before = service.scrape()?;
        Ok(House { service, upstream, runtime, channel, ids, before })
    }

    #[must_use]
    pub fn watched(&self) -> Vec<Watched> {
        self.service.watched().into_iter().chain([self.upstream.watched()]).collect()
    }
}
