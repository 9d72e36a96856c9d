//! The parts of Gateway API objects that this gateway reads. Everything else in them is ignored here and
//! kept in the store.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// API group of Gateway API.
pub const GROUP: &str = "gateway.networking.k8s.io";

/// API groups under which an InferencePool may be named.
pub const POOL_GROUPS: [&str; 2] = [
    "inference.networking.k8s.io",
    "inference.networking.x-k8s.io",
];

/// Identity of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// Namespace, empty for cluster-wide kinds.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Generation of the spec.
    pub generation: i64,
    /// RFC 3339 time; sorts as text.
    pub creation_timestamp: String,
    /// Version, for conditional writes.
    pub resource_version: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// An object of which `S` is the spec; the status is kept as written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(bound(deserialize = "S: Default + Deserialize<'de>"))]
pub struct Object<S> {
    /// Identity.
    #[serde(default)]
    pub metadata: Meta,
    /// What the user wants.
    #[serde(default)]
    pub spec: S,
    /// What controllers wrote.
    #[serde(default)]
    pub status: Value,
}

/// A GatewayClass.
pub type GatewayClass = Object<GatewayClassSpec>;
/// A Gateway.
pub type Gateway = Object<GatewaySpec>;
/// An HTTPRoute.
pub type HttpRoute = Object<HttpRouteSpec>;
/// An InferencePool.
pub type InferencePool = Object<InferencePoolSpec>;

/// Spec of a GatewayClass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayClassSpec {
    /// Who serves gateways of this class.
    pub controller_name: String,
}

/// Spec of a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewaySpec {
    /// Its class.
    pub gateway_class_name: String,
    /// What it listens for.
    pub listeners: Vec<Listener>,
}

/// One listener of a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Listener {
    /// Name within the Gateway.
    pub name: String,
    /// Hosts it serves; none means all.
    pub hostname: Option<String>,
    /// Port it names; all are served on the one address of this gateway.
    pub port: i64,
    /// `HTTP` is the one that is served.
    pub protocol: String,
    /// Which routes may attach.
    pub allowed_routes: AllowedRoutes,
}

/// Which routes may attach to a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AllowedRoutes {
    /// Namespaces they may come from.
    pub namespaces: RouteNamespaces,
    /// Kinds; none means those of the protocol.
    pub kinds: Vec<RouteKind>,
}

/// Namespaces from which routes may attach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteNamespaces {
    /// `Same` (also when absent), `All` or `Selector`.
    pub from: Option<String>,
    /// Labels of namespaces, for `Selector`.
    pub selector: Option<LabelSelector>,
}

/// A kind of route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteKind {
    /// Group; absent means Gateway API.
    pub group: Option<String>,
    /// Kind.
    pub kind: String,
}

/// A label selector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// All of these labels.
    pub match_labels: BTreeMap<String, String>,
    /// And all of these conditions.
    pub match_expressions: Vec<LabelExpression>,
}

/// One condition of a label selector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelExpression {
    /// Label.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// Values for `In` and `NotIn`.
    pub values: Vec<String>,
}

impl LabelSelector {
    /// Says whether `labels` are selected. An unknown operator selects nothing.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|term| {
                let value = labels.get(&term.key);
                match term.operator.as_str() {
                    "In" => value.is_some_and(|value| term.values.contains(value)),
                    "NotIn" => value.is_none_or(|value| !term.values.contains(value)),
                    "Exists" => value.is_some(),
                    "DoesNotExist" => value.is_none(),
                    _ => false,
                }
            })
    }
}

/// Spec of an HTTPRoute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteSpec {
    /// Gateways it attaches to.
    pub parent_refs: Vec<ParentRef>,
    /// Hosts it is for; none means those of the listener.
    pub hostnames: Vec<String>,
    /// Rules.
    pub rules: Vec<RouteRule>,
}

