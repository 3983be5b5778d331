//! The credentials for a registry.

use docker_credential::{CredentialRetrievalError as Retrieval, DockerCredential};
use oci_client::secrets::RegistryAuth;

use super::reference::OciReference;
use super::variables::{PASSWORD, REGISTRY, USERNAME};

/// The key under which docker stores the credentials for Docker Hub.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// A user name and password, or none. They are never logged.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub(super) auth: RegistryAuth,
    /// The origin of the credentials, for messages.
    pub(super) origin: &'static str,
}

impl Credentials {
    /// No credentials: anonymous access.
    pub fn anonymous() -> Self {
        Self { auth: RegistryAuth::Anonymous, origin: "no credentials" }
    }

    /// A user name with a password or access token.
    pub fn basic(username: &str, password: &str) -> Self {
        let auth = RegistryAuth::Basic(username.to_owned(), password.to_owned());
        Self { auth, origin: "the given credentials" }
    }

    /// Finds the credentials for a reference's registry. If [`USERNAME`] and [`PASSWORD`] are set, they are used for the
    /// registries in [`REGISTRY`]. For others, the credentials that `docker login` stored for this registry are used, if
    /// there are any.
    ///
    /// If docker's configuration cannot be used, a warning is logged and no credentials are used.
    pub async fn find(reference: &OciReference) -> Self {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let registry = reference.registry().to_owned();
        match (set(USERNAME), set(PASSWORD), set(REGISTRY)) {
            (Some(username), Some(password), Some(registries)) => {
                if names(&registries, &registry) {
                    return Self {
                        origin: "the credentials from the environment",
                        ..Self::basic(&username, &password)
                    };
                }
            }
            (Some(_), Some(_), None) => tracing::warn!(
                registry,
                "{USERNAME} and {PASSWORD} are not sent, because {REGISTRY} does not say to which registry; set it to \
                 `{registry}` if they are for this one"
            ),
            (None, None, _) => {}
            _ => tracing::warn!("only one of {USERNAME} and {PASSWORD} is set, so it is ignored; set both"),
        }
        let key = if registry == "docker.io" { DOCKER_HUB_KEY.to_owned() } else { registry.clone() };
        // Docker may store credentials in helper programs, and running one blocks the thread.
        let found = tokio::task::spawn_blocking(move || docker_credential::get_credential(&key)).await;
        found.map_or_else(|_| Self::anonymous(), |found| Self::from_docker(&registry, found))
    }

    fn from_docker(registry: &str, found: Result<DockerCredential, Retrieval>) -> Self {
        let reason = match found {
            Ok(DockerCredential::UsernamePassword(username, password)) => {
                return Self { origin: "the credentials from `docker login`", ..Self::basic(&username, &password) };
            }
            // An OAuth 2 token, which the client does not support.
            Ok(DockerCredential::IdentityToken(_)) => "identity tokens are not supported".to_owned(),
            // The usual case: there was no login. The library does not distinguish a missing configuration from a
            // broken one.
            Err(Retrieval::NoCredentialConfigured | Retrieval::ConfigNotFound | Retrieval::ConfigReadError) => {
                return Self::anonymous();
            }
            // The message of docker's helper programs for a registry without a login.
            Err(Retrieval::HelperFailure { stdout, .. }) if stdout.contains("credentials not found") => {
                return Self::anonymous();
            }
            // The output of a helper may contain a secret, so it is not logged.
            Err(Retrieval::HelperFailure { helper, .. }) => format!("`{helper}` failed"),
            Err(error) => error.to_string(),
        };
        tracing::warn!(registry, "docker's credentials for this registry are not used: {reason}");
        Self::anonymous()
    }
}

/// Returns true if the list of registries has this one. A host without a port is the registry at its usual port.
fn names(registries: &str, registry: &str) -> bool {
    registries.split(',').any(|known| known.trim().eq_ignore_ascii_case(registry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_its_registries() {
        assert!(names("registry.example", "registry.example"));
        assert!(names("other.example:5000, Registry.Example", "registry.example"));
        for other in ["example", "registry.example:5000", "registry.example.other", "evil-registry.example", ""] {
            assert!(!names("registry.example", other), "{other}");
        }
    }

    #[test]
    fn no_credentials_are_used_if_docker_cannot_provide_them() {
        let login = DockerCredential::UsernamePassword("user".into(), "secret".into());
        let credentials = Credentials::from_docker("registry.example", Ok(login));
        assert_eq!(credentials.auth, RegistryAuth::Basic("user".into(), "secret".into()));
        assert!(!format!("{credentials:?}").contains("secret"));
        let failure = |stdout: &str| Retrieval::HelperFailure {
            helper: "docker-credential-x".into(),
            stdout: stdout.into(),
            stderr: String::new(),
        };
        for found in [
            Ok(DockerCredential::IdentityToken("token".into())),
            Err(Retrieval::NoCredentialConfigured),
            Err(Retrieval::HelperCommunicationError),
            Err(failure("credentials not found in native keychain")),
            Err(failure("locked")),
        ] {
            assert_eq!(Credentials::from_docker("registry.example", found).auth, RegistryAuth::Anonymous);
        }
    }
}
