//! Takes a deployment back, so that the server has what it had: for a deployment to several servers of which one failed.

use plimsoll_runtime::identity::Identity;

use super::catalog::{CatalogEntry, Place, PreviousVersion};
use super::deployer::{ChangeError, Deployer};
use super::rollback::{check_canary, check_serving};
use super::serving::Serving;

impl Deployer {
    /// Rolls back as [`Deployer::rollback`], and forgets the version that served, whose digest begins with `digest`: it was not
    /// rolled back, so it may be deployed again by any means. It is a previous version only if it was one before.
    ///
    /// # Errors
    /// As [`Deployer::rollback`]. Also if another version serves.
    pub async fn undo(
        &mut self,
        serving: &Serving,
        name: &str,
        to: Option<&str>,
        (digest, by): (&str, &str),
    ) -> Result<Identity, ChangeError> {
        check_serving(serving, name, digest)?;
        let place = serving.catalog().get(name).and_then(|plugin| plugin.place);
        let identity = self.rollback(serving, name, to, by).await?;
        if let Some(plugin) = serving.catalog().get_mut(name) {
            plugin.restore(digest, place);
        }
        self.write_journal(serving);
        Ok(identity)
    }

    /// Ends the canary whose digest begins with `digest`, and nothing else. With `is_undone` the version is forgotten, as by
    /// [`Deployer::undo`].
    ///
    /// # Errors
    /// If the plugin does not have this canary.
    pub async fn end_this_canary(
        &mut self,
        serving: &Serving,
        name: &str,
        digest: &str,
        (is_undone, by): (bool, &str),
    ) -> Result<Identity, ChangeError> {
        check_canary(serving, name, digest)?;
        let identity = self.rollback(serving, name, None, by).await?;
        if is_undone {
            if let Some(plugin) = serving.catalog().get_mut(name) {
                plugin.readmit_all(digest);
                plugin.rejected.retain(|rejected| !rejected.identity.digest.starts_with(digest));
            }
            self.write_journal(serving);
        }
        Ok(identity)
    }
}

impl CatalogEntry {
    /// Brings the version whose digest begins with `digest` back to its place among the previous versions.
    fn restore(&mut self, digest: &str, place: Option<Place>) {
        let is_it = |it: &PreviousVersion| it.release.artifact.identity.digest.starts_with(digest);
        let undone = self.previous.iter().position(is_it).and_then(|at| self.previous.remove(at));
        if !place.is_some_and(|place| place.is_withdrawn) {
            self.readmit_all(digest);
        }
        if let (Some(undone), Some(place)) = (undone, place) {
            self.previous.insert(place.index.min(self.previous.len()), undone);
        }
    }

    /// Forgets that versions whose digests begin with `digest` were rolled back.
    fn readmit_all(&mut self, digest: &str) {
        self.withdrawn.retain(|known| !known.starts_with(digest));
    }
}
