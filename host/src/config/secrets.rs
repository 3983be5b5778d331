//! Secrets in the configuration, which its readers may not see.

use toml::Value;

/// What is shown instead of a secret.
const MASK: &str = "***";
/// Parts of names whose values are secrets, wherever they are.
const SECRET: [&str; 9] =
    ["password", "passwd", "passphrase", "secret", "token", "credential", "apikey", "privatekey", "authorization"];
/// The same in tables whose keys others choose.
const FOREIGN_SECRET: [&str; 6] = ["key", "cookie", "signature", "license", "licence", "connectionstring"];
/// Whole words of names whose values are secrets in such tables.
const FOREIGN_WORDS: [&str; 14] = [
    "auth",
    "authentication",
    "bearer",
    "pass",
    "pwd",
    "pin",
    "sas",
    "sig",
    "dsn",
    "jwt",
    "otp",
    "headers",
    "header",
    "login",
];
/// Further words before `=` and `:` in a text.
const TEXT_WORDS: [&str; 7] = ["key", "keys", "cookie", "signature", "accesskey", "accountkey", "signingkey"];
/// Names that have a part of a secret one and are none.
const HARMLESS: [&str; 5] = ["tokenizer", "keypoint", "keypoints", "keyboard", "keyframe"];
/// The tables whose keys others choose. The host's own keys name files of secrets, and no secrets.
const FOREIGN: [&str; 3] = ["config", "options", "backends"];
/// How well-known tokens begin.
const TOKENS: [&str; 8] = ["eyJ", "ghp_", "github_pat_", "glpat-", "sk-", "xox", "AKIA", "hf_"];
/// The fewest characters of these.
const TOKEN_LENGTH: usize = 16;

/// The value of a setting without secrets. `key` has the parts of its name.
pub(super) fn masked(key: &[String], value: &Value) -> Value {
    match value {
        Value::Table(table) => {
            let inner = |(name, value): (&String, &Value)| {
                let key: Vec<String> = key.iter().chain([name]).cloned().collect();
                (name.clone(), masked(&key, value))
            };
            Value::Table(table.iter().map(inner).collect())
        }
        Value::Array(items) => items.iter().map(|item| masked(key, item)).collect::<Vec<_>>().into(),
        Value::Boolean(_) => value.clone(),
        Value::Integer(_) | Value::Float(_) if is_number_of_tokens(key) => value.clone(),
        _ if is_secret(key) => MASK.into(),
        Value::String(text) => {
            let is_foreign = foreign_part(key).is_some();
            if has_secret(text, is_foreign) { MASK.into() } else { without_passwords(text, is_foreign).into() }
        }
        other => other.clone(),
    }
}

/// The parts of a name below a table whose keys others choose.
fn foreign_part(key: &[String]) -> Option<&[String]> {
    let table = key.iter().position(|part| FOREIGN.contains(&part.as_str()))?;
    Some(&key[table + 1..]).filter(|parts| !parts.is_empty())
}

fn is_secret(key: &[String]) -> bool {
    match foreign_part(key) {
        Some(parts) => parts.iter().any(|part| is_foreign_secret(part)),
        None => key.last().is_some_and(|name| has_part(name, &SECRET) && !name.ends_with("_file")),
    }
}

/// For example `max_tokens = 512`.
fn is_number_of_tokens(key: &[String]) -> bool {
    key.last().is_some_and(|name| words(name).iter().any(|word| word == "tokens"))
}

fn is_foreign_secret(name: &str) -> bool {
    let words = words(name);
    has_part(name, &SECRET)
        || has_part(name, &FOREIGN_SECRET)
        || words.iter().any(|word| FOREIGN_WORDS.contains(&word.as_str()))
}

/// Returns true if a name has one of the parts, apart from its harmless words.
fn has_part(name: &str, parts: &[&str]) -> bool {
    let plain: String = words(name).into_iter().filter(|word| !HARMLESS.contains(&word.as_str())).collect();
    parts.iter().any(|part| plain.contains(part))
}

