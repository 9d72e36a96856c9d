//! Names that LeaderWorkerSets give to their pods, as upstream's controller writes them.

/// The set's name, a label of each pod.
pub const NAME: &str = "leaderworkerset.sigs.k8s.io/name";
/// Index of the group, a label.
pub const GROUP_INDEX: &str = "leaderworkerset.sigs.k8s.io/group-index";
/// One value for all pods of a group and no others, a label.
pub const GROUP_KEY: &str = "leaderworkerset.sigs.k8s.io/group-key";
/// Index of the pod in its group, a label; the leader's is 0.
pub const WORKER_INDEX: &str = "leaderworkerset.sigs.k8s.io/worker-index";
/// Which state of the templates the pod was made from, a label.
pub const REVISION: &str = "leaderworkerset.sigs.k8s.io/template-revision-hash";
/// Index of the subgroup, a label.
pub const SUBGROUP_INDEX: &str = "leaderworkerset.sigs.k8s.io/subgroup-index";
/// One value for all pods of a subgroup and no others, a label.
pub const SUBGROUP_KEY: &str = "leaderworkerset.sigs.k8s.io/subgroup-key";
/// Pods of a group, an annotation.
pub const SIZE: &str = "leaderworkerset.sigs.k8s.io/size";
/// Name of the leader, an annotation of workers.
pub const LEADER_NAME: &str = "leaderworkerset.sigs.k8s.io/leader-name";
/// Address of the leader when the worker was made, an annotation where there are no names in DNS.
pub const LEADER_ADDRESS: &str = "weir.dev/leader-address";
/// Pods of a subgroup, an annotation.
pub const SUBGROUP_SIZE: &str = "leaderworkerset.sigs.k8s.io/subgroup-size";
/// `spec.networkConfig.subdomainPolicy` where it is not the default, an annotation of leaders.
pub const SUBDOMAIN_POLICY: &str = "leaderworkerset.sigs.k8s.io/subdomainPolicy";
/// Annotation of a set: its groups are only recreated once all their pods have started.
pub const RECREATE_AFTER_START: &str =
    "leaderworkerset.sigs.k8s.io/experimental-recreate-group-after-start";

/// Where the leader of the group listens, an environment variable.
pub const LEADER_ADDRESS_ENV: &str = "LWS_LEADER_ADDRESS";
/// Pods of the group, an environment variable.
pub const GROUP_SIZE_ENV: &str = "LWS_GROUP_SIZE";
/// Index of the pod in its group, an environment variable.
pub const WORKER_INDEX_ENV: &str = "LWS_WORKER_INDEX";
