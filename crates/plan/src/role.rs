//! Which pods a service has: one role each, with what the shape of the service makes of it.

use std::collections::BTreeMap;

use serde_json::Value;
use weir_api::names::{ChildNames, label, value};

use crate::{ServiceIdentity, present};

/// One kind of pod of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The primary pod on one node; it decodes where the service has prefill pods, and does both elsewhere.
    Single,
    /// The prefill pod on one node.
    Prefill,
    /// The first pod of a primary group.
    Leader,
    /// The other pods of a primary group.
    Worker,
    /// The first pod of a prefill group.
    PrefillLeader,
    /// The other pods of a prefill group.
    PrefillWorker,
}

impl Role {
    /// The roles of the service's shape, each with its template in the effective spec. Leaders come before their
    /// workers, and the primary before prefill.
    pub(crate) fn of(spec: &Value) -> Vec<Self> {
        let mut roles = Vec::with_capacity(4);
        if present(spec, "/worker") {
            if present(spec, "/template") {
                roles.push(Self::Leader);
            }
            roles.push(Self::Worker);
        } else {
            roles.push(Self::Single);
        }
        if present(spec, "/prefill/worker") {
            if present(spec, "/prefill/template") {
                roles.push(Self::PrefillLeader);
            }
            roles.push(Self::PrefillWorker);
        } else if present(spec, "/prefill") {
            roles.push(Self::Prefill);
        }
        roles
    }

    /// Whether the pod belongs to `spec.prefill`.
    pub(crate) fn is_prefill(self) -> bool {
        matches!(
            self,
            Self::Prefill | Self::PrefillLeader | Self::PrefillWorker
        )
    }

    /// Whether the pod is one of a group.
    pub(crate) fn is_grouped(self) -> bool {
        !matches!(self, Self::Single | Self::Prefill)
    }

    /// Whether the pod follows a leader.
    pub(crate) fn is_worker(self) -> bool {
        matches!(self, Self::Worker | Self::PrefillWorker)
    }

    /// The part of the effective spec that says how many such pods there are and how they compute.
    pub(crate) fn workload(self, spec: &Value) -> &Value {
        if self.is_prefill() {
            spec.get("prefill").unwrap_or(&Value::Null)
        } else {
            spec
        }
    }

    /// The pod as the effective spec has it.
    pub(crate) fn template(self, spec: &Value) -> Option<&Value> {
        let field = if self.is_worker() {
            "worker"
        } else {
            "template"
        };
        self.workload(spec)
            .get(field)
            .filter(|template| template.is_object())
    }

    /// The field of [`Role::template`], as users write it.
    pub(crate) fn field(self) -> &'static str {
        match self {
            Self::Single | Self::Leader => "spec.template",
            Self::Worker => "spec.worker",
            Self::Prefill | Self::PrefillLeader => "spec.prefill.template",
            Self::PrefillWorker => "spec.prefill.worker",
        }
    }

    /// The account that the plan makes for pods that name none.
    pub(crate) fn managed_account(self, service: &ServiceIdentity) -> String {
        let names = ChildNames::new(&service.name);
        match self {
            Self::Single | Self::Prefill => names.deployment(),
            Self::Leader | Self::Worker => names.upstream_lws(),
            Self::PrefillLeader | Self::PrefillWorker => names.upstream_prefill_lws(),
        }
    }

    /// The component of the pod's label.
    pub(crate) fn component(self) -> &'static str {
        match self {
            Self::Single => value::COMPONENT_WORKLOAD,
            Self::Prefill => value::COMPONENT_PREFILL,
            Self::Leader => value::COMPONENT_LEADER,
            Self::Worker => value::COMPONENT_WORKER,
            Self::PrefillLeader => value::COMPONENT_LEADER_PREFILL,
            Self::PrefillWorker => value::COMPONENT_WORKER_PREFILL,
        }
    }

    /// Labels of the pod that the shape settles; without a leader the workers take requests.
    pub(crate) fn labels(
        self,
        service: &ServiceIdentity,
        spec: &Value,
    ) -> BTreeMap<String, String> {
        let mut labels = service.labels(self.component());
        let led = self.is_worker() && present(self.workload(spec), "/template");
        if !led {
            let role = match self {
                Self::Prefill | Self::PrefillLeader | Self::PrefillWorker => value::ROLE_PREFILL,
                // Whether or not the service has prefill pods: existing installations have it so.
                Self::Worker => value::ROLE_DECODE,
                Self::Single | Self::Leader if present(spec, "/prefill") => value::ROLE_DECODE,
                Self::Single | Self::Leader => value::ROLE_BOTH,
            };
            labels.insert(
                label::KSERVE_COMPONENT.to_owned(),
                value::WORKLOAD.to_owned(),
            );
            labels.insert(label::ROLE.to_owned(), role.to_owned());
        }
        labels
    }
}
