//! What each service still waits for, and the first request that it answers.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use kube::api::{Api, DynamicObject, ListParams};
use serde_json::{Value, json};
use weir_api::names::{ChildNames, Kind, condition, kind, label};

/// What was last observed of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Ready is true for the present generation.
    Ready {
        /// Where requests go: through the gateway or, without a router, to the Service of the pods.
        url: Option<String>,
        /// Name under which the model is served.
        model: String,
    },
    /// Not yet, and why.
    Waiting(String),
}

/// Reads progress from a service object.
pub fn progress(service: &Value) -> Progress {
    let generation = service
        .pointer("/metadata/generation")
        .and_then(Value::as_i64);
    let observed = service
        .pointer("/status/observedGeneration")
        .and_then(Value::as_i64);
    let conditions = service
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    let Some(conditions) = conditions.filter(|list| !list.is_empty()) else {
        return Progress::Waiting("the controller has not looked yet".to_owned());
    };
    let is = |condition: &Value, key: &str, value: &str| {
        condition.get(key).and_then(Value::as_str) == Some(value)
    };
    let ready = conditions
        .iter()
        .any(|c| is(c, "type", "Ready") && is(c, "status", "True"));
    if ready && (observed.is_none() || observed == generation) {
        let name = service
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let model = service
            .pointer("/spec/model/name")
            .and_then(Value::as_str)
            .unwrap_or(name)
            .to_owned();
        let url = service
            .pointer("/status/url")
            .and_then(Value::as_str)
            .map(str::to_owned);
        return Progress::Ready { url, model };
    }
    Progress::Waiting(awaited(conditions))
}

