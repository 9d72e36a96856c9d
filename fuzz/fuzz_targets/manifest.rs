#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    for document in weir_manifest::parse(text, "input.yaml").unwrap_or_default() {
        let _ = (
            document.nearest("/spec/model/uri"),
            weir_api::validate(&document.value),
        );
        let _ = weir_api::convert(document.value, "v1alpha1")
            .map(|old| weir_api::convert(old, "v1alpha2"));
    }
});
