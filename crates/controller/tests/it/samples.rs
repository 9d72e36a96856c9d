//! What is planned meets an API server, for upstream's samples and for every feature: a dry run, in which no unknown
//! field passes.

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use kube::core::gvk::GroupVersionKind;
use serde_json::Value;

#[path = "../../../plan/tests/samples/read.rs"]
mod read;

#[path = "../../../plan/tests/matrix/build.rs"]
mod build;

/// Kinds that a server may not have; whoever has no device claims cannot use them.
const OPTIONAL: &str = "ResourceClaimTemplate";

#[tokio::test]
async fn an_api_server_accepts_the_objects_of_every_sample() {
    let cluster = weir_testkit::cluster().await.unwrap();
    cluster.install_definitions().await.unwrap();
    let mut accepted = 0;
    for sample in read::samples() {
        let objects = read::planned(&sample, &cluster.namespace).unwrap();
        accepted += dry_run(&cluster, &sample.name, &objects).await;
    }
    eprintln!("{accepted} objects are accepted");
}

#[tokio::test]
async fn an_api_server_accepts_every_shape_and_source_with_and_without_features() {
    let cluster = weir_testkit::cluster().await.unwrap();
    cluster.install_definitions().await.unwrap();
    let mut accepted = 0;
    for shape in build::SHAPES {
        for uri in build::SOURCES {
            for all in [false, true] {
                let service = build::service(&cluster.namespace, shape, uri, |_| all);
                let objects = build::planned(&service, all).unwrap();
                let case = format!("{shape} {uri} {all}");
                accepted += dry_run(&cluster, &case, &objects).await;
            }
        }
    }
    eprintln!(
        "{accepted} objects are accepted, for {} features",
        build::FEATURES.len()
    );
}

/// How many of the objects the server would take; panics where it refuses one.
#[allow(clippy::print_stderr, reason = "a skipped object is said")]
async fn dry_run(cluster: &weir_testkit::Cluster, case: &str, objects: &[Value]) -> usize {
    let params = PatchParams::apply("weir").dry_run().validation_strict();
    let mut accepted = 0;
    for object in objects {
        let case = format!("{case}: {} {}", object["kind"], object["metadata"]["name"]);
        let (client, resource) = (cluster.client.clone(), resource(object));
        let api: Api<DynamicObject> = if object["metadata"]["namespace"].is_string() {
            Api::namespaced_with(client, &cluster.namespace, &resource)
        } else {
            Api::all_with(client, &resource)
        };
        let name = object["metadata"]["name"].as_str().unwrap();
        match api.patch(name, &params, &Patch::Apply(object)).await {
            Ok(_) => accepted += 1,
            Err(kube::Error::Api(status)) if status.code == 404 && object["kind"] == OPTIONAL => {
                eprintln!("SKIPPED: {case}: the server does not have the kind");
            }
            Err(error) => panic!("{case}: {error}"),
        }
    }
    accepted
}

fn resource(object: &Value) -> ApiResource {
    let version = object["apiVersion"].as_str().unwrap();
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let kind = object["kind"].as_str().unwrap();
    // All our kinds form their plural so.
    let plural = format!("{}s", kind.to_ascii_lowercase());
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), &plural)
}
