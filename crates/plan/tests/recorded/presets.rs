//! Our own presets, composed and planned, beside what was recorded of the system that is replaced.
//!
//! Every difference is a line of `presets.tsv`: case, kind, path, reason.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use weir_compose::{Globals, compose, presets, select};
use weir_plan::{CERTIFICATE_EXPIRATION, Certificate, Facts, ServiceIdentity};

use crate::allowed::{Allowed, Difference};
use crate::files::{documents, recordings, without_defaults};

/// Everything planned for a service from our presets.
fn planned(service: &Value) -> Vec<Value> {
    let configs: Vec<_> = select(service)
        .into_iter()
        .map(|suffix| presets::find(suffix).unwrap().clone())
        .collect();
    let globals = Globals {
        gateway_name: "kserve-ingress-gateway".to_owned(),
        gateway_namespace: "kserve".to_owned(),
        model_header: "X-Gateway-Model-Name".to_owned(),
        tls: true,
    };
    let effective = compose(service, &configs, &globals).unwrap();
    let generated = || "<generated>".to_owned();
    let facts = Facts {
        tls: true,
        certificate: Some(Certificate {
            ca: Some(generated()),
            certificate: generated(),
            key: generated(),
            expiration: Some((CERTIFICATE_EXPIRATION.to_owned(), generated())),
        }),
        ..Facts::default()
    };
    weir_plan::desired(&ServiceIdentity::of(service), &effective.spec, &facts).unwrap()
}

/// Paths at which two values differ; items of lists with names are compared by name.
fn differences(ours: &Value, theirs: &Value, path: &str, found: &mut BTreeSet<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let (a, b) = (a.get(key), b.get(key));
                let at = format!("{path}/{}", key.replace('/', "~1"));
                differences(
                    a.unwrap_or(&Value::Null),
                    b.unwrap_or(&Value::Null),
                    &at,
                    found,
                );
            }
        }
        (Value::Array(a), Value::Array(b)) if by_name(a) && by_name(b) => {
            let names = |list: &[Value]| -> BTreeSet<String> {
                list.iter().map(|item| item["name"].to_string()).collect()
            };
            if names(a) != names(b) {
                found.insert(path.to_owned());
                return;
            }
            for (at, one) in a.iter().enumerate() {
                let other = b.iter().find(|item| item["name"] == one["name"]).unwrap();
                differences(one, other, &format!("{path}/{at}"), found);
            }
        }
        _ if ours == theirs => {}
        _ => {
            found.insert(path.to_owned());
        }
    }
}

fn by_name(list: &[Value]) -> bool {
    list.iter().all(|item| item["name"].is_string())
}

#[test]
fn presets_make_what_was_recorded_but_for_the_allowed_differences() {
    let Some(goldens) = recordings() else { return };
    let mut allowed = Allowed::read(include_str!("presets.tsv"), 2);
    for case in [
        "basic-route",
        "minimal",
        "sample-opt-125m-cpu-llm-inference-service-facebook-opt-125m-cpu-no-scheduler",
    ] {
        let mut recorded = documents(&goldens.join(case).join("objects.yaml"));
        let mut service = documents(&goldens.join(case).join("input.yaml")).remove(0);
        service["metadata"]["namespace"] = recorded[0]["metadata"]["namespace"].clone();
        service["metadata"]["uid"] = json!("<uid>");
        let planned = planned(&service);
        assert_eq!(planned.len(), recorded.len(), "{case}");
        let mut of_case = Vec::new();
        for theirs in &mut recorded {
            without_defaults(theirs);
            let kind = theirs["kind"].as_str().unwrap().to_owned();
            let mut ours = planned
                .iter()
                .find(|ours| ours["kind"] == kind)
                .unwrap()
                .clone();
            without_defaults(&mut ours);
            let mut found = BTreeSet::new();
            differences(&ours, theirs, "", &mut found);
            of_case.extend(found.into_iter().map(|path| {
                let (a, b) = (ours.pointer(&path), theirs.pointer(&path));
                Difference {
                    shown: format!("{kind}\t{path}\t{a:?} and was {b:?}"),
                    at: vec![kind.clone(), path],
                }
            }));
        }
        allowed.judge(case, &of_case);
    }
    allowed.finish("presets");
}

/// The same without recordings: the pod and the route of a small service, as they are meant to be.
#[test]
fn a_small_service_gets_the_pod_and_the_route_of_the_presets() {
    let service = json!({
        "metadata": {"name": "llama", "namespace": "demo", "uid": "u"},
        "spec": {
            "model": {"uri": "hf://org/model", "name": "org/model"},
            "replicas": 2,
            "router": {"route": {}, "gateway": {}},
        },
    });
    let planned = planned(&service);
    let of = |kind: &str| {
        planned
            .iter()
            .find(|object| object["kind"] == kind)
            .unwrap()
    };
    insta::assert_yaml_snapshot!("pod", of("Deployment")["spec"]["template"]);
    insta::assert_yaml_snapshot!("route", of("HTTPRoute")["spec"]);
}
