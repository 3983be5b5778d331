//! The options of the commands that administrate a running server, and where they find its token.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use reqwest::{Method, StatusCode};

use super::client::{Client, Reply};
use super::error::Error;
use super::source::ConfigSource;
use crate::config::{Config, ListenAddress, TOKEN_FILE, TOKEN_VARIABLE};

/// The server's address, and the token for its administration.
#[derive(Debug, Args)]
pub(in crate::cli) struct Administration {
    /// The server's address: http://HOST:PORT or unix:PATH. Default: the address of administration in --config, or else
    /// http://127.0.0.1:8080. `plimsoll plugin` takes several (repeat it, or put commas between them), and dns:HOST:PORT
    /// for every address of a host: then all servers change, or none.
    #[arg(long, value_name = "URL", env = "PLIMSOLL_SERVER", value_delimiter = ',')]
    server: Vec<String>,
    /// The file with the administration token. Default: the token in the variable PLIMSOLL_ADMIN_TOKEN; for a server on
    /// this machine also the token in its data folder.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The server's configuration file, which names its data folder or its token file. Not needed in the folder from
    /// which the server was started.
    #[arg(long, value_name = "FILE", env = "PLIMSOLL_CONFIG")]
    config: Option<PathBuf>,
    /// The server's data folder.
    #[arg(long, value_name = "DIR", env = "PLIMSOLL_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

/// A server with its token.
#[derive(Debug)]
pub(in crate::cli) struct Administrated {
    client: Client,
    token: Option<String>,
    /// Where the token was found, or why there is none.
    place: String,
    /// The time for a reply, if the command has set it.
    timeout: Option<Duration>,
}

/// The time for the reply to a question.
const ANSWER: Duration = Duration::from_secs(20);
/// The time for the reply to a change. A deployment compiles the component and tries it with a sample.
const CHANGE: Duration = Duration::from_secs(600);

impl Administration {
    /// Creates a client of each server, and finds the token. Without `timeout`, a server has 20 s to answer a question and
    /// 10 minutes to make a change.
    ///
    /// # Errors
    /// If an address or the configuration is not valid, a server is named twice, or the token file cannot be read.
    pub(in crate::cli) async fn clients(&self, timeout: Option<Duration>) -> Result<Vec<Administrated>, Error> {
        let config = ConfigSource::at(self.config.clone(), self.data_dir.clone()).load()?;
        let mut servers: Vec<String> = Vec::new();
        // An empty variable is no address.
        for server in self.server.iter().filter(|server| !server.trim().is_empty()) {
            match server.strip_prefix(DNS) {
                Some(name) => servers.extend(addresses_of(name).await?),
                None => servers.push(server.clone()),
            }
        }
        if servers.is_empty() {
            servers.push(address(&config));
        }
        let administrated = |server: &String| {
            let client = Client::new(server, timeout)?;
            let (token, place) = self.token(&client, &config)?;
            Ok::<_, Error>(Administrated { client, token, place, timeout })
        };
        let found = servers.iter().map(administrated).collect::<Result<Vec<_>, _>>()?;
        let earlier = |at: usize| found[..at].iter().find(|other| found[at].client.is_same(&other.client));
        if let Some((at, other)) = (0..found.len()).find_map(|at| Some((at, earlier(at)?))) {
            let (one, other) = (found[at].name(), other.name());
            return Err(Error::Failed(match one == other {
                true => format!("the server {one} is named twice (--server)"),
                false => format!("{other} and {one} are the same server (--server)"),
            }));
        }
        Ok(found)
    }

