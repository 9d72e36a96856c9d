//! The glue: a request that is whole goes through parser, admission and scheduler, and comes back as a route.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use prost_types::value::Kind;
use weir_extproc::exchange::{Arrived, Exchange, Route, Rules, Step};
use weir_extproc::headers::Headers;
use weir_extproc::intake::{self, Intake};
use weir_extproc::names;
use weir_extproc::parsers::Parsers;
use weir_extproc::pb::Metadata;
use weir_extproc::wire::Outbound;
use weir_scheduler::flow::Item;
use weir_scheduler::request::{DEFAULT_FLOW, Prompt};
use weir_scheduler::{Ask, Candidates, Code, LlmRequest, Outcome, Rejection, Scheduler, Snapshot};

use crate::account::Held;
use crate::conversation::Conversation;
use crate::decisions::Decisions;
use crate::grpc::{Answer, answered};
use crate::health::{Health, unknown_method};
use crate::metrics::{Metrics, RequestLabels, Series};
use crate::objectives::Objectives;
use crate::pool::Endpoints;
use crate::queue::{Queue, Waiting};

/// The method that gateways call.
const PROCESS: &str = "/envoy.service.ext_proc.v3.ExternalProcessor/Process";

/// Asks for the decision's explanation, and carries it.
const EXPLAIN: &str = "x-weir-explain";
/// Longest explanation in a header.
const MAX_EXPLANATION: usize = 16 << 10;

/// What the picker does for one request after the other.
pub struct Picker {
    /// Decides.
    pub scheduler: Scheduler,
    /// The endpoints.
    pub endpoints: Arc<Endpoints>,
    /// Priorities of objectives and rewrites of models.
    pub objectives: Arc<Objectives>,
    /// Which API a request is of.
    pub parsers: Parsers,
    /// What exchanges do otherwise.
    pub rules: Rules,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Explained decisions.
    pub decisions: Decisions,
    /// Largest message.
    pub message_limit: usize,
    /// The gateway's hint is heeded.
    pub heed_subset: bool,
    /// Scores go to the gateway.
    pub emit_scores: bool,
    /// Explanations go to whoever asks.
    pub explain_header: bool,
    /// A health service is at the ext_proc port too.
    pub health: bool,
    /// Where requests wait, with flow control.
    pub queue: Option<Arc<Queue>>,
    /// Zero of the clock.
    pub started: Instant,
    /// Makes seeds differ.
    pub seeds: AtomicU64,
}

/// What was found out about a request, whatever becomes of it.
struct Seen {
    series: Arc<Series>,
}

/// Headers as the scheduler looks them up.
struct Lookup<'a>(&'a Headers);

impl weir_scheduler::Headers for Lookup<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.0.text(name)
    }
}

impl Picker {
    /// Time since the start.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Answers a call at the ext_proc port.
    #[must_use]
    pub fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Response<Answer> {
        match request.uri().path() {
            PROCESS => answered(Conversation::new(Arc::clone(self), request.into_body())),
            path if self.health && Health::takes(path) => Health::answer_statically(request),
            path => unknown_method(path),
        }
    }

    fn seed(&self) -> u64 {
        // Odd and large: consecutive requests differ in every bit that matters.
        self.seeds
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
    }

    /// A request without a body goes to any endpoint.
    pub(crate) fn any(
        &self,
        exchange: &mut Exchange,
        held: &mut Held,
        out: &mut Vec<Outbound>,
    ) -> Step {
        let snapshot = self.endpoints.snapshot();
        let endpoints = snapshot.endpoints();
        if endpoints.is_empty() {
            let rejection = Rejection::new(Code::Internal, "no pods available in datastore");
            let series = self.unnamed();
            return refuse(exchange, held, &rejection, series, out);
        }
        let at = (self.seed() >> 33) % endpoints.len() as u64;
        let endpoint = &endpoints[usize::try_from(at).unwrap_or(0)];
        exchange.any(&endpoint.address.to_string(), out);
        self.count_shielded(exchange);
        Step::Go
    }

    fn unnamed(&self) -> Arc<Series> {
        self.metrics.series(RequestLabels {
            fairness: DEFAULT_FLOW.to_owned(),
            ..RequestLabels::default()
        })
    }

    /// Decides about a whole request.
    pub(crate) fn decide(
        &self,
        exchange: &mut Exchange,
        held: &mut Held,
        out: &mut Vec<Outbound>,
    ) -> Step {
        let begun = self.now();
        let step = match self.route(exchange.arrived(), held) {
            Ok(route) => {
                let step = exchange.route(route, out);
                self.count_shielded(exchange);
                step
            }
            Err((rejection, seen)) => {
                let series = seen.map_or_else(|| self.unnamed(), |seen| seen.series);
                refuse(exchange, held, &rejection, series, out)
            }
        };
        let seconds = self.now().saturating_sub(begun).as_secs_f64();
        self.metrics.request_processing.observe(seconds);
        step
    }

