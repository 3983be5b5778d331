//! Questions on a terminal about what a model does not say. Elsewhere there are no answers, and what is usual is stated as an
//! assumption.

use std::io::{BufRead, IsTerminal, Write};

use clap::ValueEnum;

use super::normalisation::Normalisation;
use super::plan::Stated;
use super::setting::Setting;
use crate::cli::error::Error;

/// Why a setting has its value if the user was asked.
const ANSWERED: &str = "as you answered";
/// How often a question is asked if the answer is not in the list.
const TRIES: usize = 3;

/// A value that the user can choose, and what it means; empty if its name says it.
type Choice = (&'static str, &'static str);

/// Asks a user on a terminal, as long as there are answers.
pub(in crate::cli) struct Questions {
    is_over: bool,
}

impl Questions {
    /// Nothing is asked if stdin or stderr is no terminal.
    pub(in crate::cli) fn new() -> Self {
        Self { is_over: !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() }
    }

    /// Asks for the normalisation. `usual` is the default with its reason. `None` if the user keeps it.
    ///
    /// # Errors
    /// If the terminal cannot be used.
    pub(in crate::cli) fn normalisation(
        &mut self,
        usual: (Normalisation, &'static str),
    ) -> Result<Option<Stated>, Error> {
        let all = Normalisation::value_variants();
        let choices: Vec<_> = all.iter().map(|choice| (choice.as_str(), choice.meaning())).collect();
        let question = "How were the pixels normalised when the model was trained? An ONNX file does not say it.";
        let named = |text: &str| {
            let chosen = Normalisation::from_str(text, true).ok()?;
            all.iter().position(|choice| *choice == chosen)
        };
        let answer = self.choose(question, &choices, usual.0.as_str(), usual.1, &named)?;
        Ok(answer.map(|chosen| Stated { normalisation: all[chosen], reason: ANSWERED }))
    }

    /// Asks for each setting that is assumed, and of which the possible values are few. Writes the answers into the settings. `of`:
    /// what they are settings of.
    ///
    /// # Errors
    /// If the terminal cannot be used.
    pub(in crate::cli) fn settings(&mut self, of: &str, settings: &mut [Setting]) -> Result<(), Error> {
        for setting in settings.iter_mut().filter(|setting| setting.is_assumed) {
            let choices = choices(setting.key);
            let is_known = choices.iter().any(|(value, _)| *value == setting.value);
            if !is_known {
                continue;
            }
            let question = format!("`{}` of {of}? The model does not say it.", setting.key);
            let named = |text: &str| {
                let is_value = |(value, _): &Choice| value.trim_matches('"') == text.trim_matches('"');
                choices.iter().position(is_value)
            };
            if let Some(chosen) = self.choose(&question, choices, &setting.value, &setting.reason, &named)? {
                setting.value = choices[chosen].0.to_owned();
                setting.reason = ANSWERED.to_owned();
                setting.is_assumed = false;
            }
        }
        Ok(())
    }

    /// Asks for one of several choices. `reason` says why the default is the default; `named` finds a choice by its value. `None` if
    /// the user keeps the default, or gives no answer of the list.
    fn choose(
        &mut self,
        question: &str,
        choices: &[Choice],
        default: &str,
        reason: &str,
        named: &dyn Fn(&str) -> Option<usize>,
    ) -> Result<Option<usize>, Error> {
        if self.is_over {
            return Ok(None);
        }
        let failed = |error| Error::Failed(format!("the terminal cannot be used: {error}; `< /dev/null` asks nothing"));
        let mut stderr = std::io::stderr();
        let mut text = format!("{question}\n");
        for (number, (value, meaning)) in (1..).zip(choices) {
            let meaning = if meaning.is_empty() { String::new() } else { format!(": {meaning}") };
            let mark = if *value == default { format!(" (default: {reason})") } else { String::new() };
            text += &format!("  {number} {value}{meaning}{mark}\n");
        }
        for _ in 0..TRIES {
            write!(stderr, "{text}Number, or Enter for the default: ").map_err(failed)?;
            let mut line = Vec::new();
            std::io::stdin().lock().read_until(b'\n', &mut line).map_err(failed)?;
            if line.is_empty() {
                // The end of the input: there will be no answer to the next question either.
                self.is_over = true;
                writeln!(stderr).map_err(failed)?;
                return Ok(None);
            }
            let line = String::from_utf8_lossy(&line).trim().to_owned();
            if line.is_empty() {
                return Ok(None);
            }
            let number = line.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
            // A value can be a number, too, and then it is meant.
            if let Some(chosen) = named(&line).or(number).filter(|chosen| *chosen < choices.len()) {
                return Ok(Some(chosen));
            }
            text = format!("That is no answer of the list: write a number from 1 to {}.\n", choices.len());
        }
        writeln!(stderr, "The default is used.").map_err(failed)?;
        Ok(None)
    }
}

/// The values of a setting, as TOML. None where there are many, or where other settings follow from it (`layout`).
fn choices(key: &str) -> &'static [Choice] {
    match key {
        "resize" => &[
            ("\"stretch\"", "to the model's size; the aspect ratio is not kept"),
            ("\"letterbox\"", "the whole image, with a border"),
            ("\"crop\"", "the middle of the image"),
        ],
        "channels" => &[("\"rgb\"", "as Pillow and torchvision read images"), ("\"bgr\"", "as OpenCV reads them")],
        "scores" => &[
            ("\"softmax\"", "logits of classes of which one is right"),
            ("\"logits\"", "the same, also if they look like probabilities"),
            ("\"ready\"", "probabilities"),
        ],
        "threshold" => &[("0.5", "the scores are probabilities"), ("0.0", "the scores are logits")],
        "blank" => &[("\"first\"", ""), ("\"last\"", "")],
        "pooling" => &[("\"first\"", "the first token (CLS)"), ("\"mean\"", "the mean of all tokens")],
        "first_class" => &[("1", "class 0 is the background, and the labels do not have it"), ("0", "")],
        "background_class" => &[("0", "the first class means \"no object\""), ("-1", "no class means it")],
        _ => &[],
    }
}
