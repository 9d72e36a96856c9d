//! Requests to an InferencePool: through its picker, or to any ready endpoint where that is allowed.

use std::net::SocketAddr;

use http::Request;
use http::Response;
use weir_proxy::{Body, Problem, full, guarded};

use super::{Prepared, Server, round};
use crate::attach::{PoolView, Routing};
use crate::picker::{Decision, Go, respond};
use crate::table::{Backend, Rule};

impl Server {
    /// Sends a request to the pool `namespace/name`.
    pub(super) async fn to_pool(
        &self,
        routing: &Routing,
        rule: &Rule,
        backend: &Backend,
        (namespace, name): (&str, &str),
        prepared: Prepared,
    ) -> Result<Response<Body>, Problem> {
        let pool = routing
            .pools
            .get(&(namespace.to_owned(), name.to_owned()))
            .ok_or_else(|| {
                Problem::unavailable(format!("InferencePool {namespace}/{name} is gone"))
            })?;
        let Some((service, port)) = &pool.picker else {
            let ready = self.ready(namespace, name, pool)?;
            let upstreams = round(&ready, &backend.round);
            return self.forward(rule, prepared.request(), &upstreams).await;
        };
        let (mut parts, body, room) = prepared.whole(&self.held).await?;
        let pickers = self.endpoints.ready(namespace, service, *port);
        let turns = if pickers.is_empty() {
            Vec::new()
        } else {
            round(&pickers, &backend.round)
        };
        for picker in turns {
            match self.pickers.decide(picker, &parts, body.clone()).await {
                Ok(Decision::Answer(answer)) => return Ok(*answer),
                Ok(Decision::Go(go)) => {
                    self.check(namespace, name, pool, &go)?;
                    go.apply(&mut parts.headers);
                    let Go {
                        destinations,
                        body,
                        call,
                        ..
                    } = *go;
                    let request = Request::from_parts(parts, guarded(full(body), room));
                    let response = self.forward(rule, request, &destinations).await?;
                    return Ok(respond(call, response).await);
                }
                Err(failure) => tracing::warn!(
                    %picker,
                    error = weir_runtime::errors::chain(&failure),
                    "No decision from a picker"
                ),
            }
        }
        if !pool.fail_open {
            return Err(Problem::unavailable(format!(
                "InferencePool {namespace}/{name}: its endpoint picker {namespace}/{service} does not answer and its failure mode is FailClose; start the picker or set failureMode FailOpen"
            )));
        }
        let ready = self.ready(namespace, name, pool)?;
        let upstreams = round(&ready, &backend.round);
        let request = Request::from_parts(parts, guarded(full(body), room));
        self.forward(rule, request, &upstreams).await
    }

    /// The pool's ready endpoints.
    fn ready(
        &self,
        namespace: &str,
        name: &str,
        pool: &PoolView,
    ) -> Result<Vec<SocketAddr>, Problem> {
        let ready = self.members(namespace, pool, true);
        if ready.is_empty() {
            return Err(Problem::unavailable(format!(
                "InferencePool {namespace}/{name} has no ready pod; `kubectl -n {namespace} get pods` shows what is not ready"
            )));
        }
        Ok(ready)
    }

    fn members(&self, namespace: &str, pool: &PoolView, ready: bool) -> Vec<SocketAddr> {
        self.endpoints
            .snapshot()
            .pods(namespace)
            .filter(|pod| (pod.ready || !ready) && pool.selector.matches(&pod.labels))
            .flat_map(|pod| {
                pool.ports
                    .iter()
                    .map(|port| SocketAddr::new(pod.address, *port))
            })
            .collect()
    }

    /// A picker sends to its pool and nowhere else.
    fn check(&self, namespace: &str, name: &str, pool: &PoolView, go: &Go) -> Result<(), Problem> {
        let members = self.members(namespace, pool, false);
        let foreign = go
            .destinations
            .iter()
            .find(|address| !members.contains(address));
        match foreign {
            None if !go.destinations.is_empty() => Ok(()),
            None => Err(Problem::unavailable(format!(
                "InferencePool {namespace}/{name}: its picker named no endpoint; look at the picker's log"
            ))),
            Some(address) => Err(Problem::unavailable(format!(
                "InferencePool {namespace}/{name}: its picker chose {address}, which is no endpoint of the pool; its ports or selector differ from the pool's"
            ))),
        }
    }
}
