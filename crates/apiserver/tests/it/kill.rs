//! A store in a process of its own, killed while many write to it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use weir_apiserver::{Options, start};

const DIRECTORY: &str = "WEIR_TEST_STORE_TO_KILL";
const WRITERS: u64 = 8;

/// Not a test: what the process runs that is killed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by the test that kills it"]
async fn serves_until_killed() {
    let Some(dir) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let server = start(Options::new(PathBuf::from(dir)), CancellationToken::new())
        .await
        .unwrap();
    server.stopped().await;
}

/// Ends the process with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn serve(dir: &Path) -> (Killed, Api<ConfigMap>) {
    let kubeconfig = dir.join("kubeconfig");
    // An old one names the address of the last process.
    let _ = std::fs::remove_file(&kubeconfig);
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["kill::serves_until_killed", "--exact", "--ignored"])
        .env(DIRECTORY, dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let child = Killed(child);
    for _ in 0..600 {
        if let Ok(client) = weir_runtime::client::from_kubeconfig(&kubeconfig).await {
            let api: Api<ConfigMap> = Api::default_namespaced(client);
            if api.list(&ListParams::default()).await.is_ok() {
                return (child, api);
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the store does not serve");
}

/// Writes until the store is gone; `acknowledged` counts what it confirmed.
async fn write(api: Api<ConfigMap>, writer: u64, round: u64, acknowledged: Arc<AtomicU64>) {
    let name = |number| format!("round-{round}-writer-{writer}-{number}");
    for number in 0.. {
        let map =
            json!({"metadata": {"name": name(number)}, "data": {"number": number.to_string()}});
        let map = serde_json::from_value(map).unwrap();
        if api.create(&PostParams::default(), &map).await.is_err() {
            return;
        }
        let change = json!({"data": {"changed": number.to_string()}});
        let patched = api
            .patch(
                &name(number),
                &PatchParams::default(),
                &Patch::Merge(change),
            )
            .await;
        if patched.is_err() {
            return;
        }
        acknowledged.store(number + 1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_kills() {
    let dir = tempfile::tempdir().unwrap();
    let mut kept: Vec<(u64, u64, u64)> = Vec::new();
    let mut version = 0;
    for round in 0..3 {
        let (mut process, api) = serve(dir.path()).await;
        let counts: Vec<Arc<AtomicU64>> = (0..WRITERS).map(|_| Arc::default()).collect();
        let mut writers = tokio::task::JoinSet::new();
        for (writer, count) in (0..WRITERS).zip(&counts) {
            writers.spawn(write(api.clone(), writer, round, Arc::clone(count)));
        }
        let total = || {
            counts
                .iter()
                .map(|count| count.load(Ordering::SeqCst))
                .sum::<u64>()
        };
        while total() < 40 * (round + 1) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        process.0.kill().unwrap();
        process.0.wait().unwrap();
        writers.join_all().await;
        for (writer, count) in (0..WRITERS).zip(&counts) {
            kept.push((round, writer, count.load(Ordering::SeqCst)));
        }

        let (_process, api) = serve(dir.path()).await;
        let list = api.list(&ListParams::default()).await.unwrap();
        let now: u64 = list.metadata.resource_version.unwrap().parse().unwrap();
        assert!(now > version, "versions go on: {now} after {version}");
        version = now;
        for (round, writer, count) in &kept {
            for number in 0..*count {
                let name = format!("round-{round}-writer-{writer}-{number}");
                let found = list
                    .items
                    .iter()
                    .find(|map| map.metadata.name.as_deref() == Some(&name))
                    .unwrap_or_else(|| panic!("{name} is lost"));
                let data = found.data.as_ref().unwrap();
                assert_eq!(
                    data["changed"],
                    number.to_string(),
                    "{name} lost its change"
                );
            }
        }
    }
}
