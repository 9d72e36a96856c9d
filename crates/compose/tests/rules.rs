//! Rules of merging and ways in which templates fail, each on a whole service: the schema of the spec decides which
//! lists have keys, and where.

use serde_json::{Value, json};
use weir_compose::{Config, Effective, Error, Globals, compose};

/// The effective spec of layers, the last one being the service.
fn merged(layers: &[Value]) -> Result<Effective, Error> {
    let (own, bases) = layers.split_last().expect("a service");
    let configs: Vec<Config> = bases
        .iter()
        .enumerate()
        .map(|(index, spec)| Config {
            name: format!("base-{index}"),
            namespace: "ns".to_owned(),
            spec: spec.clone().into(),
        })
        .collect();
    let metadata = json!({
        "name": "svc", "namespace": "ns", "annotations": {"left": "{{ alone"}, "labels": {"team": "a"},
    });
    let service = json!({"metadata": metadata, "spec": own});
    compose(&service, &configs, &Globals::default())
}

/// A spec with this at a pointer of plain names.
fn at(pointer: &str, value: &Value) -> Value {
    let parts = pointer.rsplit('/').filter(|part| !part.is_empty());
    parts.fold(value.clone(), |value, part| json!({part: value}))
}

const POD: &str = "/template";

#[test]
fn keyed_lists_are_merged_by_their_keys_wherever_a_pod_is() {
    let rows = [
        ("/containers", "name", json!({"image": "i"})),
        ("/initContainers", "name", json!({"image": "i"})),
        ("/ephemeralContainers", "name", json!({"image": "i"})),
        ("/volumes", "name", json!({"emptyDir": {}})),
        ("/imagePullSecrets", "name", json!({})),
        ("/hostAliases", "ip", json!({"hostnames": ["h"]})),
        (
            "/topologySpreadConstraints",
            "topologyKey",
            json!({"maxSkew": 1}),
        ),
        ("/resourceClaims", "name", json!({"resourceClaimName": "c"})),
        ("/schedulingGates", "name", json!({})),
    ];
    let pods = [
        "/template",
        "/worker",
        "/prefill/template",
        "/prefill/worker",
        "/router/scheduler/template",
        "/router/scheduler/tokenizer/template",
    ];
    let item = |key: &str, name: &str, more: &Value| {
        let mut item = more.clone();
        item[key] = json!(name);
        item
    };
    for pod in pods {
        for (list, key, more) in &rows {
            let pointer = format!("{pod}{list}");
            let base = at(
                &pointer,
                &json!([item(key, "a", more), item(key, "b", more)]),
            );
            let over = at(
                &pointer,
                &json!([item(key, "x", more), item(key, "b", more)]),
            );
            let spec = merged(&[base, over]).expect("merges").spec;
            let names: Vec<_> = spec
                .pointer(&pointer)
                .and_then(Value::as_array)
                .expect("a list")
                .iter()
                .map(|i| &i[key])
                .collect();
            assert_eq!(names, ["x", "a", "b"], "{pointer}");
        }
    }
}

#[test]
fn lists_inside_of_a_container_have_keys_too() {
    let rows = [
        ("env", "name", json!(["a", "b"])),
        ("volumeMounts", "mountPath", json!(["/a", "/b"])),
        ("volumeDevices", "devicePath", json!(["/a", "/b"])),
        ("ports", "containerPort", json!([80, 81])),
    ];
    for (list, key, values) in rows {
        let of = |values: &[&Value]| {
            let items: Vec<Value> = values.iter().map(|value| json!({key: value})).collect();
            at(POD, &json!({"containers": [{"name": "main", list: items}]}))
        };
        let (a, b) = (&values[0], &values[1]);
        let spec = merged(&[of(&[a]), of(&[b])]).expect("merges").spec;
        let merged: Vec<&Value> = spec["template"]["containers"][0][list]
            .as_array()
            .expect("a list")
            .iter()
            .map(|i| &i[key])
            .collect();
        // What is new goes first.
        assert_eq!(merged, [b, a], "{list}");
    }
}