    /// Lets a request wait for its turn; nothing without flow control, and for what is refused anyway.
    pub(crate) fn line_up(&self, arrived: &Arrived) -> Option<Result<Waiting, Rejection>> {
        let queue = self.queue.as_ref()?;
        // What cannot be read is refused at once, with its own words.
        intake::read(arrived, &self.parsers).ok()?;
        let item = Item {
            priority: self.priority(&arrived.headers),
            fairness_id: self.fairness(&arrived.headers).to_owned(),
            bytes: arrived.body.len() as u64,
            received: arrived.received,
            ttft_goal_ms: arrived
                .headers
                .first_of(&names::TTFT_GOAL)
                .and_then(|text| text.parse().ok()),
        };
        Some(queue.enter(item, self.endpoints.snapshot().is_empty()))
    }

    /// Refuses a request that waited in vain.
    pub(crate) fn reject(
        &self,
        exchange: &mut Exchange,
        held: &mut Held,
        rejection: &Rejection,
        out: &mut Vec<Outbound>,
    ) -> Step {
        let arrived = exchange.arrived();
        let series = match intake::read(arrived, &self.parsers) {
            Ok(intake) => self.series(&intake, &arrived.headers),
            Err(_) => self.unnamed(),
        };
        refuse(exchange, held, rejection, series, out)
    }

    fn priority(&self, headers: &Headers) -> i32 {
        headers
            .first_of(&names::OBJECTIVE)
            .map_or(0, |name| self.objectives.priority(name))
    }

    fn fairness<'a>(&self, headers: &'a Headers) -> &'a str {
        headers
            .first_of(&names::FAIRNESS)
            .filter(|id| !id.is_empty())
            .unwrap_or(DEFAULT_FLOW)
    }

    fn series(&self, intake: &Intake<'_>, headers: &Headers) -> Arc<Series> {
        self.metrics.series(RequestLabels {
            model: intake.incoming.clone().into_owned(),
            target: intake.target.clone().into_owned(),
            fairness: self.fairness(headers).to_owned(),
            priority: self.priority(headers),
        })
    }

    fn count_shielded(&self, exchange: &Exchange) {
        for name in exchange.shielded() {
            self.metrics.shielded(name);
        }
    }

    fn route(
        &self,
        arrived: &Arrived,
        held: &mut Held,
    ) -> Result<Route, (Rejection, Option<Seen>)> {
        let bad =
            |error: intake::Refused| (Rejection::new(Code::BadRequest, error.to_string()), None);
        let mut intake = intake::read(arrived, &self.parsers).map_err(bad)?;
        if let Some(target) = self.objectives.rewrite(&intake.incoming, self.seed()) {
            intake.target = target.into();
        }
        let fairness = self.fairness(&arrived.headers);
        let priority = self.priority(&arrived.headers);
        let series = self.series(&intake, &arrived.headers);
        let prompts: Vec<Prompt<'_>> = intake
            .peek
            .prompts
            .iter()
            .map(|prompt| Prompt::whole(prompt))
            .collect();
        let lookup = Lookup(&arrived.headers);
        let request = LlmRequest {
            id: arrived.headers.text(names::REQUEST_ID).unwrap_or(""),
            target_model: &intake.target,
            prompts: &prompts,
            cache_salt: intake.peek.cache_salt.as_deref().unwrap_or(""),
            max_output_tokens: intake.peek.output_cap,
            media: &[],
            priority,
            fairness_id: fairness,
            headers: &lookup,
            body_bytes: arrived.body.len() as u64,
            received: arrived.received,
        };
        let refused = |rejection| {
            (
                rejection,
                Some(Seen {
                    series: Arc::clone(&series),
                }),
            )
        };
        let body = intake::outgoing(
            &arrived.body,
            &intake,
            &intake.target,
            self.rules.trust_client,
        )
        .map_err(bad)?;
        let (outcome, account) = self.schedule(&request, arrived).map_err(refused)?;
        let has_model = !intake.target.is_empty();
        held.routed(account, series, has_model);
        Ok(self.told(outcome, &intake, body))
    }

    /// The decision, with the request counted where it goes.
    fn schedule(
        &self,
        request: &LlmRequest<'_>,
        arrived: &Arrived,
    ) -> Result<(Outcome, weir_scheduler::Account), Rejection> {
        let snapshot = self.endpoints.snapshot();
        let candidates = if self.heed_subset {
            hint(arrived.metadata.as_ref(), &snapshot)
        } else {
            Candidates::All
        };
        if candidates.is_empty(&snapshot) {
            return Err(Rejection::no_candidates());
        }
        let now = self.now();
        self.scheduler.admit(request, &snapshot, &candidates, now)?;
        let asked =
            self.explain_header && arrived.headers.text(EXPLAIN).is_some_and(|on| on == "1");
        let ask = Ask {
            now,
            seed: self.seed(),
            scores: self.emit_scores,
            explain: asked || self.decisions.sampled(),
            ..Ask::default()
        };
        let decided = self
            .scheduler
            .schedule(request, &snapshot, &candidates, ask);
        let seconds = self.now().saturating_sub(now).as_secs_f64();
        self.metrics.scheduling.observe(seconds);
        let mut outcome = match decided {
            Ok(outcome) => outcome,
            Err(rejection) => {
                self.metrics.attempt(request.target_model, None);
                return Err(rejection);
            }
        };
        self.metrics.attempt(
            request.target_model,
            outcome.targets.first().map(AsRef::as_ref),
        );
        if let Some(decision) = outcome.decision {
            let config = self.scheduler.config();
            let handler = &config.plugins[config.handler];
            self.metrics
                .decided(&handler.name, &handler.kind, request.target_model, decision);
        }
        if wants_cached(&arrived.headers) && !outcome.has_cached_prefix {
            return Err(Rejection::not_cached());
        }
        if let Some(explain) = &outcome.explain {
            let story = self
                .decisions
                .keep(request, &outcome.destination, explain, now);
            if asked && story.len() <= MAX_EXPLANATION {
                outcome.response_headers.push((EXPLAIN.to_owned(), story));
            }
        }
        let account = self.scheduler.dispatch(request, &mut outcome, now);
        Ok((outcome, account))
    }

    fn told(&self, outcome: Outcome, intake: &Intake<'_>, body: Option<bytes::Bytes>) -> Route {
        Route {
            destination: outcome.destination,
            headers: outcome
                .headers
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            response_headers: outcome.response_headers,
            scores: outcome
                .scores
                .unwrap_or_default()
                .into_iter()
                .map(|(address, score)| (address.to_string(), score))
                .collect(),
            body,
            format: intake.format,
            stream: intake.peek.stream,
            incoming: intake.incoming.clone().into_owned(),
            target: intake.target.clone().into_owned(),
        }
    }
}

