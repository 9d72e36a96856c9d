//! `grpc.health.v1`: what probes ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use prost::Message;

use crate::grpc::unary::{Reply, Unary};
use crate::grpc::{Answer, Code, Status, answered, ended};

/// Name of the service that the picker is.
pub const EXT_PROC: &str = "envoy.service.ext_proc.v3.ExternalProcessor";
const LIVENESS: &str = "liveness";
const READINESS: &str = "readiness";

/// Where the service is.
const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
const LIST: &str = "/grpc.health.v1.Health/List";

/// What health is made of.
#[derive(Debug, Default)]
pub struct Bits {
    /// The pool is known, or the endpoints are loaded.
    pub live: AtomicBool,
    /// The pool's protocol is one that every parser speaks.
    pub protocol: AtomicBool,
    /// It stops.
    pub draining: AtomicBool,
    /// It holds the lease.
    pub leader: AtomicBool,
}

/// The service.
#[derive(Clone, Debug)]
pub struct Health {
    bits: Arc<Bits>,
    /// There is a lease to hold.
    election: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Serving {
    Yes = 1,
    No = 2,
    Unknown = 3,
}

#[derive(Clone, PartialEq, Message)]
struct CheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Message)]
struct CheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

#[derive(Clone, PartialEq, Message)]
struct ListResponse {
    #[prost(map = "string, message", tag = "1")]
    statuses: std::collections::HashMap<String, CheckResponse>,
}

impl Health {
    /// The service over `bits`.
    #[must_use]
    pub fn new(bits: Arc<Bits>, election: bool) -> Self {
        Self { bits, election }
    }

    fn of(&self, service: &str) -> Serving {
        let is = |bit: &AtomicBool| bit.load(Ordering::Relaxed);
        let live = is(&self.bits.live);
        let up = live && is(&self.bits.protocol) && !is(&self.bits.draining);
        let serving = match service {
            "" | EXT_PROC | READINESS => up && (!self.election || is(&self.bits.leader)),
            // That the pool is late or that we drain is no reason to be killed.
            LIVENESS => true,
            _ if self.election => return Serving::Unknown,
            _ => up,
        };
        if serving { Serving::Yes } else { Serving::No }
    }

    /// Answers a call at the health port.
    #[must_use]
    pub fn answer(&self, request: Request<Incoming>) -> Response<Answer> {
        match request.uri().path() {
            CHECK => {
                let this = self.clone();
                answered(Unary::new(request.into_body(), move |question: Bytes| {
                    match CheckRequest::decode(question) {
                        Ok(question) => response(this.of(&question.service)),
                        Err(error) => malformed(&error),
                    }
                }))
            }
            LIST => {
                let mut names = vec![EXT_PROC];
                if self.election {
                    names.extend([LIVENESS, READINESS]);
                }
                let statuses = names.into_iter().map(|name| (name, self.of(name)));
                list(request.into_body(), statuses)
            }
            WATCH => ended(&Status::new(
                Code::Unimplemented,
                "Watch is not implemented",
            )),
            path => unknown_method(path),
        }
    }

    /// Answers a call for health at the ext_proc port, which says nothing but that it is there.
    #[must_use]
    pub fn answer_statically(request: Request<Incoming>) -> Response<Answer> {
        let path = request.uri().path();
        match path {
            CHECK | WATCH => {
                let watch = path == WATCH;
                answered(Unary::new(request.into_body(), move |question: Bytes| {
                    let mut reply = match CheckRequest::decode(question) {
                        Ok(question) => match question.service.as_str() {
                            "" | EXT_PROC => response(Serving::Yes),
                            _ if watch => response(Serving::Unknown),
                            _ => Reply::status(Status::new(Code::NotFound, "unknown service")),
                        },
                        Err(error) => malformed(&error),
                    };
                    reply.stays = watch;
                    reply
                }))
            }
            LIST => list(
                request.into_body(),
                ["", EXT_PROC].map(|name| (name, Serving::Yes)),
            ),
            path => unknown_method(path),
        }
    }

    /// Says whether a path is of this service.
    #[must_use]
    pub fn takes(path: &str) -> bool {
        path.starts_with("/grpc.health.v1.Health/")
    }
}

fn response(serving: Serving) -> Reply {
    Reply::message(&CheckResponse {
        status: serving as i32,
    })
}

fn malformed(error: &prost::DecodeError) -> Reply {
    Reply::status(Status::new(
        Code::Internal,
        format!("grpc: error unmarshalling request: {error}"),
    ))
}

fn list(
    body: Incoming,
    statuses: impl IntoIterator<Item = (&'static str, Serving)>,
) -> Response<Answer> {
    let statuses = statuses
        .into_iter()
        .map(|(name, serving)| {
            let status = serving as i32;
            (name.to_owned(), CheckResponse { status })
        })
        .collect();
    let message = ListResponse { statuses };
    answered(Unary::new(body, move |_| Reply::message(&message)))
}

/// A call that nobody answers.
#[must_use]
pub fn unknown_method(path: &str) -> Response<Answer> {
    ended(&Status::new(
        Code::Unimplemented,
        format!("unknown method {path}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_probes_expect() {
        let bits = Arc::new(Bits::default());
        let health = |election| Health::new(Arc::clone(&bits), election);
        bits.protocol.store(true, Ordering::Relaxed);
        let names = ["", EXT_PROC, READINESS, LIVENESS, "inference-extension"];
        let of = |health: &Health| names.map(|name| health.of(name));
        use Serving::{No, Unknown, Yes};
        assert_eq!(of(&health(false)), [No, No, No, Yes, No]);
        bits.live.store(true, Ordering::Relaxed);
        assert_eq!(of(&health(false)), [Yes; 5]);
        assert_eq!(of(&health(true)), [No, No, No, Yes, Unknown]);
        bits.leader.store(true, Ordering::Relaxed);
        assert_eq!(of(&health(true)), [Yes, Yes, Yes, Yes, Unknown]);
        bits.draining.store(true, Ordering::Relaxed);
        assert_eq!(of(&health(false)), [No, No, No, Yes, No]);
    }
}