/// The words of a name in small letters: `apiKey`, `api-key` and `api_key` have two.
fn words(name: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut was_small = false;
    for letter in name.chars() {
        let is_start = letter.is_uppercase() && was_small;
        if is_start || !letter.is_alphanumeric() {
            words.push(std::mem::take(&mut word));
        }
        if letter.is_alphanumeric() {
            word.extend(letter.to_lowercase());
        }
        was_small = letter.is_lowercase() || letter.is_numeric();
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// Returns true if a text looks like a secret, or has one with its name: a key in PEM, `?token=…`. In a table whose keys
/// others choose also `Bearer …`, `"api_key": "…"`, `name:password@host`.
fn has_secret(text: &str, is_foreign: bool) -> bool {
    let small = text.to_lowercase();
    small.contains("-----begin")
        || small.contains("bearer ")
        || has_named_secret(text, is_foreign)
        || is_foreign && (is_token(text.trim()) || is_basic(text.trim()) || is_login(text))
}

fn is_token(text: &str) -> bool {
    text.len() >= TOKEN_LENGTH
        && TOKENS.iter().any(|start| text.starts_with(start))
        && text.contains(|letter: char| letter.is_ascii_digit())
}

/// Returns true for `Basic` and the name and the password in base64.
fn is_basic(text: &str) -> bool {
    let login = text.split_once(' ').filter(|(word, _)| word.eq_ignore_ascii_case("basic"));
    login.is_some_and(|(_, login)| login.len() >= 8 && !login.trim().contains(char::is_whitespace))
}

/// Returns true if a name before `=` is that of a secret, and something follows. In a table whose keys others choose also
/// before `:`.
fn has_named_secret(text: &str, is_foreign: bool) -> bool {
    let is_quote = |letter: char| letter.is_whitespace() || matches!(letter, '"' | '\'' | '\\');
    let is_part = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.');
    text.match_indices(['=', ':']).any(|(at, sign)| {
        let before = text[..at].trim_end_matches(is_quote);
        let name = &before[before.trim_end_matches(is_part).len()..];
        let value = text[at + 1..].trim_start_matches(is_quote);
        (is_foreign || sign == "=") && !value.is_empty() && !value.starts_with("//") && is_secret_in_text(name)
    })
}

/// As [`is_foreign_secret`], but `monkey` in an address is no key.
fn is_secret_in_text(name: &str) -> bool {
    let is_word = |word: &String| FOREIGN_WORDS.contains(&word.as_str()) || TEXT_WORDS.contains(&word.as_str());
    has_part(name, &SECRET) || words(name).iter().any(is_word)
}

/// Returns true for `name:password@host` without a scheme.
fn is_login(text: &str) -> bool {
    if text.contains("://") || text.contains(char::is_whitespace) {
        return false;
    }
    text.split_once('@').is_some_and(|(login, host)| login.contains(':') && !host.is_empty())
}

/// Masks what stands between `://` and `@` in each address of a text.
fn without_passwords(text: &str, is_foreign: bool) -> String {
    let mut parts = text.split("://");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shown.push_str("://");
        match login_end(part, is_foreign) {
            Some(end) => {
                shown.push_str(MASK);
                shown.push_str(&part[end..]);
            }
            None => shown.push_str(part),
        }
    }
    shown
}

/// Where the `@` after the name and the password is in an address without its scheme.
fn login_end(address: &str, is_foreign: bool) -> Option<usize> {
    let end = address.find(['/', '?', '#']).unwrap_or(address.len());
    if let Some(at) = address[..end].rfind('@') {
        return Some(at);
    }
    // A password may have a `/`, although it should be encoded: then no port stands before it.
    let (_, port) = address[..end].rsplit_once(':')?;
    let is_port = !port.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit());
    if is_port && !is_foreign { None } else { address.rfind('@') }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: &str, value: impl Into<Value>) -> Value {
        masked(&name.split('.').map(str::to_owned).collect::<Vec<_>>(), &value.into())
    }

    #[test]
    fn secrets_are_masked_and_other_settings_are_not() {
        for (name, value, wanted) in [
            ("pipelines.p.preprocess.config.api_key", "abc", "***"),
            ("pipelines.p.preprocess.config.signing_key", "abc", "***"),
            ("pipelines.p.preprocess.config.Password", "abc", "***"),
            ("pipelines.p.preprocess.config.width", "abc", "abc"),
            ("tls.key", "key.pem", "key.pem"),
            ("admin.token_file", "token", "token"),
            ("plugins.p.file", "oci://me:secret@example.org/a@sha256:12", "oci://***@example.org/a@sha256:12"),
            ("plugins.p.file", "oci://example.org/a@sha256:12", "oci://example.org/a@sha256:12"),
            ("plugins.p.file", "oci://example.org:5000/a@sha256:12", "oci://example.org:5000/a@sha256:12"),
            ("plugins.p.file", "oci://example.org/monkey:1.0", "oci://example.org/monkey:1.0"),
            ("plugins.p.file", "https://example.org/a?token=abc", "***"),
            ("plugins.p.file", "https://example.org?mail=a@b", "https://example.org?mail=a@b"),
        ] {
            assert_eq!(shown(name, value), Value::from(wanted), "{name}");
        }
    }

    #[test]
    fn secrets_of_plugins_are_masked_by_every_name_and_by_their_looks() {
        let of = |name: &str| format!("pipelines.p.preprocess.config.{name}");
        for name in [
            "authorization",
            "auth",
            "bearer",
            "passphrase",
            "pass",
            "pwd",
            "cookie",
            "sas",
            "license",
            "secretfile",
            "token_profile",
            "dbPwd",
            "x-auth",
            "dsn",
            "pin",
            "credentials.user",
            "headers.accept",
            "token_file",
        ] {
            assert_eq!(shown(&of(name), "hunter2"), Value::from(MASK), "{name}");
        }
        for text in [
            "authorization: Bearer hunter2",
            "Bearer hunter2",
            "Basic aHVudGVyMg==",
            r#"{"api_key":"hunter2"}"#,
            r#"{"api_key" : "hunter2"}"#,
            "Server=h;Password=hunter2",
            "-----BEGIN PRIVATE KEY-----\nhunter2",
            "https://h/a?access_token=hunter2",
            "https://h/a?x=1&sig=hunter2",
            "redis://a:hunter2@h,redis://c:hunter2@h",
            "https://me:a/hunter2@h",
            "https://me:12/hunter2@h",
            "me:hunter2@h",
            "ghp_hunter2hunter2hunter2",
        ] {
            for value in [Value::from(text), Value::from(vec!["a", text])] {
                let found = shown(&of("value"), value).to_string();
                assert!(found.contains(MASK) && !found.contains("hunter2"), "{text}: {found}");
                assert!(!found.contains("aHVudGVyMg"), "{text}: {found}");
            }
        }
        assert_eq!(shown(&of("pin"), 1234), Value::from(MASK));
    }

    #[test]
    fn harmless_settings_of_plugins_are_shown() {
        let of = |name: &str| format!("pipelines.p.preprocess.config.{name}");
        for (name, value) in [
            ("max_tokens", Value::from(512)),
            ("keypoints", Value::from(17)),
            ("tokenizer", Value::from("words.json")),
            ("use_auth", Value::from(true)),
            ("author", Value::from("Ada")),
            ("passes", Value::from(2)),
            ("mean", Value::from(vec![0.5, 0.4])),
            ("labels", Value::from(vec!["cat", "dog: a small one"])),
            ("url", Value::from("https://example.org/a?size=3")),
            ("mail", Value::from("a@b")),
            ("peer", Value::from("monkey:8080")),
        ] {
            assert_eq!(shown(&of(name), value.clone()), value, "{name}");
        }
    }
}
