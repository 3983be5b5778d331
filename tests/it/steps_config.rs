//! The configuration of steps: what is refused before the port opens, and what `plimsoll check` prints.

use plimsoll_tests::{Server, TempDir};

use crate::steps_pipelines::{GATHER, IN, config};

const SPLIT: &str =
    r#"{ name = "split", kind = "transform", plugin = "transformer", items = true, config = { split = true } }"#;
const OUT: &str = r#"{ name = "out", kind = "postprocess", plugin = "echo-postprocess" }"#;

/// A step of kind `transform` with more keys.
fn step(name: &str, more: &str) -> String {
    format!(r#"{{ name = "{name}", kind = "transform", plugin = "transformer"{more} }}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_that_make_no_graph_are_refused_with_key_and_reason() {
    let infer = |more: &str| format!(r#"{{ name = "model", kind = "infer"{more} }}"#);
    let chips = |names: &[&str]| {
        let chips = names.iter().map(|name| format!("{name} = {{ plugin = \"noop-infer\" }}")).collect::<Vec<_>>();
        format!(", chips = {{ {} }}", chips.join(", "))
    };
    let cases: Vec<(&str, Vec<String>, &[&str])> = vec![
        ("", vec![IN.into()], &["pipelines.p.steps", "at least a step"]),
        ("", vec![IN.into(), step("a", "")], &["pipelines.p.steps.a.kind", "the last step", "postprocess"]),
        (
            "",
            [vec![IN.into()], (0..100).map(|at| step(&format!("s{at}"), "")).collect(), vec![OUT.into()]].concat(),
            &["pipelines.p.steps", "there are 102", "at most 100"],
        ),
        ("", vec![step("a", ""), OUT.into()], &["pipelines.p.steps.a.kind", "the first step", "preprocess"]),
        (
            "",
            vec![IN.into(), IN.replace("\"in\"", "\"b\""), OUT.into()],
            &["pipelines.p.steps.b.kind", "only the first step"],
        ),
        ("", vec![IN.into(), step("in", ""), OUT.into()], &["pipelines.p.steps.in.name", "two steps `in`"]),
        ("", vec![IN.into(), step("a b", ""), OUT.into()], &["pipelines.p.steps[1].name", "letters, digits"]),
        (
            "",
            vec![IN.into(), step("a", r#", from = ["ghost"]"#), OUT.into()],
            &["pipelines.p.steps.a.from", "no step `ghost`", "in"],
        ),
        (
            "",
            vec![IN.into(), step("a", r#", from = ["b"]"#), step("b", ""), OUT.into()],
            &["pipelines.p.steps.a.from", "`b` comes later", "cycle"],
        ),
        (
            "",
            vec![IN.into(), step("a", r#", from = ["a"]"#), OUT.into()],
            &["pipelines.p.steps.a.from", "its own tensors"],
        ),
        ("", vec![IN.into(), step("a", ", from = []"), OUT.into()], &["pipelines.p.steps.a.from", "empty"]),
        (
            "",
            vec![IN.into(), step("a", r#", from = ["in."]"#), OUT.into()],
            &["pipelines.p.steps.a.from", "`in.` has no name of a tensor"],
        ),
        (
            "",
            vec![IN.into(), step("a", r#", from = ["in as x"]"#), OUT.into()],
            &["pipelines.p.steps.a.from", "`in as x`", "`STEP.TENSOR as NAME`"],
        ),
        ("model = \"m\"", vec![IN.into(), OUT.into()], &["pipelines.p.model", "no step of kind `infer` uses it"]),
        (
            "",
            vec![IN.into(), step("a", r#", from = ["in", "in.x"]"#), OUT.into()],
            &["pipelines.p.steps.a.from", "`in.x` is taken twice"],
        ),
        (
            "",
            vec![IN.into(), step("a", ""), OUT.replace("plugin", "from = [\"in\"], plugin")],
            &["pipelines.p.steps.a.name", "no later step"],
        ),
        ("", vec![IN.into(), SPLIT.into(), OUT.into()], &["pipelines.p.steps.out.gather", "items of `split`"]),
        ("", vec![IN.into(), GATHER.into()], &["pipelines.p.steps.out.gather", "remove it"]),
        (
            "",
            vec![IN.into(), SPLIT.into(), step("a", ", items = true"), GATHER.into()],
            &["pipelines.p.steps.a.items", "gather them first"],
        ),
        (
            "",
            vec![IN.into(), infer(", plugin = \"noop-infer\", items = true"), GATHER.into()],
            &["pipelines.p.steps.model.items", "transform"],
        ),
        (
            "",
            vec![IN.into(), SPLIT.into(), infer(", plugin = \"noop-infer\", gather = true"), OUT.into()],
            &["pipelines.p.steps.model.gather", "infer"],
        ),
        (
            "",
            vec![IN.into(), step("a", ", partial = true"), OUT.into()],
            &["pipelines.p.steps.a.partial", "items = true"],
        ),
        (
            "",
            vec![IN.into(), SPLIT.replace("items = true", "items = true, max_items = 0"), GATHER.into()],
            &["pipelines.p.steps.split.max_items", "from 1 to"],
        ),
        ("", vec![IN.into(), infer(""), OUT.into()], &["line", "step `model`: `plugin` is missing"]),
        ("", vec![IN.into(), step("a", ", max_itmes = 3"), OUT.into()], &["line", "max_itmes", "max_items"]),
        (
            "",
            vec![IN.into(), OUT.replace("postprocess\"", "posprocess\"")],
            &["line", "step `out`: `kind`", "transform"],
        ),
        ("", vec![IN.into(), step("a", &chips(&["x"])), OUT.into()], &["line", "`plugin` and `chips`"]),
        ("", vec![IN.into(), infer(&chips(&["x", "y"])), OUT.into()], &["pipelines.p.default_chip", "x, y"]),
        (
            "default_chip = \"x\"",
            vec![
                IN.into(),
                infer(&chips(&["x", "y"])),
                infer(&chips(&["x", "z"])).replace("model", "other"),
                OUT.into(),
            ],
            &["pipelines.p.steps.other.chips", "x, y"],
        ),
        ("fallback = \"x\"", vec![IN.into(), OUT.into()], &["pipelines.p.fallback", "not supported"]),
        (
            "",
            vec![IN.into(), step("a", "").replace("transformer", "noop-infer"), OUT.into()],
            &["pipelines.p.steps.a.plugin", "kind `transform`"],
        ),
        (
            "",
            vec![IN.into(), step("a", ", model = \"m\""), OUT.into()],
            &["pipelines.p.steps.a.model", "only an infer stage"],
        ),
        (
            "",
            vec![IN.into(), step("a", ", deadline = \"2days\""), OUT.into()],
            &["pipelines.p.steps.a.deadline", "a day"],
        ),
        ("chips = { x = { plugin = \"noop-infer\" } }", vec![IN.into(), OUT.into()], &["pipelines.p.chips", "`steps`"]),
    ];
    for (more, steps, words) in cases {
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        let message = Server::rejection(&config(more, &steps)).await;
        for word in words {
            assert!(message.contains(word), "{word:?} is missing in {message}");
        }
    }
    let message = Server::rejection("[pipelines.p.preprocess]\nplugin = \"image-preprocess\"\n").await;
    assert!(message.contains("pipelines.p") && message.contains("`postprocess` is missing"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_prints_the_graph() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("plimsoll.toml");
    let mix = step("mix", r#", from = ["split.x", "in.other"]"#);
    let text = config("", &[IN, SPLIT, &mix, GATHER]);
    std::fs::write(&path, format!("cache_dir = {:?}\n{text}", plimsoll_tests::shared_cache())).expect("written");
    let check = |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_plimsoll-under-test"));
        let output = command.arg("check").arg("--config").arg(&path).args(more).output().expect("it starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let text = check(&[]);
    for words in [
        "  in    preprocess  given-tensors ",
        " from in, makes up to 64 items",
        "  mix   transform   transformer ",
        " from split.x, in.other\n",
        "  out   postprocess gather-postprocess ",
        " from mix, gathers the items\n",
    ] {
        assert!(text.contains(words), "{words:?} is missing in {text}");
    }
    let dot = check(&["--dot"]);
    for line in [
        "digraph \"p\" {",
        r#"  "split" [shape = house, label = "split\ntransform"];"#,
        r#"  "in" -> "mix" [label = "other"];"#,
        r#"  "mix" -> "out";"#,
    ] {
        assert!(dot.lines().any(|it| it == line), "{line} is missing in {dot}");
    }
}

/// `p.model` is the model of step `model` for clients of the Open Inference Protocol.
#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_cannot_have_the_name_of_a_model_of_another_one() {
    let model = r#"{ name = "model", kind = "infer", plugin = "noop-infer" }"#;
    let other = "[pipelines.\"p.model\"]\npreprocess = { plugin = \"given-tensors\" }\n\
                 postprocess = { plugin = \"echo-postprocess\" }\nchips.c = { plugin = \"noop-infer\" }\n";
    let message = Server::rejection(&(config("", &[IN, model, OUT]) + other)).await;
    for part in ["pipelines.\"p.model\"", "the model of pipeline `p`"] {
        assert!(message.contains(part), "{part} in {message}");
    }
}
