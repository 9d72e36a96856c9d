//! A live workload and its download container: nothing restarts without a reason.

use std::sync::Arc;

use serde_json::{Value, json};
use weir_plan::{Facts, desired};

use crate::{environment, initializer, pod, service, spec};

/// The live Deployment of the service, with a download container.
fn live(init: &Value, annotations: &Value) -> Vec<Arc<Value>> {
    vec![Arc::new(json!({
        "kind": "Deployment",
        "metadata": {"name": "llama-kserve", "annotations": annotations},
        "spec": {"template": {"spec": {"initContainers": [init]}}},
    }))]
}

#[test]
fn an_upgrade_restarts_no_pod_for_a_new_download_image() {
    let args = json!(["hf://o/m", "/mnt/models"]);
    let hub = json!([{"name": "HF_XET_HIGH_PERFORMANCE", "value": "1"}]);
    let init = |args: &Value| json!({"name": "storage-initializer", "image": "old", "args": args, "env": hub});
    let own = json!({"weir.dev/own-storage-initializer": "true"});
    let table = [
        ("the same model", init(&args), json!({}), "old"),
        (
            "another model",
            init(&json!(["hf://o/n", "/mnt/models"])),
            json!({}),
            "new",
        ),
        ("the image was the user's", init(&args), own, "new"),
    ];
    for (name, init, annotations, image) in table {
        let mut facts = Facts::default();
        facts.storage.image = "new".to_owned();
        facts.live = live(&init, &annotations);
        let found = initializer(&pod(&spec("hf://o/m"), &facts));
        assert_eq!(found["image"], image, "{name}");
    }
}

#[test]
fn a_container_from_before_the_hubs_settings_goes_without_them() {
    let args = json!(["hf://o/m", "/mnt/models"]);
    let table = [
        (json!([]), 0),
        (json!([{"name": "AWS_DEFAULT_REGION", "value": "x"}]), 0),
        (json!([{"name": "HF_TOKEN", "value": "x"}]), 3),
    ];
    for (env, count) in table {
        let init = json!({"name": "storage-initializer", "image": "i", "args": args, "env": env});
        let facts = Facts {
            live: live(&init, &json!({})),
            ..Facts::default()
        };
        let found = initializer(&pod(&spec("hf://o/m"), &facts));
        assert_eq!(environment(&found).len(), count, "{env}");
    }
}

#[test]
fn a_location_that_was_spelled_another_way_stays_as_it_is() {
    let init = json!({"name": "storage-initializer", "args": ["s3://b/a%20b", "/mnt/models"]});
    let facts = Facts {
        live: live(&init, &json!({})),
        ..Facts::default()
    };
    let found = initializer(&pod(&spec("S3://b/a b"), &facts));
    assert_eq!(found["args"], json!(["s3://b/a%20b", "/mnt/models"]));
}

#[test]
fn an_own_image_is_marked_on_the_workload_and_not_on_the_pod() {
    let mut spec = spec("hf://o/m");
    spec["template"]["initContainers"] = json!([{"name": "storage-initializer", "image": "mine"}]);
    let objects = desired(&service(), &spec, &Facts::default()).unwrap();
    let deployment = objects.iter().find(|o| o["kind"] == "Deployment").unwrap();
    let own = json!({"weir.dev/own-storage-initializer": "true"});
    assert_eq!(deployment["metadata"]["annotations"], own);
    assert_eq!(
        deployment["spec"]["template"]["metadata"].get("annotations"),
        None
    );
}
