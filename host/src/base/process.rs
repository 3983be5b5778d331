//! The memory of the process as the operating system sees it: resident memory, and the memory of its cgroup. The kernel
//! kills the process if its cgroup exceeds its limit.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use serde::Serialize;

use super::descriptors;

/// Memory in bytes. Values that the operating system does not report are absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ProcessMemory {
    /// Resident memory of the process.
    pub resident_bytes: Option<u64>,
    /// Memory of the process's cgroup, including its page cache.
    pub cgroup_bytes: Option<u64>,
    /// The limit of the cgroup. Absent if it has none.
    pub cgroup_limit_bytes: Option<u64>,
}

/// What the process uses, besides memory. Values that the operating system does not report are absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessUse {
    /// CPU time of all threads since the start.
    pub cpu: Duration,
    /// Threads.
    pub threads: Option<u64>,
    /// Open file descriptors.
    pub descriptors: Option<u64>,
    /// The most file descriptors that may be open.
    pub max_descriptors: Option<u64>,
}

impl ProcessUse {
    /// What the process uses now.
    pub fn now() -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let threads = status.lines().find_map(|line| line.strip_prefix("Threads:")?.trim().parse().ok());
        Self {
            cpu: Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanoseconds),
            threads,
            descriptors: descriptors::open(),
            max_descriptors: descriptors::limit(),
        }
    }
}

/// The resident memory of the process, if the operating system reports it.
// The kernel adds up all mappings in `smaps_rollup` (proc_pid_smaps(5)), and lets others have the lock of the address space
// meanwhile (since Linux 5.10). `memory_stats` adds up `smaps`, which takes five times as long with thousands of mappings, as
// a server with 500 pipelines has them. The counters of `statm` are faster than both, and may be off by several MiB on a machine
// with many cores.
pub fn resident_memory() -> Option<u64> {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").ok().and_then(|text| kilobytes(&text, "Rss:"));
    rollup.or_else(|| memory_stats::memory_stats().map(|stats| stats.physical_mem as u64))
}

