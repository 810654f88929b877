//! What lies around the process: damaged files, locked folders, taken ports, keys.

use super::request;
use crate::harness::{Service, Upstream, grpc, service::Plan, wait_for};
use serde_json::json;
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
};
use tokio::net::TcpListener;
use tonic::Code;
use websocket_manager::proto::ConnectionStatus;

/// A service that stored one connection with a secret, and ended.
async fn ended_with_a_secret(plan: Plan) -> (Service, Upstream) {
    let mut service = plan.start().await;
    let upstream = Upstream::start().await;
    let connect = json!({
        "url": upstream.url(), "connectionId": "stored", "autoReconnect": true,
        "headers": {"authorization": "Bearer x"}, "reconnect": {"baseMs": 1, "maxMs": 20},
    });
    grpc::dial(&mut service.grpc().await, request(connect)).await;
    assert_eq!(service.terminate().await, 0, "{}", service.log());
    (service, upstream)
}

/// All files below a folder with their bytes, but for those that any start writes.
fn contents(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else if path.file_name().is_some_and(|name| name != "LOCK") {
            found.push((path.clone(), fs::read(&path).expect("a file")));
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_damaged_store_stops_the_start_and_stays_as_it_is() {
    let plan = Plan::new();
    let (service, _upstream) = ended_with_a_secret(plan.clone()).await;
    let store = service.data_dir().join("connections.redb");
    let good = fs::read(&store).expect("the store");
    let mut flipped = good.clone();
    // Both commit slots stand in the file's head.
    flipped[64..320].iter_mut().for_each(|byte| *byte ^= 0x5a);
    let damages = [
        ("empty", Vec::new()),
        ("no store at all", b"this is no database".to_vec()),
        ("cut off", good[..good.len() / 2].to_vec()),
        ("zeroes", vec![0; good.len()]),
        ("flipped bits in its head", flipped),
    ];
    for (what, bytes) in damages {
        fs::write(&store, &bytes).expect("it is written");
        let before = contents(&service.data_dir());
        let (code, out, err) = plan.run_to_end().await;
        assert_eq!((code, out.as_str()), (1, ""), "{what}: {err}");
        assert!(err.contains("connections.redb") && err.contains("damaged"), "{what}: {err}");
        assert!(!err.contains("panicked"), "{what}: {err}");
        assert!(contents(&service.data_dir()) == before, "{what}: nothing was changed");
    }
    fs::write(&store, &good).expect("it is written");
    let service = plan.start().await;
    let connection = grpc::get(&mut service.grpc().await, "stored").await;
    connection.expect("the copy works: nothing else was harmed");
}

#[tokio::test]
async fn a_folder_of_another_format_is_not_touched() {
    let plan = Plan::new();
    let (service, _upstream) = ended_with_a_secret(plan.clone()).await;
    for (text, word) in
        [("websocket-manager-data 999\n", "999"), ("something else\n", "FORMAT"), ("", "FORMAT")]
    {
        fs::write(service.data_dir().join("FORMAT"), text).expect("it is written");
        let before = contents(&service.data_dir());
        let (code, out, err) = plan.run_to_end().await;
        assert_eq!((code, out.as_str()), (1, ""), "{err}");
        assert!(err.contains(word) && err.contains("FORMAT"), "{err}");
        assert!(contents(&service.data_dir()) == before, "nothing was changed");
    }
}

#[tokio::test]
async fn a_locked_folder_says_who_holds_it() {
    let plan = Plan::new();
    let service = plan.clone().start().await;
    let (code, out, err) = plan.run_to_end().await;
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    let folder = service.data_dir().to_string_lossy().into_owned();
    assert!(err.contains(&folder) && err.contains("--data-dir") && err.contains("process"), "{err}");
    assert_eq!(service.http().get("/readyz").await.status, 200, "the first goes on");
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("file");
    fs::write(&file, "x").expect("it is written");
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).expect("a folder");
    fs::set_permissions(&closed, Permissions::from_mode(0o500)).expect("permissions");
    for path in [file.clone(), file.join("below"), closed.clone(), closed.join("below")] {
        let path = path.to_string_lossy();
        let (code, out, err) = Plan::new().set("--data-dir", &path).run_to_end().await;
        assert_eq!((code, out.as_str()), (64, ""), "{path}: {err}");
        assert!(err.contains(&*path) && err.contains("--data-dir"), "{path}: {err}");
    }
}

#[tokio::test]
async fn a_taken_port_is_told_with_its_flag() {
    for flag in ["--http-port", "--grpc-port", "--admin-port"] {
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = taken.local_addr().expect("an address").port().to_string();
        let (code, out, err) = Plan::new().set(flag, &port).run_to_end().await;
        assert_eq!((code, out.as_str()), (1, ""), "{flag}: {err}");
        assert!(err.contains(flag) && err.contains(&port), "{flag}: {err}");
    }
}

#[tokio::test]
async fn a_key_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let key = folder.path().join("fleet.key");
    let path = key.to_string_lossy().into_owned();
    let start = || Plan::new().args(&["--secret-key-file", &path]);
    fs::write(&key, "ab".repeat(32)).expect("it is written");
    for mode in [0o644, 0o604, 0o620, 0o777] {
        fs::set_permissions(&key, Permissions::from_mode(mode)).expect("permissions");
        let (code, out, err) = start().run_to_end().await;
        assert_eq!((code, out.as_str()), (1, ""), "{mode:o}: {err}");
        assert!(err.contains(&path) && err.contains("chmod 600"), "{mode:o}: {err}");
    }
    fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("permissions");
    for text in ["", "short", &"zz".repeat(32), &"ab".repeat(33)] {
        fs::write(&key, text).expect("it is written");
        let (code, out, err) = start().run_to_end().await;
        assert_eq!((code, out.as_str()), (1, ""), "'{text}': {err}");
        assert!(err.contains(&path) && (text.is_empty() || !err.contains(text)), "'{text}': {err}");
    }
    fs::write(&key, "ab".repeat(32)).expect("it is written");
    start().start().await;
}