    fn token(&self, client: &Client, config: &Config) -> Result<(Option<String>, String), Error> {
        let read = |path: &PathBuf| {
            let text = std::fs::read_to_string(path);
            text.map_err(|error| Error::Failed(format!("{} cannot be read: {error}", path.display())))
        };
        let found = |text: String, place: String| {
            let token = text.trim().to_owned();
            // Other tokens cannot be sent in a header, and the error of the HTTP client would not say why.
            match token.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
                true => Ok((Some(token), place)),
                false => Err(Error::Failed(format!("the token in {place} is not one line of ASCII characters"))),
            }
        };
        if let Some(path) = &self.token_file {
            return found(read(path)?, path.display().to_string());
        }
        if let Some(token) = std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty()) {
            return found(token, format!("the variable {TOKEN_VARIABLE}"));
        }
        if !client.is_local() {
            // The token of a server of this machine must not go to another machine.
            let place = format!("no token was sent: set {TOKEN_VARIABLE} or --token-file");
            return Ok((None, place));
        }
        let path = match &config.admin.token_file {
            Some(path) => config.resolve(path),
            None => config.data_dir().join(TOKEN_FILE),
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => found(text, path.display().to_string()),
            Err(error) => {
                let place = format!(
                    "no token was sent, because {} cannot be read: {error}; run this in the folder of the server, or \
                     name its --config or --data-dir, or set {TOKEN_VARIABLE} or --token-file",
                    path.display()
                );
                Ok((None, place))
            }
        }
    }
}

/// The start of a server that stands for every address of a host.
const DNS: &str = "dns:";

/// Every address of `HOST:PORT`, as servers. If there are addresses of IPv4, those of IPv6 are left out: a replica may have
/// both.
async fn addresses_of(name: &str) -> Result<Vec<String>, Error> {
    let failed =
        |why: String| Error::Failed(format!("`{DNS}{name}` has no addresses: {why}; write dns:HOST:PORT (--server)"));
    let found = tokio::net::lookup_host(name).await.map_err(|error| failed(error.to_string()))?;
    let mut found: Vec<_> = found.collect();
    if found.iter().any(SocketAddr::is_ipv4) {
        found.retain(SocketAddr::is_ipv4);
    }
    let mut servers: Vec<String> = found.iter().map(|address| format!("http://{address}")).collect();
    servers.sort();
    servers.dedup();
    if servers.is_empty() { Err(failed("there is none".to_owned())) } else { Ok(servers) }
}

/// The address at which a command on this machine reaches the administration of a server with this configuration.
fn address(config: &Config) -> String {
    let listen = config.admin.listen.as_ref().unwrap_or(&config.server.listen);
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    match listen.0.first() {
        Some(ListenAddress::Tcp { host, port }) => {
            let host = match host.as_str() {
                "0.0.0.0" => "127.0.0.1",
                "::" => "::1",
                host => host,
            };
            format!("{scheme}://{}", ListenAddress::Tcp { host: host.to_owned(), port: *port })
        }
        Some(socket) => socket.to_string(),
        None => format!("{scheme}://127.0.0.1:8080"),
    }
}

impl Administrated {
    /// Sends a request with the token.
    ///
    /// # Errors
    /// If the server does not answer, or refuses the token.
    pub(in crate::cli) async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Reply, Error> {
        let time = self.timeout.unwrap_or(if method == Method::GET { ANSWER } else { CHANGE });
        let mut request = self.client.request(method, path).body(body).timeout(time);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let reply = self.client.send(request, path).await?;
        if reply.status == StatusCode::NOT_FOUND && reply.text.contains("no such route") {
            return Err(Error::Failed(format!(
                "{} does not exist; if administration has a separate address (`[admin] listen`), name it with --server \
                 or --config",
                self.shown(path)
            )));
        }
        if reply.status != StatusCode::UNAUTHORIZED {
            return Ok(reply);
        }
        let refused = format!("{} needs the administration token", self.shown(path));
        let place = &self.place;
        Err(Error::Failed(match self.token {
            None => format!("{refused}; {place}"),
            Some(_) => format!(
                "{refused}, and the token in {place} is not the right one; name the --config or --data-dir of this \
                 server, or set {TOKEN_VARIABLE} or --token-file"
            ),
        }))
    }

    /// The server as the user named it.
    pub(in crate::cli) fn name(&self) -> &str {
        self.client.server()
    }

    /// The server and a path, for messages.
    pub(in crate::cli) fn shown(&self, path: &str) -> String {
        self.client.shown(path)
    }
}