/// The most memory that was resident since the process began, if the operating system reports it.
pub fn peak_memory() -> Option<u64> {
    kilobytes(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// The bytes that a file of the kernel says in kB in the line that begins with `name`.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The current memory of the process.
pub fn process_memory() -> ProcessMemory {
    let (cgroup_bytes, cgroup_limit_bytes) = memory_of_cgroup();
    ProcessMemory { resident_bytes: resident_memory(), cgroup_bytes, cgroup_limit_bytes }
}

/// Usage and limit of the memory of the process's cgroup, in bytes.
pub fn memory_of_cgroup() -> (Option<u64>, Option<u64>) {
    let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    cgroup(Path::new("/sys/fs/cgroup"), &membership).unwrap_or_default()
}

/// The memory of the machine in bytes, if the operating system reports it.
pub fn memory_of_machine() -> Option<u64> {
    kilobytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

/// The memory of the graphics cards whose drivers say it in the folder `/sys/class/drm` (amdgpu: `mem_info_vram_total`; xe:
/// `device/tile0/physical_vram_size_bytes`), by their names.
pub fn memory_of_cards(drm: &Path) -> Vec<(String, u64)> {
    let files = ["device/mem_info_vram_total", "device/tile0/physical_vram_size_bytes"];
    let number = |path: &Path| {
        let text = fs::read_to_string(path).ok()?;
        match text.trim().strip_prefix("0x") {
            Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16).ok(),
            None => text.trim().parse().ok(),
        }
    };
    let entries = fs::read_dir(drm).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    // `card0` is a card, `card0-DP-1` one of its connectors.
    let is_card = |name: &String| name.strip_prefix("card").is_some_and(|rest| rest.parse::<u32>().is_ok());
    let memory = |name: String| {
        let bytes = files.iter().find_map(|file| number(&drm.join(&name).join(file)))?;
        Some((name, bytes))
    };
    let mut cards: Vec<_> = names.filter(is_card).filter_map(memory).collect();
    cards.sort();
    cards
}

/// The memory that the process can still take: what the machine has available, and what the cgroups around it and the limit of its
/// data leave.
pub fn available_memory() -> Option<u64> {
    let machine = kilobytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")?;
    let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let cgroups = left_by_cgroups(Path::new("/sys/fs/cgroup"), &membership);
    let taken = || kilobytes(&fs::read_to_string("/proc/self/status").ok()?, "VmData:");
    let data = getrlimit(Resource::Data).current.map(|limit| limit.saturating_sub(taken().unwrap_or(0)));
    [Some(machine), cgroups, data].into_iter().flatten().min()
}

/// What the limits of the process's cgroup and of those around it leave. The page cache counts as their memory
/// (Documentation/admin-guide/cgroup-v2.rst, `memory.stat`), but the kernel takes it back before a cgroup lacks memory: what was
/// not used lately all, and half of the rest, as it counts for `MemAvailable`.
fn left_by_cgroups(root: &Path, membership: &str) -> Option<u64> {
    let number = |path: PathBuf| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let left = |folder: &Path, usage: &str, limit: &str| {
        let limit = number(folder.join(limit)).filter(|bytes| *bytes < 1 << 62)?;
        let text = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        // Version 1 has the sums over all cgroups inside, too, which are what counts for the limit.
        let of = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        let file = |name: &str| of(&format!("total_{name} ")).or_else(|| of(&format!("{name} "))).unwrap_or(0);
        let cached = file("inactive_file").saturating_add(file("active_file") / 2);
        let used = number(folder.join(usage)).unwrap_or(0).saturating_sub(cached);
        Some(limit.saturating_sub(used))
    };
    let of_controller = |(base, path): (PathBuf, &str)| {
        let (usage, limit) = match base == root {
            true => ("memory.current", "memory.max"),
            false => ("memory.usage_in_bytes", "memory.limit_in_bytes"),
        };
        let own = base.join(path.trim_start_matches('/'));
        let around = own.ancestors().take_while(|folder| folder.starts_with(&base));
        around.filter_map(|folder| left(folder, usage, limit)).min()
    };
    controllers(root, membership).filter_map(of_controller).min()
}

/// Usage and limit of the process's memory cgroup below `root`. `membership` is the text of `/proc/self/cgroup`.
///
/// In version 2, `membership` has one line `0::PATH`; in version 1, it has one line for each controller (cgroups(7)).
/// In a container, the path may be that of the host. In that case the container's own files are at the root.
fn cgroup(root: &Path, membership: &str) -> Option<(Option<u64>, Option<u64>)> {
    let number = |path: &Path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let read = |base: &Path, path: &str, usage: &str, limit: &str| {
        let own = base.join(path.trim_start_matches('/'));
        [own.as_path(), base].into_iter().find_map(|folder| {
            // Version 1 represents "no limit" as a number near 2^63, version 2 as the word `max`.
            let limit = number(&folder.join(limit)).filter(|bytes| *bytes < 1 << 62);
            number(&folder.join(usage)).map(|usage| (Some(usage), limit))
        })
    };
    controllers(root, membership).find_map(|(base, path)| match base == root {
        true => read(&base, path, "memory.current", "memory.max"),
        false => read(&base, path, "memory.usage_in_bytes", "memory.limit_in_bytes"),
    })
}

/// The folders of the controller of memory (`root` in version 2), and the paths of the process's cgroup in them.
fn controllers<'a>(root: &'a Path, membership: &'a str) -> impl Iterator<Item = (PathBuf, &'a str)> {
    membership.lines().filter_map(move |line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let is_memory = controllers.split(',').any(|controller| controller == "memory");
        let base = if controllers.is_empty() { root.to_owned() } else { root.join("memory") };
        (controllers.is_empty() || is_memory).then_some((base, path))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_cards_is_read_from_the_files_of_their_drivers() {
        let root = std::env::temp_dir().join(format!("plimsoll-drm-{}", uuid::Uuid::new_v4()));
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        };
        write("card1/device/mem_info_vram_total", "17163091968\n");
        write("card0/device/tile0/physical_vram_size_bytes", "0x200000000\n");
        write("card0-DP-1/device/mem_info_vram_total", "5\n");
        write("card2/device/vendor", "0x10de\n");
        let expected = [("card0".to_owned(), 1 << 33), ("card1".to_owned(), 17_163_091_968)];
        assert_eq!(memory_of_cards(&root), expected);
        fs::remove_dir_all(&root).expect("removed");
        assert_eq!(memory_of_cards(&root), []);
        assert!(available_memory().is_none_or(|bytes| bytes > 0));
    }

    #[test]
    fn both_versions_of_cgroups_are_read() {
        let root = std::env::temp_dir().join(format!("plimsoll-cgroup-{}", uuid::Uuid::new_v4()));
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        };
        write("a/b/memory.current", "1000\n");
        write("a/b/memory.max", "max\n");
        write("memory/c/memory.usage_in_bytes", "2000\n");
        write("memory/c/memory.limit_in_bytes", "3000\n");
        assert_eq!(cgroup(&root, "0::/a/b\n"), Some((Some(1000), None)));
        assert_eq!(cgroup(&root, "4:cpu:/x\n5:memory:/c\n0::/none\n"), Some((Some(2000), Some(3000))));
        assert_eq!(cgroup(&root, "0::/none\n"), None);
        assert_eq!(left_by_cgroups(&root, "0::/a/b\n"), None);
        write("a/memory.max", "1200\n");
        write("a/memory.current", "1100\n");
        write("a/memory.stat", "anon 1\ninactive_file 700\nactive_file 200\n");
        assert_eq!(left_by_cgroups(&root, "0::/a/b\n"), Some(900), "of the cgroup around it");
        write("memory/c/memory.stat", "inactive_file 1\ntotal_inactive_file 500\n");
        assert_eq!(left_by_cgroups(&root, "4:cpu:/x\n5:memory:/c\n0::/none\n"), Some(1500));
        write("memory.current", "4000\n");
        write("memory.max", "5000\n");
        assert_eq!(cgroup(&root, "0::/of/the/host\n"), Some((Some(4000), Some(5000))));
        fs::remove_dir_all(&root).expect("removed");
        let used = ProcessUse::now();
        assert!(used.cpu > Duration::ZERO && used.threads >= Some(1), "{used:?}");
        assert!(used.descriptors >= Some(3) && used.descriptors <= used.max_descriptors, "{used:?}");
        assert!(process_memory().resident_bytes.is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn the_sum_of_all_mappings_is_read() {
        let text = "55d0c0a00000-7ffe2a7f6000 ---p 00000000 00:00 0    [rollup]\nRss:     1234 kB\nPss:     1000 kB\n";
        assert_eq!((kilobytes(text, "Rss:"), kilobytes(text, "Swap:")), (Some(1234 << 10), None));
        let (ours, counted) = (resident_memory(), memory_stats::memory_stats());
        let (ours, counted) = (ours.expect("Linux"), counted.expect("Linux").physical_mem as u64);
        // Other tests of this process allocate meanwhile.
        assert!(ours.abs_diff(counted) < 64 << 20, "{ours} and {counted}");
    }
}
