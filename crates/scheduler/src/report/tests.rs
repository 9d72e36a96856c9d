use proptest::prelude::proptest;

use super::*;

const COUNTS: Counts = Counts {
    prompt_tokens: Some(7.0),
    completion_tokens: Some(3.0),
    total_tokens: Some(10.0),
    cached_tokens: Some(4.0),
};

#[test]
fn numbers_are_computed_and_cut() {
    for (text, expected) in [
        ("usage.prompt_tokens + 2.5 * usage.completion_tokens", 14.0),
        ("usage.completion_tokens - 3.0", 0.0),
        ("-usage.prompt_tokens", -7.0),
        ("--usage.prompt_tokens", 7.0),
        ("7.9", 7.0),
        ("-7.9", -7.0),
        ("1 + 2 * 3 - 4 / 2 % 2", 7.0),
        ("(1 + 2) * 3", 9.0),
        ("int(usage.prompt_tokens) % 4", 3.0),
        ("double(2) * usage.prompt_tokens", 14.0),
        ("usage.prompt_tokens_details.cached_tokens * 1e1", 40.0),
        ("usage.total_tokens > 5.0 ? 1.0 : 2.0", 1.0),
        (
            "usage.total_tokens > 5.0 ? usage.total_tokens > 50.0 ? 1 : 2 : 3",
            2.0,
        ),
        ("10.0 - 3.0 - 2.0", 5.0),
        ("1.5e+1", 15.0),
    ] {
        let expression = Expression::number(text).unwrap();
        assert_eq!(expression.value(&COUNTS), Some(expected), "{text}");
        assert_eq!(expression.to_string(), text);
    }
}

#[test]
fn conditions_hold_or_do_not() {
    for (text, expected) in [
        ("usage.total_tokens > 10.0", false),
        ("usage.total_tokens >= 10.0 && true", true),
        (
            "usage.total_tokens < 10.0 || usage.prompt_tokens == 7.0",
            true,
        ),
        ("!(usage.prompt_tokens != 7.0)", true),
        ("usage.prompt_tokens <= 6.0", false),
        ("has(usage.completion_tokens)", true),
        ("has(usage.other)", false),
        ("usage.other > 1.0 || true", true),
        ("usage.other > 1.0 && true", false),
        ("1 < 2", true),
        ("true == false", false),
    ] {
        assert_eq!(
            Expression::condition(text).unwrap().holds(&COUNTS),
            expected,
            "{text}"
        );
    }
}

#[test]
fn what_is_missing_gives_nothing() {
    let expression = Expression::number("usage.prompt_tokens + usage.completion_tokens").unwrap();
    assert_eq!(expression.value(&Counts::default()), None);
    assert!(!expression.has_unknown_fields());
    for text in [
        "usage.price",
        "1 / 0",
        "1.0 / 0.0",
        "int(1e300)",
        "9223372036854775807 + 1",
    ] {
        assert_eq!(
            Expression::number(text).unwrap().value(&COUNTS),
            None,
            "{text}"
        );
    }
    assert!(
        Expression::number("usage.price * 2.0")
            .unwrap()
            .has_unknown_fields()
    );
}

#[test]
fn mistakes_are_found_when_the_expression_is_read() {
    for (text, part) in [
        ("2 * usage.prompt_tokens", "no such overload: int * double"),
        ("usage.(", "column 7: a name is missing"),
        ("usage", "a member of usage is missing"),
        ("", "a number or a member of usage is missing"),
        ("1 +", "column 4"),
        ("(1", "\")\" is missing"),
        ("1 2", "an operator is missing before \"2\""),
        ("true + 1", "no such overload"),
        ("1 ? 2 : 3", "no such overload"),
        ("true ? 1 : 2.0", "no such overload"),
        ("-true", "no such overload"),
        ("1.2.3", "a number is missing"),
        ("foo(1)", "a number or a member of usage is missing"),
        ("true", "not a number"),
        ("1.0 % 2.0", "no such overload"),
    ] {
        let error = Expression::number(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
    assert!(
        Expression::condition("1")
            .unwrap_err()
            .contains("not true or false")
    );
    assert!(
        Expression::number(&"(".repeat(100))
            .unwrap_err()
            .contains("deep")
    );
    assert!(
        Expression::number(&"-".repeat(100))
            .unwrap_err()
            .contains("signs")
    );
    assert!(
        Expression::number(&"1+".repeat(3000))
            .unwrap_err()
            .contains("longer")
    );
}

proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in "[usage.prompt_tokens0-9()+*/%<>=!&|?: -]{0,80}|\\PC{0,40}") {
        if let Ok(expression) = Expression::number(&text) {
            let _ = expression.value(&COUNTS);
        }
    }
}
