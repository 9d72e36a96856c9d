//! Kinds of which two shapes share one storage.

use serde_json::{Map, Value, json};

const PAIRS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("count", "deprecatedCount"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("source", "deprecatedSource"),
];

/// Renames the fields of an Event for the shape of `to`.
pub(crate) fn convert(event: &mut Value, to: &str) {
    let Value::Object(map) = event else { return };
    for (core, new) in PAIRS {
        let (from, into) = if to == "v1" { (new, core) } else { (core, new) };
        if let Some(value) = map.remove(*from) {
            map.insert((*into).to_owned(), value);
        }
    }
}

/// Changes a HorizontalPodAutoscaler between `autoscaling/v1` and `autoscaling/v2`.
pub(crate) fn convert_autoscaler(object: &mut Value, to: &str) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    if to == "autoscaling/v2" {
        if let Some(target) = spec.remove("targetCPUUtilizationPercentage") {
            let metric = json!({"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": target}}});
            spec.insert("metrics".to_owned(), json!([metric]));
        }
    } else if let Some(metrics) = spec.remove("metrics") {
        let cpu = metrics.as_array().into_iter().flatten().find_map(|metric| {
            (metric.pointer("/resource/name")? == "cpu").then_some(())?;
            metric
                .pointer("/resource/target/averageUtilization")
                .cloned()
        });
        let _: Option<Value> =
            cpu.and_then(|cpu| Map::insert(spec, "targetCPUUtilizationPercentage".to_owned(), cpu));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_keeps_its_content_in_both_shapes() {
        let core = json!({"involvedObject": {"name": "a"}, "message": "m", "count": 2});
        let mut event = core.clone();
        convert(&mut event, "events.k8s.io/v1");
        assert_eq!(event["regarding"]["name"], "a");
        assert_eq!(event["note"], "m");
        convert(&mut event, "v1");
        assert_eq!(event, core);
    }
}
