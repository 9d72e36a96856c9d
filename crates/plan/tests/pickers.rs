//! The picker's objects by the rules of the routing specification, and whether its pool is ready.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use weir_api::names::kind;
use weir_plan::{
    Error, Facts, Metadata, ObservedScheduler, Outcome, RouterFacts, SchedulerError,
    ServiceIdentity, StatusInput, scheduler, status,
};

fn service() -> ServiceIdentity {
    ServiceIdentity {
        name: "my-llm".to_owned(),
        namespace: "demo".to_owned(),
        ..ServiceIdentity::default()
    }
}

fn spec() -> Value {
    json!({
        "model": {"uri": "hf://org/base", "name": "org/base"},
        "router": {"scheduler": {
            "annotations": {"app.kubernetes.io/version": "0.10.0"},
            "template": {"containers": [{"name": "main", "ports": [{"name": "grpc", "containerPort": 9002}]}]},
            "pool": {"spec": {
                "selector": {"matchLabels": {"app": "x"}},
                "targetPorts": [{"number": 8000}],
                "endpointPickerRef": {"name": "my-llm-epp-service", "kind": "Service", "port": {"number": 9002}, "failureMode": "FailOpen"},
            }},
        }},
    })
}

fn objects(spec: &Value, facts: &Facts) -> Vec<Value> {
    scheduler(&service(), spec, facts).unwrap()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    objects
        .iter()
        .find(|object| object["kind"] == kind)
        .unwrap()
}

fn args(spec: &Value, facts: &Facts) -> Vec<String> {
    let objects = objects(spec, facts);
    let main = &of_kind(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    let args = main["args"].as_array().unwrap();
    args.iter()
        .map(|word| word.as_str().unwrap().to_owned())
        .collect()
}

/// The live Deployment with the argument words and the note of where the configuration came from.
fn live(args: &[&str], source: Option<&str>, replicas: u8) -> Facts {
    let annotations = source.map(|source| json!({"serving.kserve.io/epp-config-source": source}));
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "my-llm-kserve-router-scheduler", "annotations": annotations},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app.kubernetes.io/name": "my-llm", "old": "1"}},
            "template": {"spec": {"containers": [{"name": "main", "args": args}]}},
        },
    });
    Facts {
        live: vec![Arc::new(deployment)],
        ..Facts::default()
    }
}

#[test]
fn the_configuration_comes_from_the_first_who_gives_one() {
    let own_text = "kind: EndpointPickerConfig\nplugins: []\n";
    let mut inline = spec();
    inline["router"]["scheduler"]["config"] = json!({"inline": {"kind": "Own", "plugins": []}});
    let mut in_args = spec();
    in_args["router"]["scheduler"]["template"]["containers"][0]["args"] =
        json!(["-configText", own_text]);
    let generated = |args: &[String]| args[1].contains("single-profile-handler");
    let kept = ["--v", "4", "-config-file", "f"];
    let table: [(&str, Value, Facts, &[&str]); 6] = [
        ("nobody", spec(), Facts::default(), &["--config-text"]),
        (
            "inline wins",
            inline,
            live(&kept, None, 1),
            &["--config-text", "kind: Own\nplugins: []\n"],
        ),
        (
            "the template's",
            in_args,
            live(&kept, None, 1),
            &["-configText", own_text],
        ),
        (
            "the live one",
            spec(),
            live(&kept, None, 1),
            &["-config-file", "f"],
        ),
        (
            "ours follows the spec",
            spec(),
            live(&kept, Some("generated"), 1),
            &["--config-text"],
        ),
        (
            "inline was removed",
            spec(),
            live(&kept, Some("inline"), 1),
            &["--config-text"],
        ),
    ];
    for (what, spec, facts, wanted) in table {
        let args = args(&spec, &facts);
        assert_eq!(args.len(), 2, "{what}");
        if wanted.len() == 1 {
            assert!(args[0] == wanted[0] && generated(&args), "{what}: {args:?}");
        } else {
            assert_eq!(args, wanted, "{what}");
        }
    }
    let source = |spec: &Value, facts: &Facts| {
        let objects = objects(spec, facts);
        of_kind(&objects, "Deployment")
            .pointer("/metadata/annotations/serving.kserve.io~1epp-config-source")
            .cloned()
    };
    assert_eq!(source(&spec(), &Facts::default()), Some(json!("generated")));
    assert_eq!(source(&spec(), &live(&kept, None, 1)), None);
}

#[test]
fn the_generated_configuration_follows_prefill_and_adapters() {
    for (prefill, lora) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut spec = spec();
        if prefill {
            spec["prefill"] = json!({});
        }
        if lora {
            spec["model"]["lora"] = json!({"adapters": [{"name": "a"}]});
        }
        let text = args(&spec, &live(&[], Some("generated"), 1)).pop().unwrap();
        assert_eq!(text.contains("disagg-profile-handler"), prefill);
        assert_eq!(
            text.matches("pluginRef: lora-affinity-scorer\n    weight: 4")
                .count(),
            match (prefill, lora) {
                (_, false) => 0,
                (false, true) => 1,
                (true, true) => 2,
            }
        );
    }
}

