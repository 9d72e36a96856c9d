//! The real kubectl against the store.

use super::kit::{DEFINITION, DEPLOYMENT, Store, WIDGET, kubectl};

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_created_shown_and_deleted() {
    if !kubectl() {
        return;
    }
    let store = Store::start().await;
    let out = store.ok("create -f -", DEPLOYMENT).await;
    assert_eq!(out, "deployment.apps/web created\n");
    let out = store.ok("get deploy", "").await;
    assert!(
        out.starts_with("NAME   READY   UP-TO-DATE   AVAILABLE   AGE\nweb    0/2     0"),
        "{out}"
    );
    let out = store.ok("get deploy -o wide", "").await;
    assert!(
        out.contains("example/web:1") && out.contains("app=web"),
        "{out}"
    );
    let out = store
        .ok(
            "get deploy web -o jsonpath={.metadata.generation}:{.spec.strategy.type}",
            "",
        )
        .await;
    assert_eq!(out, "1:RollingUpdate");
    let err = store.refused("create -f -", DEPLOYMENT).await;
    assert!(
        err.contains("deployments.apps \"web\" already exists"),
        "{err}"
    );
    store.ok("scale deploy web --replicas=5", "").await;
    let out = store
        .ok(
            "get deploy web -o jsonpath={.metadata.generation}:{.spec.replicas}",
            "",
        )
        .await;
    assert_eq!(out, "2:5");
    let out = store.ok("describe deploy web", "").await;
    assert!(out.contains("5 desired"), "{out}");
    store.ok("delete deploy web", "").await;
    let err = store.refused("get deploy web", "").await;
    assert!(
        err.contains("(NotFound): deployments.apps \"web\" not found"),
        "{err}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_works_in_both_ways_and_names_conflicts_and_unknown_fields() {
    if !kubectl() {
        return;
    }
    let store = Store::start().await;
    let out = store.ok("apply -f -", DEPLOYMENT).await;
    assert_eq!(out, "deployment.apps/web created\n");
    let out = store.ok("apply -f -", DEPLOYMENT).await;
    assert_eq!(out, "deployment.apps/web unchanged\n");
    let changed = DEPLOYMENT.replace("web:1", "web:2");
    let out = store.ok("apply -f -", &changed).await;
    assert_eq!(out, "deployment.apps/web configured\n");
    let out = store
        .ok("get deploy web -o jsonpath={..image}{..env[0].value}", "")
        .await;
    assert_eq!(out, "example/web:21");
    store.ok("delete deploy web", "").await;
    let out = store.ok("apply --server-side -f -", DEPLOYMENT).await;
    assert_eq!(out, "deployment.apps/web serverside-applied\n");
    let err = store
        .refused("apply --server-side --field-manager other -f -", &changed)
        .await;
    assert!(err.contains("conflict with \"kubectl\""), "{err}");
    store
        .ok(
            "apply --server-side --field-manager other --force-conflicts -f -",
            &changed,
        )
        .await;
    let unknown = DEPLOYMENT.replace("  replicas: 2", "  replicaz: 2");
    let err = store.refused("apply -f -", &unknown).await;
    assert!(err.contains("unknown field \"spec.replicaz\""), "{err}");
    let out = store
        .ok(
            "apply --dry-run=server -f -",
            &DEPLOYMENT.replace("web:1", "web:9"),
        )
        .await;
    assert!(out.contains("configured (server dry run)"), "{out}");
    let (_, out, err) = store
        .kubectl("diff -f -", &changed.replace("replicas: 2", "replicas: 4"))
        .await;
    assert!(out.contains("+  replicas: 4"), "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_kind_is_defaulted_validated_pruned_and_shown() {
    if !kubectl() {
        return;
    }
    let store = Store::start().await;
    store.ok("apply -f -", DEFINITION).await;
    store
        .ok(
            "wait --for=condition=Established crd/widgets.example.com --timeout=5s",
            "",
        )
        .await;
    store.ok("apply -f -", WIDGET).await;
    let out = store.ok("get wd", "").await;
    assert!(out.starts_with("NAME   SIZE   READY\none    3"), "{out}");
    assert_eq!(
        store
            .ok("get widget one -o jsonpath={.spec.color}", "")
            .await,
        "red"
    );
    let err = store
        .refused("apply -f -", &WIDGET.replace("size: 3", "size: -1"))
        .await;
    assert!(
        err.contains("spec.size") && err.contains("greater than or equal to 0"),
        "{err}"
    );
    let err = store
        .refused("apply -f -", &WIDGET.replace("size: 3", "sice: 3"))
        .await;
    assert!(err.contains("unknown field \"spec.sice\""), "{err}");
    store.ok("scale wd one --replicas=7", "").await;
    assert_eq!(
        store.ok("get wd one -o jsonpath={.spec.size}", "").await,
        "7"
    );
    let out = store.ok("explain widgets.spec.color", "").await;
    assert!(out.contains("FIELD: color"), "{out}");
    store
        .ok("apply --server-side --force-conflicts -f -", WIDGET)
        .await;
    store
        .ok(
            "patch wd one --type merge --subresource status -p {\"status\":{\"size\":4}}",
            "",
        )
        .await;
    let out = store
        .ok(
            "get wd one -o jsonpath={.status.size}:{.metadata.generation}",
            "",
        )
        .await;
    assert_eq!(out, "4:3");
    store.ok("delete wd one", "").await;
    store.ok("apply -f -", WIDGET).await;
    store
        .ok("delete crd widgets.example.com --timeout=10s", "")
        .await;
    let err = store.refused("get wd", "").await;
    // The first when kubectl still remembers the kind from its last discovery.
    let gone = [
        "could not find the requested resource",
        "doesn't have a resource type",
    ];
    assert!(gone.iter().any(|text| err.contains(text)), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_are_emptied_and_services_get_addresses() {
    if !kubectl() {
        return;
    }
    let store = Store::start().await;
    store.ok("create namespace space", "").await;
    store
        .ok("create configmap c -n space --from-literal=a=b", "")
        .await;
    store
        .ok("create service clusterip s -n space --tcp=80:8080", "")
        .await;
    let out = store.ok("get svc -n space", "").await;
    assert!(
        out.contains("127.77.128.1") && out.contains("80/TCP"),
        "{out}"
    );
    let out = store.ok("get all -A", "").await;
    assert!(out.contains("service/s"), "{out}");
    store.ok("delete namespace space --timeout=10s", "").await;
    let out = store.ok("get cm,svc -A", "").await;
    assert!(!out.contains("space"), "{out}");
    let err = store.refused("create configmap c -n space", "").await;
    assert!(err.contains("namespaces \"space\" not found"), "{err}");
    store.ok("auth can-i create pods", "").await;
    store.ok("api-resources", "").await;
    store.ok("explain pod.spec.containers", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_read_from_the_nodes_files() {
    if !kubectl() {
        return;
    }
    let store = Store::start().await;
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {nodeName: here, containers: \
               [{name: c, image: i}]}\n";
    store.ok("create -f -", pod).await;
    let err = store.refused("logs p", "").await;
    assert!(
        err.contains("is waiting to start: ContainerCreating"),
        "{err}"
    );
    let uid = store.ok("get pod p -o jsonpath={.metadata.uid}", "").await;
    let dir = store
        .dir
        .path()
        .join("logs")
        .join(format!("default_p_{uid}"));
    std::fs::create_dir_all(&dir).unwrap();
    let line = |at: &str, tag: &str, text: &str| format!("{at} stdout {tag} {text}\n");
    let (early, late) = (
        "2020-01-01T00:00:01.000000000Z",
        "2020-01-01T00:00:02.500000000Z",
    );
    std::fs::write(dir.join("c.log.1"), line(early, "F", "one")).unwrap();
    let rest = [("P", "tw"), ("F", "o"), ("F", "three")];
    let rest = rest.map(|(tag, text)| line(late, tag, text)).concat();
    std::fs::write(dir.join("c.log"), &rest).unwrap();
    std::fs::write(dir.join("c.previous.log"), line(early, "F", "before")).unwrap();
    let rows = [
        ("", "one\ntwo\nthree\n".to_owned()),
        ("--tail=1", "three\n".to_owned()),
        ("--limit-bytes=5", "one\nt".to_owned()),
        ("--previous", "before\n".to_owned()),
        (
            "--timestamps",
            format!("{early} one\n{late} two\n{late} three\n"),
        ),
        (
            "--since-time=2020-01-01T00:00:02Z",
            "two\nthree\n".to_owned(),
        ),
        ("--since=1h", String::new()),
    ];
    for (flags, wanted) in rows {
        assert_eq!(
            store.ok(&format!("logs p {flags}"), "").await,
            wanted,
            "{flags}"
        );
    }
    for (query, least) in [("tailLines=-1", 0), ("tailLines=x", 0), ("limitBytes=0", 1)] {
        let path = format!("/api/v1/namespaces/default/pods/p/log?{query}");
        let err = store.refused(&format!("get --raw {path}"), "").await;
        let wanted = format!("must be a number, {least} or more");
        assert!(err.contains(&wanted), "{query}: {err}");
    }
    let status = r#"{"status":{"containerStatuses":[{"name":"c","image":"i","imageID":"","ready":false,"restartCount":0,"state":{"terminated":{"exitCode":0}}}]}}"#;
    store
        .ok(
            &format!("patch pod p --subresource=status --type=merge -p {status}"),
            "",
        )
        .await;
    assert_eq!(store.ok("logs -f p", "").await, "one\ntwo\nthree\n");
    let out = store.ok("get pods", "").await;
    assert!(out.contains("0/1     ExitCode:0"), "{out}");
    // One that needed not run has ended without a word.
    store
        .ok("create -f -", &pod.replace("name: p", "name: silent"))
        .await;
    store
        .ok(
            &format!("patch pod silent --subresource=status --type=merge -p {status}"),
            "",
        )
        .await;
    assert_eq!(store.ok("logs silent", "").await, "");
    assert_eq!(store.ok("logs -f silent", "").await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pods_account_reads_but_does_not_change() {
    if !kubectl() {
        return;
    }
    let store = Store::start().await;
    store.ok("create serviceaccount worker", "").await;
    store
        .ok("create secret generic own --from-literal=a=b", "")
        .await;
    let token = store
        .server
        .as_ref()
        .unwrap()
        .account_token("default", "worker");
    let own = store.dir.path().join("account");
    let text = std::fs::read_to_string(store.kubeconfig()).unwrap();
    let admin = store.server.as_ref().unwrap().token().to_owned();
    std::fs::write(&own, text.replace(&admin, &token)).unwrap();
    let as_pod = |args: &str| format!("--kubeconfig {} {args}", own.display());
    store.ok(&as_pod("get secret own"), "").await;
    store.ok(&as_pod("get pods -A"), "").await;
    let err = store.refused(&as_pod("get secrets -A"), "").await;
    assert!(
        err.contains("system:serviceaccount:default:worker"),
        "{err}"
    );
    let err = store.refused(&as_pod("create configmap c"), "").await;
    assert!(err.contains("is forbidden"), "{err}");
    let out = store
        .ok(
            &as_pod("auth whoami -o jsonpath={.status.userInfo.username}"),
            "",
        )
        .await;
    assert_eq!(out, "system:serviceaccount:default:worker");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_definitions_are_served_and_explained() {
    if !kubectl() {
        return;
    }
    let store = Store::start().await;
    for definition in weir_api::crds::own()
        .into_iter()
        .chain(weir_api::crds::foreign())
    {
        store
            .ok("apply --server-side -f -", &definition.to_string())
            .await;
    }
    let service = "
apiVersion: serving.kserve.io/v1alpha1
kind: LLMInferenceService
metadata: {name: basic, labels: {app: x}}
spec:
  model: {uri: 'hf://a/b', name: a/b}
  replicas: 2
  router: {route: {}, gateway: {}}
  template:
    containers:
    - {name: main, resources: {limits: {cpu: '1', memory: 1Gi}}}
";
    store.ok("apply -f -", service).await;
    let out = store.ok("get llmisvc", "").await;
    assert!(out.starts_with("NAME") && out.contains("basic"), "{out}");
    let out = store.ok("explain llmisvc.spec.replicas", "").await;
    assert!(out.contains("FIELD: replicas"), "{out}");
    let err = store
        .refused("apply -f -", &service.replace("replicas: 2", "replicaz: 2"))
        .await;
    assert!(err.contains("unknown field \"spec.replicaz\""), "{err}");
    store.ok("annotate llmisvc basic a=b", "").await;
    store.ok("label llmisvc basic app-", "").await;
    let edit = "edit llmisvc basic -o json";
    let (_, out, err) = store.kubectl(edit, "").await;
    assert!((out + &err).contains("cancelled"), "{err}");
    let out = store.ok("api-resources", "").await;
    assert!(
        out.contains("httproutes") && out.contains("leaderworkersets"),
        "{out}"
    );
    let begun = std::time::Instant::now();
    store.ok("delete llmisvc basic --timeout=5s", "").await;
    eprintln!("delete took {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn events_have_both_shapes_and_watches_print_tables() {
    if !kubectl() {
        return;
    }
    let store = Store::start().await;
    let event = "
apiVersion: events.k8s.io/v1
kind: Event
metadata: {name: e, namespace: default}
type: Normal
reason: Started
note: it runs
action: Start
eventTime: '2026-01-01T00:00:00.000000Z'
reportingController: weir
reportingInstance: weir-0
regarding: {kind: Pod, name: p, namespace: default}
";
    store.ok("create -f -", event).await;
    let out = store
        .ok("get events --field-selector involvedObject.name=p", "")
        .await;
    assert!(out.contains("Started   pod/p    it runs"), "{out}");
    let out = store
        .ok(
            "get events --field-selector involvedObject.name=q -o name",
            "",
        )
        .await;
    assert_eq!(out, "");
    let out = store
        .ok("get events.v1.events.k8s.io e -o jsonpath={.note}", "")
        .await;
    assert_eq!(out, "it runs");
    store.ok("create configmap m", "").await;
    let (_, out, err) = store
        .kubectl("get configmap m --watch --request-timeout=1s", "")
        .await;
    assert!(out.contains("NAME   DATA   AGE\nm      0"), "{out}{err}");
    let out = store
        .ok(
            "get --raw /api/v1/namespaces/default/configmaps?labelSelector=none",
            "",
        )
        .await;
    assert!(out.contains("\"items\":[]"), "{out}");
    store
        .ok("wait --for=delete configmap/absent --timeout=1s", "")
        .await;
    let err = store.refused("create configmap Bad_Name", "").await;
    assert!(
        err.contains("a lowercase RFC 1123 subdomain must consist of"),
        "{err}"
    );
    let err = store.refused("delete namespace default", "").await;
    assert!(err.contains("this namespace may not be deleted"), "{err}");
}
