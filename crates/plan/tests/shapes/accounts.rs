//! Accounts of pods, what the sidecar may read, and the pool that it is told of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use weir_api::names::{Kind, kind};
use weir_plan::{Error, Facts, RouterFacts, accounts, workloads};

use crate::{LEADER, POD, WORKER, find, names, plan, pod, service, spec, with_sidecar};

/// Rows of the table of accounts: the shape, what exists for it, the accounts of the pods.
#[test]
fn accounts_and_rights_exist_for_pods_that_need_them() {
    let named = |mut pod: Value, account: &str| {
        pod["serviceAccountName"] = json!(account);
        pod
    };
    let all = ["ServiceAccount", "Role", "RoleBinding"];
    let rows = [
        (json!({}), vec![], vec![None]),
        (
            json!({"template": named(pod(), "mine")}),
            vec![],
            vec![Some("mine")],
        ),
        (
            json!({"template": with_sidecar()}),
            vec![
                "ServiceAccount llama-kserve",
                "Role llama-kserve-role",
                "RoleBinding llama-kserve-rb",
            ],
            vec![Some("llama-kserve")],
        ),
        (
            json!({"template": named(with_sidecar(), "llama-kserve")}),
            vec![
                "ServiceAccount llama-kserve",
                "Role llama-kserve-role",
                "RoleBinding llama-kserve-rb",
            ],
            vec![Some("llama-kserve")],
        ),
        (
            json!({"template": named(with_sidecar(), "mine")}),
            vec!["Role llama-kserve-role", "RoleBinding llama-kserve-rb"],
            vec![Some("mine")],
        ),
        (
            json!({"worker": pod()}),
            vec!["ServiceAccount llama-kserve-mn"],
            vec![Some("llama-kserve-mn"), Some("llama-kserve-mn")],
        ),
        (
            json!({"worker": named(pod(), "mine")}),
            vec![],
            vec![Some("mine"), Some("mine")],
        ),
        (
            json!({"template": with_sidecar(), "worker": pod()}),
            vec![
                "ServiceAccount llama-kserve-mn",
                "Role llama-kserve-mn-role",
                "RoleBinding llama-kserve-mn-rb",
            ],
            vec![Some("llama-kserve-mn"), Some("llama-kserve-mn")],
        ),
        (
            json!({"template": named(with_sidecar(), "mine"), "worker": pod()}),
            vec![
                "Role llama-kserve-mn-role",
                "RoleBinding llama-kserve-mn-rb",
            ],
            vec![Some("mine"), Some("mine")],
        ),
        (
            json!({"prefill": {"template": with_sidecar(), "worker": pod()}}),
            vec!["ServiceAccount llama-kserve-mn-prefill"],
            vec![
                None,
                Some("llama-kserve-mn-prefill"),
                Some("llama-kserve-mn-prefill"),
            ],
        ),
        (
            json!({"prefill": {"template": named(pod(), "mine")}}),
            vec![],
            vec![None, Some("mine")],
        ),
    ];
    for (shape, wanted, of_pods) in rows {
        let spec = spec(&shape);
        let objects = plan(&service(), &spec);
        let wanted: BTreeSet<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(names(&objects, &all), wanted, "{shape}");
        let mut found = Vec::new();
        for object in &objects {
            for at in [POD, LEADER, WORKER] {
                let pod = object.pointer(at).filter(|pod| pod.get("spec").is_some());
                found.extend(pod.map(|pod| pod["spec"]["serviceAccountName"].as_str()));
            }
        }
        assert_eq!(found, of_pods, "{shape}");
        let subject = objects
            .iter()
            .find(|object| object["kind"] == "RoleBinding");
        if let Some(binding) = subject {
            let role = objects
                .iter()
                .find(|object| object["kind"] == "Role")
                .unwrap();
            assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
            assert_eq!(json!(found[0]), binding["subjects"][0]["name"], "{shape}");
        }
    }
}

