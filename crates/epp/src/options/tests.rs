use super::*;

fn parse(words: &[&str]) -> Result<Options, Error> {
    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
    Options::parse(&words)
}

#[test]
fn every_generation_is_read() {
    let rows: [(&[&str], &str, &str); 12] = [
        (&["--grpc-port", "1"], "grpc-port", "1"),
        (&["--grpc-port=1"], "grpc-port", "1"),
        (&["-grpc-port", "1"], "grpc-port", "1"),
        (&["--grpcPort", "1"], "grpc-port", "1"),
        (&["-poolName=x"], "pool-name", "x"),
        (&["--grpc-port", "1", "--grpc-port=2"], "grpc-port", "2"),
        (&["--tracing", "false"], "tracing", "true"),
        (&["--secure-serving=false"], "secure-serving", "false"),
        (&["", "foo", "-v", "5"], "v", "5"),
        (
            &[
                "--endpoint-target-ports=1,2",
                "--endpoint-target-ports",
                "3",
            ],
            "endpoint-target-ports",
            "1,2,3",
        ),
        (
            &["--model-server-metrics-scheme=https"],
            "model-server-metrics-scheme",
            "https",
        ),
        (&["-configText", "{}"], "config-text", "{}"),
    ];
    for (words, name, value) in rows {
        let options = parse(words).unwrap();
        assert_eq!(options.text(name), value, "{words:?}");
    }
    assert_eq!(parse(&[]).unwrap().port("grpc-port"), 9002);
    assert!(!parse(&["--grpcPort", "1"]).unwrap().warnings.is_empty());
}

#[test]
fn words_that_cannot_be_read_are_named() {
    let rows: [(&[&str], &str); 5] = [
        (&["--foo"], "unknown flag: --foo"),
        (
            &["--refresh-metrics-interval", "x"],
            "invalid argument \"x\" for \"--refresh-metrics-interval\" flag: time: invalid duration \"x\"",
        ),
        (
            &["--tracing=maybe"],
            "invalid argument \"maybe\" for \"--tracing\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
        ),
        (&["--pool-name"], "flag needs an argument: --pool-name"),
        (&["--grpc-port", "70000"], "--grpc-port 70000: not a port"),
    ];
    for (words, message) in rows {
        let error = parse(words).unwrap_err();
        assert_eq!(
            (error.message.as_str(), error.status),
            (message, 2),
            "{words:?}"
        );
    }
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    let wrong: [&[&str]; 6] = [
        &["--config-file", "a", "--config-text", "b"],
        &["--grpc-max-recv-msg-size", "x"],
        &["--grpc-max-recv-msg-size=-1"],
        &["--metrics-client-ca-file", "ca.pem"],
        &["--metrics-cert-dir", "d", "--metrics-endpoint-auth=false"],
        &["--grpc-max-send-msg-size", "1Zi"],
    ];
    for words in wrong {
        let error = parse(words).unwrap().check().unwrap_err();
        assert_eq!(error.status, 1, "{words:?}");
    }
    for words in [
        &["--metrics-cert-dir", "d"][..],
        &["--grpc-max-recv-msg-size", "4MiB"],
    ] {
        assert_eq!(parse(words).unwrap().check(), Ok(()), "{words:?}");
    }
}

#[test]
fn a_pool_or_a_selector_is_needed() {
    let pool = |words: &[&str], fallback| {
        parse(words)
            .unwrap()
            .pool(fallback)
            .map_err(|error| error.message)
    };
    assert_eq!(
        pool(&["--pool-name", "p"], Some("q")),
        Ok(Pool::Named("p".to_owned()))
    );
    assert_eq!(pool(&[], Some("q")), Ok(Pool::Named("q".to_owned())));
    assert!(pool(&[], None).is_err());
    assert!(pool(&["--pool-name", "p", "--endpoint-selector", "a=b"], None).is_err());
    assert!(pool(&["--endpoint-selector", "a=b"], None).is_err());
    let selected = pool(
        &[
            "--endpoint-selector",
            "a=b",
            "--endpoint-target-ports",
            "8000,8001,8000",
        ],
        Some("q"),
    );
    let expected = Pool::Selected {
        selector: "a=b".to_owned(),
        ports: vec![8000, 8001],
    };
    assert_eq!(selected, Ok(expected));
}

#[test]
fn units_are_go_s_and_kubernetes_s() {
    let ms = |text| duration(text).map(|time| time.as_millis());
    assert_eq!(ms("50ms"), Some(50));
    assert_eq!(ms("1m30s"), Some(90_000));
    assert_eq!(ms("1.5s"), Some(1500));
    assert_eq!(ms("0"), Some(0));
    for wrong in ["", "5", "x", "-1s", "1y"] {
        assert_eq!(ms(wrong), None, "{wrong}");
    }
    let rows = [
        ("4Mi", 4 << 20),
        ("4MiB", 4 << 20),
        ("25MB", 25_000_000),
        ("7", 7),
    ];
    for (text, bytes) in rows {
        assert_eq!(quantity(text), Ok(bytes), "{text}");
    }
}
