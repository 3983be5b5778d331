//! Names for new plugins. A name must be valid for a crate, for a file and in the configuration.

/// Words that cannot be the name of a crate: the keywords of Rust (including the reserved ones), the crates that every
/// Rust program sees, and the SDK's name.
const TAKEN: &str = "abstract alloc as async await become box break const continue core crate do dyn else enum extern \
    false final fn for gen if impl in let loop macro match mod move mut override plimsoll-sdk priv proc-macro pub ref \
    return self static std struct super test trait true try type typeof unsafe unsized use virtual where while yield";

/// Names of devices, which Windows does not allow as folder names.
const DEVICES: &[&str] = &["aux", "con", "nul", "prn"];

/// The maximum length of a name, in bytes. File systems and component registries accept names of this length.
const LONGEST: usize = 64;

/// Checks that `name` is a valid name for a new plugin.
///
/// # Errors
/// If it is not valid. The message contains the name, the reason, and a similar valid name if there is one.
pub(super) fn check(name: &str) -> Result<(), String> {
    if !is_kebab_case(name) {
        let near = kebab_case(name);
        let mend = if is_kebab_case(&near) { format!("; for example `{near}`") } else { String::new() };
        return Err(format!(
            "`{name}` is not a valid plugin name: a name consists of words of lower-case letters and digits, joined \
             by single hyphens, and begins with a letter{mend}"
        ));
    }
    if name.len() > LONGEST {
        return Err(format!(
            "`{name}` is not a valid plugin name: it has {} characters, the maximum is {LONGEST}",
            name.len()
        ));
    }
    if TAKEN.split(' ').any(|taken| taken == name) || is_device(name) {
        return Err(format!(
            "`{name}` is not a valid plugin name: the word is reserved and cannot be the name of a crate or folder; \
             use another name, for example `{name}-stage`"
        ));
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