#[tokio::test]
async fn another_key_leaves_stored_connections_alone_and_says_so() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let key = folder.path().join("fleet.key");
    let write = |text: &str| {
        fs::write(&key, text.repeat(32)).expect("it is written");
        fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("permissions");
    };
    write("ab");
    let plan = Plan::new().args(&["--secret-key-file", &key.to_string_lossy()]);
    let (mut service, mut upstream) = ended_with_a_secret(plan.clone()).await;
    upstream.peer().await;

    write("cd");
    service = service.start_again().await;
    wait_for("the log to say so", async || {
        let log = service.log();
        let words = ["id=stored", "left as it is", "another key", "--secret-key-file"];
        words.iter().all(|word| log.contains(word)).then_some(())
    })
    .await;
    let status = grpc::get(&mut service.grpc().await, "stored").await.expect_err("it is left alone");
    assert_eq!((status.code(), upstream.taken()), (Code::NotFound, 1), "and not dialled");
    assert_eq!(service.http().get("/readyz").await.status, 200, "the rest works");
    assert_eq!(service.terminate().await, 0);

    write("ab");
    service = service.start_again().await;
    grpc::once(&mut service.grpc().await, "stored", ConnectionStatus::Connected).await;
    assert_eq!(upstream.peer().await.headers["authorization"], "Bearer x", "with its key it is whole");
}

#[tokio::test]
async fn everything_wrong_with_a_configuration_is_told_at_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("bad.toml");
    fs::write(&file, "no_such_key = 1\nlog_level = \"loudest\"\n").expect("it is written");
    let path = file.to_string_lossy().into_owned();
    let plan =
        Plan::new().set("--shards", "-3").set("--http-port", "65536").set("--egress-allow", "10.0.0.0/99");
    let plan =
        plan.args(&["--config", &path, "--tls-cert", "/nowhere.pem", "--drain-timeout", "soon", "--bogus"]);
    let (code, out, err) = plan.run_to_end().await;
    assert_eq!((code, out.as_str()), (64, ""), "{err}");
    for word in ["no_such_key", "log_level", "shards", "http", "egress", "tls", "drain", "bogus"] {
        assert!(err.contains(word), "{word} is missing:\n{err}");
    }
    assert!(err.lines().all(|line| line.starts_with("error: ")), "{err}");
}
