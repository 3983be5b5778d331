//! The steps of a path: every folder, link and file through which it leads. They show whether something on the path was
//! replaced, for example a link to a file system that does not answer.
//!
//! To look at a step does not wait for the server of a network file system, as far as the kernel allows that. To find the
//! next one may wait.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};

/// Maximum number of links on a path, as in the kernel.
const MAX_LINKS: usize = 40;

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    path: PathBuf,
    /// `None` if there is nothing, or it cannot be looked at.
    found: Option<Found>,
}

impl Step {
    /// The file system of what was found.
    pub(super) fn device(&self) -> Option<u64> {
        self.found.as_ref().map(|found| found.device)
    }
}

/// What is found at a step, without following a link.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    /// It differs if another file system was mounted, or one was unmounted.
    device: u64,
    inode: u64,
    /// When it was modified. `None` for a folder, which is modified with each file in it.
    modified: Option<(i64, i64)>,
    is_link: bool,
}

/// Follows a path, and passes each step to `visit` when it was found. Ends early if `visit` returns false, and then returns
/// false.
pub(super) fn follow(path: &Path, mut visit: impl FnMut(Step) -> bool) -> bool {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (mut left, mut at, mut links) = (Vec::new(), PathBuf::from("/"), 0);
    add(&absolute, &mut left);
    while let Some(name) = left.pop() {
        if name == ".." {
            at.pop();
            continue;
        }
        at.push(name);
        let found = look(&at);
        let is_link = found.as_ref().map(|found| found.is_link);
        if !visit(Step { path: at.clone(), found }) {
            return false;
        }
        match is_link {
            None => return true,
            Some(false) => {}
            Some(true) => {
                links += 1;
                let Some(target) = (links <= MAX_LINKS).then(|| fs::read_link(&at).ok()).flatten() else { return true };
                match target.is_absolute() {
                    true => at = PathBuf::from("/"),
                    false => _ = at.pop(),
                }
                add(&target, &mut left);
            }
        }
    }
    true
}

/// Adds the steps of a path, the next one last.
fn add(path: &Path, left: &mut Vec<OsString>) {
    let names = path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    left.extend(names);
}

fn look(path: &Path) -> Option<Found> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
    if let Ok(it) = statx(CWD, path, flags, StatxFlags::TYPE | StatxFlags::INO | StatxFlags::MTIME) {
        let kind = rustix::fs::FileType::from_raw_mode(it.stx_mode.into());
        return Some(Found {
            device: makedev(it.stx_dev_major, it.stx_dev_minor),
            inode: it.stx_ino,
            modified: (!kind.is_dir()).then(|| (it.stx_mtime.tv_sec, it.stx_mtime.tv_nsec.into())),
            is_link: kind.is_symlink(),
        });
    }
    // Some sandboxes have no statx.
    let it = fs::symlink_metadata(path).ok()?;
    Some(Found {
        device: it.dev(),
        inode: it.ino(),
        modified: (!it.is_dir()).then(|| (it.mtime(), it.mtime_nsec())),
        is_link: it.is_symlink(),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A new folder.
    fn folder() -> PathBuf {
        let folder = std::env::temp_dir().join(format!("plimsoll-steps-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&folder).expect("made");
        folder
    }

    fn steps(path: &Path) -> Vec<Step> {
        let mut steps = Vec::new();
        assert!(follow(path, |step| {
            steps.push(step);
            true
        }));
        steps
    }

    #[test]
    fn a_replaced_link_folder_or_file_changes_the_steps_and_a_neighbour_does_not() {
        let folder = folder();
        // A link on the path of the folder itself, as on some systems.
        let root = folder.canonicalize().expect("there");
        let at = |name: &str| root.join(name);
        for name in ["one", "two"] {
            fs::create_dir(at(name)).expect("made");
            fs::write(at(name).join("file"), "").expect("written");
        }
        symlink("one", at("folder")).expect("linked");
        symlink(at("folder/../folder/file"), at("link")).expect("linked");
        let before = steps(&at("link"));
        let end: Vec<_> = before.iter().map(|step| step.path.clone()).filter(|path| path.starts_with(&root)).collect();
        let expected = ["", "link", "", "folder", "one", "folder", "one", "one/file"];
        assert_eq!(end, expected.map(|name| if name.is_empty() { root.clone() } else { at(name) }));

        fs::write(at("neighbour"), "").expect("written");
        fs::write(at("one/neighbour"), "").expect("written");
        assert_eq!(steps(&at("link")), before);
        let mut changes = vec![before];
        let mut changed = |what: &str| {
            let now = steps(&at("link"));
            assert!(!changes.contains(&now), "{what}");
            changes.push(now);
        };
        fs::remove_file(at("folder")).expect("removed");
        changed("a missing folder");
        symlink("two", at("folder")).expect("linked");
        changed("another target of a folder");
        fs::rename(at("two"), at("three")).expect("renamed");
        changed("a missing target");
        fs::rename(at("one"), at("two")).expect("renamed");
        changed("another folder");
        fs::write(at("new"), "").expect("written");
        fs::rename(at("new"), at("two/file")).expect("replaced");
        changed("another file");
        fs::remove_file(at("link")).expect("removed");
        fs::write(at("link"), "").expect("written");
        changed("a file in place of a link");
        fs::remove_dir_all(&root).expect("removed");
    }

    #[test]
    fn links_in_a_circle_end_and_a_visitor_ends_the_walk() {
        let folder = folder();
        symlink("circle", folder.join("circle")).expect("linked");
        let steps = steps(&folder.join("circle"));
        assert!(steps.len() > MAX_LINKS);
        let mut seen = 0;
        assert!(!follow(&folder, |_| {
            seen += 1;
            false
        }));
        assert_eq!(seen, 1);
        assert!(follow(&folder.join("missing/file"), |step| step.found.is_some() || step.path.ends_with("missing")));
        fs::remove_dir_all(&folder).expect("removed");
    }
}
