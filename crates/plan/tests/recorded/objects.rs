//! The recorded objects of the router, and what was there for planning them.

use serde_json::{Value, json};
use weir_api::names::{self, kind};
use weir_plan::{Facts, Failure, ObservedGateway, RouterFacts, ServiceIdentity};

use crate::cases;
use crate::files::{documents, recordings, text};

/// One service of a recorded case.
pub(crate) struct Case {
    pub(crate) inner: cases::Case,
    pub(crate) objects: Vec<Named>,
    environment: Vec<Value>,
    statuses: [Option<Value>; 2],
    url_scheme: String,
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

/// All cases with a service and objects; says so where there are none.
pub(crate) fn cases() -> Option<Vec<Case>> {
    let goldens = recordings()?;
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
        let told = documents(&path.join("status.yaml"));
        let statuses = ["before", "afterChildrenReady"].map(|when| {
            let told = told.first().and_then(|told| told[when].as_array().cloned());
            let own = told.into_iter().flatten().find(|one| one["name"] == *own);
            own.map(|one| one["status"].clone())
        });
        let text = text(&path.join("environment.yaml")).unwrap_or_default();
        let https = text.contains("\"urlScheme\": \"https\"");
        Case {
            statuses,
            url_scheme: if https { "https" } else { "http" }.to_owned(),
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

    /// The status before the children reported anything, or once all of them are ready.
    pub(crate) fn recorded_status(&self, all_ready: bool) -> Option<&Value> {
        let [before, after] = &self.statuses;
        if all_ready { after } else { before }.as_ref()
    }

    /// Preferred scheme of URLs.
    pub(crate) fn url_scheme(&self) -> &str {
        &self.url_scheme
    }

    /// The routes that the service names and that were there.
    pub(crate) fn referenced_routes(&self, spec: &Value) -> Vec<Value> {
        let refs = spec
            .pointer("/router/route/http/refs")
            .and_then(Value::as_array);
        refs.into_iter()
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
            .collect()
    }

    /// Fills in what was there of a gateway.
    pub(crate) fn fill(&self, gateway: &mut ObservedGateway) {
        let built_in = [
            ("kserve", "kserve-ingress-gateway", "203.0.113.10"),
            ("gw-ns", "my-gateway", "203.0.113.20"),
        ];
        let is = |object: &&Value| {
            object["metadata"]["name"] == *gateway.name
                && self.namespace_of(object) == gateway.namespace
        };
        gateway.object = self.there("Gateway").find(is).cloned().or_else(|| {
            let found = built_in.iter().find(|(namespace, name, _)| {
                *namespace == gateway.namespace && *name == gateway.name
            });
            found.map(|(_, name, address)| {
                json!({
                    "metadata": {"name": name},
                    "spec": {
                        "gatewayClassName": "test-class",
                        "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}],
                    },
                    "status": {
                        "addresses": [{"value": address}],
                        "conditions": [{"type": "Programmed", "status": "True"}],
                    },
                })
            })
        });
        let class = gateway.object.as_ref();
        let class = class.map(|object| object["spec"]["gatewayClassName"].clone());
        gateway.class_exists = class.is_some_and(|class| {
            class == "test-class"
                || self
                    .there("GatewayClass")
                    .any(|known| known["metadata"]["name"] == class)
        });
        let in_front = |service: &&Value| {
            let labels = &service["metadata"]["labels"];
            self.namespace_of(service) == gateway.namespace
                && (labels["gateway.networking.k8s.io/gateway-name"] == *gateway.name
                    || service["metadata"]["name"] == *gateway.name)
        };
        gateway.service = self.there("Service").find(in_front).cloned();
    }

    /// What the router refers to and is not there.
    pub(crate) fn refusal(
        &self,
        service: &ServiceIdentity,
        spec: &Value,
        facts: &Facts,
    ) -> Option<Failure> {
        let planned = weir_plan::routes(service, spec, facts).ok()?;
        let routes = self.referenced_routes(spec);
        let mut named = routes.clone();
        named.extend(planned.first().cloned());
        let mut gateways = weir_plan::observed_gateways_of(&named, spec, &service.namespace);
        for gateway in &mut gateways {
            self.fill(gateway);
        }
        weir_plan::check_refs(service, spec, planned.first(), &routes, &gateways)
    }
}
