//! Scrapes the endpoints: one kept connection each, one buffer while a page is read, nothing allocated in between.
//!
//! Each endpoint is asked on its own tick, spread over the interval. An endpoint that does not answer in time is asked
//! again at its next tick; what it said last stays, and grows old.

mod client;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weir_scheduler::Endpoint;
use weir_scheduler::data::Extractor;

use crate::metrics::Metrics;
use crate::pool::Endpoints;
use client::Connection;

pub use client::{Tls, TlsError};

/// Longest that one scrape may take.
const DEADLINE: Duration = Duration::from_secs(1);
/// Buffers that are kept between scrapes.
const KEPT: usize = 64;
/// Labels of metrics.
const SOURCE: &str = "metrics-data-source";
const EXTRACTOR: &str = "core-metrics-extractor";

/// What is scraped, and how often.
pub struct Plan {
    /// Over TLS, when given.
    pub tls: Option<Tls>,
    /// Path of the page.
    pub path: String,
    /// Port, when it is not that of requests.
    pub port: Option<u16>,
    /// Time between two scrapes of an endpoint.
    pub interval: Duration,
    /// What reads the page.
    pub extractor: Extractor,
}

/// What the scrapers share.
struct Shared {
    plan: Plan,
    metrics: Arc<Metrics>,
    started: Instant,
    buffers: Mutex<Vec<Vec<u8>>>,
}

/// Scrapes whatever endpoints there are, until `stop`. `started` is the zero of the clock that decisions use.
pub async fn run(
    plan: Plan,
    endpoints: Arc<Endpoints>,
    metrics: Arc<Metrics>,
    started: Instant,
    stop: CancellationToken,
) {
    let shared = Arc::new(Shared {
        plan,
        metrics,
        started,
        buffers: Mutex::default(),
    });
    let mut changes = endpoints.subscribe();
    changes.mark_changed();
    let tasks = TaskTracker::new();
    let mut scraped: HashMap<u64, CancellationToken> = HashMap::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            changed = changes.changed() => if changed.is_err() {
                break;
            },
        }
        let snapshot = changes.borrow_and_update().clone();
        scraped.retain(|key, token| {
            let stays = snapshot.endpoints().iter().any(|one| one.key().0 == *key);
            if !stays {
                token.cancel();
            }
            stays
        });
        for endpoint in snapshot.endpoints() {
            scraped.entry(endpoint.key().0).or_insert_with(|| {
                let token = stop.child_token();
                let work = follow(Arc::clone(&shared), Arc::clone(endpoint), token.clone());
                tasks.spawn(work);
                token
            });
        }
    }
    tasks.close();
    tasks.wait().await;
}

async fn follow(shared: Arc<Shared>, endpoint: Arc<Endpoint>, stop: CancellationToken) {
    let mut address = endpoint.address;
    if let Some(port) = shared.plan.port {
        address.set_port(port);
    }
    let mut connection = Connection::new(address, &shared.plan.path, shared.plan.tls.clone());
    // Endpoints that appeared together are not asked together.
    let interval = shared.plan.interval;
    let spread = interval.mul_f64((endpoint.key().0 % 16) as f64 / 16.0);
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + spread, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    // The first page is not waited for: an endpoint that nobody knows ranks last.
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let outcome = tokio::select! {
            () = stop.cancelled() => return,
            outcome = once(&shared, &endpoint, &mut connection) => outcome,
        };
        match outcome {
            Ok(()) if failing => {
                failing = false;
                tracing::info!(endpoint = &*endpoint.id, "Metrics answer again");
            }
            Ok(()) => {}
            Err(error) => {
                shared.metrics.poll_error(SOURCE);
                if !failing {
                    failing = true;
                    tracing::warn!(endpoint = &*endpoint.id, error, "Metrics do not answer");
                }
            }
        }
    }
}

async fn once(
    shared: &Shared,
    endpoint: &Endpoint,
    connection: &mut Connection,
) -> Result<(), String> {
    let mut buffer = shared.buffers.lock().pop().unwrap_or_default();
    let fetched = tokio::time::timeout(DEADLINE, connection.fetch(&mut buffer)).await;
    let outcome = match fetched {
        Ok(Ok(page)) => match std::str::from_utf8(&buffer[page]) {
            Ok(page) => {
                let now = shared.started.elapsed();
                let read = shared.plan.extractor.extract(page, endpoint, now);
                if !read.errors.is_empty() {
                    shared.metrics.extract_error(SOURCE, EXTRACTOR);
                }
                Ok(())
            }
            Err(_) => Err("the page is not UTF-8".to_owned()),
        },
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => {
            connection.close();
            Err(format!("no answer within {DEADLINE:?}"))
        }
    };
    buffer.clear();
    let mut kept = shared.buffers.lock();
    if kept.len() < KEPT {
        kept.push(buffer);
    }
    outcome
}
