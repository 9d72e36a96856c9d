#![no_main]

libfuzzer_sys::fuzz_target!(|layers: &[u8]| {
    let Ok([base, over]) = serde_json::from_slice::<[serde_json::Value; 2]>(layers) else {
        return;
    };
    let node = weir_schema::Node::parse(&weir_api::crds::merge_schema())
        .unwrap_or_else(|_| weir_schema::Node::any());
    let _ = weir_merge::try_compose_merge(&base, &over, &node);
    let _ = weir_merge::strategic_merge_patch(&mut base.clone(), &over, &node);
});
