//! Names for new plugins. A name must be valid for a crate, for a file and in the configuration.

/// Words that cannot be the name of a crate: the keywords of Rust (including the reserved ones), the crates that every
/// Rust program sees, the SDK's name, and the name of the manifest of plugins in C (the file `plugin.toml` would also be the
/// manifest of a deployment of `plugin.wasm`).
const TAKEN: &str = "abstract alloc as async await become box break const continue core crate do dyn else enum extern \
    false final fn for gen if impl in let loop macro match mod move mut override plimsoll-sdk plugin priv proc-macro pub ref \
    return self static std struct super test trait true try type typeof unsafe unsized use virtual where while yield";

/// Names of devices, which Windows does not allow as folder names.
const DEVICES: &[&str] = &["aux", "con", "nul", "prn"];

/// The maximum length of a name, in bytes. File systems and component registries accept names of this length.
const MAX_NAME: usize = 64;

/// A name that a new plugin must not have.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidName {
    /// `example` is a similar name that is valid, as the end of the sentence; or it is empty.
    #[error(
        "`{name}` is not a valid plugin name: a name consists of words of lower-case letters and digits, joined by \
         single hyphens, and begins with a letter{example}"
    )]
    NotKebabCase { name: String, example: String },
    #[error("`{0}` is not a valid plugin name: it has {length} characters, the maximum is {MAX_NAME}", length = .0.len())]
    TooLong(String),
    #[error(
        "`{0}` is not a valid plugin name: the word is reserved and cannot be the name of a crate or folder; use \
         another name, for example `{0}-stage`"
    )]
    Reserved(String),
}

/// Checks that `name` is a valid name for a new plugin.
///
/// # Errors
/// If it is not valid.
pub(super) fn check(name: &str) -> Result<(), InvalidName> {
    let name = name.to_owned();
    if !is_kebab_case(&name) {
        let near = kebab_case(&name);
        let example = if is_kebab_case(&near) { format!("; for example `{near}`") } else { String::new() };
        return Err(InvalidName::NotKebabCase { name, example });
    }
    if name.len() > MAX_NAME {
        return Err(InvalidName::TooLong(name));
    }
    if TAKEN.split(' ').any(|taken| taken == name) || is_device(&name) {
        return Err(InvalidName::Reserved(name));
    }
    Ok(())
}

fn is_kebab_case(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .split('-')
            .all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()))
}

/// Converts a name to the required form. A new word begins at a capital letter and after characters that are not
/// allowed.
fn kebab_case(name: &str) -> String {
    let mut near = String::new();
    let mut after_small = false;
    for letter in name.chars() {
        let begins = letter.is_ascii_uppercase() && after_small;
        if (begins || !letter.is_ascii_alphanumeric()) && !near.is_empty() && !near.ends_with('-') {
            near.push('-');
        }
        if letter.is_ascii_alphanumeric() {
            near.push(letter.to_ascii_lowercase());
        }
        after_small = letter.is_ascii_lowercase() || letter.is_ascii_digit();
    }
    near.trim_end_matches('-').to_owned()
}

/// Returns true for the name of a Windows device, including the ports `com1` to `lpt9`.
fn is_device(name: &str) -> bool {
    let port = name.strip_prefix("com").or_else(|| name.strip_prefix("lpt"));
    DEVICES.contains(&name) || port.is_some_and(|number| number.len() == 1 && number.as_bytes()[0].is_ascii_digit())
}
