//! Pods of a ReplicaSet: which are available, and which go first.

use serde_json::Value;

use crate::endpoints::is_ready;
use crate::kinds::{seconds, text};

/// Whether a pod has been ready for `least` seconds, or in how many seconds it will have been.
pub fn available(pod: &Value, least: i64, now: i64) -> Result<(), Option<u64>> {
    if !is_ready(pod) {
        return Err(None);
    }
    if least <= 0 {
        return Ok(());
    }
    let since = ready_since(pod).unwrap_or(now);
    match u64::try_from(since + least - now) {
        Ok(left) if left > 0 => Err(Some(left)),
        _ => Ok(()),
    }
}

fn ready_since(pod: &Value) -> Option<i64> {
    let conditions = pod.pointer("/status/conditions")?.as_array()?;
    let ready = conditions.iter().find(|c| c["type"] == "Ready")?;
    seconds(ready["lastTransitionTime"].as_str()?)
}

/// Sorts pods so that those which a smaller set gives up first come first: without a node, not
/// running, not ready, cheap by annotation, ready for a short time, often restarted, young.
pub fn sort_for_removal<T: AsRef<Value>>(pods: &mut [T]) {
    pods.sort_by_cached_key(|pod| {
        let pod = pod.as_ref();
        let phase = match text(pod, "/status/phase") {
            "Running" => 2,
            "Unknown" => 1,
            _ => 0,
        };
        let cost = text(
            pod,
            "/metadata/annotations/controller.kubernetes.io~1pod-deletion-cost",
        );
        let restarts: i64 = pod
            .pointer("/status/containerStatuses")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|container| container["restartCount"].as_i64())
            .sum();
        let young = |time: Option<i64>| std::cmp::Reverse(time.unwrap_or(i64::MAX));
        (
            !text(pod, "/spec/nodeName").is_empty(),
            phase,
            is_ready(pod),
            cost.parse::<i64>().unwrap_or(0),
            young(ready_since(pod)),
            -restarts,
            young(seconds(text(pod, "/metadata/creationTimestamp"))),
        )
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn pod(name: &str, ready: Option<&str>, more: &Value) -> Arc<Value> {
        let mut pod = json!({"metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
                             "spec": {"nodeName": "n"}, "status": {"phase": "Running"}});
        if let Some(at) = ready {
            pod["status"]["conditions"] =
                json!([{"type": "Ready", "status": "True", "lastTransitionTime": at}]);
        }
        weir_merge::json_merge_patch(&mut pod, more);
        Arc::new(pod)
    }

    #[test]
    fn the_least_useful_pod_goes_first() {
        let early = Some("2026-01-01T00:01:00Z");
        let mut pods = [
            pod("serves longest", early, &json!({})),
            pod("serves", Some("2026-01-01T00:02:00Z"), &json!({})),
            pod(
                "cheap",
                early,
                &json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-1"}}}),
            ),
            pod("not ready", None, &json!({})),
            pod("pending", None, &json!({"status": {"phase": "Pending"}})),
            pod(
                "nowhere",
                None,
                &json!({"spec": null, "status": {"phase": "Pending"}}),
            ),
        ];
        sort_for_removal(&mut pods);
        let names: Vec<&str> = pods.iter().map(|pod| text(pod, "/metadata/name")).collect();
        assert_eq!(
            names,
            [
                "nowhere",
                "pending",
                "not ready",
                "cheap",
                "serves",
                "serves longest"
            ]
        );
    }

    #[test]
    fn availability_comes_after_the_least_time() {
        let ready = pod("a", Some("1970-01-01T00:01:40Z"), &json!({}));
        for (least, now, wanted) in [(0, 100, Ok(())), (10, 103, Err(Some(7))), (10, 110, Ok(()))] {
            assert_eq!(available(&ready, least, now), wanted, "{least} {now}");
        }
        assert_eq!(available(&pod("b", None, &json!({})), 0, 100), Err(None));
    }
}
