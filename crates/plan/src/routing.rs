//! What the router's objects depend on beside the spec.

use serde_json::Value;
use weir_api::names::{Kind, kind};

/// What is known of the cluster for routes, pools and the picker.
#[derive(Clone, Debug)]
pub struct RouterFacts {
    /// Domain of Services.
    pub cluster_domain: String,
    /// The optional kinds that the cluster serves.
    pub served: Vec<Kind>,
    /// The live Deployment of the picker.
    pub picker: Option<Value>,
    /// Whether the account that the picker's template names exists; `None` when nobody looked.
    pub picker_account_exists: Option<bool>,
    /// The account that the model's pods run as: the named one, else the namespace's `default`.
    pub main_account: Option<Value>,
    /// What stands under the usual name of the picker's ClusterRoleBinding.
    pub binding: Option<Value>,
    /// The pool that the service refers to, as it is.
    pub pool: Option<Value>,
}

impl Default for RouterFacts {
    fn default() -> Self {
        Self {
            cluster_domain: "cluster.local".to_owned(),
            served: vec![kind::INFERENCE_POOL, kind::INFERENCE_OBJECTIVE],
            picker: None,
            picker_account_exists: None,
            main_account: None,
            binding: None,
            pool: None,
        }
    }
}

impl RouterFacts {
    /// Whether the cluster serves an optional kind.
    #[must_use]
    pub fn serves(&self, kind: Kind) -> bool {
        self.served.contains(&kind)
    }
}
