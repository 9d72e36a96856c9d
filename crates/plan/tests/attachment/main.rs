//! How the model reaches the pod: a row for each location, account and secret.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod credentials;
mod upgrade;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use weir_plan::{Error, Facts, OciMode, Secret, ServiceIdentity, Settings, desired};

pub(crate) fn service() -> ServiceIdentity {
    ServiceIdentity {
        name: "llama".to_owned(),
        namespace: "demo".to_owned(),
        ..ServiceIdentity::default()
    }
}

pub(crate) fn spec(uri: &str) -> Value {
    json!({
        "model": {"uri": uri, "name": "org/model"},
        "template": {"containers": [{"name": "main", "image": "engine"}]},
    })
}

pub(crate) fn pod_of(
    service: &ServiceIdentity,
    spec: &Value,
    facts: &Facts,
) -> Result<Value, Error> {
    let objects = desired(service, spec, facts)?;
    let deployment = objects.into_iter().find(|o| o["kind"] == "Deployment");
    Ok(deployment.unwrap()["spec"]["template"]["spec"].clone())
}

pub(crate) fn pod(spec: &Value, facts: &Facts) -> Value {
    pod_of(&service(), spec, facts).unwrap()
}

pub(crate) fn initializer(pod: &Value) -> Value {
    pod["initContainers"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|c| c["name"] == "storage-initializer")
        .cloned()
        .unwrap_or_default()
}

pub(crate) fn names(list: &Value) -> Vec<&str> {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(|item| item["name"].as_str()).collect()
}

pub(crate) fn account(name: &str, annotations: &Value, secrets: &[&str]) -> (String, Arc<Value>) {
    let secrets: Vec<Value> = secrets.iter().map(|name| json!({"name": name})).collect();
    let account =
        json!({"metadata": {"name": name, "annotations": annotations}, "secrets": secrets});
    (name.to_owned(), Arc::new(account))
}

pub(crate) fn secret(keys: &[(&str, &str)], annotations: &[(&str, &str)]) -> Secret {
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

pub(crate) fn facts(account: (String, Arc<Value>), secrets: &[(&str, Secret)]) -> Facts {
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
pub(crate) fn environment(container: &Value) -> Vec<String> {
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

#[test]
fn a_field_of_the_global_configuration_that_is_not_what_it_must_be_is_an_error() {
    let rows = [
        ("ingress", "[]", "the value is [], and must be an object"),
        (
            "ingress",
            r#"{"enableLLMInferenceServiceTLS": "true"}"#,
            "enableLLMInferenceServiceTLS is \"true\", and must be true or false",
        ),
        (
            "ingress",
            r#"{"urlScheme": 1}"#,
            "urlScheme is 1, and must be a text",
        ),
        (
            "storageInitializer",
            r#"{"uidModelcar": "1010"}"#,
            "uidModelcar is \"1010\", and must be a whole number",
        ),
        (
            "storageInitializer",
            r#"{"ociModelMode": "Modelcars"}"#,
            "ociModelMode \"Modelcars\" is none of modelcar, native and fetch",
        ),
        (
            "credentials",
            r#"{"s3": "x"}"#,
            "s3 is \"x\", and must be an object",
        ),
        (
            "scheduler",
            r#"{"expirationAnnotations": ["a/b", 1]}"#,
            "expirationAnnotations is [\"a/b\",1], and must be a list of texts",
        ),
        (
            "localModel",
            r#"{"enabled": "true"}"#,
            "enabled is \"true\", and must be true or false",
        ),
        (
            "autoscaling-wva-controller-config",
            r#"{"prometheus": {"tlsInsecureSkipVerify": 1}}"#,
            "prometheus.tlsInsecureSkipVerify is 1, and must be true or false",
        ),
    ];
    for (key, json, cause) in rows {
        let map = json!({"data": {key: json}});
        let refused = Settings::read(Some(&map), "sys").unwrap_err().to_string();
        let wanted =
            format!("failed to load ConfigMap sys/inferenceservice-config: key {key}: {cause}");
        assert_eq!(refused, wanted);
    }
    let unquoted = json!({"data": {"ingress": {"urlScheme": "https"}}});
    let refused = Settings::read(Some(&unquoted), "sys").unwrap_err();
    assert_eq!(
        refused.cause,
        "the value is no text: write its JSON as one, after a |"
    );
    let nothing = json!({"data": {
        "localModel": null,
        "ingress": r#"{"urlScheme": "", "enableLLMInferenceServiceTLS": null}"#,
        "credentials": r#"{"s3": null}"#,
        "storageInitializer": r#"{"uidModelcar": null, "ociModelMode": ""}"#,
    }});
    let settings = Settings::read(Some(&nothing), "sys").unwrap();
    assert_eq!(settings.storage.modelcar_uid, None);
    let mut default = Settings::read(None, "sys").unwrap();
    default.storage.modelcar_uid = None;
    assert_eq!(settings, default);
}

#[test]
fn a_quantity_that_is_none_is_told_with_its_key() {
    for key in ["cpuRequest", "memoryLimit", "memoryModelcar"] {
        let storage = json!({key: "much"}).to_string();
        let map = json!({"data": {"storageInitializer": storage}});
        let refused = Settings::read(Some(&map), "sys").unwrap_err().to_string();
        let wanted = format!(
            "failed to load ConfigMap sys/inferenceservice-config: key storageInitializer: {key} \"much\" is no quantity"
        );
        assert!(refused.starts_with(&wanted), "{refused}");
    }
}
