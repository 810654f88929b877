//! Several instances of the real binary that share one backend and one key; each with its own data
//! folder and, with Dapr, its own sidecar.

use super::{
    Service,
    redis::Redis,
    service::Plan,
    sidecar::{Behind, Options, STATE_STORE, Sidecar},
    wait_for,
};
use std::{fs, os::unix::fs::PermissionsExt};
use tempfile::TempDir;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Each instance for itself: for tests of this harness.
    Embedded,
    Redis,
    Dapr,
}

impl Backing {
    pub const fn name(self) -> &'static str {
        match self {
            Backing::Embedded => "embedded",
            Backing::Redis => "redis",
            Backing::Dapr => "dapr",
        }
    }
}

pub struct Member {
    pub service: Service,
    pub sidecar: Option<Sidecar>,
}

/// Not started yet.
pub struct FleetPlan {
    count: usize,
    backing: Backing,
    args: Vec<String>,
    sidecar: Options,
    /// One instance id for all of them.
    name: Option<String>,
}

pub struct Fleet {
    pub redis: Option<Redis>,
    /// By number, from 0; the instance's id is `wsm-{number}`.
    pub members: Vec<Member>,
    plan: FleetPlan,
    key: TempDir,
}

/// Any 32 bytes in hex do; a test's secrets are none.
const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n";

impl FleetPlan {
    pub fn new(count: usize, backing: Backing) -> Self {
        FleetPlan { count, backing, args: Vec::new(), sidecar: Options::new("wsmgr"), name: None }
    }

    /// Further arguments of every instance.
    pub fn args(mut self, more: &[&str]) -> Self {
        self.args.extend(more.iter().map(ToString::to_string));
        self
    }

    /// All of them are called so.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    pub fn sidecar(mut self, options: Options) -> Self {
        self.sidecar = options;
        self
    }

    /// None, and said, when Redis or daprd is not here, or the binary has no such backend.
    pub async fn start(self) -> Option<Fleet> {
        let redis = match self.backing {
            Backing::Embedded => None,
            Backing::Redis | Backing::Dapr => Some(Redis::start().await?),
        };
        let key = tempfile::tempdir().expect("a temporary folder");
        let path = key.path().join("secret.key");
        fs::write(&path, KEY).expect("the folder takes files");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("the mode can be set");
        let mut fleet = Fleet { redis, members: Vec::new(), plan: self, key };
        if !fleet.supported().await {
            return None;
        }
        for _ in 0..fleet.plan.count {
            fleet.add().await?;
        }
        Some(fleet)
    }
}

impl Fleet {
    async fn supported(&self) -> bool {
        let (_, _, errors) = self.plan(0, None).check().run_to_end().await;
        let refused = errors.contains("is not supported by this version");
        if refused {
            eprintln!("SKIPPED: no backend {} in this binary: {errors}", self.plan.backing.name());
        }
        !refused
    }

    /// One more instance; its number.
    pub async fn add(&mut self) -> Option<usize> {
        let number = self.members.len();
        let sidecar = match (self.plan.backing, &self.redis) {
            (Backing::Dapr, Some(redis)) => {
                Some(Sidecar::start(Behind::Redis(redis), self.plan.sidecar.clone()).await?)
            }
            _ => None,
        };
        let service = self.plan(number, sidecar.as_ref()).start().await;
        self.members.push(Member { service, sidecar });
        Some(number)
    }

    /// How this member is started.
    pub fn plan(&self, number: usize, sidecar: Option<&Sidecar>) -> Plan {
        let key = self.key.path().join("secret.key");
        let name = self.plan.name.clone().unwrap_or_else(|| format!("wsm-{number}"));
        let mut plan = Plan::new().set("--backend", self.plan.backing.name()).args(&[
            "--instance-id",
            &name,
            "--secret-key-file",
            &key.to_string_lossy(),
        ]);
        match (self.plan.backing, &self.redis, sidecar) {
            (Backing::Redis, Some(redis), _) => plan = plan.args(&["--redis-url", &redis.url()]),
            (Backing::Dapr, _, Some(sidecar)) => {
                plan = plan.args(&sidecar.service_args().each_ref().map(|it| &**it))
            }
            _ => {}
        }
        let more: Vec<&str> = self.plan.args.iter().map(|arg| &**arg).collect();
        plan.args(&more)
    }

    pub fn service(&self, number: usize) -> &Service {
        &self.members[number].service
    }

    /// Every member sees every other one.
    pub async fn gathered(&self) {
        let others = self.members.len() - 1;
        for member in &self.members {
            wait_for("the members to see one another", async || {
                (member.service.metric("wsm_fleet_members", &[]).await == others as f64).then_some(())
            })
            .await;
        }
    }

    /// The Redis that all of them share.
    pub fn redis(&self) -> &Redis {
        self.redis.as_ref().expect("this fleet is on Redis")
    }

    pub fn redis_mut(&mut self) -> &mut Redis {
        self.redis.as_mut().expect("this fleet is on Redis")
    }

    /// A state document by its key, wherever the backend keeps it.
    pub async fn document(&self, key: &str) -> Option<serde_json::Value> {
        let text = match self.plan.backing {
            Backing::Dapr => {
                let key = format!("{STATE_STORE}||{key}");
                self.redis().run::<Option<String>>(&["HGET", &key, "data"]).await
            }
            _ => self.redis().get(key).await,
        };
        text.map(|text| serde_json::from_str(&text).unwrap_or_else(|error| panic!("{key}: {error}: {text}")))
    }

    /// kill -9 of an instance; its sidecar goes on.
    pub async fn kill(&mut self, number: usize) {
        self.members[number].service.kill().await;
    }

    /// SIGTERM, and waits for the end; the exit code.
    pub async fn terminate(&mut self, number: usize) -> i32 {
        self.members[number].service.terminate().await
    }

    /// SIGSTOP: its sockets stay open, and it does nothing.
    pub async fn pause(&self, number: usize) {
        self.members[number].service.signal("STOP").await;
    }

    pub async fn resume(&self, number: usize) {
        self.members[number].service.signal("CONT").await;
    }

    /// The same instance once more, with its data; it must have ended. Its ports are new.
    pub async fn restart(&mut self, number: usize) {
        let service = self.members[number].service.start_again().await;
        self.members[number].service = service;
    }
}
