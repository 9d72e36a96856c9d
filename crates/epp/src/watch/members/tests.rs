use serde_json::json;

use super::*;

fn pod(name: &str, ip: &str, ready: bool, annotations: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "ns", "labels": {"app": "x"}, "annotations": annotations},
        "status": {"podIP": ip, "hostIP": "192.0.2.9",
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}
    }))
    .unwrap()
}

fn pool(spec: &Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "inference.networking.k8s.io/v1", "kind": "InferencePool",
        "metadata": {"name": "p"}, "spec": spec
    }))
    .unwrap()
}

fn ids(members: &Members) -> Vec<String> {
    members
        .described()
        .iter()
        .map(|one| format!("{}-{} {}", one.name, one.rank.unwrap_or(9), one.address))
        .collect()
}

#[test]
fn ready_pods_are_endpoints_of_every_port() {
    let mut members = Members::default();
    let spec = json!({"selector": {"matchLabels": {"app": "x"}}, "targetPorts": [{"number": 8000}, {"number": 8001}]});
    members.pool(Generation::Current, Change::Applied(pool(&spec)));
    assert!(!members.known(), "pods were not listed yet");
    let pods = [
        pod("a", "192.0.2.1", true, &json!({})),
        pod("b", "192.0.2.2", false, &json!({})),
        pod(
            "c",
            "192.0.2.3",
            true,
            &json!({"llm-d.ai/active-ports": "8001, 9"}),
        ),
        pod(
            "d",
            "192.0.2.4",
            true,
            &json!({"inference.networking.k8s.io/active-ports": ""}),
        ),
    ];
    members.pod(Change::Listing, Seen::of);
    for pod in pods {
        members.pod(Change::Listed(pod), Seen::of);
    }
    members.pod(Change::Synced, Seen::of);
    assert!(members.known() && members.protocol_spoken());
    let expected = [
        "a-0 192.0.2.1:8000",
        "a-1 192.0.2.1:8001",
        "c-1 192.0.2.3:8001",
    ];
    assert_eq!(ids(&members), expected);
    members.pod(
        Change::Applied(pod("a", "192.0.2.1", false, &json!({}))),
        Seen::of,
    );
    assert_eq!(ids(&members), expected[2..]);
    members.pod(Change::Listing, Seen::of);
    members.pod(Change::Synced, Seen::of);
    assert!(
        ids(&members).is_empty(),
        "what a list does not name is gone"
    );
}

#[test]
fn the_current_generation_of_a_pool_wins() {
    let mut members = Members::default();
    members.pod(Change::Synced, Seen::of);
    members.pod(
        Change::Applied(pod("a", "192.0.2.1", true, &json!({}))),
        Seen::of,
    );
    let old = json!({"selector": {"app": "x"}, "targetPortNumber": 1});
    members.pool(Generation::Old, Change::Applied(pool(&old)));
    assert_eq!(ids(&members), ["a-0 192.0.2.1:1"]);
    let new = json!({"selector": {"matchLabels": {"app": "x"}}, "targetPorts": [{"number": 2}], "appProtocol": "grpc"});
    members.pool(Generation::Current, Change::Applied(pool(&new)));
    assert_eq!(ids(&members), ["a-0 192.0.2.1:2"]);
    assert!(!members.protocol_spoken());
    members.pool(Generation::Current, Change::Deleted(pool(&new)));
    members.pool(Generation::Old, Change::Listing);
    members.pool(Generation::Old, Change::Synced);
    assert!(!members.known());
}
