use super::*;

fn with(file: &str, variables: &[(&str, &str)]) -> Result<Table, String> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let mut tables: Table = toml::from_str(file).expect("TOML");
    Environment::from_variables(variables).add_to(&mut tables)?;
    Ok(tables)
}

#[test]
fn a_variable_sets_the_key_that_it_names() {
    let file = "[pipelines.my-digits]\nmodel = \"a\"\n[server]\nmax_queue = 1\n";
    let variables = [
        ("PLIMSOLL_SERVER__MAX_QUEUE", "16"),
        ("PLIMSOLL_SERVER__LISTEN", "0.0.0.0:80"),
        ("PLIMSOLL_SERVER__MAX_BODY", "1MiB"),
        ("PLIMSOLL_SERVER__FAIR_SCHEDULING", "false"),
        ("PLIMSOLL_PIPELINES__MY_DIGITS__DEFAULT_CHIP", "wasm"),
        ("PLIMSOLL_CACHE_DIR", "/cache"),
        ("PLIMSOLL_MEMORY__CALLER_HEADER", "2026-01-01"),
        // These are not settings of the file.
        ("PLIMSOLL_LISTEN", "x"),
        ("PLIMSOLL_ADMIN_TOKEN", "x"),
        ("PLIMSOLL_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("OTHER_SERVER__LISTEN", "x"),
    ];
    let wanted = "cache_dir = \"/cache\"\n[memory]\ncaller_header = \"2026-01-01\"\n[server]\nmax_queue = 16\n\
        listen = \"0.0.0.0:80\"\nmax_body = \"1MiB\"\nfair_scheduling = false\n\
        [pipelines.my-digits]\nmodel = \"a\"\ndefault_chip = \"wasm\"\n";
    assert_eq!(with(file, &variables).expect("valid"), toml::from_str(wanted).expect("TOML"));
}

#[test]
fn what_is_not_the_name_of_one_key_is_an_error() {
    for name in ["PLIMSOLL___LISTEN", "PLIMSOLL_SERVER__", "PLIMSOLL_SERVER____LISTEN"] {
        let error = with("", &[(name, "1")]).expect_err("not a name");
        assert!(error.contains(name) && error.contains("PLIMSOLL_TABLE__KEY"), "{error}");
    }
    let both = "[pipelines.a-b]\n[pipelines.a_b]\n";
    let error = with(both, &[("PLIMSOLL_PIPELINES__A_B__MODEL", "m")]).expect_err("two");
    assert!(error.contains("a-b or a_b"), "{error}");
    let error = with("plugins = [\"oci://a/b:1\"]", &[("PLIMSOLL_PLUGINS__B__FILE", "f")]).expect_err("a list");
    assert!(error.contains("`plugins`, which is not a table"), "{error}");
}

#[test]
fn a_value_is_one_value() {
    for (text, wanted) in [
        ("1\nother = 2", Value::String("1\nother = 2".to_owned())),
        ("[\"a:1\", \"b:2\"]", Value::Array(vec!["a:1".into(), "b:2".into()])),
        ("\"16\"", "16".into()),
        ("", "".into()),
        ("a # b", "a # b".into()),
    ] {
        assert_eq!(parse(text), wanted, "{text:?}");
    }
}

fn failure(variables: &[(&str, &str)]) -> String {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let read = Environment::from_variables(variables).read(DEMO, Path::new("plimsoll.toml"));
    read.expect_err("not valid").to_string()
}

#[test]
fn mistakes_are_errors_that_name_the_variable_once_and_not_its_value() {
    let error = failure(&[("PLIMSOLL_SERVER__MAX_QUEUE", "1"), ("PLIMSOLL_server__max_queue", "2")]);
    assert!(error.contains("PLIMSOLL_SERVER__MAX_QUEUE and PLIMSOLL_server__max_queue set the same key"), "{error}");
    let error = failure(&[("PLIMSOLL_PIPELINES__DIGITS__PREPROCESS__CONFIG", "supersecret")]);
    assert!(error.contains("CONFIG") && !error.contains("supersecret"), "{error}");
    assert_eq!(error.matches("PLIMSOLL_").count(), 1, "{error}");
    let error = failure(&[("PLIMSOLL_PIPELINES__DIGITS__DEFAULT_CHIP", "1")]);
    assert!(error.contains("PLIMSOLL_PIPELINES__DIGITS__DEFAULT_CHIP='\"…\"'"), "{error}");
    let error = failure(&[("PLIMSOLL_SERVER__MAX_QUEUE__X", "1")]);
    assert_eq!(error.matches("the environment variable").count(), 1, "{error}");
}

#[test]
#[cfg(unix)]
fn a_value_that_is_no_text_is_an_error() {
    use std::os::unix::ffi::OsStringExt;
    let value = OsString::from_vec(vec![0xff]);
    let environment = Environment::from_os([("PLIMSOLL_SERVER__MAX_QUEUE".into(), value)]);
    let error = environment.read(DEMO, Path::new("plimsoll.toml")).expect_err("not text").to_string();
    assert!(error.contains("PLIMSOLL_SERVER__MAX_QUEUE is not UTF-8"), "{error}");
}

#[test]
fn one_underscore_too_few_is_noticed() {
    assert_eq!(corrected("SERVER_MAX_QUEUE").as_deref(), Some("PLIMSOLL_SERVER__MAX_QUEUE"));
    assert_eq!(corrected("TELEMETRY_ENDPOINT").as_deref(), Some("PLIMSOLL_TELEMETRY__ENDPOINT"));
    // Variables of Kubernetes for a Service `plimsoll` or `plimsoll-server`, and the program's own.
    for other in ["SERVER_PORT", "SERVER_SERVICE_HOST", "PORT_8080_TCP", "ADMIN_TOKEN", "LISTEN", "SERVER", "LOG"] {
        assert_eq!(corrected(other), None, "{other}");
    }
}
