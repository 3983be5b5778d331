//! The configuration of the stage, read and checked once at deployment; the keys are described in `lib.rs`.

use image_config::{Contents, TensorForm, only_with};
use image_core::{Limits, Settings};
use plimsoll_sdk::config;

const KEYS: [&str; 5] = ["max_pixels", "max_decoded_bytes", "draft", "picture", "max_picture_side"];

/// The name of the tensor with the picture.
pub(crate) const PICTURE: &str = "picture";

/// The configuration that `init` prepares for all requests.
pub(crate) struct Configuration {
    pub(crate) settings: Settings,
    pub(crate) form: TensorForm,
    /// The longest side of the picture that is handed on; `None` if none is.
    pub(crate) picture: Option<u32>,
}

impl Configuration {
    /// Reads every key.
    ///
    /// # Errors
    /// A message that names the key that is unknown, missing, malformed or in conflict with another key.
    pub(crate) fn read() -> Result<Configuration, String> {
        config::only(&[&image_config::KEYS[..], &KEYS].concat())?;
        let form = TensorForm::read(Contents::Image)?;
        let draft = config::parse("draft", false)?;
        let has_picture = config::parse("picture", false)?;
        only_with("max_picture_side", has_picture, "`picture = true`")?;
        if has_picture && draft {
            return Err(
                "configuration key `draft` cannot be used with `picture = true`: the picture has all pixels".into()
            );
        }
        if has_picture && form.input == PICTURE {
            return Err(format!(
                "configuration key `picture`: the model's input is called `{PICTURE}`, too, as the tensor of the picture is; \
                 rename the input of the model"
            ));
        }
        let max_side = config::parse("max_picture_side", u32::MAX)?;
        if max_side == 0 {
            return Err("configuration key `max_picture_side`: must be at least 1".into());
        }
        let mut limits = Limits {
            max_pixels: config::parse("max_pixels", 25_000_000)?,
            max_bytes: config::parse("max_decoded_bytes", 192 << 20)?,
        };
        if has_picture {
            limits.max_bytes = without_picture(limits)?;
        }
        let settings = Settings { target: form.target, pack: form.pack.clone(), limits, draft };
        Ok(Configuration { settings, form, picture: has_picture.then_some(max_side) })
    }
}

/// The memory for decoding that remains beside the largest picture.
fn without_picture(limits: Limits) -> Result<u64, String> {
    let picture = limits.max_pixels.saturating_mul(3);
    limits.max_bytes.checked_sub(picture).ok_or_else(|| {
        format!(
            "configuration key `max_decoded_bytes`: a picture of `max_pixels` ({}) needs {picture} bytes, and the limit is {}; \
             reduce `max_pixels` or raise `max_decoded_bytes`",
            limits.max_pixels, limits.max_bytes
        )
    })
}
