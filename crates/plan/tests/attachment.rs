//! How the model reaches the pod: a row for each location, account and secret.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use weir_plan::{Error, Facts, OciMode, Secret, ServiceIdentity, Settings, desired};

fn service() -> ServiceIdentity {
    ServiceIdentity {
        name: "llama".to_owned(),
        namespace: "demo".to_owned(),
        ..ServiceIdentity::default()
    }
}

fn spec(uri: &str) -> Value {
    json!({
        "model": {"uri": uri, "name": "org/model"},
        "template": {"containers": [{"name": "main", "image": "engine"}]},
    })
}

fn pod_of(service: &ServiceIdentity, spec: &Value, facts: &Facts) -> Result<Value, Error> {
    let objects = desired(service, spec, facts)?;
    let deployment = objects.into_iter().find(|o| o["kind"] == "Deployment");
    Ok(deployment.unwrap()["spec"]["template"]["spec"].clone())
}

fn pod(spec: &Value, facts: &Facts) -> Value {
    pod_of(&service(), spec, facts).unwrap()
}

fn initializer(pod: &Value) -> Value {
    pod["initContainers"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|c| c["name"] == "storage-initializer")
        .cloned()
        .unwrap_or_default()
}

fn names(list: &Value) -> Vec<&str> {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(|item| item["name"].as_str()).collect()
}

fn account(name: &str, annotations: &Value, secrets: &[&str]) -> (String, Arc<Value>) {
    let secrets: Vec<Value> = secrets.iter().map(|name| json!({"name": name})).collect();
    let account =
        json!({"metadata": {"name": name, "annotations": annotations}, "secrets": secrets});
    (name.to_owned(), Arc::new(account))
}

fn secret(keys: &[(&str, &str)], annotations: &[(&str, &str)]) -> Secret {
    let texts = keys
        .iter()
        .filter(|(key, _)| Secret::READABLE.contains(key));
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    Secret {
        annotations: annotations.iter().map(owned).collect(),
        keys: keys.iter().map(|(key, _)| (*key).to_owned()).collect(),
        texts: texts.map(owned).collect(),
    }
}

fn facts(account: (String, Arc<Value>), secrets: &[(&str, Secret)]) -> Facts {
    let secrets = secrets.iter();
    Facts {
        accounts: Some(BTreeMap::from([account])),
        secrets: Some(
            secrets
                .map(|(name, secret)| ((*name).to_owned(), secret.clone()))
                .collect(),
        ),
        ..Facts::default()
    }
}

/// `NAME=value`, or `NAME<secret/key`.
fn environment(container: &Value) -> Vec<String> {
    let env = container["env"].as_array().into_iter().flatten();
    env.map(|entry| {
        let name = entry["name"].as_str().unwrap();
        let reference = &entry["valueFrom"]["secretKeyRef"];
        match entry["value"].as_str() {
            Some(value) => format!("{name}={value}"),
            None => format!(
                "{name}<{}/{}",
                reference["name"].as_str().unwrap(),
                reference["key"].as_str().unwrap()
            ),
        }
    })
    .collect()
}

