//! Names of plugins that are a crate, a file and a word of the configuration at once.

/// Words that no crate can be called: the keywords of Rust (its reserved ones too), the crates that every Rust
/// program sees, and the SDK's own name.
const TAKEN: &str = "abstract alloc as async await become box break const continue core crate do dyn else enum extern \
    false final fn for gen if impl in let loop macro match mod move mut override plimsoll-sdk priv proc-macro pub ref \
    return self static std struct super test trait true try type typeof unsafe unsized use virtual where while yield";

/// Names of devices, which Windows gives to no folder.
const DEVICES: &[&str] = &["aux", "con", "nul", "prn"];

/// More than any file system or registry of components takes.
const LONGEST: usize = 64;

/// Whether a plugin can be called `name`.
///
/// # Errors
/// A sentence with the name, what is wrong with it, and a name that would do where one is near.
pub(super) fn check(name: &str) -> Result<(), String> {
    if !is_kebab_case(name) {
        let near = kebab_case(name);
        let mend = if is_kebab_case(&near) { format!("; `{near}` would do") } else { String::new() };
        return Err(format!(
            "`{name}` cannot name a plugin: it takes lower-case letters and digits in words joined by single \
             hyphens, and begins with a letter{mend}"
        ));
    }
    if name.len() > LONGEST {
        return Err(format!("`{name}` cannot name a plugin: it has {} letters, {LONGEST} are the most", name.len()));
    }
    if TAKEN.split(' ').any(|taken| taken == name) || is_device(name) {
        return Err(format!(
            "`{name}` cannot name a plugin: the word is reserved, so no crate or folder can have it; `{name}-stage` \
             would do"
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

/// The nearest name in the right form: words split where they are capitalised or something else stands between.
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

/// `com1` to `lpt9` among them.
fn is_device(name: &str) -> bool {
    let port = name.strip_prefix("com").or_else(|| name.strip_prefix("lpt"));
    DEVICES.contains(&name) || port.is_some_and(|number| number.len() == 1 && number.as_bytes()[0].is_ascii_digit())
}
