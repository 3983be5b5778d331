//! Questions on a terminal about what a model does not say. Elsewhere there are no answers, and what is usual is stated as an
//! assumption.

use std::io::{BufRead, IsTerminal, Write};

use clap::ValueEnum;

use super::normalisation::Normalisation;
use super::plan::Stated;
use super::setting::Setting;
use super::task::Task;
use crate::cli::error::Error;

/// Why a setting has its value if the user was asked.
const ANSWERED: &str = "as you answered";
/// How often a question is asked if the answer is not in the list.
const TRIES: usize = 3;

/// Returns true if there is somebody who can answer.
fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks for the normalisation. `usual` is the default with its reason.
///
/// # Errors
/// If the terminal cannot be used.
pub(in crate::cli) fn normalisation(usual: (Normalisation, &'static str)) -> Result<Option<Stated>, Error> {
    if !can_ask() {
        return Ok(None);
    }
    let all = Normalisation::value_variants();
    let choices: Vec<_> = all.iter().map(|choice| format!("{}: {}", choice.as_str(), choice.meaning())).collect();
    let default = all.iter().position(|choice| *choice == usual.0).unwrap_or_default();
    let question = "How were the pixels normalised when the model was trained? An ONNX file does not say it.";
    let answer = choose(question, &choices, default, &format!("default: {}", usual.1))?;
    Ok(Some(match answer {
        Some(chosen) => Stated { normalisation: all[chosen], reason: ANSWERED, is_assumed: false },
        None => Stated { normalisation: usual.0, reason: usual.1, is_assumed: true },
    }))
}

/// Asks for the settings of `image-preprocess` that a task assumes. Returns those that the user chose.
///
/// # Errors
/// If the terminal cannot be used.
pub(in crate::cli) fn geometry(task: &Task, normalisation: Option<Stated>) -> Result<Vec<Setting>, Error> {
    // The order of the colours is a part of some normalisations.
    let is_bgr = normalisation.map_or(task.normalisation.0, |stated| stated.normalisation).is_bgr();
    let open = task.geometry.iter().filter(|setting| !is_bgr || setting.key != "channels");
    let mut chosen = open.cloned().collect::<Vec<_>>();
    ask_each(&mut chosen)?;
    chosen.retain(|setting| setting.reason == ANSWERED);
    Ok(chosen)
}

/// Asks for the settings of the postprocess plugin that a task assumes, and writes the answers into it.
///
/// # Errors
/// If the terminal cannot be used.
pub(in crate::cli) fn postprocess(task: &mut Task) -> Result<(), Error> {
    ask_each(&mut task.settings)?;
    let is_answered = |setting: &Setting| setting.key == "layout" && setting.reason == ANSWERED;
    if task.plugin == "detect-postprocess" && task.settings.iter().any(is_answered) {
        // `detr` has one score more than classes.
        task.title = "detection".to_owned();
        task.labels = Some(("labels", None));
        task.is_assumed = false;
    }
    Ok(())
}

fn ask_each(settings: &mut [Setting]) -> Result<(), Error> {
    if !can_ask() {
        return Ok(());
    }
    for setting in settings.iter_mut().filter(|setting| setting.is_assumed) {
        let choices: Vec<_> = choices(setting).iter().map(|choice| (*choice).to_owned()).collect();
        let Some(default) = choices.iter().position(|choice| *choice == setting.value) else { continue };
        let question = format!("`{}`, which the model does not say: {}", setting.key, setting.reason);
        if let Some(chosen) = choose(&question, &choices, default, "default")? {
            *setting = Setting {
                value: choices[chosen].clone(),
                reason: ANSWERED.to_owned(),
                is_assumed: false,
                ..setting.clone()
            };
        }
    }
    Ok(())
}

/// The values between which a user can choose, as TOML. None where there are many, or where other settings depend on it.
fn choices(setting: &Setting) -> &'static [&'static str] {
    match (setting.key, &*setting.value) {
        ("resize", _) => &["\"stretch\"", "\"letterbox\"", "\"crop\""],
        ("channels", _) => &["\"rgb\"", "\"bgr\""],
        ("scores", _) => &["\"softmax\"", "\"logits\"", "\"ready\""],
        ("blank", _) => &["\"first\"", "\"last\""],
        ("pooling", _) => &["\"first\"", "\"mean\""],
        ("first_class", _) => &["0", "1"],
        ("background_class", _) => &["0", "-1"],
        ("threshold", _) => &["0.5", "0.0"],
        ("layout", "\"detr\"" | "\"rt-detr\"") => &["\"detr\"", "\"rt-detr\""],
        ("layout", "\"yolov5\"" | "\"yolov7\"") => &["\"yolov5\"", "\"yolov7\""],
        _ => &[],
    }
}

/// Asks for one of several choices by its number. `None` if the user keeps the default, or gives no number of the list.
fn choose(question: &str, choices: &[String], default: usize, mark: &str) -> Result<Option<usize>, Error> {
    let mut stderr = std::io::stderr();
    let mut text = format!("{question}\n");
    for (index, choice) in choices.iter().enumerate() {
        let mark = if index == default { format!(" ({mark})") } else { String::new() };
        text += &format!("  {} {choice}{mark}\n", index + 1);
    }
    for _ in 0..TRIES {
        let failed = |error| {
            Error::Failed(format!(
                "the terminal cannot be used: {error}; without one, `plimsoll init < /dev/null` asks nothing"
            ))
        };
        write!(stderr, "{text}Number, or Enter for the default: ").map_err(failed)?;
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map_err(failed)?;
        if line.trim().is_empty() {
            return Ok(None);
        }
        let chosen = line.trim().parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        if let Some(chosen) = chosen.filter(|chosen| *chosen < choices.len()) {
            return Ok(Some(chosen));
        }
        text.clear();
    }
    Ok(None)
}