/// A Gateway that a route attaches to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ParentRef {
    /// Group; absent means Gateway API.
    pub group: Option<String>,
    /// Kind; absent means Gateway.
    pub kind: Option<String>,
    /// Namespace; absent means the route's.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Listener; absent means all.
    pub section_name: Option<String>,
    /// Listener port; absent means all.
    pub port: Option<i64>,
}

/// One rule of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteRule {
    /// Name.
    pub name: Option<String>,
    /// Any of these; none means every request.
    pub matches: Vec<RouteMatch>,
    /// What is done to a request or an answer.
    pub filters: Vec<Filter>,
    /// Where requests go.
    pub backend_refs: Vec<BackendRef>,
    /// Limits.
    pub timeouts: Timeouts,
}

/// Limits of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Timeouts {
    /// Limit of the whole request.
    pub request: Option<String>,
    /// Limit of one try.
    pub backend_request: Option<String>,
}

/// What a request must be like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteMatch {
    /// Path; absent means prefix `/`.
    pub path: Option<TypedValue>,
    /// Headers, all of them.
    pub headers: Vec<NamedMatch>,
    /// Query parameters, all of them.
    pub query_params: Vec<NamedMatch>,
    /// Method.
    pub method: Option<String>,
}

/// A value and the way it is compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TypedValue {
    /// `PathPrefix`, `Exact` or `RegularExpression`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The value.
    pub value: Option<String>,
}

/// A named value and the way it is compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NamedMatch {
    /// `Exact` or `RegularExpression`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Header or parameter.
    pub name: String,
    /// The value.
    pub value: String,
}

/// One filter of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Filter {
    /// Which of the fields below holds it.
    #[serde(rename = "type")]
    pub kind: String,
    /// For `RequestHeaderModifier`.
    pub request_header_modifier: Option<HeaderModifier>,
    /// For `ResponseHeaderModifier`.
    pub response_header_modifier: Option<HeaderModifier>,
    /// For `URLRewrite`.
    pub url_rewrite: Option<UrlRewrite>,
    /// For `RequestRedirect`.
    pub request_redirect: Option<Redirect>,
}

/// Changes of headers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HeaderModifier {
    /// Replaced.
    pub set: Vec<NamedMatch>,
    /// Added.
    pub add: Vec<NamedMatch>,
    /// Removed.
    pub remove: Vec<String>,
}

/// A rewrite of the request's target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct UrlRewrite {
    /// New host.
    pub hostname: Option<String>,
    /// New path.
    pub path: Option<PathModifier>,
}

/// A new path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PathModifier {
    /// `ReplaceFullPath` or `ReplacePrefixMatch`.
    #[serde(rename = "type")]
    pub kind: String,
    /// For `ReplaceFullPath`.
    pub replace_full_path: Option<String>,
    /// For `ReplacePrefixMatch`.
    pub replace_prefix_match: Option<String>,
}

/// A redirect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Redirect {
    /// New scheme.
    pub scheme: Option<String>,
    /// New host.
    pub hostname: Option<String>,
    /// New path.
    pub path: Option<PathModifier>,
    /// New port.
    pub port: Option<u16>,
    /// Status, 302 when absent.
    pub status_code: Option<u16>,
}

/// Where a share of the requests goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendRef {
    /// Group; absent or empty means core.
    pub group: Option<String>,
    /// Kind; absent means Service.
    pub kind: Option<String>,
    /// Namespace; absent means the route's.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Port of the Service.
    pub port: Option<u16>,
    /// Share; absent means 1.
    pub weight: Option<u32>,
}

/// Spec of an InferencePool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InferencePoolSpec {
    /// Pods of the pool.
    pub selector: LabelSelector,
    /// Ports of the engines.
    pub target_ports: Vec<TargetPort>,
    /// Who picks.
    pub endpoint_picker_ref: Option<PickerRef>,
}

/// One port of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TargetPort {
    /// Number.
    pub number: u16,
}

/// The picker of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PickerRef {
    /// Service of the picker.
    pub name: String,
    /// Port of the Service.
    pub port: Option<TargetPort>,
    /// `FailClose` (also when absent) or `FailOpen`.
    pub failure_mode: Option<String>,
}
