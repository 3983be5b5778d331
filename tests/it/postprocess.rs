//! The shipped postprocess plugins other than `classify-postprocess` and `detect-postprocess`: replies are compared
//! with references in Python, and models that do not suit a plugin are rejected at deployment.

use plimsoll_tests::TempDir;

use crate::postprocess_cases::{check_admission, compare_with_reference, floats, integers};

#[tokio::test(flavor = "multi_thread")]
async fn tensors_are_read_by_json_numpy_and_safetensors() {
    compare_with_reference("tensors-postprocess", "tensors").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embeddings_are_those_of_numpy() {
    compare_with_reference("embed-postprocess", "embed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_are_those_of_numpy_pillow_and_pycocotools() {
    compare_with_reference("segment-postprocess", "segment").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_are_those_of_paddleocr() {
    compare_with_reference("text-postprocess", "text").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poses_are_those_of_ultralytics_and_hrnet() {
    compare_with_reference("pose-postprocess", "pose").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_that_the_model_does_not_have_are_rejected_by_tensors_postprocess() {
    let outputs = [floats("a", &[Some(1), None]), integers("b", &[])];
    for (config, wanted) in [
        ("", None),
        ("outputs = [\"b\"]", None),
        ("outputs = [\"a\", \"c\"]", Some("the model has no output `c`; its outputs are: `a`, `b`")),
        ("outputs = [\"a\", \"a\"]", Some("repeats \"a\"")),
        ("format = \"csv\"", Some("json, npz, safetensors")),
        ("output = \"a\"", Some("unknown configuration key `output`")),
    ] {
        check_admission("tensors-postprocess", &format!("config = {{ {config} }}"), &outputs, wanted).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_that_are_no_vector_are_rejected_by_embed_postprocess() {
    for (config, output, wanted) in [
        ("", floats("o", &[Some(1), Some(512)]), None),
        ("", floats("o", &[None, Some(512), Some(1), Some(1)]), None),
        ("", floats("o", &[Some(2), Some(512)]), Some("one vector of shape [D]")),
        ("", floats("o", &[Some(1), Some(50), Some(768)]), Some("configuration key `pooling`")),
        ("pooling = \"mean\"", floats("o", &[Some(1), Some(50), Some(768)]), None),
        ("pooling = \"mean\"", floats("o", &[Some(1), Some(768)]), Some("tokens of shape [1, T, D]")),
        ("", integers("o", &[Some(1), Some(512)]), Some("but this plugin reads fp32, fp16, bf16")),
    ] {
        check_admission("embed-postprocess", &format!("config = {{ {config} }}"), &[output], wanted).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_that_are_no_map_are_rejected_by_segment_postprocess() {
    for (config, output, wanted) in [
        ("", floats("o", &[Some(1), Some(21), None, None]), None),
        ("", floats("o", &[Some(1), Some(21)]), Some("scores of shape [1, C, H, W]")),
        ("", floats("o", &[Some(4), Some(21), Some(8), Some(8)]), Some("scores of shape [1, C, H, W]")),
        ("", floats("o", &[Some(1), Some(1), Some(8), Some(8)]), Some("configuration key `threshold`")),
        ("threshold = 0.5", floats("o", &[Some(1), Some(1), Some(8), Some(8)]), None),
        ("threshold = 0.5", floats("o", &[Some(1), Some(2), Some(8), Some(8)]), Some("has 2 channels")),
        ("", floats("o", &[Some(1), Some(512), Some(512), Some(21)]), Some("512 classes")),
        ("layout = \"nhwc\"", floats("o", &[Some(1), Some(512), Some(512), Some(21)]), None),
        ("", integers("o", &[Some(1), Some(8), Some(8)]), Some("but this plugin reads fp32, fp16, bf16")),
        ("layout = \"classes\"", integers("o", &[Some(1), Some(8), Some(8)]), None),
        ("layout = \"classes\"", integers("o", &[Some(1), Some(21), Some(8), Some(8)]), Some("[1, 1, H, W]")),
        ("labels = \"l\"", floats("o", &[Some(1), Some(21), None, None]), Some("cannot be used with `format")),
    ] {
        check_admission("segment-postprocess", &format!("config = {{ {config} }}"), &[output], wanted).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn models_of_another_dictionary_are_rejected_by_text_postprocess() {
    let folder = TempDir::new().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        format!("assets = {{ d = {path:?} }}")
    };
    let [two, gap, none] = [file("two", "a\nb\n"), file("gap", "a\n\nb\n"), file("none", "")];
    for (config, assets, output, wanted) in [
        ("dictionary = \"d\"", &two, floats("o", &[Some(1), None, Some(3)]), None),
        ("dictionary = \"d\"", &two, floats("o", &[Some(1), None, Some(2)]), Some("has 2 classes")),
        ("dictionary = \"d\", space = true", &two, floats("o", &[Some(1), None, Some(4)]), None),
        ("dictionary = \"d\"", &two, floats("o", &[Some(40), Some(1), Some(3)]), Some("[1, T, C]")),
        ("dictionary = \"d\", layout = \"tbc\"", &two, floats("o", &[Some(40), Some(1), Some(3)]), None),
        ("dictionary = \"d\"", &gap, floats("o", &[Some(1), None, Some(4)]), Some("line 2 is empty")),
        ("dictionary = \"d\"", &none, floats("o", &[Some(1), None, Some(1)]), Some("contains no entry")),
        ("", &two, floats("o", &[Some(1), None, Some(3)]), Some("`dictionary` is missing")),
    ] {
        let stage = format!("config = {{ {config} }}\n{assets}");
        check_admission("text-postprocess", &stage, &[output], wanted).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_that_are_no_poses_are_rejected_by_pose_postprocess() {
    let rows = |channels| floats("o", channels);
    for (config, output, wanted) in [
        ("", rows(&[Some(1), Some(56), Some(8400)]), None),
        ("", rows(&[None, Some(56), None]), None),
        ("dimensions = 2, classes = 2", rows(&[Some(1), Some(40), Some(8400)]), None),
        ("", rows(&[Some(1), Some(57), Some(8400)]), Some("[1, 4 + 1 + K * 3, N] for `classes` 1")),
        ("", rows(&[Some(1), Some(5), Some(8400)]), Some("has the shape [1, 5, 8400]")),
        ("", rows(&[Some(1), Some(8402), Some(56)]), Some("axes seem to be exchanged")),
        ("", rows(&[Some(2), Some(56), Some(8400)]), Some("has the shape [2, 56, 8400]")),
        ("layout = \"end-to-end\"", rows(&[Some(1), Some(300), Some(57)]), None),
        ("layout = \"end-to-end\"", rows(&[Some(1), Some(300), Some(56)]), Some("[1, N, 6 + K * 3]")),
        ("layout = \"end-to-end\", classes = 2", rows(&[None, None, None]), Some("`classes` cannot be used with")),
        ("layout = \"heatmaps\"", rows(&[Some(1), Some(17), Some(64), Some(48)]), None),
        ("layout = \"heatmaps\"", rows(&[Some(1), Some(17), Some(64)]), Some("[1, K, H, W]")),
        ("layout = \"heatmaps\"", rows(&[Some(1), Some(17), Some(0), Some(48)]), Some("[1, K, H, W]")),
        ("layout = \"heatmaps\", nms = \"none\"", rows(&[None; 4]), Some("`nms` cannot be used with")),
        ("nms = \"soft\"", rows(&[None, None, None]), Some("is not one of per-class, class-agnostic, none")),
        ("classes = 0", rows(&[None, None, None]), Some("at least one class")),
    ] {
        check_admission("pose-postprocess", &format!("config = {{ {config} }}"), &[output], wanted).await;
    }
}
