//! Checks which of its chips a pipeline uses for what.

use super::build_error::BuildError;
use crate::config::Pipeline;

/// Returns the chip of requests that name none.
///
/// # Errors
/// If `default_chip`, `fallback` or `shadow` does not name a chip that can be used for it.
pub(super) fn default_chip(name: &str, pipeline: &Pipeline) -> Result<String, BuildError> {
    let refused = |rest: &str, reason: String| BuildError::new(format!("pipelines.{name}.{rest}"), reason);
    let chips = pipeline.chip_names();
    let has = |chip: &String| chips.contains(&chip.as_str());
    let names = || chips.join(", ");
    let default_chip = match (&pipeline.default_chip, chips.first()) {
        (Some(chip), _) if has(chip) => chip.clone(),
        (None, Some(only)) if chips.len() == 1 => (*only).to_owned(),
        (_, None) => return Err(refused("chips", "a pipeline needs at least one chip".to_owned())),
        (chip, _) => {
            let what = chip.as_ref().map_or("is missing".to_owned(), |chip| format!("there is no chip `{chip}`"));
            return Err(refused("default_chip", format!("{what}; set it to one of {}", names())));
        }
    };
    if let Some(fallback) = pipeline.fallback.as_ref().filter(|chip| !has(chip)) {
        let reason = format!("there is no chip `{fallback}`; set it to one of {}", names());
        return Err(refused("fallback", reason));
    }
    if pipeline.fallback.is_some() && pipeline.chips.len() == 1 {
        let reason = "the pipeline has one chip, so there is no other one to fall back to; remove it".to_owned();
        return Err(refused("fallback", reason));
    }
    let Some(shadow) = &pipeline.shadow else { return Ok(default_chip) };
    if pipeline.chips.len() == 1 {
        let reason = "the pipeline has one chip, so there is no other one to compare with it; add a chip".to_owned();
        return Err(refused("shadow.chip", reason));
    }
    let others = pipeline.chips.keys().filter(|chip| **chip != default_chip);
    let others = others.map(String::as_str).collect::<Vec<_>>().join(", ");
    let chip = &shadow.chip;
    if !has(chip) {
        return Err(refused("shadow.chip", format!("there is no chip `{chip}`; set it to one of {others}")));
    }
    if *chip == default_chip {
        let reason = format!("`{chip}` is the chip of requests that name none; set it to one of {others}");
        return Err(refused("shadow.chip", reason));
    }
    Ok(default_chip)
}
