//! What is told of although everything is planned.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use serde_json::{Value, json};
use weir_plan::{Facts, ServiceIdentity, notes, workloads, workloads_not_served};

fn service() -> ServiceIdentity {
    ServiceIdentity {
        name: "llama".to_owned(),
        namespace: "demo".to_owned(),
        ..ServiceIdentity::default()
    }
}

fn spec(more: &Value) -> Value {
    let mut spec = json!({
        "model": {"uri": "hf://org/model", "name": "org/model"},
        "template": {"containers": [{"name": "main", "image": "engine"}]},
    });
    for (field, value) in more.as_object().unwrap() {
        spec[field] = value.clone();
    }
    spec
}

/// A live Deployment with a selector.
fn deployment(name: &str, selector: &Value) -> Value {
    json!({"kind": "Deployment", "metadata": {"name": name}, "spec": {"selector": {"matchLabels": selector}}})
}

fn set(name: &str) -> Value {
    json!({"kind": "LeaderWorkerSet", "metadata": {"name": name}})
}

#[test]
fn notes_are_told_where_there_is_something_to_tell() {
    let pod = json!({"containers": [{"name": "main", "image": "engine"}]});
    let tensor = json!({"parallelism": {"tensor": 2}});
    let group = json!({"parallelism": {"tensor": 2, "pipeline": 2}, "worker": pod});
    let initializer = json!({"template": {
        "containers": [{"name": "main", "image": "engine"}],
        "initContainers": [{"name": "storage-initializer", "args": ["x"]}],
    }});
    let mut disabled = initializer.clone();
    disabled["storageInitializer"] = json!({"enabled": false});
    let role = |role: &str| deployment("llama-kserve", &json!({"llm-d.ai/role": role}));
    let rows = [
        (&tensor, vec![], vec![]),
        // One of an existing installation.
        (
            &tensor,
            vec![role("both")],
            vec!["AcceleratorsNotRequested"],
        ),
        (
            &tensor,
            vec![deployment("llama-kserve", &json!({"a": "b"}))],
            vec!["SelectorLabelKept"],
        ),
        // Made anew, and ours then.
        (&tensor, vec![role("decode")], vec![]),
        (
            &group,
            vec![set("llama-kserve-mn")],
            vec!["AcceleratorsNotRequested"; 2],
        ),
        (&group, vec![set("llama-lws")], vec![]),
        (&initializer, vec![], vec!["StorageInitializerOverride"]),
        (&disabled, vec![], vec![]),
    ];
    for (shape, live, reasons) in rows {
        let adopted = reasons.contains(&"AcceleratorsNotRequested");
        let facts = Facts {
            live: live.into_iter().map(Arc::new).collect(),
            ..Facts::default()
        };
        let spec = spec(shape);
        let found = notes(&service(), &spec, &facts);
        let found: Vec<_> = found.iter().map(|note| note.reason).collect();
        assert_eq!(found, reasons, "{shape}");
        if shape.get("parallelism").is_some() {
            let objects = workloads(&service(), &spec, &facts).unwrap();
            let asks = serde_json::to_string(&objects)
                .unwrap()
                .contains("nvidia.com/gpu");
            assert_eq!(asks, !adopted, "{shape}");
        }
    }
}

#[test]
fn a_label_that_the_selector_holds_names_the_deployment() {
    let facts = Facts {
        live: vec![Arc::new(deployment("llama-kserve", &json!({"team": "a"})))],
        ..Facts::default()
    };
    let spec = spec(&json!({"labels": {"team": "b"}}));
    let found = notes(&service(), &spec, &facts);
    assert_eq!(
        found[0].message,
        "label team of the pods of Deployment llama-kserve stays \"a\": its selector needs it and cannot change; \
         another value takes another service"
    );
    let mut stopped = service();
    stopped
        .annotations
        .insert("serving.kserve.io/stop".to_owned(), "true".to_owned());
    assert_eq!(notes(&stopped, &spec, &facts), []);
}

#[test]
fn kinds_that_the_cluster_lacks_are_named_before_anything_is_made() {
    let object = |kind: &str| vec![json!({"kind": kind}), json!({"kind": "Deployment"})];
    let rows = [
        ("LeaderWorkerSet", false, Some("WorkerWorkloadReady")),
        ("ResourceClaimTemplate", false, Some("MainWorkloadReady")),
        ("LeaderWorkerSet", true, None),
        ("ResourceClaimTemplate", true, None),
        ("Service", false, None),
    ];
    for (kind, served, condition) in rows {
        let failure = workloads_not_served(&object(kind), |_| served);
        assert_eq!(failure.as_ref().map(|failure| failure.condition), condition);
        if let Some(failure) = failure {
            let wanted = format!("this cluster does not serve {kind} of ");
            assert!(failure.message.starts_with(&wanted), "{}", failure.message);
        }
    }
}
