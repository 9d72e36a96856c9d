//! Flow control around requests: they wait here until the pool has room for them.
//!
//! The rules are the scheduler's; this gives them a clock, and whoever waits an end. A request that is given up takes
//! itself out.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use weir_scheduler::flow::{Controller, Ended, Item, SWEEP, TICK, Ticket};
use weir_scheduler::{Code, DropReason, Rejection};

use crate::picker::Picker;

/// Requests that wait.
pub struct Queue {
    state: Mutex<State>,
    arrived: Notify,
    started: Instant,
}

struct State {
    controller: Controller,
    waiting: HashMap<Ticket, oneshot::Sender<Option<Rejection>>>,
}

/// A request that waits; dropping it takes it out.
pub(crate) struct Waiting {
    queue: Arc<Queue>,
    ticket: Ticket,
    end: oneshot::Receiver<Option<Rejection>>,
}

impl Queue {
    /// An empty queue under the rules of `controller`; `started` is the zero of the clock.
    #[must_use]
    pub fn new(controller: Controller, started: Instant) -> Self {
        Self {
            state: Mutex::new(State {
                controller,
                waiting: HashMap::new(),
            }),
            arrived: Notify::new(),
            started,
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Lets a request wait; `empty` says whether the pool has no endpoint now.
    pub(crate) fn enter(self: &Arc<Self>, item: Item, empty: bool) -> Result<Waiting, Rejection> {
        let mut state = self.state.lock();
        let now = self.now();
        state.controller.pool_is(empty, now);
        let ticket = match state.controller.enqueue(item, now) {
            Ok(ticket) => ticket,
            Err(ended) => return Err(ended.outcome.rejection().unwrap_or_else(stopping)),
        };
        let (send, end) = oneshot::channel();
        state.waiting.insert(ticket, send);
        drop(state);
        self.arrived.notify_one();
        Ok(Waiting {
            queue: Arc::clone(self),
            ticket,
            end,
        })
    }

    /// Lets requests through and takes out what waited too long, until `stop`.
    pub async fn run(self: Arc<Self>, picker: Arc<Picker>, stop: CancellationToken) {
        let mut swept = Instant::now();
        loop {
            let idle = self.state.lock().controller.is_empty();
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.arrived.notified() => {}
                () = tokio::time::sleep(if idle { SWEEP } else { TICK }) => {}
            }
            let now = self.now();
            let snapshot = picker.endpoints.snapshot();
            let mut state = self.state.lock();
            state.controller.pool_is(snapshot.is_empty(), now);
            if swept.elapsed() >= SWEEP {
                swept = Instant::now();
                state
                    .controller
                    .provision(picker.objectives.all_priorities(), now);
                for ended in state.controller.sweep(now) {
                    state.tell(&ended);
                }
            }
            if !state.controller.is_empty() {
                let saturation = picker.scheduler.saturation(&snapshot, now).effective;
                if let Some(ended) = state.controller.dispatch(saturation, now) {
                    state.tell(&ended);
                }
            }
        }
        let mut state = self.state.lock();
        for ended in state.controller.shut_down(self.now()) {
            state.tell(&ended);
        }
    }
}

impl State {
    fn tell(&mut self, ended: &Ended) {
        if let Some(send) = ended.ticket.and_then(|ticket| self.waiting.remove(&ticket)) {
            let _ = send.send(ended.outcome.rejection());
        }
    }
}

impl Waiting {
    /// The end of waiting: through, or refused.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        std::pin::Pin::new(&mut self.end)
            .poll(context)
            .map(|end| match end {
                Ok(None) => Ok(()),
                Ok(Some(rejection)) => Err(rejection),
                Err(_) => Err(stopping()),
            })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let now = self.queue.now();
        let mut state = self.queue.state.lock();
        if state.waiting.remove(&self.ticket).is_some() {
            state.controller.cancel(self.ticket, now);
        }
    }
}

fn stopping() -> Rejection {
    Rejection::new(
        Code::ServiceUnavailable,
        "flow controller shutting down: the picker stops",
    )
    .because(DropReason::ShuttingDown)
}
