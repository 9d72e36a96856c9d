//! Only one of several replicas is ready: the one that holds the lease.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::health::Bits;

/// How long a lease holds, how often it is renewed or asked for, and after how long without a renewal its holder
/// stops being ready.
const HOLDS: Duration = Duration::from_secs(15);
const RENEWED: Duration = Duration::from_secs(2);
const GIVEN_UP: Duration = Duration::from_secs(10);

/// Who wants what.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Namespace of the lease.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who this is.
    pub identity: String,
}

/// What another's lease was when it was seen to change.
struct Observed {
    version: Option<String>,
    at: Instant,
}

/// Strives for the lease until `stop`, then gives it back.
pub async fn strive(client: Client, claim: Claim, bits: Arc<Bits>, stop: CancellationToken) {
    let api: Api<Lease> = Api::namespaced(client, &claim.namespace);
    let mut renewed: Option<Instant> = None;
    let mut observed = Observed {
        version: None,
        at: Instant::now(),
    };
    loop {
        // What others see of a renewal is no older than the moment it was asked for.
        let asked = Instant::now();
        // A server that does not answer must not keep the holder ready while another takes the lease.
        let left = renewed.map_or(GIVEN_UP, |at| GIVEN_UP.saturating_sub(at.elapsed()));
        let limit = if left.is_zero() { GIVEN_UP } else { left };
        let attempt = attempt(&api, &claim, &mut observed);
        match tokio::time::timeout(limit, attempt).await {
            Ok(Ok(true)) => {
                if renewed.is_none() {
                    tracing::info!(lease = claim.name, "Leading");
                }
                renewed = Some(asked);
            }
            Ok(Ok(false)) => renewed = None,
            Ok(Err(error)) => tracing::warn!(
                lease = claim.name,
                error = weir_runtime::errors::chain(&error),
                "Lease not renewed"
            ),
            Err(_) => tracing::warn!(
                lease = claim.name,
                "Lease not renewed: the server did not answer within {limit:?}"
            ),
        }
        let leads = renewed.is_some_and(|at| at.elapsed() < GIVEN_UP);
        bits.leader.store(leads, Ordering::Relaxed);
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(RENEWED) => {}
        }
    }
    if renewed.is_some()
        && let Err(error) = give_back(&api, &claim).await
    {
        tracing::warn!(
            lease = claim.name,
            error = weir_runtime::errors::chain(&error),
            "Lease not given back: others wait until it ends"
        );
    }
}

/// Takes or renews the lease; false while another holds it.
async fn attempt(
    api: &Api<Lease>,
    claim: &Claim,
    observed: &mut Observed,
) -> Result<bool, kube::Error> {
    let now = MicroTime(Timestamp::now());
    let Some(mut lease) = api.get_opt(&claim.name).await? else {
        let mut lease = Lease::default();
        lease.metadata.name = Some(claim.name.clone());
        lease.spec = Some(held(claim, &now, 0, None));
        return settled(api.create(&PostParams::default(), &lease).await);
    };
    let spec = lease.spec.take().unwrap_or_default();
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    let mine = holder == claim.identity;
    // The holder's clock may be wrong, so what counts is how long nothing was seen to change here.
    if observed.version != lease.metadata.resource_version {
        observed
            .version
            .clone_from(&lease.metadata.resource_version);
        observed.at = Instant::now();
    }
    if !mine && !holder.is_empty() && observed.at.elapsed() < HOLDS {
        return Ok(false);
    }
    let changes = spec.lease_transitions.unwrap_or(0) + i32::from(!mine);
    let since = spec.acquire_time.filter(|_| mine);
    lease.spec = Some(held(claim, &now, changes, since));
    settled(
        api.replace(&claim.name, &PostParams::default(), &lease)
            .await,
    )
}

/// Somebody else was faster: no error.
fn settled(written: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

fn held(claim: &Claim, now: &MicroTime, changes: i32, since: Option<MicroTime>) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(claim.identity.clone()),
        lease_duration_seconds: i32::try_from(HOLDS.as_secs()).ok(),
        acquire_time: since.or_else(|| Some(now.clone())),
        renew_time: Some(now.clone()),
        lease_transitions: Some(changes),
        ..LeaseSpec::default()
    }
}

async fn give_back(api: &Api<Lease>, claim: &Claim) -> Result<(), kube::Error> {
    let Some(mut lease) = api.get_opt(&claim.name).await? else {
        return Ok(());
    };
    if let Some(spec) = &mut lease.spec
        && spec.holder_identity.as_deref() == Some(&claim.identity)
    {
        spec.holder_identity = Some(String::new());
        let written = api
            .replace(&claim.name, &PostParams::default(), &lease)
            .await;
        settled(written)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use http::{Method, Request, Response, StatusCode};
    use http_body_util::BodyExt;
    use kube::client::Body;

    use super::*;

    /// A server that has no lease, takes every one that is made, and falls silent when it is told to.
    fn client(silent: Arc<AtomicBool>) -> Client {
        let answer = move |request: Request<Body>| {
            let silent = silent.load(Ordering::Relaxed);
            async move {
                if silent {
                    std::future::pending::<()>().await;
                }
                let (status, body) = if request.method() == Method::GET {
                    let status = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}"#;
                    (StatusCode::NOT_FOUND, bytes::Bytes::from(status))
                } else {
                    let body = request.into_body().collect().await.unwrap();
                    (StatusCode::CREATED, body.to_bytes())
                };
                let mut response = Response::new(Body::from(body.to_vec()));
                *response.status_mut() = status;
                Ok::<_, std::convert::Infallible>(response)
            }
        };
        Client::new(tower::service_fn(answer), "default")
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_whose_server_is_silent_gives_up_before_others_take_over() {
        let silent = Arc::new(AtomicBool::new(false));
        let bits = Arc::new(Bits::default());
        let stop = CancellationToken::new();
        let claim = Claim {
            namespace: "ns".to_owned(),
            name: "lease".to_owned(),
            identity: "me".to_owned(),
        };
        let work = strive(
            client(Arc::clone(&silent)),
            claim,
            Arc::clone(&bits),
            stop.clone(),
        );
        let leads = || bits.leader.load(Ordering::Relaxed);
        let check = async {
            tokio::time::sleep(RENEWED * 2).await;
            assert!(leads());
            silent.store(true, Ordering::Relaxed);
            tokio::time::sleep(RENEWED).await;
            assert!(leads(), "one renewal that is late is no reason");
            tokio::time::sleep(GIVEN_UP).await;
            assert!(!leads());
            silent.store(false, Ordering::Relaxed);
            tokio::time::sleep(HOLDS).await;
            assert!(leads());
            stop.cancel();
        };
        tokio::join!(work, check);
    }
}
