#![no_main]

use weir_schema::Node;
static SCHEMA: std::sync::LazyLock<Node> = std::sync::LazyLock::new(|| {
    Node::parse(&weir_api::crds::merge_schema()).unwrap_or_else(|_| Node::any())
});

libfuzzer_sys::fuzz_target!(|layers: &[u8]| {
    if let Ok([mut base, over]) = serde_json::from_slice::<[serde_json::Value; 2]>(layers) {
        let _ = weir_merge::try_compose_merge(&base, &over, &SCHEMA);
        let _ = weir_merge::strategic_merge_patch(&mut base, &over, &SCHEMA);
    }
});
