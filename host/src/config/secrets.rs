//! Secrets in the configuration, which its readers may not see.

use toml::Value;

/// What is shown instead of a secret.
const MASK: &str = "***";
/// Parts of names whose values are secrets, wherever they are.
const SECRET: [&str; 7] = ["password", "passwd", "secret", "token", "credential", "apikey", "privatekey"];
/// The tables whose keys others choose. Among these, every name with `key` may be a secret. The host's own keys name files
/// of secrets, and no secrets.
const FOREIGN: [&str; 3] = ["config", "options", "backends"];

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
        _ if is_secret(key) => MASK.into(),
        Value::String(text) => without_password(text).into(),
        other => other.clone(),
    }
}

fn is_secret(key: &[String]) -> bool {
    let Some((name, tables)) = key.split_last() else { return false };
    let plain: String = name.chars().filter(|letter| letter.is_alphanumeric()).collect::<String>().to_lowercase();
    let is_foreign = tables.iter().any(|table| FOREIGN.contains(&table.as_str()));
    let is_named = SECRET.iter().any(|word| plain.contains(word)) || (is_foreign && plain.contains("key"));
    is_named && !plain.ends_with("file")
}

/// Masks what stands between `://` and `@` in an address.
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{MASK}@{host}{}", &rest[end..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_other_settings_are_not() {
        let key = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
        for (name, value, wanted) in [
            ("pipelines.p.preprocess.config.api_key", "abc", "***"),
            ("pipelines.p.preprocess.config.signing_key", "abc", "***"),
            ("pipelines.p.preprocess.config.Password", "abc", "***"),
            ("pipelines.p.preprocess.config.width", "abc", "abc"),
            ("tls.key", "key.pem", "key.pem"),
            ("admin.token_file", "token", "token"),
            ("plugins.p.file", "oci://me:secret@example.org/a@sha256:12", "oci://***@example.org/a@sha256:12"),
            ("plugins.p.file", "oci://example.org/a@sha256:12", "oci://example.org/a@sha256:12"),
            ("plugins.p.file", "https://example.org?mail=a@b", "https://example.org?mail=a@b"),
        ] {
            assert_eq!(masked(&key(name), &value.into()), Value::from(wanted), "{name}");
        }
    }
}
