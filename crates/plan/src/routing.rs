//! Routes: the managed one, what it may refer to, and what all of the router depends on beside the spec.
//!
//! ```text
//! effective spec ─► managed (parents, backends) ─► migration (group of the pool) ─► model (by name, adapters)
//!                ─► group (backends of all members)
//! ```

mod collision;
mod group;
mod managed;
mod migration;
mod model;
mod parents;
mod refs;

use serde_json::Value;
use weir_api::names::{Kind, kind};

pub use collision::model_name_collision;
pub use group::{Group, Peer, still_routed_by};
pub use managed::attach_gateways;
pub(crate) use managed::object;
pub use model::opts_out;
pub use parents::parents;
pub(crate) use parents::same_parent;
pub use refs::{check_refs, not_served};

use crate::Facts;

/// What is known of the cluster for routes, pools and the picker.
#[derive(Clone, Debug)]
pub struct RouterFacts {
    /// Domain of Services.
    pub cluster_domain: String,
    /// The optional kinds that the cluster serves.
    pub served: Vec<Kind>,
    /// What stands under the usual name of the picker's ClusterRoleBinding.
    pub binding: Option<Value>,
    /// The pool that the service refers to, as it is.
    pub pool: Option<Value>,
    /// The services of its group.
    pub peers: Vec<Peer>,
    /// The service's status as it was read.
    pub previous: Value,
}

impl Default for RouterFacts {
    fn default() -> Self {
        Self {
            cluster_domain: "cluster.local".to_owned(),
            served: vec![kind::INFERENCE_POOL, kind::INFERENCE_OBJECTIVE],
            binding: None,
            pool: None,
            peers: Vec::new(),
            previous: Value::Null,
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

impl Facts {
    /// The child of a kind and name as it is.
    pub(crate) fn find_live(&self, kind: Kind, name: &str) -> Option<&Value> {
        let is = |live: &&Value| {
            live["kind"] == kind.kind
                && live["apiVersion"] == kind.api_version()
                && live["metadata"]["name"] == name
        };
        self.live.iter().map(AsRef::as_ref).find(is)
    }
}
