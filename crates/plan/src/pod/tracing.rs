//! Traces of the engine: its flags, and the environment that the exporter reads.

use serde_json::{Value, json};

use super::{Context, edit};
use crate::{Error, ServiceIdentity, items, text};

const NODE_NAME: &str = "OTEL_RESOURCE_ATTRIBUTES_NODE_NAME";
const POD_NAME: &str = "OTEL_RESOURCE_ATTRIBUTES_POD_NAME";
const DECODE: &str = "inference-server-decode";
const PREFILL: &str = "inference-server-prefill";

/// Lets the engine send traces to the collector that the spec names.
pub(crate) fn apply(pod: &mut Value, context: &Context<'_>) -> Result<(), Error> {
    let endpoint = text(context.spec, "/tracing/exporterEndpoint");
    let Some(main) = edit::main(pod).filter(|_| !endpoint.is_empty()) else {
        return Ok(());
    };
    for (flag, value) in [
        ("--otlp-traces-endpoint", endpoint),
        ("--collect-detailed-traces", "all"),
    ] {
        let with_value = format!("{flag}=");
        let given = items(main, "/args")
            .iter()
            .filter_map(Value::as_str)
            .any(|arg| arg == flag || arg.starts_with(&with_value));
        if !given {
            edit::push(main, "args", json!(flag));
            edit::push(main, "args", json!(value));
        }
    }
    let name = if context.role.is_prefill() {
        PREFILL
    } else {
        DECODE
    };
    for entry in environment(context.service, context.spec, name) {
        edit::push_new(main, "env", entry);
    }
    Ok(())
}

/// The environment of a traced container, in the order in which existing installations have it.
pub(crate) fn environment(service: &ServiceIdentity, spec: &Value, name: &str) -> Vec<Value> {
    let setting = |variable: &str, field: &str| {
        let value = text(spec, &format!("/tracing/{field}"));
        (!value.is_empty()).then(|| json!({"name": variable, "value": value}))
    };
    let field = |variable: &str, path: &str| {
        let reference = json!({"apiVersion": "v1", "fieldPath": path});
        json!({"name": variable, "valueFrom": {"fieldRef": reference}})
    };
    let attributes = format!(
        "k8s.namespace.name={},k8s.node.name=$({NODE_NAME}),k8s.pod.name=$({POD_NAME}),llmisvc.name={}",
        service.namespace, service.name
    );
    let mut all = vec![json!({"name": "OTEL_SERVICE_NAME", "value": name})];
    all.extend(setting("OTEL_EXPORTER_OTLP_ENDPOINT", "exporterEndpoint"));
    all.extend(setting("OTEL_TRACES_EXPORTER", "exporter"));
    all.extend(setting("OTEL_TRACES_SAMPLER", "sampler"));
    all.extend(setting("OTEL_TRACES_SAMPLER_ARG", "samplerArg"));
    all.push(field(NODE_NAME, "spec.nodeName"));
    all.push(field(POD_NAME, "metadata.name"));
    all.push(json!({"name": "OTEL_RESOURCE_ATTRIBUTES", "value": attributes}));
    all
}
