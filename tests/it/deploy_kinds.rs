//! The chart's documents of operators' own kinds (Prometheus operator, KEDA) against their schemas.

use std::process::Command;

use plimsoll_tests::TempDir;

use crate::cli::text;
use crate::deploy_files::{helm, python, render};
use crate::documents::repository;

/// The schemas, which `.ci/run` installs.
const MODULES: &str = "target/deploy-kinds/node_modules";
/// All parts of the chart that have such kinds.
const VALUES: &str = "
metrics:
  serviceMonitor: { enabled: true, labels: { release: prometheus } }
  rules: { enabled: true, labels: { release: prometheus } }
keda: { enabled: true }
tls: { existingSecret: cert }
";

#[test]
fn the_charts_documents_for_operators_match_their_schemas() {
    let (Some(helm), Some(python)) = (helm(), python()) else { return };
    let modules = repository().join(MODULES);
    if !modules.join("@kubernetes-models/keda").is_dir() || Command::new("node").arg("--version").output().is_err() {
        return plimsoll_tests::skip(&format!("node or {MODULES} is missing: .ci/run installs them"));
    }
    let rendered = render(&helm, VALUES);
    assert!(rendered.status.success(), "{}", text(&rendered.stderr));
    let folder = TempDir::new().expect("a folder");
    let (yaml, json) = (folder.path().join("chart.yaml"), folder.path().join("chart.json"));
    std::fs::write(&yaml, &rendered.stdout).expect("written");
    let convert =
        "import json, sys, yaml\njson.dump(list(yaml.safe_load_all(open(sys.argv[1]))), open(sys.argv[2], 'w'))";
    let converted = Command::new(python).args(["-c", convert]).arg(&yaml).arg(&json).output().expect("python");
    assert!(converted.status.success(), "{}", text(&converted.stderr));
    let script = repository().join("tests/conformance/chart_kinds.mjs");
    let checked = Command::new("node").arg(script).arg(modules).arg(&json).output().expect("node");
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    assert_eq!(text(&checked.stdout).trim(), "PrometheusRule ScaledObject ServiceMonitor");
}
