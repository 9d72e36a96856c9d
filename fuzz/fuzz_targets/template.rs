#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    use weir_template::{Builtins, Shapeless, Template, Trim};
    let data = serde_json::json!({"Name": "n", "Spec": {"replicas": 2, "args": ["a", "b"], "labels": {"k": null}}});
    if let Ok(template) = Template::parse(text, Trim::Blanks, &Builtins) {
        let _ = template.render(&data, &Shapeless, &Builtins);
    }
});
