//! In a cluster: who may read metrics, and which of two replicas leads.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::picker::Picker;

const LONG: Duration = Duration::from_secs(60);

/// The status of the metrics page for somebody with this header.
async fn status(picker: &Picker, authorization: Option<&str>) -> u16 {
    let mut stream = TcpStream::connect(("127.0.0.1", picker.metrics))
        .await
        .unwrap();
    let header =
        authorization.map_or_else(String::new, |value| format!("authorization: {value}\r\n"));
    let request = format!("GET /metrics HTTP/1.1\r\nhost: x\r\n{header}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The token of the kubeconfig's first user; a real server's administrator may have none.
fn token(kubeconfig: &Path) -> Option<String> {
    let text = std::fs::read_to_string(kubeconfig).unwrap();
    let parsed: Value = serde_saphyr::from_str(&text).unwrap();
    let token = parsed.pointer("/users/0/user/token")?;
    Some(token.as_str()?.to_owned())
}

/// Who holds the lease of the pool.
async fn holder(api: &Api<Lease>, namespace: &str) -> Option<String> {
    let name = format!("epp-{namespace}-pool.llm-d.ai");
    let lease = api.get_opt(&name).await.unwrap()?;
    lease.spec?.holder_identity
}

/// Waits until somebody for whom `is` holds has the lease.
async fn held(api: &Api<Lease>, namespace: &str, is: impl Fn(&str) -> bool) -> String {
    let look = async {
        loop {
            if let Some(holder) = holder(api, namespace).await
                && is(&holder)
            {
                return holder;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LONG, look).await.unwrap()
}

#[tokio::test]
async fn metrics_need_a_token_and_one_of_two_replicas_leads() {
    let cluster = weir_testkit::cluster().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.yaml");
    let text = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins: [{type: queue-scorer}]\n";
    std::fs::write(&config, text).unwrap();
    let kubeconfig = format!("--kubeconfig={}", cluster.kubeconfig.display());
    let namespace = format!("--pool-namespace={}", cluster.namespace);
    let flags = [
        kubeconfig.as_str(),
        &namespace,
        "--ha-enable-leader-election",
        "--drain-timeout=1s",
    ];
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let one = Picker::start(&config, &flags).await;
    let first = held(&leases, &cluster.namespace, |holder| !holder.is_empty()).await;

    assert_eq!(status(&one, None).await, 401);
    assert_eq!(status(&one, Some("Bearer wrong")).await, 401);
    assert_eq!(status(&one, Some("Basic wrong")).await, 401);
    match token(&cluster.kubeconfig) {
        Some(token) => {
            let header = format!("Bearer {token}");
            // Asked of the cluster, then remembered.
            assert_eq!(status(&one, Some(&header)).await, 200);
            assert_eq!(status(&one, Some(&header)).await, 200);
        }
        None => eprintln!("SKIPPED: the administrator of this cluster has no token"),
    }

    let _other = Picker::start(&config, &flags).await;
    assert_eq!(
        holder(&leases, &cluster.namespace).await.as_ref(),
        Some(&first)
    );
    // The first gives the lease back when it stops, and the other takes it over.
    one.stop().await;
    assert_ne!(
        holder(&leases, &cluster.namespace).await.as_ref(),
        Some(&first)
    );
    held(&leases, &cluster.namespace, |holder| {
        !holder.is_empty() && holder != first
    })
    .await;
}
