//! For tests of a fleet: several servers, each with a folder of its own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output};

use plimsoll_tests::{Site, another_version, stamped};

use crate::process::{BINARY, Process};

pub(crate) const TOKEN: &str = "a-token-for-a-fleet";

/// A server with a folder of its own.
pub(crate) struct Host {
    pub(crate) site: Site,
    pub(crate) process: Process,
    pub(crate) url: String,
}

impl Host {
    /// `more` is added to the configuration.
    pub(crate) fn new(more: &str) -> Self {
        Self::with("", more)
    }

    /// As [`Host::new`]; `pipeline` is added to the pipeline.
    pub(crate) fn with(pipeline: &str, more: &str) -> Self {
        Self::on("127.0.0.1:0", pipeline, more)
    }

    /// As [`Host::with`], on an address.
    pub(crate) fn on(listen: &str, pipeline: &str, more: &str) -> Self {
        let site = Site::new(pipeline);
        let config = std::fs::read_to_string(&site.config).expect("text");
        plimsoll_tests::replace_file(&site.config, config + more).expect("written");
        let process = start(&site, listen);
        let url = process.url();
        Self { site, process, url }
    }

    /// Starts it again on the same address, with the same folder.
    pub(crate) fn restart(&mut self) {
        self.process = start(&self.site, self.url.trim_start_matches("http://"));
        self.process.url();
    }

    pub(crate) fn reply(&self) -> String {
        self.reply_to("")
    }

    /// The body of the reply to a request with a query.
    pub(crate) fn reply_to(&self, query: &str) -> String {
        let mut stream = TcpStream::connect(self.url.trim_start_matches("http://")).expect("connected");
        let head = format!(
            "POST /v1/pipelines/p/infer{query} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("sent");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("a reply");
        reply.rsplit("\r\n\r\n").next().expect("a body").to_owned()
    }
}

fn start(site: &Site, listen: &str) -> Process {
    let mut command = Command::new(BINARY);
    command.args(["serve", "--listen", listen, "--config"]).arg(&site.config);
    command
        .arg("--data-dir")
        .arg(site.folder.path().join("data"))
        .env("PLIMSOLL_ADMIN_TOKEN", TOKEN)
        .env_remove("RUST_LOG");
    Process::with_own_environment(&mut command)
}

/// Runs `plimsoll plugin` with these servers.
pub(crate) fn plugin(arguments: &[&str], servers: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.arg("plugin").args(arguments).env("PLIMSOLL_ADMIN_TOKEN", TOKEN).env_remove("RUST_LOG");
    for server in servers {
        command.args(["--server", server]);
    }
    command.output().expect("the binary starts")
}

/// The file of a version.
pub(crate) fn file(site: &Site, mark: u32) -> String {
    let folder = site.folder.path().join(format!("upload-{mark}"));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("stamp.wasm");
    std::fs::write(&path, stamped(mark)).expect("written");
    path.to_str().expect("text").to_owned()
}

/// The most bytes of a component that let a host start.
pub(crate) fn most() -> u64 {
    let noop = std::fs::metadata(plimsoll_tests::guest("noop-infer")).expect("built").len();
    noop.max(stamped(0).len() as u64)
}

/// The file of a version that is larger.
pub(crate) fn larger(site: &Site) -> String {
    let (mut component, path) = (stamped(1), file(site, 1));
    while component.len() as u64 <= most() {
        component = another_version(&component, 1);
    }
    std::fs::write(&path, component).expect("written");
    path
}

pub(crate) fn replies(hosts: &[Host]) -> Vec<String> {
    hosts.iter().map(Host::reply).collect()
}

pub(crate) fn urls(hosts: &[Host]) -> Vec<&str> {
    hosts.iter().map(|host| host.url.as_str()).collect()
}