#[test]
fn every_scheme_is_downloaded_mounted_or_refused() {
    // Location, mode for images, args of the download container, what main mounts at the model path.
    let modelcar = OciMode::Modelcar;
    let table = [
        (
            "hf://o/m",
            modelcar,
            Some("hf://o/m"),
            "kserve-provision-location",
        ),
        (
            "HF://o/m",
            modelcar,
            Some("hf://o/m"),
            "kserve-provision-location",
        ),
        (
            "s3://b/m",
            modelcar,
            Some("s3://b/m"),
            "kserve-provision-location",
        ),
        (
            "gs://b/m",
            modelcar,
            Some("gs://b/m"),
            "kserve-provision-location",
        ),
        (
            "https://h/m.zip",
            modelcar,
            Some("https://h/m.zip"),
            "kserve-provision-location",
        ),
        (
            "file:///m",
            modelcar,
            Some("file:///m"),
            "kserve-provision-location",
        ),
        ("pvc://claim/a/", modelcar, None, "kserve-pvc-source"),
        ("oci://r/m:1", OciMode::Native, None, "mnt-models"),
        ("oci+native://r/m:1", OciMode::Disabled, None, "mnt-models"),
        (
            "oci://r/m:1",
            OciMode::Fetch,
            Some("oci://r/m:1"),
            "kserve-provision-location",
        ),
        (
            "oci+fetch://r/m:1",
            OciMode::Disabled,
            Some("oci://r/m:1"),
            "kserve-provision-location",
        ),
    ];
    for (uri, oci, args, volume) in table {
        let mut facts = Facts::default();
        facts.storage.oci = oci;
        let pod = pod(&spec(uri), &facts);
        let init = initializer(&pod);
        assert_eq!(init["args"][0].as_str(), args, "{uri} {oci:?}");
        let mount = &pod["containers"][0]["volumeMounts"][0];
        assert_eq!(mount["name"], volume, "{uri} {oci:?}");
        assert_eq!(mount["mountPath"], "/mnt/models", "{uri} {oci:?}");
        assert_eq!(mount["readOnly"], true, "{uri} {oci:?}");
        assert_eq!(names(&pod["volumes"]), [volume], "{uri} {oci:?}");
    }
    for uri in ["azure://x", "oci+modelcar://r/m:1", "hdfs://x", "://x"] {
        let refused = pod_of(&service(), &spec(uri), &Facts::default()).unwrap_err();
        assert!(matches!(refused, Error::UnsupportedScheme { .. }), "{uri}");
        assert!(refused.to_string().contains("unsupported schema"), "{uri}");
    }
    for uri in ["", "org/model"] {
        let refused = pod_of(&service(), &spec(uri), &Facts::default()).unwrap_err();
        assert!(matches!(refused, Error::NoScheme { .. }), "{uri}");
    }
}

#[test]
fn images_can_be_switched_off_and_must_be_images() {
    let mut facts = Facts::default();
    facts.storage.oci = OciMode::Disabled;
    let refused = pod_of(&service(), &spec("oci://r/m:1"), &facts).unwrap_err();
    assert!(matches!(refused, Error::ImagesDisabled { .. }));
    for uri in ["oci://", "oci://r/m:1'; exit #", "oci+native://a b"] {
        let refused = pod_of(&service(), &spec(uri), &Facts::default()).unwrap_err();
        assert!(matches!(refused, Error::ImageReference { .. }), "{uri}");
    }
}

#[test]
fn an_attachment_that_is_switched_off_leaves_the_pod_alone() {
    for uri in ["hf://o/m", "pvc://claim", "oci://r/m:1", "azure://x"] {
        let mut spec = spec(uri);
        spec["storageInitializer"] = json!({"enabled": false});
        spec["template"]["initContainers"] = json!([{"name": "storage-initializer", "image": "i"}]);
        assert_eq!(pod(&spec, &Facts::default()), spec["template"], "{uri}");
    }
}

#[test]
fn a_users_download_container_goes_where_nothing_is_downloaded() {
    for uri in ["pvc://claim", "oci://r/m:1", "oci+native://r/m:1"] {
        let mut spec = spec(uri);
        spec["template"]["initContainers"] = json!([{"name": "storage-initializer", "image": "i"}]);
        let pod = pod(&spec, &Facts::default());
        assert_eq!(initializer(&pod), Value::Null, "{uri}");
    }
}

#[test]
fn a_path_that_is_taken_is_an_error_that_names_it() {
    let mut spec = spec("pvc://claim");
    spec["template"]["containers"][0]["volumeMounts"] =
        json!([{"name": "own", "mountPath": "/mnt/models"}]);
    assert_eq!(
        pod_of(&service(), &spec, &Facts::default()).unwrap_err(),
        Error::MountTaken {
            template: "spec.template",
            container: "main".to_owned(),
            volume: "own".to_owned(),
            path: "/mnt/models".to_owned(),
        }
    );
}

/// The service, marked by admission as cached.
fn marked(source: &str, claim: Option<&str>) -> ServiceIdentity {
    let mut service = service();
    let key = |name: &str| format!("internal.serving.kserve.io/{name}");
    service.labels.insert(key("localmodel"), "cache".to_owned());
    let annotations = &mut service.annotations;
    annotations.insert(key("localmodel-sourceuri"), source.to_owned());
    annotations.extend(claim.map(|claim| (key("localmodel-pvc-name"), claim.to_owned())));
    service
}

