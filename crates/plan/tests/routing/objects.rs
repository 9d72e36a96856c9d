//! The recorded objects of the router, and what was there for planning them.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use weir_api::names::{self, kind};
use weir_plan::{Facts, ObservedGateway, RouterFacts, ServiceIdentity};

use crate::cases;

/// One service of a recorded case.
pub(crate) struct Case {
    pub(crate) inner: cases::Case,
    pub(crate) objects: Vec<Named>,
    environment: Vec<Value>,
}

/// An object by its kind and what follows the service's name.
#[derive(Clone)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) value: Value,
}

const POD: &str = "/spec/template/spec";

/// Ends of names, for those that are shortened before.
const SUFFIXES: [&str; 12] = [
    "-kserve-router-scheduler",
    "-epp-service",
    "-epp-sa",
    "-epp-role",
    "-epp-rb",
    "-tokenizer",
    "-inference-pool",
    "-kserve-route",
    "-kserve-hpa",
    "-kserve-prefill-hpa",
    "-kserve-keda",
    "-kserve-prefill-keda",
];

/// Those of the objects that are compared here, with their names.
pub(crate) fn named(service: &str, namespace: &str, objects: Vec<Value>) -> Vec<Named> {
    let child = |suffix: &str| names::child(service, suffix);
    objects
        .into_iter()
        .filter_map(|value| {
            let kind = value["kind"].as_str()?;
            let name = value["metadata"]["name"].as_str()?;
            let component = value.pointer("/metadata/labels/app.kubernetes.io~1component");
            let component = component.and_then(Value::as_str).unwrap_or_default();
            let ours = component.starts_with("llminferenceservice-router")
                || component == "tokenizer"
                || matches!(
                    kind,
                    "HorizontalPodAutoscaler" | "ScaledObject" | "HTTPRoute" | "InferencePool"
                );
            let [binding, _] = weir_plan::cluster_binding_names(&ServiceIdentity {
                name: service.to_owned(),
                namespace: namespace.to_owned(),
                ..ServiceIdentity::default()
            });
            let suffix = if name == binding {
                "-epp-auth-rb"
            } else {
                SUFFIXES
                    .into_iter()
                    .find(|suffix| child(suffix) == name)
                    .unwrap_or(name)
            };
            let old = value["apiVersion"] == kind::INFERENCE_POOL_ALPHA.api_version();
            let name = format!("{kind}{suffix}{}", if old { "-x" } else { "" });
            ours.then_some(Named { name, value })
        })
        .collect()
}

impl Named {
    /// The pod of a Deployment.
    pub(crate) fn pod(&self) -> Option<&Value> {
        self.value.pointer(POD)
    }

    /// Whether it is made before a configuration is looked at.
    pub(crate) fn is_side_effect(&self) -> bool {
        [
            "ServiceAccount",
            "Role",
            "RoleBinding",
            "ClusterRoleBinding",
        ]
        .iter()
        .any(|kind| self.value["kind"] == *kind)
    }

    /// The object without its pod and what an API server fills in.
    pub(crate) fn shell(&self) -> Value {
        let mut value = self.value.clone();
        if let Some(pod) = value.pointer_mut(POD) {
            *pod = Value::Null;
        }
        if let Some(metadata) = value["metadata"].as_object_mut() {
            metadata.remove("namespace");
        }
        let drop = |value: &mut Value, keys: &[&str]| {
            if let Some(map) = value.as_object_mut() {
                map.retain(|key, _| !keys.contains(&key.as_str()));
            }
        };
        match self.value["kind"].as_str().unwrap() {
            "Deployment" => {
                drop(
                    &mut value["spec"],
                    &["progressDeadlineSeconds", "revisionHistoryLimit"],
                );
                if value["spec"]["strategy"]["type"] == "RollingUpdate" {
                    drop(&mut value["spec"], &["strategy"]);
                }
                if value["spec"]["replicas"] == 1 {
                    drop(&mut value["spec"], &["replicas"]);
                }
            }
            "Service" => drop(
                &mut value["spec"],
                &[
                    "internalTrafficPolicy",
                    "ipFamilies",
                    "ipFamilyPolicy",
                    "sessionAffinity",
                ],
            ),
            "HTTPRoute" => route_defaults(&mut value),
            "InferencePool" => {
                drop(&mut value["spec"], &["appProtocol"]);
                for picker in ["endpointPickerRef", "extensionRef"] {
                    if let Some(picker) = value["spec"].get_mut(picker)
                        && picker["group"] == ""
                    {
                        drop(picker, &["group"]);
                    }
                }
            }
            _ => {}
        }
        value
    }
}

/// Writes down what a server fills into a route.
fn route_defaults(route: &mut Value) {
    for rule in route["spec"]["rules"].as_array_mut().into_iter().flatten() {
        for backend in rule
            .get_mut("backendRefs")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            for (key, default) in [
                ("group", json!("")),
                ("kind", json!("Service")),
                ("weight", json!(1)),
            ] {
                if backend.get(key).is_none() {
                    backend[key] = default;
                }
            }
        }
        let whole = json!({"type": "PathPrefix", "value": "/"});
        if rule.get("matches").is_none() {
            rule["matches"] = json!([{}]);
        }
        for one in rule["matches"].as_array_mut().into_iter().flatten() {
            if one.get("path").is_none() {
                one["path"] = whole.clone();
            }
            for (key, default) in [("type", "PathPrefix"), ("value", "/")] {
                if one["path"].get(key).is_none() {
                    one["path"][key] = json!(default);
                }
            }
            for header in one
                .get_mut("headers")
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                if header.get("type").is_none() {
                    header["type"] = json!("Exact");
                }
            }
        }
    }
}

