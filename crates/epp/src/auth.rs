//! Who may read metrics: whoever has a token that the cluster lets get `/metrics`.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode, header};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::{Api, Client};
use parking_lot::Mutex;

/// How long an answer of the cluster is believed.
const BELIEVED: Duration = Duration::from_secs(60);
/// How many are kept.
const KEPT: usize = 256;

/// Asks the cluster.
pub struct Auth {
    client: Client,
    hasher: RandomState,
    /// By a keyed hash of the token, so that no token is kept.
    answers: Mutex<HashMap<u64, (Instant, StatusCode)>>,
}

impl Auth {
    /// Asks through `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client,
            hasher: RandomState::new(),
            answers: Mutex::default(),
        }
    }

    /// Says whether a request may read: 200, 401, 403, or 500 when the cluster does not answer.
    pub async fn allows(&self, headers: &HeaderMap) -> StatusCode {
        let Some(token) = bearer(headers) else {
            return StatusCode::UNAUTHORIZED;
        };
        let key = self.hasher.hash_one(token);
        if let Some((at, answer)) = self.answers.lock().get(&key)
            && at.elapsed() < BELIEVED
        {
            return *answer;
        }
        let answer = match self.ask(token).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(
                    error = weir_runtime::errors::chain(&error),
                    "A token for metrics could not be reviewed"
                );
                return StatusCode::INTERNAL_SERVER_ERROR;
            }
        };
        let mut answers = self.answers.lock();
        if answers.len() >= KEPT {
            answers.retain(|_, (at, _)| at.elapsed() < BELIEVED);
        }
        if answers.len() >= KEPT {
            answers.clear();
        }
        answers.insert(key, (Instant::now(), answer));
        answer
    }

    async fn ask(&self, token: &str) -> Result<StatusCode, kube::Error> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                ..TokenReviewSpec::default()
            },
            ..TokenReview::default()
        };
        let reviewed = Api::<TokenReview>::all(self.client.clone())
            .create(&kube::api::PostParams::default(), &review)
            .await?;
        let status = reviewed.status.unwrap_or_default();
        let Some(user) = status.user.filter(|_| status.authenticated == Some(true)) else {
            return Ok(StatusCode::UNAUTHORIZED);
        };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: user.username,
                uid: user.uid,
                groups: user.groups,
                extra: user.extra,
                non_resource_attributes: Some(NonResourceAttributes {
                    path: Some("/metrics".to_owned()),
                    verb: Some("get".to_owned()),
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviewed = Api::<SubjectAccessReview>::all(self.client.clone())
            .create(&kube::api::PostParams::default(), &review)
            .await?;
        Ok(if reviewed.status.is_some_and(|status| status.allowed) {
            StatusCode::OK
        } else {
            StatusCode::FORBIDDEN
        })
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bearer_tokens_count() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(
                header::AUTHORIZATION,
                header::HeaderValue::from_static(value),
            );
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(of("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(of("bearer  abc").as_deref(), Some("abc"));
        assert_eq!(of("Basic abc"), None);
        assert_eq!(of("Bearer "), None);
        assert_eq!(bearer(&HeaderMap::new()), None);
    }
}
