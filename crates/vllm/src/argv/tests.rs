use super::*;

fn argv(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

fn parse(line: &str) -> Result<ServeArgs, ArgError> {
    parse_argv(&argv(line))
}

#[test]
fn the_model_is_a_word_or_a_flag() {
    for line in [
        "vllm serve m --port 8001",
        "serve --port 8001 m",
        "m --port=8001",
        "--model m --port 8001",
        "/opt/bin/vllm serve --port 8001 m --host ::",
        "serve --port 8001 -- m",
    ] {
        let args = parse(line).unwrap();
        assert_eq!(args.model.as_deref(), Some("m"), "{line}");
        assert_eq!(args.number("port"), Some(8001), "{line}");
    }
}

#[test]
fn spellings_of_one_flag_are_equal() {
    for line in [
        "serve m --tensor-parallel-size 2",
        "serve m --tensor_parallel_size=2",
        "serve m -tp 2",
        "serve m -tp=2",
        "serve m --tensor-par 2",
    ] {
        assert_eq!(
            parse(line).unwrap().number("tensor-parallel-size"),
            Some(2),
            "{line}"
        );
    }
    assert_eq!(parse("m -n2").unwrap().number("nnodes"), Some(2));
    assert_eq!(
        parse("m -O3").unwrap().value("optimization-level"),
        Some("3")
    );
}

#[test]
fn booleans_lists_and_sizes() {
    let args = parse("m --enforce-eager --no-enable-prefix-caching -ep --served-model-name a b --max-model-len 8k --seed -1").unwrap();
    assert_eq!(args.switch("enforce-eager"), Some(true));
    assert_eq!(args.switch("enable-prefix-caching"), Some(false));
    assert_eq!(args.switch("enable-expert-parallel"), Some(true));
    assert_eq!(args.list("served-model-name"), ["a", "b"]);
    assert_eq!(args.number("max-model-len"), Some(8000));
    assert_eq!(args.number("seed"), Some(-1));
    assert_eq!(
        parse("m --max-model-len 8K")
            .unwrap()
            .number("max-model-len"),
        Some(8192)
    );
    assert_eq!(
        parse("m --max-model-len 1.5k")
            .unwrap()
            .number("max-model-len"),
        Some(1500)
    );
}

#[test]
fn json_whole_and_key_by_key_are_equal() {
    let whole = parse(r#"m --kv-transfer-config {"kv_connector":"NixlConnector","kv_connector_extra_config":{"backends":["UCX","GDS"]},"n":2}"#).unwrap();
    let dotted = parse("m --kv-transfer-config.kv_connector NixlConnector --kv_transfer_config.kv_connector_extra_config.backends+ UCX,GDS --kv-transfer-config.n=2").unwrap();
    assert_eq!(whole, dotted);
    let short = parse("m -cc.mode=3").unwrap();
    assert_eq!(short.json("compilation-config").unwrap()["mode"], 3);
}

#[test]
fn refusals_say_what_the_engine_says() {
    let rows = [
        ("serve m --foo", "unrecognized arguments: --foo"),
        (
            "serve m --foo_bar=1 --port 1 extra",
            "unrecognized arguments: --foo-bar=1 extra",
        ),
        ("serve m --port", "argument --port: expected one argument"),
        (
            "serve m --served-model-name",
            "argument --served-model-name: expected at least one argument",
        ),
        (
            "serve m --port x",
            "argument --port: invalid int value: 'x'",
        ),
        (
            "serve m --scheduling-policy lifo",
            "argument --scheduling-policy: invalid choice: 'lifo' (choose from 'fcfs', 'priority')",
        ),
        (
            "serve m --enforce-eager=1",
            "argument --enforce-eager/--no-enforce-eager: ignored explicit argument '1'",
        ),
    ];
    for (line, text) in rows {
        assert_eq!(parse(line).unwrap_err().to_string(), text, "{line}");
    }
    assert!(matches!(
        parse("m --max-num 3").unwrap_err(),
        ArgError::Ambiguous { .. }
    ));
    assert_eq!(
        parse("m --foo").unwrap_err().report(),
        "usage: vllm serve [model_tag] [options]\nvllm serve: error: unrecognized arguments: --foo"
    );
}

#[test]
fn any_words_are_read_or_refused_without_a_panic() {
    for word in [
        "-",
        "--",
        "--=",
        "-=",
        "-é",
        "-éé",
        "--port=é",
        "-.",
        "--.",
        "--a.+",
        "-n",
        "--kv-transfer-config.+=1",
        "--kv-transfer-config..x=1",
        "",
    ] {
        let _ = parse_argv(&[word.to_owned()]);
        let _ = parse_argv(&["m".to_owned(), word.to_owned(), word.to_owned()]);
    }
}

#[test]
fn flags_of_the_caller_are_known() {
    let extra = [Flag::plain("time-to-first-token", Kind::Value)];
    let args = parse_with(&argv("m --time-to-first-token 10ms"), &extra).unwrap();
    assert_eq!(args.value("time-to-first-token"), Some("10ms"));
}

#[test]
fn recorded_command_lines_are_accepted() {
    for line in include_str!("../../testdata/argv.txt").lines() {
        if !line.starts_with('#') {
            parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }
}

#[test]
fn verdicts_are_those_of_the_engine_s_parser() {
    let mut wrong = Vec::new();
    for line in include_str!("../../testdata/argv-verdicts.tsv").lines() {
        if line.starts_with('#') {
            continue;
        }
        let (words, verdict) = line.split_once('\t').unwrap();
        let words: Vec<String> = serde_json::from_str(words).unwrap();
        let ours = match parse_argv(&words) {
            Ok(args) if args.help => "help".to_owned(),
            Ok(_) => "ok".to_owned(),
            Err(error) => error.to_string(),
        };
        // What the configuration refuses may pass here, and may be refused in other words.
        if ours != verdict && !verdict.starts_with("later ") {
            wrong.push(format!("{words:?}\n  engine: {verdict}\n  ours:   {ours}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn words() -> impl proptest::strategy::Strategy<Value = Vec<String>> {
    use proptest::prelude::{Strategy, any};
    use proptest::{collection, prop_oneof, sample};
    let names: Vec<&str> = flags::all().iter().map(|flag| flag.name).collect();
    let word = prop_oneof![
        any::<String>(),
        "-{0,3}[a-zA-Z_.+=é0-9-]{0,12}",
        (sample::select(names), "[-_=.+a-z0-9\\[{\"é]{0,6}")
            .prop_map(|(name, more)| format!("--{name}{more}")),
    ];
    collection::vec(word, 0..8)
}

proptest::proptest! {
    #[test]
    fn words_of_any_make_are_read_or_refused(words in words()) {
        match parse_argv(&words) {
            Ok(args) => {
                // What was read can be judged, and nothing is made up.
                let _ = crate::safety::refused(&args, &|_| false);
                if let Some(model) = &args.model {
                    proptest::prop_assert!(words.iter().any(|word| word.contains(model.as_str())));
                }
            }
            Err(error) => proptest::prop_assert!(!error.report().is_empty()),
        }
    }
}
