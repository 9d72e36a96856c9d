//! What follows from the spec itself once all layers are merged: the pool's selector, the picker's account,
//! parents and backends of the route.

use serde_json::{Map, Value, json};
use weir_api::names::{child, kind, port};

use crate::origin::Traced;

/// A spec on the way, with the origins of its leaves when somebody wants them.
pub(crate) struct Fixes<'a> {
    pub(crate) spec: &'a mut Value,
    pub(crate) traced: &'a mut Option<Traced>,
    /// Name of the service.
    pub(crate) name: &'a str,
}

impl Fixes<'_> {
    /// Before templates are evaluated.
    pub(crate) fn before(&mut self) {
        let labels = "/router/scheduler/pool/spec/selector/matchLabels";
        let empty =
            |value: Option<&Value>| value.and_then(Value::as_object).is_none_or(Map::is_empty);
        let pool = self.object("/router/scheduler/pool/spec");
        if pool && empty(self.spec.pointer(labels)) {
            let selector = json!({
                "app.kubernetes.io/name": self.name,
                "app.kubernetes.io/part-of": "llminferenceservice",
                "kserve.io/component": "workload",
            });
            self.spec["router"]["scheduler"]["pool"]["spec"]["selector"]["matchLabels"] = selector;
            self.ruled(labels);
        }
        let account = "/router/scheduler/template/serviceAccountName";
        if self.object("/router/scheduler/template") && self.text(account).is_empty() {
            let name = child(self.name, "-epp-sa");
            self.spec["router"]["scheduler"]["template"]["serviceAccountName"] = Value::from(name);
            self.ruled(account);
        }
    }

    /// After templates are evaluated.
    pub(crate) fn after(&mut self) {
        if self.object("/router/route/http/spec") {
            self.parents();
            self.backends();
        }
        let picker = "/router/scheduler/pool/spec/endpointPickerRef";
        let named = self.text(&format!("{picker}/kind"));
        let is_service = named.is_empty() || named == kind::CORE_SERVICE.kind;
        let number = self.spec.pointer(&format!("{picker}/port/number"));
        let unset = number.and_then(Value::as_i64).unwrap_or_default() == 0;
        if self.object(picker) && is_service && unset {
            self.spec["router"]["scheduler"]["pool"]["spec"]["endpointPickerRef"]["port"] =
                json!({"number": port::PICKER_GRPC});
            self.ruled(&format!("{picker}/port"));
        }
    }

    /// Gateways that are named are the parents.
    fn parents(&mut self) {
        let gateways = self.spec.pointer("/router/gateway/refs");
        let gateways = gateways.and_then(Value::as_array).cloned();
        let gateways = gateways.unwrap_or_default();
        if gateways.is_empty() {
            return;
        }
        let parent = |gateway: &Value| {
            let mut parent = json!({
                "group": kind::GATEWAY.group,
                "kind": kind::GATEWAY.kind,
                "name": gateway["name"],
            });
            for key in ["namespace", "sectionName"] {
                let text = gateway.get(key).and_then(Value::as_str).unwrap_or_default();
                if !text.is_empty() {
                    parent[key] = Value::from(text);
                }
            }
            parent
        };
        let parents: Value = gateways.iter().map(parent).collect();
        self.spec["router"]["route"]["http"]["spec"]["parentRefs"] = parents;
        self.ruled("/router/route/http/spec/parentRefs");
    }

    /// The own pool stands for the workload Service where there is no picker, and for a pool that is named.
    fn backends(&mut self) {
        let own = child(self.name, "-inference-pool");
        let scheduled = self.object("/router/scheduler");
        let named = self.text("/router/scheduler/pool/ref/name").to_owned();
        if scheduled && named.is_empty() {
            return;
        }
        let service = child(self.name, "-kserve-workload-svc");
        let rules = self.spec.pointer_mut("/router/route/http/spec/rules");
        let rules = rules.and_then(Value::as_array_mut).into_iter().flatten();
        let mut changed = Vec::new();
        for (rule, one) in rules.enumerate() {
            let backends = one.get_mut("backendRefs").and_then(Value::as_array_mut);
            for (index, backend) in backends.into_iter().flatten().enumerate() {
                if backend["kind"] != kind::INFERENCE_POOL.kind || backend["name"] != own {
                    continue;
                }
                let at = format!("/router/route/http/spec/rules/{rule}/backendRefs/{index}");
                changed.push(format!("{at}/name"));
                if scheduled {
                    backend["name"] = Value::from(named.as_str());
                } else {
                    backend["group"] = Value::from("");
                    backend["kind"] = Value::from(kind::CORE_SERVICE.kind);
                    backend["name"] = Value::from(service.as_str());
                    changed.extend([format!("{at}/group"), format!("{at}/kind")]);
                }
            }
        }
        for pointer in changed {
            self.ruled(&pointer);
        }
    }

    fn object(&self, pointer: &str) -> bool {
        self.spec.pointer(pointer).is_some_and(Value::is_object)
    }

    fn text(&self, pointer: &str) -> &str {
        let text = self.spec.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_default()
    }

    /// Notes that everything at `pointer` is by rule.
    fn ruled(&mut self, pointer: &str) {
        if let (Some(traced), Some(value)) = (&mut *self.traced, self.spec.pointer(pointer)) {
            traced.ruled(pointer, value);
        }
    }
}
