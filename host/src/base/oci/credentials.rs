//! Whose access to a registry is used.

use docker_credential::{CredentialRetrievalError as Retrieval, DockerCredential};
use oci_client::secrets::RegistryAuth;

use super::reference::OciReference;
use super::variables::{PASSWORD, USERNAME};

/// The name under which docker keeps the access to its own registry.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// A user's name and password, or none. They are never written to a log.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub(super) auth: RegistryAuth,
    /// Where they are from, for messages.
    pub(super) origin: &'static str,
}

impl Credentials {
    /// No credentials: what a registry gives to everybody.
    pub fn anonymous() -> Self {
        Self { auth: RegistryAuth::Anonymous, origin: "no credentials" }
    }

    /// A user's name with a password or access token.
    pub fn basic(username: &str, password: &str) -> Self {
        let auth = RegistryAuth::Basic(username.to_owned(), password.to_owned());
        Self { auth, origin: "the credentials given" }
    }

    /// Finds the credentials for a reference's registry: [`USERNAME`] and [`PASSWORD`] where both are set (for every
    /// registry), else what `docker login` stored for this registry, else none.
    ///
    /// What is wrong with docker's configuration is logged, and none are used.
    pub async fn find(reference: &OciReference) -> Self {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        match (set(USERNAME), set(PASSWORD)) {
            (Some(username), Some(password)) => {
                return Self { origin: "the credentials of the environment", ..Self::basic(&username, &password) };
            }
            (None, None) => {}
            _ => tracing::warn!("only one of {USERNAME} and {PASSWORD} is set, and is not used"),
        }
        let registry = reference.registry().to_owned();
        let key = if registry == "docker.io" { DOCKER_HUB_KEY.to_owned() } else { registry.clone() };
        // Docker keeps credentials in programs of their own, which take their time.
        let found = tokio::task::spawn_blocking(move || docker_credential::get_credential(&key)).await;
        found.map_or_else(|_| Self::anonymous(), |found| Self::of_docker(&registry, found))
    }

    fn of_docker(registry: &str, found: Result<DockerCredential, Retrieval>) -> Self {
        let reason = match found {
            Ok(DockerCredential::UsernamePassword(username, password)) => {
                return Self { origin: "the credentials of `docker login`", ..Self::basic(&username, &password) };
            }
            // A token for OAuth 2, which the client does not speak.
            Ok(DockerCredential::IdentityToken(_)) => "it is an identity token, which is not understood".to_owned(),
            // The usual case: nobody has logged in. A configuration that is missing is not told from a broken one.
            Err(Retrieval::NoCredentialConfigured | Retrieval::ConfigNotFound | Retrieval::ConfigReadError) => {
                return Self::anonymous();
            }
            // The words of docker's helper programs for a registry that nobody has logged in to.
            Err(Retrieval::HelperFailure { stdout, .. }) if stdout.contains("credentials not found") => {
                return Self::anonymous();
            }
            // What a helper printed may hold a secret.
            Err(Retrieval::HelperFailure { helper, .. }) => format!("`{helper}` failed"),
            Err(error) => error.to_string(),
        };
        tracing::warn!(registry, "docker's credentials for this registry are not used: {reason}");
        Self::anonymous()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_cannot_give_is_done_without() {
        let login = DockerCredential::UsernamePassword("user".into(), "secret".into());
        let credentials = Credentials::of_docker("registry.example", Ok(login));
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
            assert_eq!(Credentials::of_docker("registry.example", found).auth, RegistryAuth::Anonymous);
        }
    }
}
