//! The objects of upstream's samples meet an API server: a dry run, in which no unknown field passes.

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use kube::core::gvk::GroupVersionKind;
use serde_json::Value;

#[path = "../../../plan/tests/samples/read.rs"]
mod read;

/// Kinds that a server may not have; whoever has no device claims cannot use them.
const OPTIONAL: &str = "ResourceClaimTemplate";

#[tokio::test]
async fn an_api_server_accepts_the_objects_of_every_sample() {
    let cluster = weir_testkit::cluster().await.unwrap();
    cluster.install_definitions().await.unwrap();
    let params = PatchParams::apply("weir").dry_run().validation_strict();
    let mut accepted = 0;
    for sample in read::samples() {
        for object in read::planned(&sample, &cluster.namespace).unwrap() {
            let case = format!(
                "{}: {} {}",
                sample.name, object["kind"], object["metadata"]["name"]
            );
            let api: Api<DynamicObject> = Api::namespaced_with(
                cluster.client.clone(),
                &cluster.namespace,
                &resource(&object),
            );
            let name = object["metadata"]["name"].as_str().unwrap();
            match api.patch(name, &params, &Patch::Apply(&object)).await {
                Ok(_) => accepted += 1,
                Err(kube::Error::Api(status))
                    if status.code == 404 && object["kind"] == OPTIONAL =>
                {
                    eprintln!("SKIPPED: {case}: the server does not have the kind");
                }
                Err(error) => panic!("{case}: {error}"),
            }
        }
    }
    eprintln!("{accepted} objects are accepted");
}

fn resource(object: &Value) -> ApiResource {
    let version = object["apiVersion"].as_str().unwrap();
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let kind = object["kind"].as_str().unwrap();
    // All our kinds form their plural so.
    let plural = format!("{}s", kind.to_ascii_lowercase());
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), &plural)
}