#[test]
fn a_cached_model_is_mounted_from_the_cache() {
    let key = "3cfbba481b7486c1";
    let source = "hf://meta-llama/Llama-3.1-8B-Instruct";
    let table = [
        (source.to_owned(), Some(format!("models/{key}/"))),
        (format!("{source}/sub"), Some(format!("models/{key}/sub"))),
        // The marks are those of an earlier model.
        (format!("{source}-2"), None),
    ];
    for (uri, sub_path) in table {
        let service = marked(source, Some("claim"));
        let pod = pod_of(&service, &spec(&uri), &Facts::default()).unwrap();
        let mount = &pod["containers"][0]["volumeMounts"][0];
        assert_eq!(mount["subPath"].as_str(), sub_path.as_deref(), "{uri}");
    }
    let partial = pod_of(&marked(source, None), &spec(source), &Facts::default());
    assert!(matches!(partial.unwrap_err(), Error::CacheMark { .. }));
}

#[test]
fn a_source_with_a_slash_at_its_end_is_cut_off_too() {
    let service = marked("hf://a/b/", Some("claim"));
    let pod = pod_of(&service, &spec("hf://a/b"), &Facts::default()).unwrap();
    let sub_path = pod["containers"][0]["volumeMounts"][0]["subPath"]
        .as_str()
        .unwrap();
    let key = sub_path.strip_prefix("models/").unwrap();
    assert!(key.len() == 17 && key.ends_with('/'), "{sub_path}");
}

/// What a secret holds, the environment it becomes, and the volumes.
type SecretRow<'a> = (
    &'a str,
    &'a [(&'a str, &'a str)],
    &'a [&'a str],
    &'a [&'a str],
);

