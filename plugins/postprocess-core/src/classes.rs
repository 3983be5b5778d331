//! The classes of a model: the configuration keys `scores`, `labels` and `keep`, and the probabilities of one image.

use plimsoll_sdk::{Tensor, config, labels};

use crate::scores::{self, Form};
use crate::{outputs, shape};

/// What the configuration says of the scores of a classifier.
pub struct Classes {
    form: Form,
    labels: Option<Vec<String>>,
}

impl Classes {
    /// Reads the keys `scores` and `labels`.
    ///
    /// # Errors
    /// If `scores` is not one of the forms, or the labels cannot be read. The message names the key or the asset.
    pub fn read() -> Result<Classes, String> {
        Ok(Classes { form: config::choice("scores", scores::FORMS)?, labels: read_labels()? })
    }

    /// The labels, if they are configured.
    pub fn labels(&self) -> Option<&[String]> {
        self.labels.as_deref()
    }

    /// The number of labels, if they are configured.
    pub fn count(&self) -> Option<usize> {
        self.labels.as_ref().map(Vec::len)
    }

    /// True if the model returns logits.
    pub fn is_softmax(&self) -> bool {
        self.form != Form::Ready
    }

    /// The label of a class, or its index as text if there are no labels.
    pub fn label(&self, index: usize) -> String {
        self.labels.as_ref().map_or_else(|| index.to_string(), |labels| labels[index].clone())
    }

    /// The scores of one image, one for each class, as the model returns them. `name` is the name of the output.
    ///
    /// # Errors
    /// If the tensor has another shape, another element type or another number of classes than labels.
    pub fn scores(&self, name: &str, tensor: &Tensor) -> Result<Vec<f64>, String> {
        shape::classes(name, &outputs::shape(tensor))?;
        let scores = outputs::wide(tensor).map_err(|error| format!("output `{name}`: {error}"))?;
        shape::check_classes(name, scores.len(), self.count(), self.is_softmax())?;
        Ok(scores)
    }

    /// The classes with the greatest of [`Classes::scores`], best first, and their probabilities. Of equal scores, the lower
    /// class comes first.
    ///
    /// # Errors
    /// If a score is NaN or infinite, because then the model or its preprocessing is wrong and a ranking would be
    /// meaningless; or if the scores do not have the configured form.
    pub fn best(&self, name: &str, scores: &[f64], count: usize) -> Result<Vec<(usize, f32)>, String> {
        if let Some(class) = scores::first_invalid(scores, self.is_softmax()) {
            let score = scores[class];
            return Err(format!("output `{name}`: the score of class {class} is not a finite number ({score})"));
        }
        scores::check_form(scores, self.form).map_err(|error| format!("output `{name}`: {error}"))?;
        let softmax = if self.is_softmax() { scores::softmax(scores) } else { Vec::new() };
        let probability = |class: usize| softmax.get(class).copied().unwrap_or(scores[class] as f32);
        Ok(scores::best(scores, count).into_iter().map(|class| (class, probability(class))).collect())
    }
}

/// Reads the key `labels`: the labels of the asset that it names.
///
/// # Errors
/// If the asset cannot be read as labels. The message names the asset.
pub fn read_labels() -> Result<Option<Vec<String>>, String> {
    config::get("labels").map(|name| labels::read(&name)).transpose()
}

/// Reads the key `keep`: the classes that it lists, by their labels or by their indices if there are no labels. A label that
/// several classes have means all of them.
///
/// # Errors
/// If a name is not a label, or is not an index. The message names it.
pub fn read_keep(labels: Option<&[String]>) -> Result<Option<Vec<usize>>, String> {
    config::list::<String>("keep")?.map(|names| kept(&names, labels)).transpose()
}

/// The indices of the classes with these names.
fn kept(names: &[String], labels: Option<&[String]>) -> Result<Vec<usize>, String> {
    let mut classes = Vec::with_capacity(names.len());
    for name in names {
        let before = classes.len();
        match labels {
            Some(labels) => classes.extend((0..labels.len()).filter(|class| labels[*class] == *name)),
            None => classes.extend(name.parse::<usize>()),
        }
        if classes.len() == before {
            return Err(match labels {
                Some(_) => format!("configuration key `keep`: {name:?} is not a label of `labels`"),
                None => format!(
                    "configuration key `keep`: {name:?} is not the index of a class; set `labels` to use labels"
                ),
            });
        }
    }
    Ok(classes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_of_several_classes_keeps_all_of_them() {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        // ImageNet has two classes with the label `crane`.
        let labels = texts(&["crane", "cat", "maillot", "crane", "3"]);
        assert_eq!(kept(&texts(&["crane"]), Some(&labels)), Ok(vec![0, 3]));
        assert_eq!(kept(&texts(&["cat", "crane"]), Some(&labels)), Ok(vec![1, 0, 3]));
        // With labels, a number is a label.
        assert_eq!(kept(&texts(&["3"]), Some(&labels)), Ok(vec![4]));
        assert!(kept(&texts(&["1"]), Some(&labels)).is_err_and(|message| message.contains("\"1\" is not a label")));
        assert_eq!(kept(&texts(&["3", "1"]), None), Ok(vec![3, 1]));
        assert!(kept(&texts(&["cat"]), None).is_err_and(|message| message.contains("not the index of a class")));
    }
}
