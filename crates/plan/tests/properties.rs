//! Whatever users write in their pods: planning answers, and what it adds clashes with nothing of theirs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::collection::{btree_map, btree_set};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use weir_plan::{Error, Facts, OciMode, Secret, ServiceIdentity, desired};

/// Names that features use, and one that none does.
const VOLUMES: [&str; 9] = [
    "kserve-provision-location",
    "kserve-lora-location",
    "kserve-pvc-source",
    "mnt-models",
    "lora-pvc-a",
    "kv-cache-secondary-0",
    "cabundle-cert",
    "user-gcp-sa",
    "own",
];
const PATHS: [&str; 9] = [
    "/mnt",
    "/mnt/models",
    "/mnt/models/part",
    "/mnt/lora",
    "/mnt/lora/a",
    "/mnt/kv-cache-0",
    "/etc/ssl/custom-certs",
    "/var/secrets/",
    "/own",
];
const ENV: [&str; 7] = [
    "MODEL_INIT_MODE",
    "OTEL_SERVICE_NAME",
    "OTEL_TRACES_SAMPLER",
    "HF_TOKEN",
    "HF_XET_HIGH_PERFORMANCE",
    "CA_BUNDLE_CONFIGMAP_NAME",
    "OWN",
];
const URIS: [&str; 8] = [
    "hf://o/m",
    "s3://b/m",
    "https://h/m",
    "pvc://claim/m",
    "oci://r/m:1",
    "oci+native://r/m:1",
    "oci+fetch://r/m:1",
    "other://x",
];

/// A container of the user.
fn container(name: &'static str) -> impl Strategy<Value = Value> {
    let env = btree_set(select(&ENV[..]), 0..4);
    let mounts = btree_map(select(&PATHS[..]), select(&VOLUMES[..]), 0..4);
    (env, mounts).prop_map(move |(env, mounts)| {
        let env = env.iter().map(|name| json!({"name": name, "value": "own"}));
        let mounts = mounts
            .iter()
            .map(|(path, volume)| json!({"name": volume, "mountPath": path}));
        json!({
            "name": name,
            "env": env.collect::<Vec<_>>(),
            "volumeMounts": mounts.collect::<Vec<_>>(),
        })
    })
}

/// A pod of the user: an engine, at times containers with names that features use.
fn template() -> impl Strategy<Value = Value> {
    (
        container("main"),
        option::of(container("modelcar")),
        option::of(container("storage-initializer")),
        option::of(container("modelcar-init")),
        any::<bool>(),
    )
        .prop_map(|(main, car, initializer, init, claimed)| {
            let containers: Vec<_> = car.into_iter().chain([main]).collect();
            let inits: Vec<_> = init.into_iter().chain(initializer).collect();
            let mounted: BTreeSet<String> = containers
                .iter()
                .chain(&inits)
                .flat_map(|c| c["volumeMounts"].as_array().unwrap())
                .map(|mount| mount["name"].as_str().unwrap().to_owned())
                .collect();
            let volumes = mounted
                .iter()
                .map(|name| json!({"name": name, "emptyDir": {}}));
            let mut pod = json!({
                "containers": containers,
                "initContainers": inits,
                "volumes": volumes.collect::<Vec<_>>(),
            });
            if claimed {
                pod["resourceClaims"] = json!([{"name": "managed-device"}]);
            }
            pod
        })
}

fn spec() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        select(&["a", "a/b", "a-b", "A_b", "..", "Ä"][..]).prop_map(str::to_owned),
        "[a-zA-Z0-9/._'$ -]{1,12}",
        "[a-z]{60,70}",
    ];
    let source = select(&["hf://o/a", "s3://b/a", "pvc://c/a", "oci://r/a"][..]);
    let adapters = btree_map(name, source, 0..5);
    (
        template(),
        select(&URIS[..]),
        adapters,
        0..3_usize,
        any::<[bool; 3]>(),
    )
        .prop_map(
            |(template, uri, adapters, tiers, [tracing, confidential, off])| {
                let adapters = adapters.iter();
                let adapters = adapters.map(|(name, uri)| json!({"name": name, "uri": uri}));
                let tier = json!({"fileSystem": {"emptyDir": {"size": "1Gi"}}});
                let mut spec = json!({
                    "model": {"uri": uri, "lora": {"adapters": adapters.collect::<Vec<_>>()}},
                    "kvCacheOffloading": {"cpu": "1Gi", "secondary": vec![tier; tiers]},
                    "template": template,
                });
                if tracing {
                    spec["tracing"] = json!({"exporterEndpoint": "http://c:4317"});
                }
                if confidential {
                    spec["model"]["confidential"] = json!({"enabled": true});
                }
                if off {
                    spec["storageInitializer"] = json!({"enabled": false});
                }
                spec
            },
        )
}

