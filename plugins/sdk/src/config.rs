//! The deployment's configuration: the table `config` of a stage in `plimsoll.toml`, by `wasi:config/store`.
//! Numbers, booleans and strings arrive as their text, arrays as the texts of their items joined by commas.

use std::str::FromStr;

use crate::bindings::imports::wasi::config::store;

/// The text of a key, if the deployment sets it.
pub fn get(key: &str) -> Option<String> {
    store::get(key).ok().flatten()
}

/// The value of a key, or `default` where it is not set.
///
/// # Errors
/// A sentence with key and text, when the text is no such value.
pub fn parse<T: FromStr>(key: &str, default: T) -> Result<T, String> {
    match get(key) {
        None => Ok(default),
        Some(text) => text
            .trim()
            .parse()
            .map_err(|_| format!("configuration key `{key}`: {text:?} is no {}", std::any::type_name::<T>())),
    }
}

/// The items of an array, or none where the key is not set.
///
/// # Errors
/// A sentence with key and text, when an item is no such value.
pub fn list<T: FromStr>(key: &str) -> Result<Option<Vec<T>>, String> {
    let Some(text) = get(key) else { return Ok(None) };
    text.split(',')
        .map(|item| {
            item.trim().parse().map_err(|_| {
                format!("configuration key `{key}`: {item:?} in {text:?} is no {}", std::any::type_name::<T>())
            })
        })
        .collect::<Result<_, _>>()
        .map(Some)
}

/// The value of a key among named choices, or the first choice where it is not set.
///
/// # Errors
/// A sentence with key, text and the choices.
pub fn choice<T: Copy>(key: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let Some(text) = get(key) else { return Ok(choices[0].1) };
    choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        format!("configuration key `{key}`: {text:?} is none of {}", names.join(", "))
    })
}

/// Refuses keys that the plugin does not know, so that a misspelt one is found at deployment.
///
/// # Errors
/// A sentence with the unknown key and the known ones.
pub fn only(known: &[&str]) -> Result<(), String> {
    let all = store::get_all().map_err(|error| format!("the configuration cannot be read: {error:?}"))?;
    match all.iter().find(|(key, _)| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some((key, _)) => Err(format!("unknown configuration key `{key}`; known are {}", known.join(", "))),
    }
}
