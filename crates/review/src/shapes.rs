//! Whether a config can be rendered: for a service that has everything, and for common shapes of one.

use serde_json::{Value, json};
use weir_api::names::{self, PRESET_PREFIX};
use weir_compose::{Config, Error, Globals, WELL_KNOWN, compose, select};

/// What rendering a config came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rendered {
    /// It works for no service: the field, and why.
    pub(crate) error: Option<(String, String)>,
    /// It fails for services of some shape: the field, and for which and why.
    pub(crate) warnings: Vec<(String, String)>,
}

/// Renders a config in the hub version.
pub(crate) fn render(config: &Value) -> Rendered {
    let name = config["metadata"]["name"].as_str().unwrap_or_default();
    let mut rendered = Rendered::default();
    if let Err(error) = with(config, &everything()) {
        rendered.error = Some(error);
        return rendered;
    }
    let suffix = name
        .strip_prefix(PRESET_PREFIX)
        .filter(|suffix| WELL_KNOWN.contains(suffix));
    for (shape, spec) in shapes() {
        // A preset meets only services that ask for it.
        let is_met = |suffix: &str| select(&service(&spec)).contains(&suffix);
        if !suffix.is_none_or(is_met) {
            continue;
        }
        if let Err((field, problem)) = with(config, &spec) {
            let message = format!("cannot be rendered for {shape}: {problem}");
            match rendered.warnings.iter_mut().find(|(at, _)| *at == field) {
                // One mistake in one field is told once, of the first shape that shows it.
                Some(_) => {}
                None => rendered.warnings.push((field, message)),
            }
        }
    }
    rendered
}

/// Whether a config has a preset's name.
pub(crate) fn is_well_known(name: &str) -> bool {
    let suffix = name.strip_prefix(PRESET_PREFIX);
    suffix.is_some_and(|suffix| WELL_KNOWN.contains(&suffix))
}

/// Whether `new` still says everything that `old` said; what is empty or zero says nothing.
pub(crate) fn contains(new: &Value, old: &Value) -> bool {
    match (old, new) {
        (Value::Null | Value::Bool(false), _) => true,
        (Value::Number(number), _) if number.as_f64() == Some(0.0) => true,
        (Value::String(text), _) if text.is_empty() => true,
        (Value::Object(old), Value::Object(new)) => old
            .iter()
            .all(|(key, old)| contains(new.get(key).unwrap_or(&Value::Null), old)),
        (Value::Object(old), _) => old.values().all(|old| contains(&Value::Null, old)),
        (Value::Array(old), Value::Array(new)) => {
            old.len() <= new.len() && old.iter().zip(new).all(|(old, new)| contains(new, old))
        }
        (Value::Array(old), _) => old.is_empty(),
        _ => old == new,
    }
}

fn service(spec: &Value) -> Value {
    json!({
        "apiVersion": names::API_VERSION, "kind": names::SERVICE_KIND,
        "metadata": {
            "name": "test-llm-preset", "namespace": "test-llm-preset-test",
            "labels": {"app": "test-llm-preset"}, "annotations": {"example.com/note": "test"},
        },
        "spec": spec,
    })
}

/// Renders a config above a sample: the sample is what templates may ask for, the config is what is looked at.
fn with(config: &Value, sample: &Value) -> Result<(), (String, String)> {
    let layer = |name: &str, spec: &Value| Config {
        name: name.to_owned(),
        namespace: "test-llm-preset-test".to_owned(),
        spec: spec.clone().into(),
    };
    let layers = [layer("sample", sample), layer("config", &config["spec"])];
    match compose(&service(&json!({})), &layers, &Globals::default()) {
        Ok(_) => Ok(()),
        Err(Error::Template {
            field,
            problem,
            text,
            ..
        }) => Err((field, format!("{problem}, in {text:?}"))),
        Err(Error::Merge { problem, .. }) => {
            let (field, what) = problem.split_once(": ").unwrap_or(("", problem.as_str()));
            Err((format!("spec.{field}"), what.to_owned()))
        }
        Err(error) => Err(("spec".to_owned(), error.to_string())),
    }
}

fn pod() -> Value {
    json!({"containers": [{"name": "main"}]})
}