#[test]
fn a_made_account_shares_the_secrets_of_the_default_one() {
    let default =
        json!({"imagePullSecrets": [{"name": "pull"}], "secrets": [{"name": "s"}], "metadata": {}});
    let facts = Facts {
        accounts: Some([("default".to_owned(), Arc::new(default))].into()),
        ..Facts::default()
    };
    let mut spec = spec(&json!({"template": with_sidecar()}));
    spec["model"]["uri"] = json!("pvc://claim");
    let objects = workloads(&service(), &spec, &facts).unwrap();
    let account = find(&objects, "ServiceAccount", "llama-kserve").unwrap();
    assert_eq!(account["imagePullSecrets"], json!([{"name": "pull"}]));
    assert_eq!(account["secrets"], json!([{"name": "s"}]));
}

#[test]
fn an_account_that_does_not_exist_is_named_with_the_field() {
    let mut group = pod();
    group["serviceAccountName"] = json!("gone");
    let rows = [
        (json!({"template": group}), "spec.template"),
        (json!({"worker": group}), "spec.worker"),
        (
            json!({"prefill": {"template": group}}),
            "spec.prefill.template",
        ),
        (
            json!({"prefill": {"template": pod(), "worker": group}}),
            "spec.prefill.worker",
        ),
    ];
    for (shape, field) in rows {
        let spec = spec(&shape);
        assert_eq!(
            accounts(&spec),
            BTreeSet::from(["default".to_owned(), "gone".to_owned()])
        );
        let facts = Facts {
            accounts: Some(BTreeMap::new()),
            ..Facts::default()
        };
        let refused = workloads(&service(), &spec, &facts);
        let wanted = Error::NoAccount {
            name: "gone".to_owned(),
            field,
            namespace: "demo".to_owned(),
        };
        assert_eq!(refused, Err(wanted));
    }
}

#[test]
fn the_sidecar_knows_its_pool_unless_the_user_named_one() {
    let pool = |spec: &Value| {
        let objects = plan(&service(), spec);
        let deployment = find(&objects, "Deployment", "llama-kserve").unwrap();
        let env = deployment
            .pointer("/spec/template/spec/initContainers/0/env")
            .cloned();
        env.and_then(|env| env[0]["value"].as_str().map(str::to_owned))
    };
    let mut spec = spec(&json!({"template": with_sidecar(), "prefill": {"template": pod()}}));
    assert_eq!(pool(&spec), None);
    spec["router"] = json!({});
    assert_eq!(pool(&spec).as_deref(), Some("llama-inference-pool"));
    spec["router"] = json!({"scheduler": {"pool": {"ref": {"name": "shared"}}}});
    assert_eq!(pool(&spec).as_deref(), Some("shared"));
    spec["template"]["initContainers"][0]["env"] =
        json!([{"name": "INFERENCE_POOL_NAME", "value": "mine"}]);
    assert_eq!(pool(&spec).as_deref(), Some("mine"));
}

#[test]
fn the_sidecar_looks_for_a_pool_of_a_kind_that_is_served() {
    let (new, old) = (kind::INFERENCE_POOL, kind::INFERENCE_POOL_ALPHA);
    let pool = |kind: Kind| Some(json!({"apiVersion": kind.api_version(), "metadata": {}}));
    let rows = [
        (old, vec![new, old], None, old),
        (new, vec![new, old], None, new),
        (old, vec![new], None, new),
        (new, vec![old], None, old),
        // One that is referred to decides alone.
        (old, vec![new, old], pool(new), new),
        (old, vec![new, old], pool(old), old),
    ];
    for (written, served, pool, wanted) in rows {
        let mut template = with_sidecar();
        let command = [
            "/app/pd-sidecar".to_owned(),
            format!("--pool-group={}", written.group),
        ];
        template["initContainers"][0]["command"] = json!(command);
        let facts = Facts {
            router: RouterFacts {
                served,
                pool,
                ..RouterFacts::default()
            },
            ..Facts::default()
        };
        let objects = workloads(&service(), &spec(&json!({"template": template})), &facts).unwrap();
        let deployment = find(&objects, "Deployment", "llama-kserve").unwrap();
        let words = &deployment["spec"]["template"]["spec"]["initContainers"][0]["command"];
        assert_eq!(words[1], format!("--pool-group={}", wanted.group));
    }
}
