//! Two services of a namespace that clients would call by one name.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{ServiceIdentity, items, model_name, text};

/// Warns of services that have a model of the same name. Nothing is refused: each has a path of its own.
///
/// `others` are the services of the namespace that are not on their way out: name, and what has `spec` and `status`.
#[must_use]
pub fn model_name_collision<'a>(
    service: &ServiceIdentity,
    spec: &Value,
    others: impl Iterator<Item = (&'a str, &'a Value)>,
) -> Option<String> {
    let group = text(spec, "/router/route/group");
    let own = qualified(&service.namespace, &service.name, spec);
    let mut colliding = BTreeSet::new();
    for (name, other) in others {
        let stored = &other["spec"];
        let same_group = !group.is_empty() && text(stored, "/router/route/group") == group;
        if name == service.name || same_group {
            continue;
        }
        let addresses = items(other, "/status/addresses");
        let mut published = addresses
            .iter()
            .flat_map(|address| items(address, "/models"));
        let collides = if addresses.is_empty() {
            !qualified(&service.namespace, name, stored).is_disjoint(&own)
        } else {
            published.any(|model| own.contains(text(model, "/name")))
        };
        if collides {
            colliding.insert(name);
        }
    }
    if colliding.is_empty() {
        return None;
    }
    let peers: Vec<&str> = colliding.into_iter().collect();
    Some(format!(
        "model {} is also served by {}: requests by the model's name may reach any of them; this service alone answers under /{}/{}",
        model_name(service, spec),
        peers.join(", "),
        service.namespace,
        service.name
    ))
}

/// The names by which gateways route to the models of a service.
fn qualified(namespace: &str, service: &str, spec: &Value) -> BTreeSet<String> {
    let model = text(spec, "/model/name");
    let model = if model.is_empty() { service } else { model };
    let adapters = items(spec, "/model/lora/adapters").iter();
    let adapters = adapters
        .map(|adapter| text(adapter, "/name"))
        .filter(|name| !name.is_empty());
    [model]
        .into_iter()
        .chain(adapters)
        .map(|name| format!("publishers/{namespace}/models/{name}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_neighbours_outside_the_own_group_collide() {
        let service = ServiceIdentity {
            name: "a".to_owned(),
            namespace: "n".to_owned(),
            ..ServiceIdentity::default()
        };
        let spec = json!({"model": {"name": "m"}, "router": {"route": {"group": "g"}}});
        let other = |name: &'static str, model: &str, group: &str| {
            (
                name,
                json!({"spec": {"model": {"name": model}, "router": {"route": {"group": group}}}}),
            )
        };
        let mut published = other("p", "x", "");
        published.1["status"] =
            json!({"addresses": [{"models": [{"name": "publishers/n/models/m"}]}]});
        let all = [
            other("a", "m", ""),
            other("b", "m", "g"),
            other("c", "m", ""),
            other("d", "x", ""),
            published,
        ];
        let given = |all: &'_ [(&'static str, Value)]| {
            let all = all.iter().map(|(name, object)| (*name, object));
            model_name_collision(&service, &spec, all)
        };
        let message = given(&all);
        assert!(message.is_some_and(|text| text.contains("served by c, p:")));
        assert_eq!(given(&all[..2]), None);
    }
}