#[test]
fn all_other_lists_are_replaced() {
    let main = |key: &str, value: Value| json!({"containers": [{"name": "main", key: value}]});
    let rows = [
        (
            "/template/tolerations",
            json!([{"key": "a"}]),
            json!([{"key": "b"}]),
        ),
        (
            "/template/readinessGates",
            json!([{"conditionType": "a"}]),
            json!([{"conditionType": "b"}]),
        ),
        (
            "/model/lora/adapters",
            json!([{"name": "a"}]),
            json!([{"name": "b"}]),
        ),
        (
            "/kvCacheOffloading/secondary",
            json!([{"fileSystem": {"emptyDir": {}}}]),
            json!([{"fileSystem": {"pvc": {"ref": {"name": "p"}}}}]),
        ),
        (
            "/scaling/keda/triggers",
            json!([{"type": "a"}]),
            json!([{"type": "b"}]),
        ),
        (
            "/router/gateway/refs",
            json!([{"name": "a"}]),
            json!([{"name": "b"}]),
        ),
        (
            "/router/ingress/refs",
            json!([{"name": "a"}]),
            json!([{"name": "b"}]),
        ),
        (
            "/router/route/http/refs",
            json!([{"name": "a"}]),
            json!([{"name": "b"}]),
        ),
        (
            "/router/route/http/spec/hostnames",
            json!(["a"]),
            json!(["b"]),
        ),
        (
            "/router/route/http/spec/rules",
            json!([{"name": "a"}]),
            json!([{"name": "b"}]),
        ),
        (
            "/router/scheduler/pool/spec/targetPorts",
            json!([{"number": 1}]),
            json!([{"number": 2}]),
        ),
    ];
    for (pointer, base, over) in rows {
        let spec = merged(&[at(pointer, &base), at(pointer, &over)])
            .expect("merges")
            .spec;
        assert_eq!(spec.pointer(pointer), Some(&over), "{pointer}");
    }
    for key in ["command", "args", "envFrom"] {
        let layers =
            [main(key, json!(["a", "b"])), main(key, json!(["c"]))].map(|pod| at(POD, &pod));
        let spec = merged(&layers).expect("merges").spec;
        assert_eq!(
            spec["template"]["containers"][0][key],
            json!(["c"]),
            "{key}"
        );
    }
}

#[test]
fn a_later_layer_that_names_one_member_of_a_union_drops_the_other() {
    let volume = |source: Value| at("/template/volumes", &json!([source]));
    let container = |more: Value| {
        let mut main = json!({"name": "main"});
        main.as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        at("/template/containers", &json!([main]))
    };
    let env = |more: Value| container(json!({"env": [more]}));
    let tier = |system: Value| {
        at(
            "/kvCacheOffloading/secondary",
            &json!([{"fileSystem": system}]),
        )
    };
    let rows = [
        (
            volume(json!({"name": "v", "emptyDir": {}})),
            volume(json!({"name": "v", "secret": {"secretName": "s"}})),
        ),
        (
            env(json!({"name": "A", "value": "1"})),
            env(json!({"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "p"}}})),
        ),
        (
            container(json!({"livenessProbe": {"httpGet": {"port": 1}}})),
            container(json!({"livenessProbe": {"exec": {"command": ["x"]}}})),
        ),
        (
            container(json!({"lifecycle": {"preStop": {"exec": {"command": ["x"]}}}})),
            container(json!({"lifecycle": {"preStop": {"sleep": {"seconds": 1}}}})),
        ),
        (
            at("/router/scheduler/config", &json!({"ref": {"name": "r"}})),
            at(
                "/router/scheduler/config",
                &json!({"inline": {"plugins": []}}),
            ),
        ),
        (
            json!({"replicas": 2}),
            json!({"scaling": {"minReplicas": 1, "keda": {}}}),
        ),
        (
            at("/prefill", &json!({"replicas": 2})),
            at("/prefill", &json!({"scaling": {"wva": {}}})),
        ),
        (
            at("/scaling", &json!({"wva": {"hpa": {}}})),
            at("/scaling", &json!({"keda": {"pollingInterval": 1}})),
        ),
        (
            at("/scaling/wva", &json!({"hpa": {}})),
            at("/scaling/wva", &json!({"keda": {"pollingInterval": 1}})),
        ),
        (
            at("/router/scheduler/pool", &json!({"ref": {"name": "p"}})),
            at(
                "/router/scheduler/pool",
                &json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}}),
            ),
        ),
        (
            at("/router/route/http", &json!({"refs": [{"name": "r"}]})),
            at("/router/route/http", &json!({"spec": {"hostnames": ["h"]}})),
        ),
        (
            tier(json!({"emptyDir": {}})),
            tier(json!({"pvc": {"ref": {"name": "p"}}})),
        ),
        (
            tier(json!({"pvc": {"spec": {"storageClassName": "s"}}})),
            tier(json!({"pvc": {"ref": {"name": "p"}}})),
        ),
    ];
    for (one, other) in rows {
        for (base, over) in [(&one, &other), (&other, &one)] {
            let spec = merged(&[base.clone(), over.clone()]).expect("merges").spec;
            let alone = merged(std::slice::from_ref(over)).expect("merges").spec;
            assert_eq!(spec, alone, "{base} under {over}");
        }
    }
}

