//! The service as `serve` runs it, with two connections in it to an upstream of this process, and
//! a few commands to try on them.
//!
//! Its data is a folder of its own below the data directory: a service that runs on the same
//! directory is not in its way, and a demo leaves nothing in a real service's store.

use super::{Failure, client::Target, reachable, upstream};
use crate::{
    boot::{self, Started},
    config::Config,
    proto::{
        ConnectRequest, DisconnectRequest, PublishOptions, web_socket_manager_client::WebSocketManagerClient,
    },
};
use http::Method;
use std::{
    io::{IsTerminal, Write, stdout},
    net::SocketAddr,
    path::Path,
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};
use tokio::runtime::Builder;
use tonic::{Code, Status, transport::Channel};

#[cfg(test)]
mod tests;

pub const FOLDER: &str = "demo";
const TICKER_ID: &str = "demo-ticker";
const ECHO_ID: &str = "demo-echo";
const TOPIC: &str = "demo.ticks";

type Client = WebSocketManagerClient<Channel>;

pub fn run(mut config: Config) -> Result<u8, Failure> {
    let upstream = upstream::start()?;
    config.data_dir = config.data_dir.join(FOLDER);
    config.egress_allow.push(upstream.to_string());
    // Nobody balances load over a demo, so nobody has to notice that it leaves.
    config.drain_lame_duck = Duration::ZERO;
    let failed: Arc<OnceLock<String>> = Arc::default();
    let (settings, told) = (config.clone(), failed.clone());
    let code = boot::serve(config, move |started| {
        say(&format!("{started}\n"));
        let stage = Stage { started: started.clone(), config: settings, upstream };
        let set = thread::Builder::new().name("demo".into()).spawn({
            let told = told.clone();
            move || stage.set(&told)
        });
        if let Err(error) = set {
            let _ = told.set(error.to_string());
        }
    })?;
    match failed.get() {
        Some(why) => Err(format!("the demo could not be set up: {why}").into()),
        None => Ok(code),
    }
}

/// Whoever closed standard output wants the service, not its words.
fn say(text: &str) {
    let mut out = stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

struct Stage {
    started: Started,
    config: Config,
    upstream: SocketAddr,
}

impl Stage {
    /// Connects as any client would; what fails ends the demo, which is nothing without.
    fn set(self, failed: &OnceLock<String>) {
        let ran = Builder::new_current_thread().enable_all().build().map(|runtime| {
            runtime.block_on(async {
                if let Err(error) = self.connect().await {
                    let _ = failed.set(error.to_string());
                    self.leave().await;
                }
            });
        });
        if let Err(error) = ran {
            tracing::error!(%error, "the demo's connections were not made");
        }
    }

    async fn connect(&self) -> Result<(), Failure> {
        let scheme = if self.config.tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", reachable(self.started.grpc));
        let mut client = Client::new(Target::parse(&url, &self.config)?.grpc().await?);
        for request in requests(self.upstream) {
            let what = request.connection_id.clone();
            afresh(&mut client, request)
                .await
                .map_err(|status| format!("Connect {what}: {}", status.message()))?;
        }
        let program = std::env::args().next().unwrap_or_else(|| "websocket-manager".into());
        say(&block(&self.started, &self.config, &program, Paint::of_stdout()));
        Ok(())
    }

    async fn leave(&self) {
        let url = format!("http://{}", reachable(self.started.admin));
        let drained = match Target::parse(&url, &self.config) {
            Ok(admin) => admin.http(Method::POST, "/drain").await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = drained {
            tracing::error!(%error, "the demo cannot end by itself: Ctrl-C ends it");
        }
    }
}

fn requests(upstream: SocketAddr) -> [ConnectRequest; 2] {
    let to = |path: &str, id: &str| ConnectRequest {
        url: format!("ws://{upstream}{path}"),
        connection_id: id.into(),
        auto_reconnect: true,
        tags: [("demo".into(), "true".into())].into(),
        ..Default::default()
    };
    let publish = Some(PublishOptions { topic: TOPIC.into(), ..Default::default() });
    [ConnectRequest { publish, ..to(upstream::TICKER, TICKER_ID) }, to(upstream::ECHO, ECHO_ID)]
}

/// An earlier demo's connection of this id leads to an upstream that is gone: it makes room.
async fn afresh(client: &mut Client, request: ConnectRequest) -> Result<(), Status> {
    match client.connect(request.clone()).await {
        Err(status) if status.code() == Code::AlreadyExists => {}
        other => return other.map(drop),
    }
    let id = request.connection_id.clone();
    match client.disconnect(DisconnectRequest { id, ..Default::default() }).await {
        Err(status) if status.code() != Code::NotFound => return Err(status),
        _ => {}
    }
    client.connect(request).await.map(drop)
}

/// Escape codes, where a terminal shows them.
#[derive(Clone, Copy)]
struct Paint {
    bold: &'static str,
    dim: &'static str,
    plain: &'static str,
}

impl Paint {
    const NONE: Paint = Paint { bold: "", dim: "", plain: "" };

    fn of_stdout() -> Self {
        match stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty()) {
            true => Paint { bold: "\x1b[1m", dim: "\x1b[2m", plain: "\x1b[0m" },
            false => Paint::NONE,
        }
    }
}

/// What can be seen and tried; each command stands alone on its line, to be copied.
fn block(started: &Started, config: &Config, program: &str, paint: Paint) -> String {
    let (http, grpc, admin) = (reachable(started.http), reachable(started.grpc), reachable(started.admin));
    let Paint { bold, dim, plain } = paint;
    let data = config.data_dir.display();
    let (scheme, curl, grpcurl, trust) = match &config.tls {
        None => ("http", "", "-plaintext", String::new()),
        // On loopback, with a certificate that names another host most likely.
        Some(files) => {
            let trust = format!(" --tls-cert {} --tls-key {}", path(&files.cert), path(&files.key));
            ("https", "-k ", "-insecure", trust)
        }
    };
    let program = quoted(program);
    format!(
        "
  {bold}WebSocket Manager: the demo runs{plain}
  {TICKER_ID} {dim}receives prices, five a second, and publishes them to the topic{plain} {TOPIC}
  {ECHO_ID}   {dim}reaches a server that sends back what it gets{plain}

  REST      {scheme}://{http}/v1/connections
  Swagger   {scheme}://{http}/swagger
  gRPC      {grpc}
  Metrics   http://{admin}/metrics
  Data      {data}

  {bold}Try, in another terminal{plain}

  {dim}Send to the echo server and get its reply:{plain}
    curl {curl}-sS {scheme}://{http}/v1/connections/{ECHO_ID}/send -H 'content-type: application/json' -d '{{\"message\": \"hello\"}}'

  {dim}List the connections, by gRPC reflection:{plain}
    grpcurl {grpcurl} {grpc} virtufin.WebSocketManager/List

  {dim}Watch the prices go by:{plain}
    {program} tail --topic {TOPIC} --url {scheme}://{grpc}{trust}

  {dim}Ctrl-C ends the demo.{plain}

"
    )
}

fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// One word for a shell.
fn quoted(word: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-_./+:=@%".contains(c);
    match !word.is_empty() && word.chars().all(harmless) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}
