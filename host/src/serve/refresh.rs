//! Reads the keys of callers and the certificate again when their files change.

use std::sync::Weak;
use std::time::Duration;

use super::app::App;

/// How often the files are checked.
const INTERVAL: Duration = Duration::from_secs(1);

/// Checks the files until the application is dropped.
pub(super) async fn follow(app: Weak<App>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let Some(app) = app.upgrade() else { return };
        // A mount that does not answer must not block a thread that serves requests.
        let refreshing = tokio::task::spawn_blocking(move || {
            if let Some(keys) = &app.keys {
                keys.refresh();
            }
            if let Some(tls) = &app.tls {
                tls.refresh();
            }
        });
        if let Err(error) = refreshing.await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}
