//! TLS, with curl, openssl and, where it is present, tritonclient. The certificates are made by openssl.

use std::io::Read;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use plimsoll_tests::TempDir;

use crate::served_folder::{ServedFolder, folder, run};

/// Returns false if a program is missing; then the reason is printed.
///
/// # Panics
/// If it is missing and `CI` is set.
pub(crate) fn have(programs: &[&str]) -> bool {
    let is_missing = |program: &&&str| Command::new(program).arg("--version").output().is_err();
    let Some(missing) = programs.iter().find(is_missing) else { return true };
    plimsoll_tests::skip(&format!("{missing} is not installed"));
    false
}

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl").current_dir(folder).args(arguments.split(' ')).output().expect("it starts");
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes an authority `NAME.pem` with its key.
pub(crate) fn make_authority(folder: &Path, name: &str) {
    openssl(
        folder,
        &format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name} -keyout {name}.key \
             -out {name}.pem"
        ),
    );
}

/// Makes `NAME.pem` and `NAME.key` for this machine, issued by the authority.
pub(crate) fn make_certificate(folder: &Path, authority: &str, name: &str) {
    openssl(
        folder,
        &format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        ),
    );
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").expect("written");
    openssl(
        folder,
        &format!(
            "x509 -req -in {name}.csr -CA {authority}.pem -CAkey {authority}.key -CAcreateserial -days 2 -extfile names \
             -out {name}.pem"
        ),
    );
}

/// A folder with an authority `ca`, and the certificate `server`.
pub(crate) fn certified(more: &str) -> TempDir {
    let folder = folder(&format!("[tls]\ncert = \"server.pem\"\nkey = \"server.key\"\n{more}"));
    make_authority(folder.path(), "ca");
    make_certificate(folder.path(), "ca", "server");
    folder
}