#[test]
fn each_kind_of_secret_becomes_what_its_store_reads() {
    let table: [SecretRow<'_>; 11] = [
        (
            "s3, usual names",
            &[("AWS_ACCESS_KEY_ID", "i"), ("AWS_SECRET_ACCESS_KEY", "k")],
            &[
                "AWS_ACCESS_KEY_ID<s/AWS_ACCESS_KEY_ID",
                "AWS_SECRET_ACCESS_KEY<s/AWS_SECRET_ACCESS_KEY",
            ],
            &[],
        ),
        (
            "s3, older names",
            &[
                ("awsAccessKeyID", "i"),
                ("awsSecretAccessKey", "k"),
                ("AWS_DEFAULT_REGION", "eu"),
            ],
            &[
                "AWS_ACCESS_KEY_ID<s/awsAccessKeyID",
                "AWS_SECRET_ACCESS_KEY<s/awsSecretAccessKey",
                "AWS_DEFAULT_REGION=eu",
            ],
            &[],
        ),
        (
            "google",
            &[
                ("gcloud-application-credentials.json", "{}"),
                ("HF_TOKEN", "x"),
            ],
            &["GOOGLE_APPLICATION_CREDENTIALS=/var/secrets/gcloud-application-credentials.json"],
            &["user-gcp-sa"],
        ),
        (
            "azure user",
            &[
                ("AZ_CLIENT_ID", "a"),
                ("AZURE_CLIENT_SECRET", "b"),
                ("AZURE_SERVICE_URL", "u"),
            ],
            &[
                "AZURE_TENANT_ID<s/AZURE_TENANT_ID",
                "AZURE_CLIENT_ID<s/AZ_CLIENT_ID",
                "AZURE_CLIENT_SECRET<s/AZURE_CLIENT_SECRET",
                "AZURE_SERVICE_URL<s/AZURE_SERVICE_URL",
            ],
            &[],
        ),
        (
            "azure key",
            &[("AZURE_STORAGE_ACCESS_KEY", "a")],
            &["AZURE_STORAGE_ACCESS_KEY<s/AZURE_STORAGE_ACCESS_KEY"],
            &[],
        ),
        (
            "https",
            &[("https-host", "h.example.com"), ("headers", r#"{"a":"b"}"#)],
            &[r#"h.example.com-headers={"a":"b"}"#],
            &[],
        ),
        ("https without headers", &[("https-host", "h")], &[], &[]),
        ("hdfs", &[("HDFS_NAMENODE", "n")], &[], &["hdfs-secrets"]),
        ("hub", &[("HF_TOKEN", "t")], &["HF_TOKEN<s/HF_TOKEN"], &[]),
        (
            "modelscope",
            &[("MODELSCOPE_API_TOKEN", "t")],
            &["MODELSCOPE_API_TOKEN<s/MODELSCOPE_API_TOKEN"],
            &[],
        ),
        ("something else", &[("password", "p")], &[], &[]),
    ];
    for (name, keys, env, volumes) in table {
        let facts = facts(
            account("default", &json!({}), &["s"]),
            &[("s", secret(keys, &[]))],
        );
        let pod = pod(&spec("s3://b/m"), &facts);
        let init = initializer(&pod);
        assert_eq!(environment(&init), env, "{name}");
        let mut wanted = vec!["kserve-provision-location"];
        wanted.extend(volumes);
        assert_eq!(names(&pod["volumes"]), wanted, "{name}");
        assert_eq!(names(&init["volumeMounts"]), wanted, "{name}");
        let printed = serde_json::to_string(&pod).unwrap();
        assert!(
            !printed.contains("\"k\""),
            "{name}: a secret's value is in the pod"
        );
    }
}

#[test]
fn endpoints_of_s3_say_how_they_are_reached() {
    let table: [(&str, Option<&str>, &[&str]); 6] = [
        (
            "https://h",
            Some("0"),
            &[
                "S3_USE_HTTPS=1",
                "S3_ENDPOINT=h",
                "AWS_ENDPOINT_URL=https://h",
            ],
        ),
        (
            " http://h ",
            Some("1"),
            &[
                "S3_USE_HTTPS=0",
                "S3_ENDPOINT=h",
                "AWS_ENDPOINT_URL=http://h",
            ],
        ),
        ("h", None, &["S3_ENDPOINT=h", "AWS_ENDPOINT_URL=https://h"]),
        (
            "h",
            Some("0"),
            &[
                "S3_USE_HTTPS=0",
                "S3_ENDPOINT=h",
                "AWS_ENDPOINT_URL=http://h",
            ],
        ),
        (
            "h",
            Some("1"),
            &[
                "S3_USE_HTTPS=1",
                "S3_ENDPOINT=h",
                "AWS_ENDPOINT_URL=https://h",
            ],
        ),
        // Without an endpoint nothing of it matters; an empty one hides that of the configuration.
        ("", Some("1"), &[]),
    ];
    for (endpoint, https, env) in table {
        let mut annotations = vec![("serving.kserve.io/s3-endpoint", endpoint)];
        annotations.extend(https.map(|https| ("serving.kserve.io/s3-usehttps", https)));
        let s3 = secret(&[("AWS_SECRET_ACCESS_KEY", "k")], &annotations);
        let mut facts = facts(account("default", &json!({}), &["s"]), &[("s", s3)]);
        let other = "other.example.com".to_owned();
        facts.credentials.s3.insert("S3_ENDPOINT".to_owned(), other);
        let found = environment(&initializer(&pod(&spec("s3://b/m"), &facts)));
        assert_eq!(found[2..], *env, "{endpoint:?} {https:?}");
    }
}

#[test]
fn a_role_of_the_account_brings_the_settings_of_the_account() {
    let annotations = json!({
        "eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/r",
        "serving.kserve.io/s3-region": "us-east-1",
    });
    let mut spec = spec("s3://b/m");
    spec["template"]["serviceAccountName"] = json!("irsa");
    let role = facts(account("irsa", &annotations, &[]), &[]);
    assert_eq!(
        environment(&initializer(&pod(&spec, &role))),
        ["AWS_DEFAULT_REGION=us-east-1"]
    );
    // A secret's settings win over those of the account.
    let user = secret(
        &[("AWS_SECRET_ACCESS_KEY", "k"), ("AWS_DEFAULT_REGION", "eu")],
        &[],
    );
    let both = facts(account("irsa", &annotations, &["s"]), &[("s", user)]);
    assert_eq!(
        environment(&initializer(&pod(&spec, &both))),
        [
            "AWS_DEFAULT_REGION=eu",
            "AWS_ACCESS_KEY_ID<s/AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY<s/AWS_SECRET_ACCESS_KEY",
        ]
    );
}

#[test]
fn a_service_may_name_its_one_secret() {
    let mut service = service();
    let key = "serving.kserve.io/storageSecretName".to_owned();
    service.annotations.insert(key, "one".to_owned());
    let token = secret(&[("HF_TOKEN", "t")], &[]);
    let all = [
        ("one", token.clone()),
        ("two", secret(&[("AZURE_STORAGE_ACCESS_KEY", "a")], &[])),
    ];
    let facts_of =
        |secrets: &[(&str, Secret)]| facts(account("default", &json!({}), &["two"]), secrets);
    let pod = pod_of(&service, &spec("s3://b/m"), &facts_of(&all)).unwrap();
    assert_eq!(environment(&initializer(&pod)), ["HF_TOKEN<one/HF_TOKEN"]);
    let missing = pod_of(&service, &spec("s3://b/m"), &facts_of(&all[1..])).unwrap_err();
    assert_eq!(
        missing,
        Error::NoSecret {
            name: "one".to_owned(),
            namespace: "demo".to_owned()
        }
    );
    let asked = weir_plan::secrets(&service, &spec("s3://b/m"), &facts_of(&all));
    assert_eq!(asked, BTreeSet::from(["one".to_owned()]));
}

#[test]
fn a_tokenizer_has_the_secrets_of_the_pickers_account() {
    let mut spec = spec("s3://b/m");
    spec["router"] = json!({"scheduler": {
        "pool": {"spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "targetPorts": [{"number": 8000}],
            "endpointPickerRef": {"name": "epp", "port": {"number": 9002}},
        }},
        "template": {
            "serviceAccountName": "picker",
            "containers": [{"name": "main", "image": "picker"}],
        },
        "tokenizer": {"template": {"containers": [{"name": "main", "image": "tokenizer"}]}},
    }});
    let token = secret(&[("HF_TOKEN", "t")], &[]);
    let facts = facts(account("picker", &json!({}), &["hub"]), &[("hub", token)]);
    let asked = weir_plan::secrets(&service(), &spec, &facts);
    assert_eq!(asked, BTreeSet::from(["hub".to_owned()]));
    let objects = weir_plan::scheduler(&service(), &spec, &facts).unwrap();
    let tokenizer = objects
        .iter()
        .find(|o| o["metadata"]["name"] == "llama-tokenizer" && o["kind"] == "Deployment")
        .unwrap();
    let init = initializer(&tokenizer["spec"]["template"]["spec"]);
    assert_eq!(environment(&init), ["HF_TOKEN<hub/HF_TOKEN"]);
}

#[test]
fn authorities_reach_every_download_and_the_namespace() {
    let mut settings = facts(account("default", &json!({}), &[]), &[]);
    settings.storage.ca_config_map = Some("corp-ca".to_owned());
    settings.ca_bundle = Some("CERT".to_owned());
    for uri in ["hf://o/m", "s3://b/m", "https://h/m"] {
        let pod = pod(&spec(uri), &settings);
        let init = initializer(&pod);
        let env = environment(&init);
        for wanted in [
            "CA_BUNDLE_CONFIGMAP_NAME=global-ca-bundle",
            "CA_BUNDLE_VOLUME_MOUNT_POINT=/etc/ssl/custom-certs",
        ] {
            assert!(env.iter().any(|entry| entry == wanted), "{uri}: {env:?}");
        }
        assert_eq!(
            init["volumeMounts"][1],
            json!({"name": "cabundle-cert", "mountPath": "/etc/ssl/custom-certs", "readOnly": true})
        );
    }
    let objects = desired(&service(), &spec("s3://b/m"), &settings).unwrap();
    let copy = objects.iter().find(|o| o["kind"] == "ConfigMap").unwrap();
    assert_eq!(
        *copy,
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "global-ca-bundle", "namespace": "demo"},
            "data": {"cabundle.crt": "CERT"},
        })
    );
    // In the namespace of the configuration its own ConfigMap serves.
    settings.system_namespace = "demo".to_owned();
    let env = environment(&initializer(&pod(&spec("s3://b/m"), &settings)));
    assert!(
        env.contains(&"CA_BUNDLE_CONFIGMAP_NAME=corp-ca".to_owned()),
        "{env:?}"
    );
}

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

