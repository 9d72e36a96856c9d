//! Counters, and the page of them on a listener of its own: the serving port's `/metrics` is the engine's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use weir_promtext::write::{CONTENT_TYPE, Page};
use weir_proxy::{Body, full};
use weir_runtime::http::text;
use weir_runtime::serving::Serving;

use crate::respond::Reason;
use crate::route::Route;

/// Labels of the routes.
const ROUTES: [&str; 4] = ["disaggregated", "passthrough", "health", "redirect"];

/// What is counted.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: [AtomicU64; ROUTES.len()],
    refused: [AtomicU64; Reason::ALL.len()],
    in_flight: AtomicU64,
    stripped: AtomicU64,
}

/// Counts a request as running until it is dropped.
#[derive(Debug)]
pub struct InFlight(Arc<Metrics>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Counts a request that begins.
    pub fn begin(self: &Arc<Self>, route: &Route) -> InFlight {
        let index = match route {
            Route::Disaggregated => 0,
            Route::Through => 1,
            Route::Health => 2,
            Route::Redirect(_) => 3,
        };
        self.requests[index].fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Counts a request that was answered here with an error.
    pub fn refused(&self, reason: Reason) {
        if let Some(index) = Reason::ALL.iter().position(|known| *known == reason) {
            self.refused[index].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a body out of which something was taken.
    pub fn stripped(&self) {
        self.stripped.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes the page; `certificate` is the one that is served.
    #[must_use]
    pub fn page(&self, certificate: Option<&Serving>) -> String {
        let load = |of: &AtomicU64| of.load(Ordering::Relaxed) as f64;
        let mut page = Page::default();
        // The transfer protocols of AMD's engines count here; the families are there from the start.
        for (name, help) in [
            (
                "moriio_dns_reresolve_total",
                "Lookups of MoRI-IO hosts after the first.",
            ),
            (
                "moriio_dns_ip_changed_total",
                "Lookups of MoRI-IO hosts that found another address.",
            ),
            (
                "moriio_dns_lookup_failures_total",
                "Lookups of MoRI-IO hosts that failed.",
            ),
        ] {
            page.family(name, "counter", help);
            page.sample(name, &[], 0.0);
        }
        let (reads, failures) = certificate.map_or((0, 0), Serving::counts);
        for (name, help, value) in [
            (
                "certwatcher_read_certificate_total",
                "Readings of the certificate.",
                reads,
            ),
            (
                "certwatcher_read_certificate_errors_total",
                "Readings of the certificate that failed.",
                failures,
            ),
        ] {
            page.family(name, "counter", help);
            page.sample(name, &[], value as f64);
        }
        let name = "weir_sidecar_requests_total";
        page.family(name, "counter", "Requests by what was done with them.");
        for (route, count) in ROUTES.iter().zip(&self.requests) {
            page.sample(name, &[("route", route)], load(count));
        }
        let name = "weir_sidecar_refused_total";
        page.family(
            name,
            "counter",
            "Requests that the sidecar answered with an error of its own.",
        );
        for (reason, count) in Reason::ALL.iter().zip(&self.refused) {
            page.sample(name, &[("reason", reason.label())], load(count));
        }
        let name = "weir_sidecar_stripped_bodies_total";
        page.family(
            name,
            "counter",
            "Bodies out of which transfer parameters were taken.",
        );
        page.sample(name, &[], load(&self.stripped));
        let name = "weir_sidecar_requests_in_flight";
        page.family(name, "gauge", "Requests whose answers are not finished.");
        page.sample(name, &[], load(&self.in_flight));
        page.finish()
    }

    /// Answers a request to the metrics listener.
    #[must_use]
    pub fn answer(
        &self,
        certificate: Option<&Serving>,
        request: &Request<Incoming>,
    ) -> Response<Body> {
        if request.uri().path() != "/metrics"
            || !matches!(*request.method(), Method::GET | Method::HEAD)
        {
            return text(StatusCode::NOT_FOUND, "404 page not found\n");
        }
        let mut response = Response::new(full(self.page(certificate)));
        let kind = HeaderValue::from_static(CONTENT_TYPE);
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}