#[test]
fn several_pickers_have_one_leader() {
    let flag = "--ha-enable-leader-election".to_owned();
    let mut spec = spec();
    assert!(!args(&spec, &Facts::default()).contains(&flag));
    // Without a count of its own the Deployment keeps what runs.
    assert!(args(&spec, &live(&[], None, 3)).contains(&flag));
    spec["router"]["scheduler"]["replicas"] = json!(1);
    assert!(!args(&spec, &live(&[], None, 3)).contains(&flag));
    spec["router"]["scheduler"]["replicas"] = json!(2);
    assert_eq!(args(&spec, &Facts::default())[0], flag);
    let own = json!(["-ha-enable-leader-election=true"]);
    spec["router"]["scheduler"]["template"]["containers"][0]["args"] = own;
    assert!(!args(&spec, &Facts::default()).contains(&flag));
}

#[test]
fn labels_are_for_pods_and_a_live_selector_stays() {
    let mut spec = spec();
    spec["router"]["scheduler"]["labels"] =
        json!({"team": "a", "app.kubernetes.io/name": "other", "old": "2"});
    let new = objects(&spec, &Facts::default());
    let deployment = of_kind(&new, "Deployment");
    let three = json!({
        "app.kubernetes.io/component": "llminferenceservice-router-scheduler",
        "app.kubernetes.io/name": "my-llm",
        "app.kubernetes.io/part-of": "llminferenceservice",
    });
    assert_eq!(deployment["spec"]["selector"]["matchLabels"], three);
    let pod = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(
        (&pod["team"], &pod["app.kubernetes.io/name"]),
        (&json!("a"), &json!("my-llm"))
    );
    let adopted = objects(&spec, &live(&[], None, 1));
    let deployment = of_kind(&adopted, "Deployment");
    assert_eq!(
        deployment["spec"]["selector"]["matchLabels"],
        json!({"app.kubernetes.io/name": "my-llm", "old": "1"})
    );
    assert_eq!(
        deployment["spec"]["template"]["metadata"]["labels"]["old"],
        "1"
    );
}

