//! The objects that a usual cluster has before a user's first: definitions, namespaces, the global
//! configuration. The gateway's own objects are made by the gateway.
//!
//! What a user made of them stays: a definition is brought up to date only while nobody but this
//! module has written it, everything else is only made when it is missing.

use std::time::Duration;

use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, ObjectMeta};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Namespace of Weir's own configuration objects.
pub const SYSTEM_NAMESPACE: &str = "kserve";

/// How long a freshly installed definition may take to be served.
pub const DEFINITION_SERVED: Duration = Duration::from_secs(10);

const FIELD_MANAGER: &str = "weir-platform";
const POLL: Duration = Duration::from_millis(5);

/// Why the platform's objects are not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store refused or did not answer.
    #[error("cannot install {object}")]
    Api {
        /// Kind and name.
        object: String,
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
    /// A definition was taken but is not served.
    #[error("definition {0:?} is not served after 10 s; its conditions say why")]
    NotServed(String),
}

/// Installs what is missing and waits until every definition is served.
///
/// # Errors
/// When the store refuses an object or a definition is not served within [`DEFINITION_SERVED`].
pub async fn install(client: &kube::Client) -> Result<(), Error> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &definitions());
    // Of definitions only metadata is asked for: the rest is large, and is not looked at.
    let live = api
        .list_metadata(&ListParams::default())
        .await
        .map_err(|source| failed("definitions", source))?;
    let mut expected = Vec::new();
    for definition in weir_api::crds::all() {
        let name = definition["metadata"]["name"].as_str().unwrap_or_default();
        expected.push(Expected::of(&definition));
        let known = live.items.iter().find(|item| item.name_any() == name);
        if known.is_some_and(|item| !is_ours_alone(&item.metadata)) {
            continue;
        }
        let parameters = PatchParams::apply(FIELD_MANAGER);
        api.patch_metadata(name, &parameters, &Patch::Apply(&definition))
            .await
            .map_err(|source| failed(&format!("definition {name}"), source))?;
    }
    for definition in expected {
        await_served(client, definition).await?;
    }
    make(
        client,
        "",
        "namespaces",
        "Namespace",
        &namespace(SYSTEM_NAMESPACE),
    )
    .await?;
    let configuration = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "inferenceservice-config", "namespace": SYSTEM_NAMESPACE},
        "data": {
            "ingress": r#"{"kserveIngressGateway":"kserve/kserve-ingress-gateway","enableLLMInferenceServiceTLS":false}"#,
        },
    });
    make(
        client,
        SYSTEM_NAMESPACE,
        "configmaps",
        "ConfigMap",
        &configuration,
    )
    .await
}

/// Returns a Namespace object.
pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// Whether nobody but this module has written the spec of a definition.
fn is_ours_alone(definition: &ObjectMeta) -> bool {
    let entries = definition.managed_fields.iter().flatten();
    entries
        .filter(|entry| entry.subresource.as_deref() != Some("status"))
        .all(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER))
}

/// Where discovery shows a definition once it is served.
struct Expected {
    group_version: String,
    plural: String,
}

impl Expected {
    fn of(definition: &Value) -> Self {
        let spec = &definition["spec"];
        let versions = spec["versions"].as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let version = versions
            .filter(|version| version["storage"] == true)
            .map(|version| text(&version["name"]))
            .next();
        Self {
            group_version: format!("{}/{}", text(&spec["group"]), version.unwrap_or_default()),
            plural: text(&spec["names"]["plural"]),
        }
    }
}

async fn await_served(client: &kube::Client, expected: Expected) -> Result<(), Error> {
    let begun = Instant::now();
    let Expected {
        group_version,
        plural,
    } = expected;
    loop {
        match client.list_api_group_resources(&group_version).await {
            Ok(found) if found.resources.iter().any(|r| r.name == plural) => return Ok(()),
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(source) => return Err(failed(&format!("{plural} in {group_version}"), source)),
        }
        if begun.elapsed() > DEFINITION_SERVED {
            return Err(Error::NotServed(format!("{plural} of {group_version}")));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Creates an object of the core group unless it is there.
async fn make(
    client: &kube::Client,
    namespace: &str,
    plural: &str,
    kind: &str,
    object: &Value,
) -> Result<(), Error> {
    let resource = ApiResource {
        group: String::new(),
        version: "v1".to_owned(),
        api_version: "v1".to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    };
    let api: Api<DynamicObject> = if namespace.is_empty() {
        Api::all_with(client.clone(), &resource)
    } else {
        Api::namespaced_with(client.clone(), namespace, &resource)
    };
    let made = async {
        let object = serde_json::from_value(object.clone()).map_err(kube::Error::SerdeError)?;
        let parameters = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        api.create(&parameters, &object).await
    };
    match made.await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        Err(source) => Err(failed(
            &format!("{kind} {}", object["metadata"]["name"]),
            source,
        )),
    }
}

fn definitions() -> ApiResource {
    ApiResource {
        group: "apiextensions.k8s.io".to_owned(),
        version: "v1".to_owned(),
        api_version: "apiextensions.k8s.io/v1".to_owned(),
        kind: "CustomResourceDefinition".to_owned(),
        plural: "customresourcedefinitions".to_owned(),
    }
}

fn failed(object: &str, source: kube::Error) -> Error {
    Error::Api {
        object: object.to_owned(),
        source: Box::new(source),
    }
}
