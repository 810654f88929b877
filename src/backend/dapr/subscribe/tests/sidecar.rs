//! A sidecar that only knows streaming subscriptions, and leaves each move to the test.

use super::super::*;
use std::{collections::VecDeque, convert::Infallible, future::Future, pin::Pin};
use tokio::task::JoinHandle;
use tonic::{
    Request, Response, Status,
    body::Body,
    server::{Grpc, NamedService, StreamingService},
    transport::{Endpoint, Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;

type Outgoing = mpsc::Sender<Result<SubscribeTopicEventsResponseAlpha1, Status>>;
type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

pub struct Sidecar {
    address: std::net::SocketAddr,
    pub streams: mpsc::Receiver<Stream>,
    refusals: Arc<Mutex<VecDeque<Status>>>,
    task: JoinHandle<()>,
}

/// One subscription, seen from the sidecar.
pub struct Stream {
    incoming: Streaming<SubscribeTopicEventsRequestAlpha1>,
    outgoing: Outgoing,
    pub token: Option<String>,
}

impl Sidecar {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, streams) = mpsc::channel(16);
        let refusals = Arc::default();
        let fake = Fake { streams: sender, refusals: Arc::clone(&refusals) };
        let task = tokio::spawn(async move {
            let server = Server::builder().add_service(fake);
            server.serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
        });
        Sidecar { address, streams, refusals, task }
    }

    pub fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect_lazy()
    }

    pub fn refuse(&self, statuses: impl IntoIterator<Item = Status>) {
        self.refusals.lock().extend(statuses);
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stream {
    /// None when the client has gone.
    pub async fn hear(&mut self) -> Option<Says> {
        let message = super::within("a request", self.incoming.message()).await.ok().flatten()?;
        message.subscribe_topic_events_request_type
    }

    pub async fn processed(&mut self) -> (String, TopicEventResponseStatus) {
        match self.hear().await {
            Some(Says::EventProcessed(it)) => (it.id, it.status.expect("a status").status()),
            other => panic!("an ack was expected, not {other:?}"),
        }
    }

    pub async fn accept(&self) {
        self.say(Hears::InitialResponse(Default::default())).await;
    }

    pub async fn event(&self, id: &str) {
        self.say(Hears::EventMessage(TopicEventRequest { id: id.into(), ..Default::default() })).await;
    }

    pub fn end(self, status: Option<Status>) {
        if let Some(status) = status {
            self.outgoing.try_send(Err(status)).expect("room");
        }
    }

    async fn say(&self, what: Hears) {
        let message = SubscribeTopicEventsResponseAlpha1 { subscribe_topic_events_response_type: Some(what) };
        self.outgoing.send(Ok(message)).await.expect("the client listens");
    }
}

#[derive(Clone)]
struct Fake {
    streams: mpsc::Sender<Stream>,
    refusals: Arc<Mutex<VecDeque<Status>>>,
}

impl NamedService for Fake {
    const NAME: &'static str = "dapr.proto.runtime.v1.Dapr";
}

impl tower::Service<http::Request<Body>> for Fake {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Boxed<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let fake = self.clone();
        Box::pin(async move {
            assert!(request.uri().path().ends_with("/SubscribeTopicEventsAlpha1"), "{}", request.uri());
            Ok(Grpc::new(ProstCodec::default()).streaming(fake, request).await)
        })
    }
}

impl StreamingService<SubscribeTopicEventsRequestAlpha1> for Fake {
    type Response = SubscribeTopicEventsResponseAlpha1;
    type ResponseStream = Pin<Box<dyn futures_core::Stream<Item = Result<Self::Response, Status>> + Send>>;
    type Future = Boxed<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<SubscribeTopicEventsRequestAlpha1>>) -> Self::Future {
        let fake = self.clone();
        Box::pin(async move {
            if let Some(status) = fake.refusals.lock().pop_front() {
                return Err(status);
            }
            let token = request.metadata().get(TOKEN).map(|value| value.to_str().unwrap().to_owned());
            let (outgoing, mut answers) = mpsc::channel(16);
            let stream = Stream { incoming: request.into_inner(), outgoing, token };
            fake.streams.send(stream).await.map_err(|_| Status::cancelled("the test is over"))?;
            let answers: Self::ResponseStream =
                Box::pin(stream::poll_fn(move |context| answers.poll_recv(context)));
            Ok(Response::new(answers))
        })
    }
}
