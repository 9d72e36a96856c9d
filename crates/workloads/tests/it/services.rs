//! The endpoints of Services.

use serde_json::{Value, json};

use crate::world::{World, deployment};

fn ready(slice: &Value) -> usize {
    let endpoints = slice["endpoints"].as_array().into_iter().flatten();
    endpoints
        .filter(|endpoint| endpoint["conditions"]["ready"] == true)
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slice_follows_the_pods_that_are_ready() -> anyhow::Result<()> {
    let world = World::new().await?;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"selector": {"app": "d"}, "ports": [{"name": "http", "port": 80, "targetPort": 8000}]}});
    world.create(service).await?;
    world
        .until("EndpointSlice", "an empty slice", |all| {
            all.len() == 1 && ready(&all[0]) == 0
        })
        .await?;
    world.create(deployment(2, &json!({}))).await?;
    world.roll_out("d", |_| Ok(())).await?;
    let slices = world
        .until("EndpointSlice", "two endpoints", |all| ready(&all[0]) == 2)
        .await?;
    assert_eq!(slices[0]["ports"][0]["port"], 8000);
    assert_eq!(
        slices[0]["metadata"]["labels"]["kubernetes.io/service-name"],
        "s"
    );
    let pods = world.pods().await?;
    world.mark(&pods[0], false, 1).await?;
    world
        .until("EndpointSlice", "one endpoint", |all| ready(&all[0]) == 1)
        .await?;
    world
        .patch("Deployment", "d", json!({"spec": {"replicas": 0}}))
        .await?;
    world
        .until("EndpointSlice", "no endpoint", |all| {
            all[0]["endpoints"].as_array().is_none_or(Vec::is_empty)
        })
        .await?;
    // Someone's change of the slice does not stay.
    let name = slices[0]["metadata"]["name"].as_str().unwrap_or_default();
    world.delete("EndpointSlice", name).await?;
    world
        .until("EndpointSlice", "the slice again", |all| all.len() == 1)
        .await?;
    Ok(())
}