fn curl(folder: &TempDir, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new("curl");
    command.current_dir(folder.path()).args(["--silent", "--show-error", "--max-time", "60", "--noproxy", "*"]);
    let output = command.args(arguments).output().expect("curl starts");
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// The subject of the certificate that the server shows now.
fn subject(url: &str) -> String {
    let address = url.trim_start_matches("https://");
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", address, "-alpn", "h2,http/1.1", "-brief"]).stdin(Stdio::null());
    let output = command.output().expect("openssl starts");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn https_is_served_with_both_versions_of_http_and_a_silent_client_is_disconnected() {
    if !have(&["openssl", "curl"]) {
        return;
    }
    let folder = certified("");
    let served = ServedFolder::serve(folder.path(), &[]);
    assert!(served.url.starts_with("https://127.0.0.1:"), "{}", served.url);
    let address = served.url.trim_start_matches("https://").to_owned();
    // Sends nothing during the whole test.
    let mut silent = TcpStream::connect(&address).expect("connected");

    for (version, shown) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let url = format!("{}/v1/pipelines/p/infer", served.url);
        let arguments = [version, "--cacert", "ca.pem", "--data-binary", "x", "-w", "%{http_version} %{http_code}"];
        let (success, text) = curl(&folder, &[&arguments[..], &[&url]].concat());
        assert!(success && text.ends_with(&format!("{shown} 200")), "{text}");
    }
    // A body of many records.
    std::fs::write(folder.path().join("large"), vec![7; 4 << 20]).expect("written");
    let url = format!("{}/v1/pipelines/p/infer", served.url);
    let arguments = ["--cacert", "ca.pem", "--data-binary", "@large", "-o", "/dev/null", "-w", "%{http_code}", &url];
    assert_eq!(curl(&folder, &arguments), (true, "200".to_owned()));
    let (success, text) = curl(&folder, &[&format!("{}/v2/health/ready", served.url)]);
    assert!(!success && text.contains("certificate"), "the authority is not known: {text}");
    let (success, _) = curl(&folder, &[&format!("http://{address}/v2/health/ready")]);
    assert!(!success, "plain HTTP is not spoken");
    served.wait_for("does not speak TLS; perhaps its address begins with `http://`");
    let shown = subject(&served.url);
    assert!(shown.contains("TLSv1.3") && shown.contains("CN = server"), "{shown}");

    // The commands trust the authority that the variable names.
    for arguments in [&["plugin", "list"][..], &["health"]] {
        let mut command = crate::served_folder::command(folder.path());
        command.args(arguments).args(["--server", &served.url]).env("SSL_CERT_FILE", folder.path().join("ca.pem"));
        let output = command.output().expect("the binary starts");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let (code, text) = run(folder.path(), &[arguments, &["--server", &served.url]].concat());
        assert!(code == Some(1) && text.contains("ertificate"), "{text}");
    }

    silent.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
    let ended = silent.read(&mut [0; 1]);
    assert!(matches!(ended, Ok(0)) || ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
    served.wait_for("the handshake took too long");
}

#[test]
fn the_certificate_is_read_again_and_a_broken_one_changes_nothing() {
    if !have(&["openssl"]) {
        return;
    }
    let folder = certified("");
    make_certificate(folder.path(), "ca", "second");
    let served = ServedFolder::serve(folder.path(), &[]);
    let wait = |words: &str| {
        let end = Instant::now() + Duration::from_secs(60);
        while !subject(&served.url).contains(words) {
            assert!(Instant::now() < end, "no certificate with {words}: {}", subject(&served.url));
        }
    };
    wait("CN = server");
    // Only the certificate first: it does not belong to the old key.
    let copy = |from: &str, to: &str| {
        std::fs::copy(folder.path().join(from), folder.path().join(to)).expect("copied");
    };
    copy("second.pem", "server.pem");
    served.wait_for("new connections get the previous certificate");
    wait("CN = server");
    copy("second.key", "server.key");
    wait("CN = second");
}

#[test]
fn client_certificates_are_checked_if_an_authority_is_named() {
    if !have(&["openssl", "curl"]) {
        return;
    }
    let folder = certified("client_ca = \"clients.pem\"\n");
    make_authority(folder.path(), "clients");
    make_authority(folder.path(), "strangers");
    make_certificate(folder.path(), "clients", "client");
    make_certificate(folder.path(), "strangers", "stranger");
    let served = ServedFolder::serve(folder.path(), &[]);
    let url = format!("{}/v2/health/ready", served.url);
    let with = |name: Option<&str>| {
        let mut arguments = vec!["--cacert".to_owned(), "ca.pem".into(), url.clone()];
        if let Some(name) = name {
            arguments.extend(["--cert".into(), format!("{name}.pem"), "--key".into(), format!("{name}.key")]);
        }
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        curl(&folder, &arguments)
    };
    let (success, text) = with(Some("client"));
    assert!(success && text.contains("true"), "{text}");
    for (client, reason) in [(None, "missing"), (Some("stranger"), "wrong")] {
        assert!(!with(client).0, "{client:?}");
        let (success, metrics) = curl(
            &folder,
            &["--cacert", "ca.pem", "--cert", "client.pem", "--key", "client.key", &format!("{}/metrics", served.url)],
        );
        let failures = format!("plimsoll_authentication_failures_total{{realm=\"clients\",reason=\"{reason}\"}} 1\n");
        assert!(success && metrics.contains(&failures), "{metrics}");
    }
    let log = served.wait_for("reason=\"wrong\"");
    assert_eq!(log.matches("realm=\"clients\"").count(), 2, "{log}");
}

#[test]
fn a_certificate_that_cannot_be_used_is_refused_with_its_key() {
    if !have(&["openssl"]) {
        return;
    }
    let folder = certified("client_ca = \"clients.pem\"\n");
    make_authority(folder.path(), "clients");
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    let good: Vec<_> = ["server.pem", "server.key", "clients.pem"].map(|name| std::fs::read(path(name))).into();
    let mut wrong: Vec<(&str, Vec<u8>, &str)> = Vec::new();
    for (name, key) in [("server.pem", "tls.cert"), ("server.key", "tls.key"), ("clients.pem", "tls.client_ca")] {
        wrong.push((name, Vec::new(), key));
        wrong.push((name, b"nonsense".to_vec(), key));
    }
    wrong.push(("server.key", std::fs::read(path("clients.key")).expect("a key"), "is not the private key of"));
    // A file with the other half, and files that are cut off.
    let read = |name: &str| std::fs::read(path(name)).expect("a file");
    wrong.push(("server.pem", read("server.key"), "tls.cert: "));
    wrong.push(("server.key", read("server.pem"), "has no private key in PEM"));
    for (name, key) in [("server.pem", "tls.cert"), ("server.key", "tls.key")] {
        let bytes = read(name);
        wrong.push((name, bytes[..bytes.len() / 2].to_vec(), "cut off"));
        let text = String::from_utf8(bytes).expect("text");
        let damaged: Vec<_> = text.lines().enumerate().filter(|(at, _)| *at != 1).map(|(_, line)| line).collect();
        wrong.push((name, damaged.join("\n").into_bytes(), key));
    }
    for (name, bytes, words) in wrong {
        for (name, bytes) in ["server.pem", "server.key", "clients.pem"].iter().zip(&good) {
            std::fs::write(path(name), bytes.as_ref().expect("read")).expect("written");
        }
        std::fs::write(path(name), bytes).expect("written");
        let (code, text) = run(folder.path(), &["serve", "--config", "plimsoll.toml", "--listen", "127.0.0.1:0"]);
        assert_eq!(code, Some(64), "{name}: {text}");
        assert!(text.contains(words) && text.contains(name), "{name}: {text}");
        assert!(!text.contains("compiling"), "found after everything was compiled: {text}");
        let (code, text) = run(folder.path(), &["check", "--config", "plimsoll.toml"]);
        assert!(code == Some(64) && text.contains(words), "{name}: {text}");
    }
    for (name, bytes) in ["server.pem", "server.key", "clients.pem"].iter().zip(&good) {
        // A byte order mark, as some editors write it.
        let bytes = [&b"\xEF\xBB\xBF"[..], bytes.as_ref().expect("read")].concat();
        std::fs::write(path(name), bytes).expect("written");
    }
    let (code, text) = run(folder.path(), &["check", "--config", "plimsoll.toml"]);
    assert_eq!(code, Some(0), "{text}");
    std::fs::remove_file(path("server.key")).expect("removed");
    std::fs::create_dir(path("server.key")).expect("made");
    let (code, text) = run(folder.path(), &["check", "--config", "plimsoll.toml"]);
    assert!(code == Some(64) && text.contains("tls.key") && text.contains("it is a folder"), "{text}");
}

#[test]
fn tritonclient_speaks_https_and_grpcs() {
    if !have(&["openssl"]) {
        return;
    }
    let Some(python) = crate::oip_conformance::environment("requirements.txt") else { return };
    let folder = certified("");
    let served = ServedFolder::serve(folder.path(), &[]);
    let script = "import sys\n\
        import tritonclient.http as http, tritonclient.grpc as grpc\n\
        address = sys.argv[1]\n\
        client = http.InferenceServerClient(address, ssl=True, ssl_options={'ca_certs': 'ca.pem'})\n\
        assert client.is_server_ready() and client.get_model_metadata('p')['name'] == 'p'\n\
        client = grpc.InferenceServerClient(address, ssl=True, root_certificates='ca.pem')\n\
        assert client.is_server_ready() and client.get_model_metadata('p').name == 'p'\n";
    let address = served.url.trim_start_matches("https://");
    let mut command = Command::new(python);
    let output = command.current_dir(folder.path()).args(["-c", script, address]).output().expect("python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
