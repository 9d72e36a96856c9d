//! Who calls, and what a pod may do.
//!
//! There are two kinds of callers: the administrator, whose token is in the kubeconfig, and service
//! accounts, whose tokens are derived from it. There are no roles: an account reads everything but
//! the Secrets of other namespaces and writes Leases, Events and reviews.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use sha2::{Digest as _, Sha256};

use crate::request::Req;
use crate::status::ApiError;

/// Who sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// The holder of the kubeconfig.
    Admin,
    /// A pod's account.
    Account {
        /// Namespace of the account.
        namespace: String,
        /// Name of the account.
        name: String,
    },
}

impl Caller {
    /// Returns the caller that a token stands for.
    pub(crate) fn of_token(token: &str, secret: &str) -> Option<Self> {
        if same(token, secret) {
            return Some(Self::Admin);
        }
        let (subject, _) = token.strip_prefix("sa.")?.split_once('.')?;
        let subject = String::from_utf8(BASE64.decode(subject).ok()?).ok()?;
        let (namespace, name) = subject.split_once('/')?;
        same(token, &account_token(secret, namespace, name)).then(|| Self::Account {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }

    /// Returns the user name as Kubernetes writes it.
    pub(crate) fn user(&self) -> String {
        match self {
            Self::Admin => "admin".to_owned(),
            Self::Account { namespace, name } => {
                format!("system:serviceaccount:{namespace}:{name}")
            }
        }
    }

    /// Refuses what the caller may not do.
    pub(crate) fn check(&self, req: &Req, read: bool) -> Result<(), ApiError> {
        let Self::Account { namespace, .. } = self else {
            return Ok(());
        };
        let resource = &req.resource;
        let allowed = if read {
            &*resource.storage != "core/secrets" || req.namespace() == namespace
        } else {
            let free = matches!(
                &*resource.storage,
                "coordination.k8s.io/leases" | "core/events"
            );
            free || (resource.review && resource.plural != "bindings")
        };
        if allowed {
            return Ok(());
        }
        let verb = if read { "read" } else { "change" };
        let why = format!(
            "User {:?} cannot {verb} resource {:?} in API group {:?} here",
            self.user(),
            resource.plural,
            resource.group
        );
        Err(ApiError::forbidden(resource, req.name(), &why))
    }
}

/// Returns the token of a service account.
pub(crate) fn account_token(secret: &str, namespace: &str, name: &str) -> String {
    let subject = format!("{namespace}/{name}");
    // The secret on both sides, so that nothing can be appended to a known text.
    let digest = Sha256::digest(format!("{secret}\n{subject}\n{secret}"));
    format!("sa.{}.{}", BASE64.encode(subject), BASE64.encode(digest))
}

/// Compares by digest, so that the time says nothing about the token.
fn same(a: &str, b: &str) -> bool {
    Sha256::digest(a) == Sha256::digest(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_stand_for_one_caller() {
        let token = account_token("secret", "ns", "sa");
        let caller = Caller::of_token(&token, "secret").unwrap();
        assert_eq!(caller.user(), "system:serviceaccount:ns:sa");
        assert_eq!(Caller::of_token(&token, "other"), None);
        assert_eq!(Caller::of_token("secret", "secret"), Some(Caller::Admin));
        let forged = format!(
            "sa.{}.{}",
            BASE64.encode("kube-system/x"),
            token.rsplit('.').next().unwrap()
        );
        assert_eq!(Caller::of_token(&forged, "secret"), None);
    }
}
