//! The pods of a group: what a leader and a worker are made of.
//!
//! Upstream gives each pod a name in DNS. Here the leader is found by its address: for the leader
//! itself the node fills it in, a worker is made once the leader has one.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use weir_api::names::lws;

use crate::kinds::{Kind, name, owner, text};

/// What is recorded of a set's templates; equal records make equal pods.
pub fn recorded(set: &Value) -> Value {
    json!({"spec": {"leaderWorkerTemplate": set["spec"]["leaderWorkerTemplate"],
                    "networkConfig": set["spec"]["networkConfig"]}})
}

/// Pods of a group, from a record.
pub fn size(record: &Value) -> i64 {
    let size = record.pointer("/spec/leaderWorkerTemplate/size");
    size.and_then(Value::as_i64).unwrap_or(1).max(1)
}

/// Name of the leader of a group, which is the group's name too.
pub fn leader_name(set: &Value, group: i64) -> String {
    format!("{}-{group}", name(set))
}

/// The pod that leads `group` of `set`.
pub fn leader(set: &Value, group: i64, record: &Value, revision: &str) -> Value {
    let templates = &record["spec"]["leaderWorkerTemplate"];
    let template = match &templates["leaderTemplate"] {
        Value::Null => &templates["workerTemplate"],
        own => own,
    };
    let own_name = leader_name(set, group);
    let address = json!({"valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}});
    let mut pod = member((set, &own_name), (group, 0), record, (template, address));
    pod["metadata"]["labels"][lws::REVISION] = json!(revision);
    let policy = text(record, "/spec/networkConfig/subdomainPolicy");
    if !policy.is_empty() && policy != "Shared" {
        pod["metadata"]["annotations"][lws::SUBDOMAIN_POLICY] = json!(policy);
    }
    pod["metadata"]["name"] = json!(own_name);
    pod["metadata"]["ownerReferences"] = json!([owner(set, Kind::GroupSet)]);
    pod
}

/// Worker `index` of the group that `leader` leads.
pub fn worker(set: &Value, leader: &Value, (group, index): (i64, i64), record: &Value) -> Value {
    let template = &record["spec"]["leaderWorkerTemplate"]["workerTemplate"];
    let address = json!({"value": text(leader, "/status/podIP")});
    let leader_name = name(leader);
    let mut pod = member(
        (set, leader_name),
        (group, index),
        record,
        (template, address),
    );
    pod["metadata"]["labels"][lws::REVISION] = leader["metadata"]["labels"][lws::REVISION].clone();
    pod["metadata"]["annotations"][lws::LEADER_NAME] = json!(leader_name);
    pod["metadata"]["annotations"][lws::LEADER_ADDRESS] = json!(text(leader, "/status/podIP"));
    pod["metadata"]["name"] = json!(format!("{leader_name}-{index}"));
    pod["metadata"]["ownerReferences"] = json!([owner(leader, Kind::Pod)]);
    pod
}

fn member(
    (set, leader): (&Value, &str),
    (group, index): (i64, i64),
    record: &Value,
    (template, mut address): (&Value, Value),
) -> Value {
    let own_name = if index == 0 {
        leader.to_owned()
    } else {
        format!("{leader}-{index}")
    };
    let namespace = text(set, "/metadata/namespace");
    let key = format!("{namespace}/{leader}");
    let mut metadata = json!({"labels": template["metadata"]["labels"],
                              "annotations": template["metadata"]["annotations"]});
    metadata["namespace"] = json!(namespace);
    for (label, value) in [
        (lws::NAME, name(set).to_owned()),
        (lws::GROUP_INDEX, group.to_string()),
        (lws::GROUP_KEY, digest(&key)),
        (lws::WORKER_INDEX, index.to_string()),
    ] {
        metadata["labels"][label] = json!(value);
    }
    let size = size(record);
    metadata["annotations"][lws::SIZE] = json!(size.to_string());
    let policy = &record["spec"]["leaderWorkerTemplate"]["subGroupPolicy"];
    if let Some(part) = policy["subGroupSize"].as_i64().filter(|part| *part > 0) {
        metadata["annotations"][lws::SUBGROUP_SIZE] = json!(part.to_string());
        let excluded = policy["subGroupPolicyType"] == "LeaderExcluded";
        if let Some(subgroup) = subgroup(size, part, excluded, index) {
            metadata["labels"][lws::SUBGROUP_INDEX] = json!(subgroup.to_string());
            metadata["labels"][lws::SUBGROUP_KEY] = json!(digest(&format!("{leader}/{subgroup}")));
        }
    }
    let mut spec = template["spec"].clone();
    spec["hostname"] = json!(own_name);
    spec["subdomain"] = json!(name(set));
    address["name"] = json!(lws::LEADER_ADDRESS_ENV);
    let variables = [
        address,
        json!({"name": lws::GROUP_SIZE_ENV, "value": size.to_string()}),
        json!({"name": lws::WORKER_INDEX_ENV, "value": index.to_string()}),
    ];
    for list in ["initContainers", "containers"] {
        let containers = spec[list].as_array_mut().into_iter().flatten();
        containers.for_each(|container| add(container, &variables));
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}

/// Puts variables that a container does not have in front, so that its own may refer to them.
fn add(container: &mut Value, variables: &[Value]) {
    let own = container["env"].as_array().cloned().unwrap_or_default();
    let missing = |variable: &&Value| own.iter().all(|own| own["name"] != variable["name"]);
    let mut all: Vec<Value> = variables.iter().filter(missing).cloned().collect();
    all.extend(own);
    container["env"] = Value::Array(all);
}

/// Index of the subgroup of `part` pods to which a pod of the group belongs. A leader that is one too
/// many for equal parts is in the first, or in none.
fn subgroup(size: i64, part: i64, leader_excluded: bool, index: i64) -> Option<i64> {
    if leader_excluded {
        return (index > 0).then(|| (index - 1) / part);
    }
    if (size - 1) % part == 0 {
        return Some((index - 1).max(0) / part);
    }
    Some(index / part)
}

/// A label value that is one for one text.
fn digest(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest
        .iter()
        .take(20)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> Value {
        json!({"metadata": {"name": "s", "namespace": "n", "uid": "u"}, "spec": {
            "leaderWorkerTemplate": {
                "size": 3,
                "subGroupPolicy": {"subGroupSize": 1},
                "leaderTemplate": {"metadata": {"labels": {"role": "leader"}}, "spec": {"containers": [
                    {"name": "c", "image": "lead", "env": [{"name": "A", "value": "$(LWS_LEADER_ADDRESS)"}]}]}},
                "workerTemplate": {"spec": {
                    "initContainers": [{"name": "i", "env": [{"name": "LWS_GROUP_SIZE", "value": "own"}]}],
                    "containers": [{"name": "c", "image": "work"}]}},
            },
            "networkConfig": {"subdomainPolicy": "UniquePerReplica"},
        }})
    }

    #[test]
    fn a_leader_and_its_worker() {
        let set = set();
        let record = recorded(&set);
        let mut leader = leader(&set, 1, &record, "r");
        let labels = &leader["metadata"]["labels"];
        assert_eq!(leader["metadata"]["name"], "s-1");
        assert_eq!(labels["role"], "leader");
        assert_eq!(labels[lws::NAME], "s");
        assert_eq!(labels[lws::GROUP_INDEX], "1");
        assert_eq!(labels[lws::WORKER_INDEX], "0");
        assert_eq!(labels[lws::REVISION], "r");
        assert_eq!(labels[lws::SUBGROUP_INDEX], "0");
        assert_eq!(leader["metadata"]["annotations"][lws::SIZE], "3");
        assert_eq!(
            leader["metadata"]["annotations"][lws::SUBDOMAIN_POLICY],
            "UniquePerReplica"
        );
        let env = &leader["spec"]["containers"][0]["env"];
        assert_eq!(
            env[0],
            json!({"name": "LWS_LEADER_ADDRESS",
                   "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}})
        );
        assert_eq!(env[3]["name"], "A");
        leader["metadata"]["uid"] = json!("l");
        leader["status"] = json!({"podIP": "127.70.1.1"});
        let worker = worker(&set, &leader, (1, 2), &record);
        assert_eq!(worker["metadata"]["name"], "s-1-2");
        assert_eq!(worker["metadata"]["ownerReferences"][0]["uid"], "l");
        assert_eq!(worker["metadata"]["annotations"][lws::LEADER_NAME], "s-1");
        let labels = &worker["metadata"]["labels"];
        assert_eq!(
            labels[lws::GROUP_KEY],
            leader["metadata"]["labels"][lws::GROUP_KEY]
        );
        assert_eq!(labels[lws::REVISION], "r");
        assert_eq!(labels[lws::SUBGROUP_INDEX], "1");
        assert_eq!(worker["spec"]["hostname"], "s-1-2");
        assert_eq!(
            worker["spec"]["containers"][0]["env"],
            json!([{"name": "LWS_LEADER_ADDRESS", "value": "127.70.1.1"},
                   {"name": "LWS_GROUP_SIZE", "value": "3"}, {"name": "LWS_WORKER_INDEX", "value": "2"}])
        );
        // What a container sets itself stays.
        let init = &worker["spec"]["initContainers"][0]["env"];
        assert_eq!(init[2], json!({"name": "LWS_GROUP_SIZE", "value": "own"}));
    }

    #[test]
    fn without_a_template_of_its_own_the_leader_is_like_a_worker() {
        let mut set = set();
        set["spec"]["leaderWorkerTemplate"]["leaderTemplate"] = Value::Null;
        let leader = leader(&set, 0, &recorded(&set), "r");
        assert_eq!(leader["spec"]["containers"][0]["image"], "work");
    }

    #[test]
    fn subgroups() {
        let rows = [
            ((4, 2, false), "0 0 1 1"),
            ((5, 2, false), "0 0 0 1 1"),
            ((5, 2, true), "- 0 0 1 1"),
            ((3, 3, false), "0 0 0"),
        ];
        for ((size, part, excluded), wanted) in rows {
            let found: Vec<String> = (0..size)
                .map(|index| {
                    subgroup(size, part, excluded, index)
                        .map_or_else(|| "-".to_owned(), |i| i.to_string())
                })
                .collect();
            assert_eq!(found.join(" "), wanted, "{size} {part} {excluded}");
        }
    }
}
