//! What `--context` takes from a cluster: configs, the global configuration, gateways, ConfigMaps that are named,
//! and which API versions are served. It only reads; what stands in the files goes before what is in the cluster.

use std::collections::BTreeSet;
use std::time::Duration;

use kube::Client;
use kube::api::{Api, DynamicObject, ListParams};
use serde_json::Value;
use weir_api::names::{GLOBAL_CONFIG_MAP, Kind, SERVICE_KIND, kind};
use weir_manifest::Document;

/// How long a cluster may take to answer everything.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was seen in a cluster.
#[derive(Default)]
pub(crate) struct Seen {
    /// Namespace of the context.
    pub(crate) namespace: Option<String>,
    /// Served API versions.
    pub(crate) api_versions: Option<Vec<String>>,
    /// Objects that the files do not have.
    pub(crate) documents: Vec<Document>,
}

/// Kind, namespace and name.
type Key = (&'static str, String, String);

/// Looks at the cluster of a context for what the services among `documents` may need. `namespace` is that of
/// documents that name none.
pub(crate) fn look<'d>(
    context: &str,
    namespace: Option<&str>,
    system: &str,
    documents: impl Iterator<Item = &'d Document>,
) -> Result<Seen, String> {
    let values: Vec<&Value> = documents.flat_map(objects).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    let seen = runtime.block_on(async {
        let (client, own) = weir_runtime::client::of_context(context)
            .await
            .map_err(|error| weir_local::report::chain(&error))?;
        let look = Look {
            client,
            context,
            namespace: namespace.unwrap_or(&own).to_owned(),
            system,
            values: &values,
            seen: Seen::default(),
        };
        let seen = tokio::time::timeout(PATIENCE, look.everything()).await;
        seen.unwrap_or_else(|_| Err(format!("it has not answered for {} s", PATIENCE.as_secs())))
    });
    seen.map_err(|problem| format!("context {context}: {problem}"))
}

/// The objects of a document: those of a `List` one by one.
fn objects(document: &Document) -> Vec<&Value> {
    let list = document.value["items"].as_array();
    match list.filter(|_| document.value["kind"] == "List") {
        Some(items) => items.iter().collect(),
        None => vec![&document.value],
    }
}

struct Look<'a> {
    client: Client,
    context: &'a str,
    /// Of documents that name none.
    namespace: String,
    system: &'a str,
    values: &'a [&'a Value],
    seen: Seen,
}

impl Look<'_> {
    async fn everything(mut self) -> Result<Seen, String> {
        self.seen.namespace = Some(self.namespace.clone());
        let groups = self.client.list_api_groups().await;
        let groups = groups.map_err(|error| told("ask which API versions are served", &error))?;
        let versions = groups.groups.into_iter().flat_map(|group| group.versions);
        self.seen.api_versions = Some(versions.map(|one| one.group_version).collect());

        let services = self.values.iter().filter(|one| one["kind"] == SERVICE_KIND);
        let mut namespaces: BTreeSet<String> = services.map(|one| self.namespace_of(one)).collect();
        namespaces.insert(self.system.to_owned());
        let mut configs = Vec::new();
        for namespace in &namespaces {
            for config in self.list(kind::CONFIG, namespace).await? {
                configs.push(config.clone());
                self.add(kind::CONFIG, &config)?;
            }
        }
        let system = self.system.to_owned();
        self.fetch(kind::CONFIG_MAP, &system, GLOBAL_CONFIG_MAP)
            .await?;
        let specs: Vec<Value> = self
            .values
            .iter()
            .map(|one| &one["spec"])
            .cloned()
            .collect();
        for spec in specs.iter().chain(configs.iter().map(|one| &one["spec"])) {
            let map = spec.pointer("/router/scheduler/config/ref/name");
            if let Some(name) = map.and_then(Value::as_str) {
                for namespace in &namespaces {
                    self.fetch(kind::CONFIG_MAP, namespace, name).await?;
                }
            }
            let gateways = spec.pointer("/router/gateway/refs");
            let gateways = gateways.and_then(Value::as_array).into_iter().flatten();
            for one in gateways {
                let name = one["name"].as_str().unwrap_or_default();
                let of: Vec<&str> = match one["namespace"].as_str() {
                    Some(namespace) => vec![namespace],
                    None => namespaces.iter().map(String::as_str).collect(),
                };
                for namespace in of {
                    self.fetch(kind::GATEWAY, namespace, name).await?;
                }
            }
        }
        Ok(self.seen)
    }

    fn namespace_of(&self, value: &Value) -> String {
        let own = value["metadata"]["namespace"].as_str();
        own.unwrap_or(&self.namespace).to_owned()
    }

    fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &kind.api_resource())
    }

    /// All objects of a kind; none where it is not served.
    async fn list(&self, kind: Kind, namespace: &str) -> Result<Vec<Value>, String> {
        let listed = self.api(kind, namespace).list(&ListParams::default()).await;
        let listed = match listed {
            Ok(listed) => listed,
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Vec::new()),
            Err(error) => {
                return Err(told(
                    &format!("list {} in {namespace}", kind.plural),
                    &error,
                ));
            }
        };
        Ok(listed.items.iter().map(value).collect())
    }

    /// Adds one object, if it exists.
    async fn fetch(&mut self, kind: Kind, namespace: &str, name: &str) -> Result<(), String> {
        match self.api(kind, namespace).get_opt(name).await {
            Ok(Some(object)) => self.add(kind, &value(&object)),
            Ok(None) => Ok(()),
            Err(error) => Err(told(
                &format!("read {} {namespace}/{name}", kind.kind),
                &error,
            )),
        }
    }

    /// Adds an object unless the files, or an earlier answer, have it.
    fn add(&mut self, kind: Kind, object: &Value) -> Result<(), String> {
        let key = |value: &Value| -> Key {
            let name = value["metadata"]["name"].as_str().unwrap_or_default();
            (kind.kind, self.namespace_of(value), name.to_owned())
        };
        let of_files = self.values.iter().copied();
        let seen = self.seen.documents.iter().map(|document| &document.value);
        let mut others = of_files.chain(seen).filter(|one| one["kind"] == kind.kind);
        let own = key(object);
        if others.any(|other| key(other) == own) {
            return Ok(());
        }
        let mut object = object.clone();
        object["apiVersion"] = kind.api_version().into();
        object["kind"] = kind.kind.into();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        let source = format!("{} {} {}/{}", self.context, own.0, own.1, own.2);
        let text = crate::yaml::write(&object, &|_| None)?;
        let documents = weir_manifest::parse(&text, &source).map_err(|error| error.to_string())?;
        self.seen.documents.extend(documents);
        Ok(())
    }
}

fn value(object: &DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

fn told(what: &str, error: &kube::Error) -> String {
    format!("cannot {what}: {}", weir_local::report::chain(error))
}
