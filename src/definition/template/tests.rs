//! What templates compile to, and how bad ones are refused.

use proptest::prelude::*;

use super::*;

fn field(name: &str) -> RowReference {
    RowReference::Field(name.into())
}

fn text(text: &str) -> TemplateOp {
    TemplateOp::Text(text.to_owned())
}

#[track_caller]
fn compiled(template: &str) -> Vec<TemplateOp> {
    Template::compile(template).unwrap_or_else(|error| panic!("{template}: {error}")).ops
}

#[track_caller]
fn refused(template: &str) -> String {
    match Template::compile(template) {
        Ok(_) => panic!("it compiled: {template}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn white_space_is_removed_and_adjacent_text_is_merged() {
    assert_eq!(
        compiled(" { 'a' : [ 1.50 , -0 , 1E400 , true , null , { } , [ ] ] ,\n\t\"b\":\"c\" } "),
        [text(r#"{"a":[1.50,-0,1E400,true,null,{},[]],"b":"c"}"#)]
    );
}

#[test]
fn single_and_double_quoted_strings_become_json() {
    assert_eq!(
        compiled(r#"['say "hi"', 'it\'s', "it's", 'a\"b\\c\/d\b\f\n\r\t\u00e9\ud83d\ude00']"#),
        [text(r#"["say \"hi\"","it's","it's","a\"b\\c/d\u0008\u000c\n\r\té😀"]"#)]
    );
    assert_eq!(compiled("['line 1\nline 2\tend']"), [text(r#"["line 1\nline 2\tend"]"#)]);
}

#[test]
fn whole_string_parameter_keeps_its_type_and_an_embedded_one_is_text() {
    assert_eq!(
        compiled("{'a':'[@field:A]','b':'[@field:B] [@out-hook:messageId]'}"),
        [
            text("{\"a\":"),
            TemplateOp::Value(field("A")),
            text(",\"b\":\""),
            TemplateOp::Spliced(field("B")),
            text(" "),
            TemplateOp::MessageParameter(MessageParameter::MessageId),
            text("\"}"),
        ]
    );
}

#[test]
fn field_parameters_accept_any_name() {
    for (written, name) in [
        ("'[@field:First Name]'", "First Name"),
        (r#"'[@field:it\'s "quoted"]'"#, r#"it's "quoted""#),
        (r#""[@field:it's \"quoted\"]""#, r#"it's "quoted""#),
        ("'[@field:a.b[0\\u005d]'", "a.b[0]"),
        ("'[@field:ключ 日本 🚀]'", "ключ 日本 🚀"),
        ("'[@field:a/b]'", "a/b"),
        ("'[@field:a\\/]'", "a/"),
        ("'[@field:[@field:x]'", "[@field:x"),
        ("'[@field:back\\\\slash]'", "back\\slash"),
    ] {
        assert_eq!(compiled(&format!("[{written}]"))[1], TemplateOp::Value(field(name)), "{written}");
    }
    assert_eq!(compiled("['[@field:Photo/]']")[1], TemplateOp::Value(RowReference::AttachmentUrl("Photo".into())));
    assert_eq!(compiled("['[@field:Photo//]']")[1], TemplateOp::Value(RowReference::AttachmentUrl("Photo/".into())));
}

#[test]
fn escaped_bracket_does_not_start_a_parameter() {
    assert_eq!(compiled(r"['\u005b@field:x]', '[ @field:x]', '[x]']"), [text(r#"["[@field:x]","[ @field:x]","[x]"]"#)]);
}

#[test]
fn last_of_equal_keys_wins() {
    assert_eq!(
        compiled(r#"{'a':1,'b':{'c':2,"\u0063":3},'a':'[@field:F]'}"#),
        [text(r#"{"b":{"c":3},"a":"#), TemplateOp::Value(field("F")), text("}")]
    );
    assert!(
        matches!(compiled("{'[@field:K]':1,'a':2}").as_slice(), [TemplateOp::Object(members)] if members.len() == 2)
    );
}

#[test]
fn template_errors_name_their_position() {
    for (template, error) in [
        ("", "line 1, column 1: expected { or [: a payload is an object or an array, found the end of the template"),
        ("'text'", "line 1, column 1: expected { or [: a payload is an object or an array, found `'`"),
        ("{} x", "line 1, column 4: expected nothing after the payload's end, found `x`"),
        ("{'a':1,\n 'b' 2}", "line 2, column 6: expected a colon after the key, found `2`"),
        ("{'a':1 'b':2}", "line 1, column 8: expected a comma or }, found `'`"),
        ("{'a':1,}", "line 1, column 8: expected something after the comma, or no comma before }, found `}`"),
        ("[1,\n]", "line 2, column 1: expected something after the comma, or no comma before ], found `]`"),
        ("[1 2]", "line 1, column 4: expected a comma or ], found `2`"),
        ("[", "found the end of the template"),
        ("{a:1}", "line 1, column 2: expected a key in quotes or }, found `a`"),
        (
            "{'a':}",
            "line 1, column 6: expected a value: text in quotes, a number, an object, an array, true, false or null, found `}`",
        ),
        ("{'a':True}", "found `True`"),
        (
            "{'a':[@field:x]}",
            "column 6: expected quotes around a parameter: \"[@field:Name]\", found a parameter without",
        ),
        ("[01]", "line 1, column 2: expected a number as JSON writes it, such as -12.5e3, found `01`"),
        ("[1.]", "found `1.`"),
        (&format!("[{}]", "1.".repeat(100)), &format!("found `{}…`", "1.".repeat(20))),
        ("[-]", "found `-`"),
        (
            "{'é':'x",
            "line 1, column 6: expected a closing ' for the text that begins here, found the end of the template",
        ),
        (
            r"['\x']",
            "column 4: expected an escape after \\: \\\", \\\\, \\/, \\b, \\f, \\n, \\r, \\t, \\uXXXX, \\', found `x`",
        ),
        (r#"["\'"]"#, "\\uXXXX, found `'`"),
        (r"['\u12g4']", "column 7: expected four hexadecimal digits after \\u, found `g`"),
        (
            r"['\ud83d']",
            "column 3: expected two \\uXXXX that belong together (a surrogate pair), found half of one, \\ud83d",
        ),
        (r"['\ud83d\n']", "expected the second \\uXXXX of a surrogate pair, found `n`"),
        ("['\u{1}']", "found the control character U+0001"),
        ("['[@field:]']", "line 1, column 11: expected a field's name, found none"),
        ("['[@field:Name']", "line 1, column 3: expected ] at the parameter's end, found the end of the text"),
        (
            "['[@foo:x]']",
            "line 1, column 3: expected [@field:Name] or [@out-hook:name]; a [@ that is only text is written \\u005b@, found `[@foo:x`",
        ),
        (
            "['[@out-hook:id]']",
            "line 1, column 14: expected one of eventId, messageId, webhookId, accountId, secret, eventDate, eventType, objectName, callId, sequence, missing, found `id`",
        ),
        ("['[@out-hook:eventId/]']", "found `eventId/`"),
    ] {
        assert!(refused(template).contains(error), "{template}\n  says   {}\n  not    {error}", refused(template));
    }
}

#[test]
fn nesting_has_a_limit() {
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    compiled(&nested(MAX_DEPTH));
    assert!(
        refused(&nested(MAX_DEPTH + 1)).contains("column 129: expected objects and arrays nested at most 128 deep")
    );
    assert!(refused(&"[{'a':".repeat(1_000_000)).contains("nested at most 128 deep"));
}

proptest! {
    #[test]
    fn any_text_compiles_or_is_refused(text in any::<String>()) {
        let _ = Template::compile(&text);
    }

    #[test]
    fn text_that_looks_like_a_template_compiles_or_is_refused(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "'", "\"", "\\", "[@", "field:", "out-hook:", "eventId", "/", "\n", "1", "-", "e",
            ".", "true", "\\u", "d83d", "é", " ", "a",
        ]), 0..40)
    ) {
        let text = pieces.concat();
        if let Err(error) = Template::compile(&text) {
            prop_assert!(error.line <= text.matches('\n').count() + 1);
            prop_assert!(!error.found.is_empty());
        }
    }

    #[test]
    fn json_compiles_to_itself(json in json_text()) {
        let ops = compiled(&json);
        let [TemplateOp::Text(written)] = ops.as_slice() else { panic!("{ops:?}") };
        prop_assert_eq!(
            serde_json::from_str::<serde_json::Value>(written).unwrap(),
            serde_json::from_str::<serde_json::Value>(&json).unwrap()
        );
    }
}

/// Any JSON array, without a parameter in it.
fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    let value = leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::hash_map(any::<String>(), inner, 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    });
    prop::collection::vec(value, 0..4)
        .prop_map(|values| serde_json::to_string_pretty(&values).unwrap())
        .prop_filter("parameters are tested elsewhere", |json| !json.contains("[@"))
}
