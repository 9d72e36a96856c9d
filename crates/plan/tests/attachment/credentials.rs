//! Secrets, accounts and authorities: what the download container gets of them.

use std::collections::BTreeSet;

use serde_json::json;
use weir_plan::{Error, Facts, Secret, desired};

use crate::{account, environment, facts, initializer, names, pod, pod_of, secret, service, spec};

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