fn facts(oci: OciMode) -> Facts {
    let account = json!({
        "metadata": {"name": "default"}, "secrets": [{"name": "gcs"}, {"name": "hub"}],
    });
    let secret = |key: &str| Secret {
        keys: BTreeSet::from([key.to_owned()]),
        ..Secret::default()
    };
    let mut facts = Facts {
        accounts: Some(BTreeMap::from([("default".to_owned(), Arc::new(account))])),
        secrets: Some(BTreeMap::from([
            (
                "gcs".to_owned(),
                secret("gcloud-application-credentials.json"),
            ),
            ("hub".to_owned(), secret("HF_TOKEN")),
        ])),
        ..Facts::default()
    };
    facts.storage.oci = oci;
    facts.storage.ca_config_map = Some("corp-ca".to_owned());
    facts
}

fn names(list: &Value, key: &str) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    items
        .map(|item| item[key].as_str().unwrap().to_owned())
        .collect()
}

fn is_unique(names: &[String]) -> bool {
    names.iter().collect::<BTreeSet<_>>().len() == names.len()
}

/// What an API server asks of the name of a volume.
fn is_label(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.len() <= 63
        && name.chars().all(allowed)
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.is_empty()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn nothing_that_is_added_clashes(
        spec in spec(),
        oci in select(&[OciMode::Disabled, OciMode::Modelcar, OciMode::Native, OciMode::Fetch][..]),
        devices in any::<bool>(),
    ) {
        let mut service = ServiceIdentity {
            name: "llama".to_owned(),
            namespace: "demo".to_owned(),
            ..ServiceIdentity::default()
        };
        if devices {
            let class = "serving.kserve.io/exp-dra-device-class".to_owned();
            service.annotations.insert(class, "gpu".to_owned());
        }
        let objects = match desired(&service, &spec, &facts(oci)) {
            Ok(objects) => objects,
            // What cannot be done is said; everything else is planned.
            Err(
                Error::MountTaken { .. }
                | Error::UnsupportedScheme { .. }
                | Error::ImagesDisabled { .. }
                | Error::AdapterScheme { .. }
                | Error::AdaptersWithoutInitializer,
            ) => return Ok(()),
            Err(error) => panic!("{error}"),
        };
        let deployment = objects.iter().find(|o| o["kind"] == "Deployment").unwrap();
        let pod = &deployment["spec"]["template"]["spec"];
        let volumes = names(&pod["volumes"], "name");
        prop_assert!(is_unique(&volumes), "{volumes:?}");
        prop_assert!(volumes.iter().all(|name| is_label(name)), "{volumes:?}");
        prop_assert!(is_unique(&names(&pod["resourceClaims"], "name")));
        for list in ["containers", "initContainers"] {
            prop_assert!(is_unique(&names(&pod[list], "name")));
            for container in pod[list].as_array().into_iter().flatten() {
                let env = names(&container["env"], "name");
                prop_assert!(is_unique(&env), "{env:?}");
                let paths = names(&container["volumeMounts"], "mountPath");
                prop_assert!(is_unique(&paths), "{paths:?}");
                for volume in names(&container["volumeMounts"], "name") {
                    prop_assert!(volumes.contains(&volume), "{volume} of {volumes:?}");
                }
            }
        }
        let user = &spec["template"]["containers"];
        let kept = pod["containers"].as_array().unwrap();
        for own in user.as_array().unwrap() {
            let now = kept.iter().find(|c| c["name"] == own["name"]).unwrap();
            for list in ["env", "volumeMounts"] {
                for entry in own[list].as_array().unwrap() {
                    prop_assert!(now[list].as_array().unwrap().contains(entry), "{entry} is lost");
                }
            }
        }
        let main = kept.iter().find(|c| c["name"] == "main").unwrap();
        let words = main["args"].as_array().into_iter().flatten();
        let modules: Vec<Value> = words
            .filter_map(|word| serde_json::from_str(&word.as_str()?.replace("$$", "$")).ok())
            .filter(Value::is_object)
            .collect();
        let paths: BTreeSet<String> = names(&json!(modules), "path").into_iter().collect();
        prop_assert_eq!(paths.len() * 2, modules.len(), "two names a path");
    }
}