fn refuse(
    exchange: &mut Exchange,
    held: &mut Held,
    rejection: &Rejection,
    series: Arc<Series>,
    out: &mut Vec<Outbound>,
) -> Step {
    held.refused(rejection.code.word(), series);
    exchange.refuse(
        rejection.code.status(),
        rejection.body(),
        rejection.dropped.map(|reason| reason.value()),
        out,
    )
}

/// The endpoints that the gateway's hint leaves.
fn hint(metadata: Option<&Metadata>, snapshot: &Snapshot) -> Candidates {
    let value = metadata
        .and_then(|metadata| metadata.filter_metadata.get(names::SUBSET_NAMESPACE))
        .and_then(|namespace| namespace.fields.get(names::SUBSET))
        .and_then(|value| value.kind.as_ref());
    match value {
        Some(Kind::ListValue(list)) => {
            let items = list.values.iter().filter_map(|item| match &item.kind {
                Some(Kind::StringValue(text)) => Some(text.as_str()),
                _ => None,
            });
            Candidates::from_hint(snapshot, items)
        }
        // One gateway's reference picker takes a string with commas, so this does.
        Some(Kind::StringValue(text)) => Candidates::from_hint(snapshot, [text.as_str()]),
        _ => Candidates::All,
    }
}

/// `prefer: if-available` among others.
fn wants_cached(headers: &Headers) -> bool {
    headers.text("prefer").is_some_and(|value| {
        value.split(',').any(|token| {
            let token = token.split(';').next().unwrap_or("").trim();
            token.eq_ignore_ascii_case("if-available")
        })
    })
}

#[cfg(test)]
mod tests {
    use weir_extproc::pb::{HeaderMap, HeaderValueOption};

    use super::*;

    #[test]
    fn preferences_are_tokens() {
        let rows = [
            ("if-available", true),
            ("x, If-Available;q=1", true),
            ("if-available-x", false),
            ("", false),
        ];
        for (value, expected) in rows {
            let header = HeaderValueOption::raw("Prefer", value.to_owned()).header;
            let headers = Headers::lowered(Some(HeaderMap {
                headers: header.into_iter().collect(),
            }));
            assert_eq!(wants_cached(&headers), expected, "{value}");
        }
    }
}
