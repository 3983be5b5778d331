//! The addresses that a registry names: of its token service, of an upload, and of a redirect.

use plimsoll_runtime::text::shortened;
use reqwest::Url;
use reqwest::redirect::Policy;

use super::reference::is_loopback_host;

/// Maximum number of redirects that one request follows.
const MAX_REDIRECTS: usize = 10;

/// Returns true if an address may be used that a registry names: over HTTPS, or on this machine if the registry is there too.
/// With others, plain HTTP would leave this machine, or a registry elsewhere would reach the services of this machine.
pub(super) fn may_use(url: &Url, is_loopback: bool) -> bool {
    match url.host_str().is_some_and(is_loopback_host) {
        true => is_loopback,
        false => url.scheme() == "https",
    }
}

/// Follows redirects to addresses that [`may_use`] allows. `reqwest` sends no credentials to another server.
pub(super) fn redirects(is_loopback: bool) -> Policy {
    Policy::custom(move |attempt| {
        if attempt.previous().len() > MAX_REDIRECTS {
            return attempt.error(format!("there are more than {MAX_REDIRECTS} redirects"));
        }
        if may_use(attempt.url(), is_loopback) {
            return attempt.follow();
        }
        let to = shortened(attempt.url().as_str());
        attempt.error(format!("it redirects to `{to}`, which is not followed: {NOT_USED}"))
    })
}

/// Why an address is not used.
pub(super) const NOT_USED: &str =
    "only HTTPS to another machine is used, or a server on this machine if the registry is there too";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_this_machine_and_registries_elsewhere_do_not_reach_it() {
        for (url, from_here, from_elsewhere) in [
            ("https://a.example/x", true, true),
            ("http://a.example/x", false, false),
            ("http://192.0.2.1/x", false, false),
            ("ftp://a.example/x", false, false),
            ("http://127.0.0.1:5000/x", true, false),
            ("http://127.1/x", true, false),
            ("http://LOCALHOST/x", true, false),
            ("https://[::1]/x", true, false),
        ] {
            let url: Url = url.parse().expect("a URL");
            assert_eq!(
                [true, false].map(|is_loopback| may_use(&url, is_loopback)),
                [from_here, from_elsewhere],
                "{url}"
            );
        }
    }
}
