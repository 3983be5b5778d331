//! The shipped postprocess plugins other than `detect-postprocess`: replies are compared with references in Python, and
//! models that do not suit a plugin are rejected at deployment.

use plimsoll_tests::TempDir;

use crate::postprocess_cases::{body, check_admission, compare_with_reference, floats, integers, server};

#[tokio::test(flavor = "multi_thread")]
async fn tensors_are_read_by_json_numpy_and_safetensors() {
    compare_with_reference("tensors-postprocess", "tensors").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embeddings_are_those_of_numpy() {
    compare_with_reference("embed-postprocess", "embed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_those_of_pillow() {
    compare_with_reference("image-postprocess", "image").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_are_those_of_numpy_pillow_and_pycocotools() {
    compare_with_reference("segment-postprocess", "segment").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn masks_are_those_of_ultralytics() {
    compare_with_reference("segment-postprocess", "masks").await;
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
async fn outputs_that_are_no_classes_are_rejected_by_classify_postprocess() {
    for (config, output, wanted) in [
        ("", floats("o", &[Some(1), Some(1000)]), None),
        ("", floats("o", &[None, Some(1000), Some(1), Some(1)]), None),
        ("", floats("o", &[Some(1), Some(85), Some(22), Some(22)]), Some("`o` has the shape [1, 85, 22, 22], but")),
        ("", floats("o", &[Some(1), Some(85), None, Some(22)]), Some("[1, C, 1, 1]")),
        ("", floats("o", &[Some(8), Some(1)]), Some("the scores of one image")),
        ("", floats("o", &[Some(1), Some(1)]), Some("set the configuration key `scores` to `ready`")),
        ("scores = \"ready\"", floats("o", &[Some(1), Some(1)]), None),
        ("scores = \"sigmoid\"", floats("o", &[Some(1), Some(9)]), Some("softmax, ready, logits")),
        ("", integers("o", &[Some(1), Some(1000)]), Some("but scores must have the type")),
    ] {
        check_admission("classify-postprocess", &format!("config = {{ {config} }}"), &[output], wanted).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scores_that_are_not_what_is_configured_are_refused_by_classify_postprocess() {
    let forms = ["softmax", "ready", "logits"];
    let server = server("classify-postprocess", &forms.map(|form| format!("config = {{ scores = {form:?} }}"))).await;
    let logits: &[f32] = &[8.2, -3.1, 0.5];
    let sum_of_one: &[f32] = &[0.7, 0.2, 0.1];
    let several_labels: &[f32] = &[0.9, 0.8, 0.995];
    let quantised: &[f32] = &[1.004, 0.0, -0.004];
    for (scores, accepted) in [
        (logits, [true, false, true]),
        (sum_of_one, [false, true, true]),
        (&[0.5, 0.4996], [false, true, true]),
        (&[0.5, 0.49], [true, true, true]),
        (&[1.2, -0.2], [true, false, true]),
        (&[f32::NEG_INFINITY, 0.4, 0.6], [true, false, true]),
        (several_labels, [false, true, true]),
        (quantised, [false, true, true]),
        // The softmax in steps of 1/256, where small ones become 0.
        (&[0.875, 0.0, 0.0, 0.00390625], [false, true, true]),
    ] {
        for ((pipeline, form), accepted) in ["p0", "p1", "p2"].iter().zip(forms).zip(accepted) {
            let reply = server.infer(pipeline, "", body(&[("o", &[1, scores.len()], scores)])).await;
            assert_eq!(reply.status, if accepted { 200 } else { 500 }, "{scores:?} {form}: {}", reply.text);
            if accepted {
                let best = reply.json()["predictions"][0]["probability"].as_f64().expect("a number");
                let exact: Vec<f64> = scores.iter().map(|&score| f64::from(score).exp()).collect();
                let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let softmax = f64::from(most).exp() / exact.iter().sum::<f64>();
                let wanted = if form == "ready" { f64::from(most) } else { softmax };
                assert!((best - wanted).abs() < 1e-6, "{scores:?} {form}: {best} instead of {wanted}");
            }
        }
    }
    server.stop().await;
}

/// Scores that differ, and whose probabilities are equal after rounding.
#[tokio::test(flavor = "multi_thread")]
async fn classes_have_the_order_of_their_scores() {
    let server = server("classify-postprocess", &[String::new()]).await;
    for (scores, order) in [(&[0.01_f32, 0.010_000_001][..], &[1_u64, 0][..]), (&[-200.0, -150.0, 0.0], &[2, 1, 0])] {
        let reply = server.infer("p0", "", body(&[("o", &[1, scores.len()], scores)])).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let reply = reply.json();
        let predictions = reply["predictions"].as_array().expect("a list").iter();
        let found: Vec<u64> = predictions.map(|it| it["index"].as_u64().expect("a number")).collect();
        assert_eq!(found, order, "{reply}");
    }
    server.stop().await;
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
async fn outputs_that_are_no_image_are_rejected_by_image_postprocess() {
    for (config, output, wanted) in [
        ("", floats("o", &[Some(1), Some(3), Some(64), Some(64)]), None),
        ("", floats("o", &[None, None, None, None]), None),
        ("", floats("o", &[Some(1), Some(64), Some(64)]), None),
        ("", floats("o", &[Some(1), Some(64), Some(64), Some(3)]), Some("`layout = \"nchw\"`) with 1 or 3 channels")),
        ("layout = \"nhwc\"", floats("o", &[Some(1), Some(64), Some(64), Some(3)]), None),
        ("", floats("o", &[Some(2), Some(3), Some(64), Some(64)]), Some("has the shape [2, 3, 64, 64]")),
        ("", integers("o", &[Some(1), Some(3), Some(64), Some(64)]), Some("but this plugin reads fp32, fp16, bf16")),
        ("range = [1, 1]", floats("o", &[None; 4]), Some("not two different finite numbers")),
        ("range = \"all\"", floats("o", &[None; 4]), Some("write two numbers, such as [0, 255]")),
        ("quality = 80", floats("o", &[None; 4]), Some("`quality` can only be used with `format = \"jpeg\"`")),
        ("format = \"jpeg\", quality = 101", floats("o", &[None; 4]), Some("101 is not between 1 and 100")),
    ] {
        check_admission("image-postprocess", &format!("config = {{ {config} }}"), &[output], wanted).await;
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
        (
            "format = \"rle\", background_class = 200",
            floats("o", &[Some(1), Some(21), None, None]),
            Some("there is no class 200"),
        ),
    ] {
        check_admission("segment-postprocess", &format!("config = {{ {config} }}"), &[output], wanted).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_that_are_no_masks_are_rejected_by_segment_postprocess() {
    let maps: &[Option<i64>] = &[Some(1), Some(32), Some(160), Some(160)];
    for (config, rows, maps, wanted) in [
        ("", &[Some(1), Some(116), Some(8400)][..], maps, None),
        ("", &[Some(1), Some(116), None], &[None; 4], None),
        ("format = \"rle\"", &[Some(1), Some(116), Some(8400)], &[Some(1), Some(32), None, None], None),
        ("", &[Some(1), Some(36), Some(8400)], maps, Some("[1, 4 + C + M, N]")),
        ("", &[Some(2), Some(116), Some(8400)], maps, Some("[1, 4 + C + M, N]")),
        ("", &[Some(1), Some(8400), Some(116)], maps, Some("axes seem to be exchanged")),
        ("", &[Some(1), Some(116), Some(8400)], &[Some(1), Some(160), Some(160), Some(32)], Some("[1, M, H, W]")),
        ("", &[Some(1), Some(400), Some(8400)], maps, Some("a PNG has at most 255")),
        ("prototypes = \"p\"", &[Some(1), Some(116), Some(8400)], maps, Some("the model has no output `p`")),
        ("threshold = 0.5", &[None; 3], maps, Some("`threshold` cannot be used with `layout = \"yolo\"`")),
        ("max_detections = 20000", &[None; 3], maps, Some("the maximum with this `nms`")),
        ("layout = \"end-to-end\"", &[Some(1), Some(300), Some(38)], maps, None),
        ("layout = \"end-to-end\"", &[Some(1), Some(300), Some(39)], maps, Some("[1, N, 6 + M]")),
    ] {
        let layout = if config.contains("layout") { "" } else { "layout = \"yolo\", " };
        let outputs = [floats("output0", rows), floats("output1", maps)];
        let stage = format!("config = {{ {layout}{config} }}").replace(", }", " }");
        check_admission("segment-postprocess", &stage, &outputs, wanted).await;
    }
    let output = [floats("o", &[Some(1), Some(21), None, None])];
    let wanted = Some("`prototypes` cannot be used with `layout = \"nchw\"`");
    check_admission("segment-postprocess", "config = { prototypes = \"p\" }", &output, wanted).await;
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

/// Outputs [1, H, W, C] where [1, C, H, W] is configured, and the other way round. The input has 64 x 64 pixels.
#[tokio::test(flavor = "multi_thread")]
async fn maps_with_exchanged_axes_are_not_answered() {
    let (first, last): (&[usize], &[usize]) = (&[1, 3, 16, 16], &[1, 16, 16, 3]);
    let values: Vec<f32> = (0..3 * 16 * 16).map(|place| (place * 7 % 16) as f32).collect();
    for (plugin, config, right, wrong) in [
        ("segment-postprocess", "", first, last),
        ("segment-postprocess", "format = \"rle\", size = \"model\"", first, last),
        ("segment-postprocess", "layout = \"nhwc\", format = \"rle\"", last, first),
        ("pose-postprocess", "layout = \"heatmaps\"", first, last),
    ] {
        let server = server(plugin, &[format!("config = {{ {config} }}")]).await;
        let reply = server.infer("p0", "", body(&[("o", right, &values)])).await;
        assert_eq!(reply.status, 200, "{plugin} {config}: {}", reply.text);
        let reply = server.infer("p0", "", body(&[("o", wrong, &values)])).await;
        assert_eq!((reply.status, reply.code().as_str()), (500, "internal"), "{plugin} {config}: {}", reply.text);
        server.stop().await;
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
        ("classes = 4294967295", rows(&[None, None, None]), Some("at most 65536")),
        ("max_detections = 0", rows(&[None, None, None]), Some("`max_detections`: with 0 all replies would be empty")),
    ] {
        check_admission("pose-postprocess", &format!("config = {{ {config} }}"), &[output], wanted).await;
    }
}
