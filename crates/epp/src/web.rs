//! What the metrics port serves.

use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use weir_runtime::http::{Body, full, text};

use crate::auth::Auth;
use crate::picker::Picker;

/// Media type of the page, as Go's exporter writes it.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

/// Answers a request.
pub(crate) async fn answer(
    picker: &Picker,
    auth: Option<&Auth>,
    request: Request<Incoming>,
) -> Response<Body> {
    if let Some(auth) = auth {
        let allowed = auth.allows(request.headers()).await;
        if allowed != StatusCode::OK {
            let reason = allowed.canonical_reason().unwrap_or_default();
            return text(allowed, format!("{reason}\n"));
        }
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
    }
    match request.uri().path() {
        "/metrics" => page(
            CONTENT_TYPE,
            picker.metrics.page(&picker.endpoints.snapshot()),
        ),
        "/debug/decisions" => page("application/json", picker.decisions.page()),
        _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

fn page(kind: &'static str, content: String) -> Response<Body> {
    let mut response = Response::new(full(content));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}
