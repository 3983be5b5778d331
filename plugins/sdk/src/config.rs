//! Reads the plugin's configuration: the table `config` of a stage in `plimsoll.toml`, through `wasi:config/store`.
//! The host passes numbers, booleans and strings as text, and an array as the texts of its items joined by commas.

use std::str::FromStr;

use crate::bindings::imports::wasi::config::store;

/// The text of a key, if it is configured.
pub fn get(key: &str) -> Option<String> {
    store::get(key).ok().flatten()
}

/// The value of a key, or `default` if the key is not set.
///
/// # Errors
/// If the text cannot be parsed as a `T`. The message contains the key and the text.
pub fn parse<T: FromStr>(key: &str, default: T) -> Result<T, String> {
    match get(key) {
        None => Ok(default),
        Some(text) => text
            .trim()
            .parse()
            .map_err(|_| format!("configuration key `{key}`: {text:?} is not a valid {}", std::any::type_name::<T>())),
    }
}

/// The value of a key, or `default` if the key is not set. It must be from 0 to 1, as a threshold is.
///
/// # Errors
/// If the text cannot be parsed, or the number is not from 0 to 1. The message contains the key and the number.
pub fn fraction(key: &str, default: f32) -> Result<f32, String> {
    let value = parse(key, default)?;
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        Err(format!("configuration key `{key}`: {value} is not between 0 and 1"))
    }
}

/// The items of an array, or `None` if the key is not set.
///
/// # Errors
/// If an item cannot be parsed as a `T`. The message contains the key and the text.
pub fn list<T: FromStr>(key: &str) -> Result<Option<Vec<T>>, String> {
    let Some(text) = get(key) else { return Ok(None) };
    text.split(',')
        .map(|item| {
            item.trim().parse().map_err(|_| {
                format!("configuration key `{key}`: {item:?} in {text:?} is not a valid {}", std::any::type_name::<T>())
            })
        })
        .collect::<Result<_, _>>()
        .map(Some)
}

/// The value of a key that must be one of the named choices, or the first choice if the key is not set.
///
/// # Errors
/// If the text is not one of the choices. The message contains the key, the text and the choices.
pub fn choice<T: Copy>(key: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let Some(text) = get(key) else { return Ok(choices[0].1) };
    choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        format!("configuration key `{key}`: {text:?} is not one of {}", names.join(", "))
    })
}

/// Rejects keys that are not in `known`, so that a misspelt key is found at deployment.
///
/// # Errors
/// If a key is unknown. The message contains the key and the known keys.
pub fn only(known: &[&str]) -> Result<(), String> {
    let all = store::get_all().map_err(|error| format!("the configuration cannot be read: {error:?}"))?;
    match all.iter().find(|(key, _)| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some((key, _)) => Err(format!("unknown configuration key `{key}`; known keys: {}", known.join(", "))),
    }
}
