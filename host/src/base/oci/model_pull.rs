//! Pulls models into a local folder.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use oci_client::RegistryOperation;
use tokio::task::spawn_blocking;

use super::credentials::Credentials;
use super::error::OciError;
use super::explain::{timed_out, unusable};
use super::layout::Layer;
use super::model_layout::ModelLayout;
use super::reference::OciReference;
use super::session::Session;
use super::stored_model::{FILES, MANIFEST, PARTIAL, StoredModel, StoredModelError, folder};
use crate::base::telemetry;

/// The time limit of a whole pull. A registry that sends nothing is noticed much earlier.
const TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// Bytes that are written at once.
const CHUNK: usize = 1 << 20;

/// Pulls the model of a pinned reference, with files of at most `max_bytes` in total, into its folder in `models`, unless it is
/// there.
///
/// # Errors
/// [`OciError`] if the reference is not pinned, the registry cannot be reached, the artifact does not exist, is not a model, is
/// too large or does not match its digests, or the folder cannot be written.
pub async fn pull_model(reference: &OciReference, max_bytes: u64, models: &Path) -> Result<(), OciError> {
    let folder = folder(models, reference).ok_or_else(|| unusable(reference, "it has no digest"))?;
    // A stored model that cannot be used is not replaced. It is refused when it is read.
    if !matches!(StoredModel::find(models, reference), Err(StoredModelError::Missing(_))) {
        return Ok(());
    }
    tracing::info!("pulling {reference} …");
    let partial = Partial::create(models).map_err(|error| unwritable(reference, models, &error))?;
    let pulled = tokio::time::timeout(TIMEOUT, fetch(reference, max_bytes, &partial.0)).await;
    pulled.unwrap_or_else(|_| Err(timed_out(reference, "finish", TIMEOUT)))?;
    match fs::rename(&partial.0, &folder).and_then(|()| File::open(models)?.sync_all()) {
        // Another process was faster.
        Err(_) if StoredModel::find(models, reference).is_ok() => Ok(()),
        renamed => renamed.map_err(|error| unwritable(reference, models, &error)),
    }
}

fn unwritable(reference: &OciReference, folder: &Path, error: &io::Error) -> OciError {
    unusable(reference, &format!("the model cannot be stored in {}: {error}", folder.display()))
}

/// A folder that is removed, unless it gets another name.
struct Partial(PathBuf);

impl Partial {
    fn create(models: &Path) -> io::Result<Self> {
        let mut folders = DirBuilder::new();
        folders.recursive(true).mode(0o700);
        folders.create(models)?;
        let path = models.join(format!("{PARTIAL}{}", uuid::Uuid::new_v4()));
        folders.create(path.join(FILES))?;
        Ok(Self(path))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn fetch(reference: &OciReference, max_bytes: u64, folder: &Path) -> Result<(), OciError> {
    let credentials = Credentials::find(reference).await;
    let session = Session::open(reference, credentials, RegistryOperation::Pull).await?;
    let (manifest, _) = session.manifest().await?;
    let layout = ModelLayout::read(&manifest).map_err(|error| unusable(reference, &error.to_string()))?;
    let size = layout.files.values().fold(0_u64, |sum, layer| sum.saturating_add(layer.size));
    if size > max_bytes {
        let why = format!("its files have {size} bytes, and {max_bytes} are allowed (`deploy.max_model`)");
        return Err(unusable(reference, &why));
    }
    for (name, layer) in &layout.files {
        let path = folder.join(FILES).join(name);
        let mut file = Writer::create(path).map_err(|error| unwritable(reference, folder, &error))?;
        save(&session, layer, &mut file).await?;
        file.finish().await.map_err(|error| unwritable(reference, folder, &error))?;
    }
    let mut file = Writer::create(folder.join(MANIFEST)).map_err(|error| unwritable(reference, folder, &error))?;
    file.buffer = manifest.to_vec();
    file.finish().await.map_err(|error| unwritable(reference, folder, &error))
}

async fn save(session: &Session<'_>, layer: &Layer, file: &mut Writer) -> Result<(), OciError> {
    let reference = session.reference();
    let mut blob = session.checked_blob(layer, "the model").await?;
    while let Some(chunk) = blob.next().await? {
        file.write(&chunk).await.map_err(|error| unwritable(reference, &file.path, &error))?;
    }
    telemetry::clear_status();
    Ok(())
}

/// Writes a file away from the async workers.
struct Writer {
    path: PathBuf,
    file: Option<File>,
    buffer: Vec<u8>,
}

impl Writer {
    fn create(path: PathBuf) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { path, file: Some(file), buffer: Vec::new() })
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() < CHUNK { Ok(()) } else { self.flush(false).await }
    }

    async fn finish(mut self) -> io::Result<()> {
        self.flush(true).await
    }

    async fn flush(&mut self, is_last: bool) -> io::Result<()> {
        let Some(mut file) = self.file.take() else { return Err(io::Error::other("an earlier write failed")) };
        let buffer = std::mem::take(&mut self.buffer);
        let written = spawn_blocking(move || {
            file.write_all(&buffer)?;
            if is_last {
                file.sync_all()?;
            }
            Ok::<_, io::Error>(file)
        });
        self.file = Some(written.await.map_err(io::Error::other)??);
        Ok(())
    }
}
