//! A folder like that of a user: a configuration, and plugins that are copied into the plugin folder.

use std::path::PathBuf;

use plimsoll::config::Config;
use plimsoll::deploy::journal_log::JournalLog;
use tempfile::TempDir;

use crate::{Server, guest, shared_cache};

/// The guest `stamp` with the mark `MARK-<mark>` (eight digits). Each mark is another version of the same plugin.
///
/// # Panics
/// If the built guest does not contain exactly one mark.
pub fn stamped(mark: u32) -> Vec<u8> {
    let mut bytes = std::fs::read(guest("stamp")).expect("built");
    let places: Vec<_> = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(b"MARK-00000000")).collect();
    assert_eq!(places.len(), 1, "one mark");
    bytes[places[0]..][..13].copy_from_slice(format!("MARK-{mark:08}").as_bytes());
    bytes
}

/// The same component as another version: it gets an additional custom section (id 0, size 3, a name of one byte, one
/// byte of content).
pub fn another_version(component: &[u8], mark: u8) -> Vec<u8> {
    [component, &[0, 3, 1, b'v', mark]].concat()
}

/// The reply of a pipeline whose first and last stage is [`stamped`].
pub fn stamped_reply(mark: u32) -> String {
    format!("MARK-{mark:08} MARK-{mark:08}")
}

/// The state in a journal file, as JSON. The server may be appending to it.
///
/// # Panics
/// If it is not a journal.
pub fn journal_state(file: &[u8]) -> serde_json::Value {
    serde_json::to_value(JournalLog::parse(file).expect("a journal").state).expect("JSON")
}

/// A folder with `plimsoll.toml`, `plugins/stamp.wasm` (mark 0) and a pipeline `p` of `stamp`, `noop-infer`, `stamp`.
pub struct Site {
    /// The folder; removed on drop.
    pub folder: TempDir,
    /// The path of the configuration file.
    pub config: PathBuf,
}

impl Site {
    /// Creates the folder. `more` is added to the configuration under `[pipelines.p]`.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn new(more: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let config = folder.path().join("plimsoll.toml");
        std::fs::create_dir(folder.path().join("plugins")).expect("a folder");
        let this = Self { folder, config };
        this.write_config(more);
        this.drop_in("stamp.wasm", &stamped(0));
        this
    }

    /// Writes the configuration again, with another `more`.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn write_config(&self, more: &str) {
        let text = format!(
            "cache_dir = {:?}\n[server]\nlisten = \"127.0.0.1:0\"\n[plugins.noop-infer]\nfile = {:?}\n[pipelines.p]\n{more}\n\
             [pipelines.p.preprocess]\nplugin = \"stamp\"\n[pipelines.p.chips.c]\nplugin = \"noop-infer\"\n\
             [pipelines.p.postprocess]\nplugin = \"stamp\"\n",
            shared_cache(),
            guest("noop-infer"),
        );
        crate::replace_file(&self.config, text).expect("written");
    }

    /// Adds a setting to `[server]` in the configuration.
    ///
    /// # Panics
    /// If the file cannot be read or written.
    pub fn add_to_server(&self, setting: &str) {
        let text = std::fs::read_to_string(&self.config).expect("written before");
        let text = text.replacen("[server]\n", &format!("[server]\n{setting}\n"), 1);
        crate::replace_file(&self.config, text).expect("written");
    }

    /// Copies a file into the plugin folder, as `cp` does.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn drop_in(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.plugin(name), bytes).expect("written");
    }

    /// The path of a file in the plugin folder.
    pub fn plugin(&self, name: &str) -> PathBuf {
        self.folder.path().join("plugins").join(name)
    }

    /// Starts a server for this folder in this process. The data folder is inside the folder, so a second server
    /// continues with the state of the first.
    ///
    /// # Panics
    /// If the configuration is rejected.
    pub async fn serve(&self) -> Server {
        let mut config = Config::load(Some(&self.config)).expect("valid");
        config.data_dir = Some(self.folder.path().join(".plimsoll"));
        Server::with_config(&config).await
    }
}
