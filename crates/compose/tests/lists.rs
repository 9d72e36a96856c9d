//! Lists are merged by the keys that Kubernetes gives them.

use serde_json::json;
use weir_compose::{Config, Globals, Spec, compose};

#[test]
fn containers_and_their_environment_are_merged_by_name() {
    let config = Config {
        name: "base".to_owned(),
        namespace: "kserve".to_owned(),
        spec: Spec::from(json!({"template": {"containers": [
            {"name": "main", "image": "base", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}]},
            {"name": "helper", "image": "helper"},
        ]}})),
    };
    let service = json!({
        "metadata": {"name": "llama", "namespace": "default"},
        "spec": {
            "model": {"uri": "hf://a/b"},
            "template": {"containers": [{"name": "main", "env": [{"name": "B", "value": "2"}]}]},
        },
    });
    let spec = compose(&service, &[config], &Globals::default())
        .unwrap()
        .spec;
    let containers = spec["template"]["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 2);
    let main = containers
        .iter()
        .find(|container| container["name"] == "main")
        .unwrap();
    assert_eq!(main["image"], "base");
    let environment = main["env"].as_array().unwrap();
    assert_eq!(environment.len(), 2);
    assert!(environment.contains(&json!({"name": "A", "value": "1"})));
    assert!(environment.contains(&json!({"name": "B", "value": "2"})));
}