/// A service that has nearly every field.
fn everything() -> Value {
    json!({
        "model": {
            "name": "llama", "uri": "hf://org/llama",
            "lora": {"maxRank": 8, "maxAdapters": 2, "maxCpuAdapters": 4, "adapters": [{"name": "a", "uri": "hf://org/a"}]},
        },
        "replicas": 2,
        "parallelism": {"data": 4, "dataLocal": 2, "dataRPCPort": 5555, "tensor": 1, "pipeline": 1, "expert": true},
        "kvCacheOffloading": {"cpu": "1Gi"},
        "tracing": {},
        "storageInitializer": {"enabled": true},
        "template": pod(),
        "worker": pod(),
        "prefill": {
            "replicas": 1, "kvCacheOffloading": {"cpu": "1Gi"}, "template": pod(), "worker": pod(),
            "parallelism": {"data": 4, "dataLocal": 2, "dataRPCPort": 5555, "tensor": 1, "pipeline": 1, "expert": true},
        },
        "router": {
            "gateway": {"refs": [{"name": "gateway", "namespace": "gateways"}]},
            "route": {"group": "group", "weight": 1, "http": {}},
            "scheduler": {"replicas": 1, "template": pod(), "tokenizer": {"template": pod()}, "pool": {}},
        },
    })
}

/// Shapes that services have, and what they are called.
fn shapes() -> [(&'static str, Value); 5] {
    let model = json!({"uri": "hf://org/llama", "name": "llama"});
    [
        (
            "a service with nothing but a model",
            json!({"model": model}),
        ),
        (
            "a single-node service with tensor parallelism and a managed route",
            json!({"model": model, "replicas": 1, "template": pod(), "parallelism": {"tensor": 2},
                "router": {"gateway": {}, "route": {}, "scheduler": {}}}),
        ),
        (
            "a service with prefill",
            json!({"model": model, "template": pod(), "prefill": {"template": pod()},
                "router": {"gateway": {}, "route": {}, "scheduler": {}}}),
        ),
        (
            "a multi-node service with data parallelism",
            json!({"model": model, "template": pod(), "worker": pod(),
                "parallelism": {"data": 4, "dataLocal": 2, "tensor": 1}}),
        ),
        (
            "a multi-node service with pipeline parallelism",
            json!({"model": model, "template": pod(), "worker": pod(), "parallelism": {"pipeline": 2, "tensor": 1}}),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &str, spec: &Value) -> Value {
        json!({"metadata": {"name": name}, "spec": spec})
    }

    fn argument(text: &str) -> Value {
        config(
            "c",
            &json!({"template": {"containers": [{"name": "main", "args": [text]}]}}),
        )
    }

    #[test]
    fn what_no_service_can_be_rendered_with_is_an_error() {
        for (text, expected) in [
            ("{{ .Spec.Model.Nmae }}", "can't evaluate field Nmae"),
            ("{{ .Spec.Model.Name ", "action is not closed"),
            ("{{ nosuch 1 }}", "nosuch"),
            ("{{ .GlobalConfig.Nope }}", "can't evaluate field Nope"),
        ] {
            let rendered = render(&argument(text));
            let (field, problem) = rendered.error.unwrap_or_default();
            assert_eq!(field, "spec.template.containers[0].args[0]", "{text}");
            assert!(problem.contains(expected), "{text}: {problem}");
        }
        let unnamed = config("c", &json!({"template": {"containers": [{"image": "i"}]}}));
        let (field, problem) = render(&unnamed).error.unwrap_or_default();
        assert_eq!(field, "spec.template.containers");
        assert!(problem.contains("has no \"name\""), "{problem}");
    }

    #[test]
    fn what_some_services_cannot_be_rendered_with_is_a_warning() {
        let rendered = render(&argument("--size={{ .Spec.Parallelism.Tensor }}"));
        assert_eq!(rendered.error, None);
        let [(field, message)] = &rendered.warnings[..] else {
            panic!("{rendered:?}");
        };
        assert_eq!(field, "spec.template.containers[0].args[0]");
        assert!(
            message.starts_with("cannot be rendered for a service with nothing but a model: "),
            "{message}"
        );
        for text in [
            "{{ if .Spec.Parallelism }}{{ .Spec.Parallelism.Tensor }}{{ end }}x",
            "{{ .Name }}",
            "plain",
        ] {
            let rendered = render(&argument(text));
            assert_eq!(rendered.error, None, "{text}");
        }
        assert_eq!(render(&argument("{{ .Name }}")), Rendered::default());
    }

    #[test]
    fn our_presets_can_be_rendered_for_every_shape_that_asks_for_them() {
        for preset in weir_compose::presets::all() {
            let rendered = render(&config(&preset.name, &preset.spec));
            assert_eq!(rendered, Rendered::default(), "{}", preset.name);
        }
    }

    #[test]
    fn a_preset_that_grows_still_says_what_it_said() {
        let old = json!({"a": {"b": [1, {"c": "x"}], "d": ""}, "e": 0});
        for (new, expected) in [
            (json!({"a": {"b": [1, {"c": "x", "n": 1}, 2]}}), true),
            (json!({"a": {"b": [1, {"c": "y"}]}}), false),
            (json!({"a": {"b": [1]}}), false),
            (json!({}), false),
        ] {
            assert_eq!(contains(&new, &old), expected, "{new}");
        }
        assert!(contains(&json!({}), &json!({"a": {"b": []}})));
    }
}