#[test]
fn traces_are_asked_for_once_and_what_the_user_says_wins() {
    let mut spec = spec();
    spec["tracing"] = json!({"exporter": "otlp", "samplerArg": "0.1"});
    spec["router"]["scheduler"]["template"]["containers"][0]["args"] = json!(["-tracing=false"]);
    spec["router"]["scheduler"]["template"]["containers"][0]["env"] =
        json!([{"name": "OTEL_TRACES_EXPORTER", "value": "mine"}]);
    let objects = objects(&spec, &Facts::default());
    let main = &of_kind(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    let args = main["args"].as_array().unwrap();
    assert!(!args.contains(&json!("--tracing=true")));
    let env: BTreeMap<&str, &Value> = main["env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), &one["value"]))
        .collect();
    assert_eq!(env["OTEL_TRACES_EXPORTER"], "mine");
    assert_eq!(env["OTEL_TRACES_SAMPLER_ARG"], "0.1");
    assert_eq!(env.len(), 8);
}

#[test]
fn the_account_has_the_secrets_of_the_model_and_a_named_one_must_exist() {
    let account = |name: &str| {
        Arc::new(json!({
            "metadata": {"name": name, "annotations": {"cloud": "1", "kubectl.kubernetes.io/last-applied-configuration": "{}"}},
            "imagePullSecrets": [{"name": "pull"}],
        }))
    };
    let known = |names: &[&str]| Facts {
        accounts: Some(
            names
                .iter()
                .map(|name| ((*name).to_owned(), account(name)))
                .collect(),
        ),
        ..Facts::default()
    };
    let mut spec = spec();
    let made = objects(&spec, &known(&["default"]));
    let copy = of_kind(&made, "ServiceAccount");
    assert_eq!(copy["imagePullSecrets"], json!([{"name": "pull"}]));
    assert_eq!(
        copy["metadata"].get("annotations"),
        None,
        "those of default are nobody's identity"
    );
    spec["template"] = json!({"serviceAccountName": "mine"});
    let made = objects(&spec, &known(&["default", "mine"]));
    assert_eq!(
        of_kind(&made, "ServiceAccount")["metadata"]["annotations"],
        json!({"cloud": "1"})
    );

    spec["router"]["scheduler"]["template"]["serviceAccountName"] = json!("picker");
    let missing = scheduler(&service(), &spec, &known(&["default"]));
    assert!(matches!(
        missing,
        Err(Error::Scheduler(SchedulerError::NoAccount { .. }))
    ));
    let made = objects(&spec, &known(&["picker"]));
    assert!(!made.iter().any(|object| object["kind"] == "ServiceAccount"));
    assert_eq!(
        of_kind(&made, "RoleBinding")["subjects"][0]["name"],
        "picker"
    );
}

#[test]
fn two_services_never_share_a_cluster_binding() {
    let service = |namespace: &str, name: &str| ServiceIdentity {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        ..ServiceIdentity::default()
    };
    let (first, second) = (service("team-a", "llm"), service("team", "a-llm"));
    assert_eq!(
        weir_plan::cluster_binding_names(&first)[0],
        weir_plan::cluster_binding_names(&second)[0]
    );
    let binding = |service: &ServiceIdentity, facts: &Facts| {
        let objects = scheduler(service, &spec(), facts).unwrap();
        of_kind(&objects, "ClusterRoleBinding").clone()
    };
    let ours = binding(&first, &Facts::default());
    let mut facts = Facts::default();
    facts.router.binding = Some(ours.clone());
    assert_eq!(binding(&first, &facts), ours);
    let theirs = binding(&second, &facts);
    assert_ne!(theirs["metadata"]["name"], ours["metadata"]["name"]);
    assert_eq!(theirs["subjects"][0]["namespace"], "team");
    assert!(weir_plan::is_cluster_binding_of(&second, &theirs));
    assert!(!weir_plan::is_cluster_binding_of(&first, &theirs));
}

fn serving(served: &[weir_api::names::Kind]) -> Facts {
    Facts {
        router: RouterFacts {
            served: served.to_vec(),
            ..RouterFacts::default()
        },
        ..Facts::default()
    }
}

#[test]
fn pools_and_metadata_are_of_the_kinds_that_are_served() {
    let pools = |served: &[weir_api::names::Kind]| -> Vec<String> {
        let objects = objects(&spec(), &serving(served));
        let pools = objects
            .iter()
            .filter(|object| object["kind"] == "InferencePool");
        pools
            .map(|pool| pool["apiVersion"].as_str().unwrap().to_owned())
            .collect()
    };
    let (new, old) = (kind::INFERENCE_POOL, kind::INFERENCE_POOL_ALPHA);
    assert_eq!(pools(&[new, old]), [new.api_version(), old.api_version()]);
    assert_eq!(pools(&[new]), [new.api_version()]);
    assert_eq!(pools(&[old]), [old.api_version()]);
    let neither = scheduler(&service(), &spec(), &serving(&[]));
    assert_eq!(neither, Err(Error::Scheduler(SchedulerError::NoPoolKind)));

    let alpha = objects(&spec(), &serving(&[old]));
    assert_eq!(
        of_kind(&alpha, "InferencePool")["spec"],
        json!({
            "selector": {"app": "x"},
            "targetPortNumber": 8000,
            "extensionRef": {"name": "my-llm-epp-service", "kind": "Service", "portNumber": 9002, "failureMode": "FailOpen"},
        })
    );

    let mut critical = service();
    critical.annotations.insert(
        "internal.serving.kserve.io/model-criticality".to_owned(),
        "Critical".to_owned(),
    );
    let metadata = |served: &[weir_api::names::Kind]| {
        let objects = scheduler(&critical, &spec(), &serving(served)).unwrap();
        objects
            .into_iter()
            .find(|object| object["metadata"]["name"] == "my-llm-model")
    };
    let pool =
        json!({"group": new.group, "kind": "InferencePool", "name": "my-llm-inference-pool"});
    let model = metadata(&[new, kind::INFERENCE_OBJECTIVE, kind::INFERENCE_MODEL]).unwrap();
    assert_eq!(
        model["spec"],
        json!({"modelName": "org/base", "poolRef": pool, "criticality": "Critical"})
    );
    let objective = metadata(&[new, kind::LLM_D_INFERENCE_OBJECTIVE]).unwrap();
    assert_eq!(objective["apiVersion"], "llm-d.ai/v1alpha2");
    assert_eq!(objective["spec"], json!({"poolRef": pool, "priority": 1}));
    assert_eq!(metadata(&[new]), None);
}

#[test]
fn a_pool_of_somebody_else_leaves_only_the_metadata() {
    let mut spec = spec();
    spec["router"]["scheduler"]["pool"] = json!({"ref": {"name": "shared"}});
    let objects = objects(&spec, &Facts::default());
    let kinds: Vec<&str> = objects
        .iter()
        .map(|object| object["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["InferenceObjective"]);
    assert_eq!(objects[0]["spec"]["poolRef"]["name"], "shared");
}

/// `InferencePoolReady` of a pool with these parents: gateway, status of Accepted, generation.
fn pool_condition(
    route_parents: &[&str],
    parents: &[(&str, &str, i64)],
    old: bool,
) -> (String, String) {
    let list: Vec<Value> = parents
        .iter()
        .map(|(gateway, accepted, generation)| {
            let conditions = if accepted.is_empty() {
                json!([])
            } else {
                json!([{"type": "Accepted", "status": accepted, "reason": "R", "message": "m", "observedGeneration": generation}])
            };
            let parent = if *gateway == "default" { json!({"kind": "Status", "name": "default"}) } else { json!({"name": gateway}) };
            json!({"parentRef": parent, "conditions": conditions})
        })
        .collect();
    let (kind, key) = if old {
        (kind::INFERENCE_POOL_ALPHA, "parent")
    } else {
        (kind::INFERENCE_POOL, "parents")
    };
    let pool = json!({
        "apiVersion": kind.api_version(), "kind": "InferencePool",
        "metadata": {"name": "my-llm-inference-pool", "namespace": "demo", "generation": 2},
        "spec": {"endpointPickerRef": {"name": "e"}},
        "status": {key: list},
    });
    let observed = ObservedScheduler {
        pools: vec![Arc::new(pool)],
        metadata: Metadata::Published,
        ..ObservedScheduler::default()
    };
    let mut spec = spec();
    // Gateways that the service names count without a route too.
    let refs: Vec<Value> = route_parents
        .iter()
        .map(|name| json!({"name": name}))
        .collect();
    spec["router"]["gateway"] = json!({"refs": refs});
    let service = service();
    let told = status(&StatusInput {
        service: &service,
        generation: 1,
        previous: &Value::Null,
        spec: Some(&spec),
        pinned: &BTreeMap::new(),
        applied: &[],
        presets: &Outcome::Done,
        workloads: &Outcome::NotRun,
        router: &Outcome::Done,
        live: &[],
        service_exists: true,
        pods: &[],
        scheduler: &observed,
        notes: "",
        group: None,
        planned_route: None,
        routes: &[],
        gateways: &[],
        url_scheme: "http",
        cluster_domain: "cluster.local",
        model_header: "H",
        tls: false,
        image_volumes: weir_plan::ImageVolumes::default(),
        now: "2026-01-01T00:00:00Z",
    });
    let conditions = told["conditions"].as_array().unwrap();
    let pool = conditions
        .iter()
        .find(|one| one["type"] == "InferencePoolReady")
        .unwrap();
    let text = |key: &str| pool[key].as_str().unwrap_or_default().to_owned();
    (
        if pool["status"] == "True" {
            "True".to_owned()
        } else {
            text("reason")
        },
        text("message"),
    )
}

#[test]
fn a_pool_is_ready_when_every_gateway_of_the_service_took_it() {
    let waiting = "WaitingForGateway";
    let failed = "InferencePoolNotReady";
    /// Gateways of the service; parents; of the older version; reason and part of the message.
    type Row<'a> = (
        &'a [&'a str],
        &'a [(&'a str, &'a str, i64)],
        bool,
        &'a str,
        &'a str,
    );
    let table: [Row<'_>; 13] = [
        (
            &["g1"],
            &[],
            false,
            waiting,
            "no Gateway controller has accepted it yet",
        ),
        (&["g1"], &[("g1", "True", 2)], false, "True", ""),
        (&["g1"], &[("g1", "True", 0)], false, "True", ""),
        (&["g1"], &[("g1", "True", 1)], false, failed, "Stale"),
        (
            &["g1"],
            &[("g1", "False", 2)],
            false,
            failed,
            "Accepted=\"False\" (reason \"R\", message \"m\")",
        ),
        (
            &["g1"],
            &[("g1", "", 2)],
            false,
            failed,
            "The inference pool demo/my-llm-inference-pool is not ready",
        ),
        (
            &["g1"],
            &[("g1", "True", 2), ("left", "False", 2)],
            false,
            "True",
            "",
        ),
        (
            &["g1"],
            &[("left", "True", 2)],
            false,
            waiting,
            "accepted by demo/left, which is not used by this service",
        ),
        (
            &["g1", "g2"],
            &[("g1", "True", 2)],
            false,
            waiting,
            "not yet accepted by gateway demo/g2",
        ),
        (&[], &[("any", "True", 2)], false, "True", ""),
        (&[], &[], false, waiting, ""),
        (&[], &[("default", "Unknown", 2)], true, waiting, ""),
        (
            &["g1"],
            &[("default", "Unknown", 2), ("g1", "True", 2)],
            true,
            "True",
            "",
        ),
    ];
    for (gateways, parents, old, reason, part) in table {
        let (told, message) = pool_condition(gateways, parents, old);
        assert_eq!(told, reason, "{gateways:?} {parents:?}");
        assert!(message.contains(part), "{message:?} has no {part:?}");
    }
}
