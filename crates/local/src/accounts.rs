//! The service accounts that pod templates of services and their configs name, made where they are missing.
//!
//! On a cluster the controller waits for an account that somebody else has to create, for what it may do is not
//! the controller's to decide. One machine evaluates no roles and its engine is usually simulated, so that a
//! manifest written for a cluster would wait for something without effect. An account made here is empty; one
//! that the user applies, before or after, is left as the user wants it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt;
use kube::Client;
use kube::api::{Api, DynamicObject, PostParams};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use weir_api::names::{ChildNames, Kind, SYSTEM_NAMESPACE, kind};

/// How long until a creation that failed is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// Namespace and name.
type Home = (String, String);

/// What one service or config says about accounts.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    accounts: BTreeSet<String>,
    bases: Vec<String>,
}

/// What all of them say.
#[derive(Debug, Default)]
struct All {
    services: BTreeMap<Home, Said>,
    configs: BTreeMap<Home, Said>,
}

/// Makes accounts as services come and change, until `stop`.
pub async fn run(client: Client, stop: CancellationToken) {
    let watch = |kind: Kind| {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind.api_resource());
        watcher(api, watcher::Config::default()).default_backoff()
    };
    let mut services = std::pin::pin!(watch(kind::SERVICE));
    let mut configs = std::pin::pin!(watch(kind::CONFIG));
    let mut all = All::default();
    let mut made = BTreeSet::new();
    let mut failed = false;
    loop {
        let (event, known) = tokio::select! {
            () = stop.cancelled() => return,
            Some(event) = services.next() => (Some(event), &mut all.services),
            Some(event) = configs.next() => (Some(event), &mut all.configs),
            () = tokio::time::sleep(AGAIN), if failed => (None, &mut all.services),
        };
        match event {
            Some(Ok(event)) => take(known, event),
            Some(Err(error)) => {
                tracing::debug!(%error, "Watch of services interrupted");
                continue;
            }
            None => {}
        }
        let wanted = all.wanted();
        made.retain(|home| wanted.contains(home));
        failed = false;
        for home in wanted {
            if made.contains(&home) {
                continue;
            }
            match make(&client, &home).await {
                Ok(()) => {
                    made.insert(home);
                }
                Err(error) => {
                    let error = crate::report::chain(&error);
                    tracing::warn!(namespace = home.0, name = home.1, %error, "Service account not made, tried again");
                    failed = true;
                }
            }
        }
    }
}

fn take(known: &mut BTreeMap<Home, Said>, event: Event<DynamicObject>) {
    let home = |object: &DynamicObject| -> Home {
        let metadata = object.metadata.clone();
        (
            metadata.namespace.unwrap_or_default(),
            metadata.name.unwrap_or_default(),
        )
    };
    match event {
        Event::Init => known.clear(),
        Event::InitDone => {}
        Event::InitApply(object) | Event::Apply(object) => {
            let home = home(&object);
            let said = said(&home.1, &object.data["spec"]);
            known.insert(home, said);
        }
        Event::Delete(object) => {
            known.remove(&home(&object));
        }
    }
}

/// Accounts and bases that the spec of the object `name` names. Accounts that the controller makes are left to
/// it, and the namespace's default one to its namespace.
fn said(name: &str, spec: &Value) -> Said {
    let children = ChildNames::new(name);
    let made_elsewhere = [
        weir_plan::DEFAULT_ACCOUNT.to_owned(),
        children.picker_account(),
        children.deployment(),
        children.upstream_lws(),
        children.upstream_prefill_lws(),
    ];
    let accounts = weir_plan::accounts(spec)
        .into_iter()
        // In a config a name may be a template, which only the service that uses it makes a name.
        .filter(|account| !account.contains("{{") && !made_elsewhere.contains(account))
        .collect();
    let bases = spec["baseRefs"].as_array().into_iter().flatten();
    let bases = bases.filter_map(|base| Some(base["name"].as_str()?.to_owned()));
    Said {
        accounts,
        bases: bases.collect(),
    }
}

impl All {
    /// The accounts that have to exist.
    fn wanted(&self) -> BTreeSet<Home> {
        let mut wanted = BTreeSet::new();
        for ((namespace, _), service) in &self.services {
            let bases = service.bases.iter().filter_map(|base| {
                let own = self.configs.get(&(namespace.clone(), base.clone()));
                own.or_else(|| {
                    self.configs
                        .get(&(SYSTEM_NAMESPACE.to_owned(), base.clone()))
                })
            });
            for said in bases.chain([service]) {
                let accounts = said.accounts.iter().cloned();
                wanted.extend(accounts.map(|account| (namespace.clone(), account)));
            }
        }
        wanted
    }
}

async fn make(client: &Client, (namespace, name): &Home) -> Result<(), kube::Error> {
    let resource = kind::SERVICE_ACCOUNT.api_resource();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let account = DynamicObject::new(name, &resource);
    match api.create(&PostParams::default(), &account).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn home(namespace: &str, name: &str) -> Home {
        (namespace.to_owned(), name.to_owned())
    }

    #[test]
    fn accounts_are_those_of_every_pod_template_and_of_the_configs_in_use() {
        let pod = |account: &str| json!({"serviceAccountName": account});
        let config = |account: &str| said("c", &json!({"template": pod(account)}));
        let configs = BTreeMap::from([
            (home("ns", "own"), config("of-own")),
            (home(SYSTEM_NAMESPACE, "own"), config("hidden")),
            (home(SYSTEM_NAMESPACE, "shared"), config("of-shared")),
            (
                home(SYSTEM_NAMESPACE, "templated"),
                config("{{ .ObjectMeta.Name }}-sa"),
            ),
            (home("other", "far"), config("of-far")),
        ]);
        let base = |name: &str| json!({"baseRefs": [{"name": name}]});
        let rows: &[(Value, &[&str])] = &[
            (json!({}), &[]),
            (json!({"template": pod("hfsa")}), &["hfsa"]),
            (json!({"template": pod("default")}), &[]),
            (
                json!({"template": pod("a"), "prefill": {"template": pod("b")}}),
                &["a", "b"],
            ),
            (
                json!({"worker": pod("w"), "prefill": {"worker": pod("p")}}),
                &["p", "w"],
            ),
            (
                json!({"router": {"scheduler": {"template": pod("s")}}}),
                &["s"],
            ),
            // The picker's own one has an owner, and is made with it.
            (
                json!({"router": {"scheduler": {"template": pod("svc-epp-sa")}}}),
                &[],
            ),
            (base("own"), &["of-own"]),
            (base("shared"), &["of-shared"]),
            (base("templated"), &[]),
            (base("far"), &[]),
            (base("missing"), &[]),
        ];
        let mut all = All {
            configs,
            ..All::default()
        };
        for (spec, accounts) in rows {
            all.services = BTreeMap::from([(home("ns", "svc"), said("svc", spec))]);
            let wanted: BTreeSet<Home> = accounts.iter().map(|name| home("ns", name)).collect();
            assert_eq!(all.wanted(), wanted, "{spec}");
        }
    }
}