/// What a service waits for, each thing once: a condition that sums up others repeats the words of one of them.
fn awaited(conditions: &[Value]) -> String {
    let part = |condition: &Value, key: &str| {
        let text = condition.get(key).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let mut things: Vec<(String, &'static str)> = Vec::new();
    for one in conditions {
        if part(one, "status") == "True" {
            continue;
        }
        let mut words = part(one, "message");
        if words.is_empty() {
            words = part(one, "reason");
        }
        if words.is_empty() {
            words = "not looked at yet".to_owned();
        }
        let name = in_words(&part(one, "type"));
        match things.iter_mut().find(|(known, _)| *known == words) {
            Some((_, known)) if known.is_empty() => *known = name,
            Some(_) => {}
            None => things.push((words, name)),
        }
    }
    // What only a summing condition says is said if nothing else is.
    if things.iter().any(|(_, name)| !name.is_empty()) {
        things.retain(|(_, name)| !name.is_empty());
    }
    let lines: Vec<String> = things
        .into_iter()
        .map(|(words, name)| match name {
            "" => words,
            name => format!("{name}: {words}"),
        })
        .collect();
    if lines.is_empty() {
        "the controller to look at the last change".to_owned()
    } else {
        lines.join("; ")
    }
}

/// What a condition is about; nothing for one that sums up others.
fn in_words(kind: &str) -> &'static str {
    match kind {
        condition::MAIN_WORKLOAD_READY => "the model's pods",
        condition::WORKER_WORKLOAD_READY => "the worker pods",
        condition::PREFILL_WORKLOAD_READY | condition::PREFILL_WORKER_WORKLOAD_READY => {
            "the prefill pods"
        }
        condition::SCHEDULER_WORKLOAD_READY => "the scheduler",
        condition::INFERENCE_POOL_READY => "the pool",
        condition::PRESETS_COMBINED => "the configuration",
        condition::GATEWAYS_READY => "the gateway",
        condition::HTTP_ROUTES_READY => "the route",
        _ => "",
    }
}

/// Reads the progress of the service `name` in `namespace`.
///
/// # Errors
/// When the store does not answer or has no such service.
pub async fn observe(
    client: &kube::Client,
    namespace: &str,
    name: &str,
) -> Result<Progress, kube::Error> {
    let objects = |kind: Kind| -> Api<DynamicObject> {
        Api::namespaced_with(client.clone(), namespace, &kind.api_resource())
    };
    let object = objects(kind::SERVICE).get(name).await?;
    let mut progress = progress(&serde_json::to_value(object).unwrap_or_default());
    if let Progress::Ready { url, .. } = &mut progress
        && url.is_none()
    {
        let service = ChildNames::new(name).workload_service();
        let own = objects(kind::CORE_SERVICE).get_opt(&service).await?;
        *url = own.and_then(|own| address(&serde_json::to_value(own).unwrap_or_default()));
        if url.is_some() {
            let of_service =
                ListParams::default().labels(&format!("{}={service}", label::SERVICE_NAME));
            let slices = objects(kind::ENDPOINT_SLICE).list(&of_service).await?;
            // Whoever forwards from the address can only close a connection that has nowhere to go.
            if !slices.iter().any(|slice| has_ready(&slice.data)) {
                return Ok(Progress::Waiting(format!(
                    "Service {service} has no ready endpoint; `kubectl -n {namespace} get pods` shows what is not ready"
                )));
            }
        }
    }
    Ok(progress)
}

/// Whether an EndpointSlice has an endpoint that takes requests.
fn has_ready(slice: &Value) -> bool {
    let mut endpoints = slice["endpoints"].as_array().into_iter().flatten();
    // Without the condition an endpoint counts as ready.
    endpoints.any(|endpoint| endpoint["conditions"]["ready"] != false)
}

/// Where a Service can be reached on this machine.
fn address(service: &Value) -> Option<String> {
    let ip = service.pointer("/spec/clusterIP")?.as_str()?;
    let ip: std::net::IpAddr = ip.parse().ok()?;
    let port = service.pointer("/spec/ports/0")?;
    let scheme = match port["appProtocol"].as_str() {
        Some("https") => "https",
        _ => "http",
    };
    Some(format!("{scheme}://{ip}:{}", port["port"].as_u64()?))
}

/// Asks the service for its models, through the gateway as a user would: Ready is what the controller saw,
/// and the gateway may be a moment behind.
///
/// # Errors
/// The status and body of a refusal, or why there was no answer within ten seconds.
pub async fn reachable(url: &str) -> Result<(), String> {
    let request = Request::get(format!("{url}/v1/models"))
        .body(Full::new(Bytes::new()))
        .map_err(|error| error.to_string())?;
    send(request).await
}

/// Asks the service for one token.
///
/// # Errors
/// The status and body of a refusal, or why there was no answer within ten seconds.
pub async fn ask_once(url: &str, model: &str) -> Result<(), String> {
    let body = json!({
        "model": model,
        "max_tokens": 1,
        "messages": [{"role": "user", "content": "Hello"}],
    });
    let request = Request::post(format!("{url}/v1/chat/completions"))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .map_err(|error| error.to_string())?;
    send(request).await
}

async fn send(request: Request<Full<Bytes>>) -> Result<(), String> {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let answer = tokio::time::timeout(Duration::from_secs(10), async {
        let response = client
            .request(request)
            .await
            .map_err(|e| crate::report::chain(&e))?;
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|e| e.to_string())?
            .to_bytes();
        if status.is_success() {
            Ok(())
        } else {
            Err(format!("{status}: {}", String::from_utf8_lossy(&body)))
        }
    });
    answer
        .await
        .unwrap_or_else(|_| Err("no answer within 10 s".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_without_a_router_has_the_address_of_its_pods() {
        let service = |ip: &str, protocol: &str| json!({"spec": {"clusterIP": ip, "ports": [{"port": 8000, "appProtocol": protocol}]}});
        for (object, wanted) in [
            (
                service("127.64.128.7", "http"),
                Some("http://127.64.128.7:8000"),
            ),
            (
                service("127.64.128.7", "https"),
                Some("https://127.64.128.7:8000"),
            ),
            (service("None", "http"), None),
            (json!({}), None),
        ] {
            assert_eq!(address(&object).as_deref(), wanted, "{object}");
        }
    }

    #[test]
    fn an_endpoint_takes_requests_unless_it_is_said_not_to() {
        let slice = |endpoints: Value| json!({"endpoints": endpoints});
        for (object, ready) in [
            (json!({}), false),
            (slice(json!(null)), false),
            (slice(json!([])), false),
            (slice(json!([{"conditions": {"ready": false}}])), false),
            (slice(json!([{"addresses": ["127.64.1.1"]}])), true),
            (
                slice(json!([{"conditions": {"ready": false}}, {"conditions": {"ready": true}}])),
                true,
            ),
        ] {
            assert_eq!(has_ready(&object), ready, "{object}");
        }
    }

    #[test]
    fn progress_names_what_is_awaited() {
        let service = |conditions: Value, observed: i64| {
            json!({"metadata": {"name": "n", "generation": 2},
                   "status": {"observedGeneration": observed, "url": "http://h/d/n", "conditions": conditions}})
        };
        let ready = json!([{"type": "Ready", "status": "True"}]);
        let not = |kind: &str, message: &str| json!({"type": kind, "status": "False", "message": message});
        let pods = "Not enough. pod p, container main: not started yet";
        let waiting = json!([
            not("HTTPRoutesReady", "no word of a gateway"),
            not("MainWorkloadReady", pods),
            {"type": "PresetsCombined", "status": "True"},
            not("Ready", pods),
            not("RouterReady", "no word of a gateway"),
            not("WorkloadsReady", pods),
        ]);
        let unknown = json!([
            {"type": "Ready", "status": "Unknown"},
            {"type": "RouterReady", "status": "Unknown"},
        ]);
        let rows = [
            (
                "nothing yet",
                json!({"metadata": {}}),
                "the controller has not looked yet",
            ),
            (
                "each thing once",
                service(waiting, 2),
                "the route: no word of a gateway; the model's pods: Not enough. pod p, container main: not started yet",
            ),
            ("nothing known", service(unknown, 2), "not looked at yet"),
            (
                "an old generation",
                service(ready.clone(), 1),
                "the controller to look at the last change",
            ),
        ];
        for (row, object, text) in rows {
            assert_eq!(progress(&object), Progress::Waiting(text.into()), "{row}");
        }
        let url = Some("http://h/d/n".to_owned());
        assert_eq!(
            progress(&service(ready, 2)),
            Progress::Ready {
                url,
                model: "n".into()
            }
        );
    }
}