fn documents(path: &Path) -> Vec<Value> {
    let Ok(text) = std::fs::read_to_string(path) else {
        return Vec::new();
    };
    serde_saphyr::from_multiple(&text).unwrap()
}

/// All cases with a service and objects; says so where there are none.
pub(crate) fn cases() -> Option<Vec<Case>> {
    let shared = std::env::var_os("WEIR_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let goldens = shared.join("goldens/controller");
    // What was stored has the defaults of the definition.
    let schema = weir_api::crds::schema(names::GROUP, names::VERSION, names::SERVICE_KIND).unwrap();
    let schema = weir_schema::Node::parse(&schema).unwrap();
    let with_objects = |mut inner: cases::Case| {
        schema.default(&mut inner.service);
        let path = goldens.join(&inner.name);
        let own = inner.service["metadata"]["name"]
            .as_str()
            .unwrap()
            .to_owned();
        let of_service = |object: &Value| {
            let owner = &object["metadata"]["ownerReferences"][0]["name"];
            *owner == *own
                || owner.is_null()
                    && object.pointer("/metadata/labels/app.kubernetes.io~1name")
                        == Some(&json!(own))
        };
        let objects = documents(&path.join("objects.yaml"));
        let objects = objects.into_iter().filter(of_service).collect();
        let mut environment = documents(&path.join("environment.yaml"));
        environment.extend(documents(&path.join("input.yaml")));
        Case {
            objects: named(&own, &inner.namespace, objects),
            environment,
            inner,
        }
    };
    Some(cases::cases()?.into_iter().map(with_objects).collect())
}

impl Case {
    /// Objects of a kind that were there.
    fn there(&self, kind: &str) -> impl Iterator<Item = &Value> {
        let kind = kind.to_owned();
        self.environment
            .iter()
            .filter(move |object| object["kind"] == *kind)
    }

    fn namespace_of<'a>(&'a self, object: &'a Value) -> &'a str {
        object["metadata"]["namespace"]
            .as_str()
            .unwrap_or(&self.inner.namespace)
    }

    /// The facts with what the router needs.
    pub(crate) fn facts(&self, spec: &Value) -> Facts {
        let refs = spec
            .pointer("/router/gateway/refs")
            .and_then(Value::as_array);
        let names: Vec<&Value> = refs.into_iter().flatten().map(|one| &one["name"]).collect();
        let opts_out = self.there("Gateway").any(|gateway| {
            names.contains(&&gateway["metadata"]["name"]) && weir_plan::opts_out(gateway)
        });
        let pool = spec.pointer("/router/scheduler/pool/ref/name");
        let pool = pool.and_then(|name| {
            self.there("InferencePool")
                .find(|p| p["metadata"]["name"] == *name)
        });
        Facts {
            gateway_opts_out: opts_out,
            router: RouterFacts {
                served: vec![kind::INFERENCE_POOL, kind::INFERENCE_POOL_ALPHA],
                pool: pool.cloned(),
                ..RouterFacts::default()
            },
            ..self.inner.facts.clone()
        }
    }

    /// Whether something that the router refers to is not there.
    pub(crate) fn refused(&self, service: &ServiceIdentity, spec: &Value, facts: &Facts) -> bool {
        let Ok(planned) = weir_plan::routes(service, spec, facts) else {
            return false;
        };
        let mut gateways: Vec<ObservedGateway> = self
            .there("Gateway")
            .map(|gateway| (self.namespace_of(gateway).to_owned(), gateway.clone()))
            .chain(
                [
                    ("kserve", "kserve-ingress-gateway"),
                    ("gw-ns", "my-gateway"),
                ]
                .map(|(namespace, name)| {
                    (namespace.to_owned(), json!({"metadata": {"name": name}}))
                }),
            )
            .map(|(namespace, object)| ObservedGateway {
                namespace,
                name: object["metadata"]["name"].as_str().unwrap().to_owned(),
                object: Some(object),
                ..ObservedGateway::default()
            })
            .collect();
        gateways.dedup_by(|a, b| a.name == b.name && a.namespace == b.namespace);
        let refs = spec
            .pointer("/router/route/http/refs")
            .and_then(Value::as_array);
        let routes: Vec<Value> = refs
            .into_iter()
            .flatten()
            .filter_map(|one| {
                self.there("HTTPRoute")
                    .find(|route| route["metadata"]["name"] == one["name"])
            })
            .map(|route| {
                let mut route = route.clone();
                route["metadata"]["namespace"] = json!(self.inner.namespace);
                route
            })
            .collect();
        weir_plan::check_refs(service, spec, planned.first(), &routes, &gateways).is_some()
    }
}