#[test]
fn the_users_environment_beats_credentials() {
    let mut spec = spec("hf://o/m");
    spec["template"]["initContainers"] = json!([{
        "name": "storage-initializer",
        "env": [{"name": "HF_TOKEN", "value": "mine"}, {"name": "HF_XET_HIGH_PERFORMANCE", "value": "0"}],
    }]);
    let facts = facts(
        account("default", &json!({}), &["s"]),
        &[("s", secret(&[("HF_TOKEN", "t")], &[]))],
    );
    assert_eq!(
        environment(&initializer(&pod(&spec, &facts))),
        [
            "HF_TOKEN=mine",
            "HF_XET_HIGH_PERFORMANCE=0",
            "HF_HUB_ENABLE_HF_TRANSFER=1",
            "HF_XET_NUM_CONCURRENT_RANGE_GETS=8",
        ]
    );
}

#[test]
fn encrypted_models_name_their_key_with_adapters_too() {
    let mut spec = spec("hf://o/m");
    spec["model"]["confidential"] = json!({"enabled": true, "resourceId": "kbs:///a/b/c"});
    for adapters in [json!([]), json!([{"name": "a", "uri": "s3://b/a"}])] {
        spec["model"]["lora"] = json!({"adapters": adapters});
        let env = environment(&initializer(&pod(&spec, &Facts::default())));
        assert_eq!(
            env[..2],
            [
                "CONFIDENTIAL_ENABLED=true",
                "CONFIDENTIAL_RESOURCE_ID=kbs:///a/b/c"
            ]
        );
    }
    spec["model"]["confidential"]["enabled"] = json!(false);
    let env = environment(&initializer(&pod(&spec, &Facts::default())));
    assert!(!env.iter().any(|entry| entry.starts_with("CONFIDENTIAL")));
}

