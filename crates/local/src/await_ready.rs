//! What each service still waits for, and the first request that it answers.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use kube::api::{Api, DynamicObject};
use serde_json::{Value, json};

/// What was last observed of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Ready is true for the present generation.
    Ready {
        /// Where requests go; none for a service without a router.
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
    let mut awaited: Vec<String> = Vec::new();
    for condition in conditions {
        if is(condition, "status", "True") || is(condition, "type", "Ready") {
            continue;
        }
        let part = |key: &str| {
            condition
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let words = if part("message").is_empty() {
            part("reason")
        } else {
            part("message")
        };
        let line = format!("{} {}", part("type"), words).trim().to_owned();
        if !awaited.contains(&line) {
            awaited.push(line);
        }
    }
    if awaited.is_empty() {
        awaited.push("Ready".to_owned());
    }
    Progress::Waiting(awaited.join("; "))
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
    let resource = kube::core::ApiResource {
        group: "serving.kserve.io".into(),
        version: "v1alpha2".into(),
        api_version: "serving.kserve.io/v1alpha2".into(),
        kind: "LLMInferenceService".into(),
        plural: "llminferenceservices".into(),
    };
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let object = api.get(name).await?;
    Ok(progress(&serde_json::to_value(object).unwrap_or_default()))
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
    fn progress_names_what_is_awaited() {
        let service = |conditions: Value, observed: i64| {
            json!({"metadata": {"name": "n", "generation": 2},
                   "status": {"observedGeneration": observed, "url": "http://h/d/n", "conditions": conditions}})
        };
        let ready = json!([{"type": "Ready", "status": "True"}]);
        let waiting = json!([
            {"type": "Ready", "status": "False"},
            {"type": "MainWorkloadReady", "status": "False", "message": "0 of 1 pods are ready"},
        ]);
        let rows = [
            (
                "nothing yet",
                json!({"metadata": {}}),
                "the controller has not looked yet",
            ),
            (
                "a part",
                service(waiting, 2),
                "MainWorkloadReady 0 of 1 pods are ready",
            ),
            ("an old generation", service(ready.clone(), 1), "Ready"),
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
