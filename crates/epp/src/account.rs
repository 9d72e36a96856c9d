//! What a stream holds, and what is counted when it ends.

use std::sync::Arc;
use std::time::Duration;

use weir_extproc::exchange::Record;
use weir_scheduler::Account;

use crate::grpc::Code;
use crate::metrics::{Metrics, RequestLabels, Running, Series};

/// What a stream holds until it ends.
#[derive(Debug)]
pub(crate) struct Held {
    opened: Duration,
    /// Load of the endpoints that was added for this request.
    account: Option<Account>,
    running: Option<Running>,
    series: Option<Arc<Series>>,
    /// Code word of the error to count.
    error: Option<&'static str>,
    /// The answer has begun.
    answered: bool,
    code: Option<Code>,
}

impl Held {
    pub(crate) fn new(opened: Duration) -> Self {
        Self {
            opened,
            account: None,
            running: None,
            series: None,
            error: None,
            answered: false,
            code: None,
        }
    }

    /// The request was sent somewhere.
    pub(crate) fn routed(&mut self, account: Account, series: Arc<Series>, has_model: bool) {
        self.account = Some(account);
        series.routed();
        if has_model {
            self.running = Some(series.running());
        }
        self.series = Some(series);
    }

    /// The request was refused.
    pub(crate) fn refused(&mut self, word: &'static str, series: Arc<Series>) {
        self.series = Some(series);
        self.error = Some(word);
    }

    /// A message was worked on.
    pub(crate) fn after(&mut self, record: &Record) {
        if !self.answered && record.first_chunk.is_some() {
            self.answered = true;
            if let Some(account) = &mut self.account {
                account.first_chunk();
            }
        }
        if let (Some(gap), true, Some(series)) = (record.gap, record.streaming, &self.series) {
            series.gap.observe(gap.as_secs_f64());
        }
        if record.completed.is_some() {
            // The engine is done with it, whenever the client closes the stream.
            self.account = None;
        }
    }

    pub(crate) fn ended_with(&mut self, code: Code) {
        self.code = Some(code);
    }

    pub(crate) fn cancelled(&mut self) {
        self.code = None;
    }

    /// Counts what is counted at the end.
    pub(crate) fn settle(&mut self, record: &Record, metrics: &Metrics, now: Duration) {
        self.account = None;
        self.running = None;
        let seconds = |from: Duration, to: Duration| to.saturating_sub(from).as_secs_f64();
        let code = match self.code {
            Some(Code::Ok) => "OK",
            Some(Code::ResourceExhausted) => "ResourceExhausted",
            Some(Code::Internal) => "Internal",
            Some(_) => "Unknown",
            None => "Canceled",
        };
        metrics.stream_ended(code, seconds(self.opened, now));
        if let Some(began) = record.response_began {
            metrics.response_processing.observe(seconds(began, now));
        }
        if self.series.is_none() && record.response_began.is_none() {
            return;
        }
        let series = self.series.take().unwrap_or_else(|| {
            metrics.series(RequestLabels {
                fairness: weir_scheduler::request::DEFAULT_FLOW.to_owned(),
                ..RequestLabels::default()
            })
        });
        let error = self
            .error
            .take()
            .or_else(|| record.server_error.then_some("ModelServerError"));
        if let Some(word) = error {
            series.error(word);
        }
        if let Some(completed) = record.completed {
            complete(&series, record, completed);
        }
    }
}

fn complete(series: &Series, record: &Record, completed: Duration) {
    let whole = completed.saturating_sub(record.received).as_secs_f64();
    series.duration.observe(whole);
    series.response_bytes.observe(record.response_bytes as f64);
    if let Some(first) = record.first_chunk {
        let ttft = first.saturating_sub(record.received).as_secs_f64();
        series.ttft[usize::from(record.streaming)].observe(ttft);
    }
    let Some(usage) = record.usage else {
        return;
    };
    if usage.prompt > 0 {
        series.input_tokens.observe(usage.prompt as f64);
    }
    if let Some(cached) = usage.cached {
        series.cached_tokens.observe(cached as f64);
    }
    if usage.completion > 0 {
        let tokens = usage.completion as f64;
        series.output_tokens.observe(tokens);
        series.ntpot.observe(whole / tokens);
        if let (Some(first), true, true) =
            (record.first_chunk, record.streaming, usage.completion > 1)
        {
            let after = completed.saturating_sub(first).as_secs_f64();
            series.tpot.observe(after / (tokens - 1.0));
        }
    }
}