#[test]
fn images_that_are_fetched_get_the_pull_secret() {
    let mut spec = spec("oci+fetch://r/m:1");
    spec["template"]["imagePullSecrets"] = json!([{"name": "pull"}]);
    let pod = pod(&spec, &Facts::default());
    assert_eq!(pod["volumes"][1]["secret"]["secretName"], "pull");
    assert_eq!(
        initializer(&pod)["volumeMounts"][1]["mountPath"],
        "/mnt/oci-fetch-auth"
    );
}

#[test]
fn the_configuration_is_read() {
    let map = json!({"data": {
        "storageInitializer": json!({
            "image": "i", "cpuModelcar": "20m", "uidModelcar": 7, "ociModelMode": "Native",
            "caBundleConfigMapName": "ca", "caBundleVolumeMountPath": "/ca",
        }).to_string(),
        "credentials": json!({
            "storageSecretNameAnnotation": "a/b",
            "s3": {"s3AccessKeyIDName": "id", "s3SecretAccessKeyName": "key", "s3Region": "eu", "s3Endpoint": ""},
            "gcs": {"gcsCredentialFileName": "g.json"},
        }).to_string(),
        "localModel": json!({"enabled": true}).to_string(),
        "scheduler": json!({"expirationAnnotations": ["x/y"]}).to_string(),
    }});
    let settings = Settings::read(Some(&map), "sys").unwrap();
    let facts = settings.facts();
    assert_eq!(facts.system_namespace, "sys");
    assert_eq!(facts.storage.oci, OciMode::Native);
    assert_eq!(facts.storage.modelcar_uid, Some(7));
    assert_eq!(facts.storage.ca_directory.as_deref(), Some("/ca"));
    assert_eq!(facts.credentials.secret_annotation, "a/b");
    assert_eq!(
        facts.credentials.s3_keys,
        Some(("id".to_owned(), "key".to_owned()))
    );
    assert_eq!(facts.credentials.s3["AWS_DEFAULT_REGION"], "eu");
    assert!(settings.local_models);
    assert_eq!(settings.expiration_annotations, ["x/y"]);
    let modes = [
        (json!({"enableModelcar": false}), OciMode::Disabled),
        (json!({"enableModelcar": true}), OciMode::Modelcar),
        (
            json!({"ociModelMode": "fetch", "enableModelcar": false}),
            OciMode::Fetch,
        ),
        (json!({}), OciMode::Modelcar),
    ];
    for (storage, mode) in modes {
        let map = json!({"data": {"storageInitializer": storage.to_string()}});
        let settings = Settings::read(Some(&map), "sys").unwrap();
        assert_eq!(settings.storage.oci, mode, "{storage}");
    }
}