#[test]
fn what_is_zero_and_said_counts_and_what_is_empty_does_not() {
    let base = json!({
        "replicas": 3, "parallelism": {"tensor": 8, "expert": true}, "labels": {"a": "1", "b": "1"},
        "model": {"uri": "hf://a/b", "name": "n"},
        "router": {"scheduler": {"tokenizer": {"template": {"containers": [{"name": "main", "image": "i"}]}}}},
        "template": {"containers": [{"name": "main", "image": "i", "args": ["a"]}]},
    });
    let over = json!({
        "replicas": 0, "parallelism": {"expert": false}, "labels": {"b": "2"},
        "model": {"uri": ""},
        "router": {"scheduler": {"tokenizer": {"template": {"containers": null}}}},
        "template": {"containers": []},
    });
    let spec = merged(&[base.clone(), over]).expect("merges").spec;
    assert_eq!(spec["replicas"], 0);
    assert_eq!(spec["parallelism"], json!({"tensor": 8, "expert": false}));
    assert_eq!(spec["labels"], json!({"a": "1", "b": "2"}));
    assert_eq!(spec["model"], base["model"]);
    assert_eq!(spec["template"], base["template"]);
    let tokenizer = "/router/scheduler/tokenizer/template/containers";
    assert_eq!(spec.pointer(tokenizer), base.pointer(tokenizer));
}

/// The text of one argument, rendered, or the error.
fn argument(spec: &Value, text: &str) -> Result<String, String> {
    let base = at(
        "/template/containers",
        &json!([{"name": "main", "args": ["first", text]}]),
    );
    let spec = merged(&[base, spec.clone()])
        .map_err(|error| error.to_string())?
        .spec;
    let text = spec["template"]["containers"][0]["args"][1].as_str();
    Ok(text.unwrap_or_default().to_owned())
}

#[test]
fn each_way_in_which_templates_failed() {
    let spec = json!({
        "model": {"uri": "hf://a/{{ .Name }}", "name": "{{ .Name }}-{{ .Labels.team }}"},
        "parallelism": {"data": 4},
    });
    let fine = [
        ("T1, merged values", "{{ .Spec.Parallelism.Data }}", "4"),
        (
            "T2, a model name that is a template",
            "{{ .Spec.Model.Name }} {{ .Model.URI }}",
            "svc-a hf://a/svc",
        ),
        (
            "T4, nil in a condition",
            "{{ if .Spec.Prefill.Parallelism.Expert }}x{{ else }}y{{ end }}",
            "y",
        ),
        (
            "T4, and stops",
            "{{ if and .Spec.Prefill .Spec.Prefill.Parallelism.Data }}x{{ end }}",
            "",
        ),
        ("T7, double quotes", "{{ ChildName .Name \"-x\" }}", "svc-x"),
        (
            "T7, values are not escaped",
            "{{ print `a\"b\\c` }}",
            "a\"b\\c",
        ),
        ("T8, literal braces", "{{ `{{` }} x {{ `}}` }}", "{{ x }}"),
        (
            "T9, shortcuts",
            "{{ .Name }} {{ .Namespace }} {{ .Parallelism.Data }}",
            "svc ns 4",
        ),
        (
            "numbers are formatted and compared",
            "{{ printf `%02d` .Spec.Parallelism.Data }} {{ eq .Spec.Parallelism.Data 4 }}",
            "04 true",
        ),
    ];
    for (what, text, wanted) in fine {
        assert_eq!(argument(&spec, text).as_deref(), Ok(wanted), "{what}");
    }
    // T2: a name that names itself means the service's own.
    let base = json!({"model": {"name": "{{ .Spec.Model.Name }}-x", "uri": "hf://a/{{ .Spec.Model.Name }}"}});
    for own in [json!({}), json!({"model": {"name": "svc"}})] {
        let spec = merged(&[base.clone(), own]).expect("renders").spec;
        assert_eq!(
            spec["model"],
            json!({"name": "svc-x", "uri": "hf://a/svc-x"})
        );
    }
    let itself = at("/model/uri", &json!("hf://{{ .Spec.Model.URI }}"));
    let error = merged(&[itself, json!({})]).expect_err("refers to itself");
    let mut report = format!("T2, itself\n    {error}\n");
    for (what, text) in [
        (
            "T4, nil where it is printed",
            "{{ .Spec.Prefill.Parallelism.Expert }}",
        ),
        ("T5, nil", "--tp={{ .Spec.Parallelism.Tensor }}"),
        ("T6, a missing key", "{{ .Labels.tema }}"),
        ("T6, a position", "a\n  {{ .Spec.Modle }}"),
        ("T8, an unknown function", "{{ raise_exception(1) }}"),
        (
            "T8, braces that are not closed",
            "{%- for m in messages %}{{ m",
        ),
        (
            "globals that are out of reach",
            "{{ .GlobalConfig.StorageConfig }}",
        ),
        ("an empty word", "{{ argv `a` `` }}"),
    ] {
        let error = argument(&spec, text).expect_err(what);
        report.push_str(&format!("{what}: {text:?}\n    {error}\n"));
    }
    insta::assert_snapshot!(report);
}
