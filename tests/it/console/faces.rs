//! A pipeline that finds two boxes in every image.

use std::path::PathBuf;

use plimsoll_tests::TempDir;
use plimsoll_tests::onnx::Onnx;

/// A pipeline whose model always finds two boxes, in fractions of the image.
pub(super) struct Faces {
    pub(super) folder: TempDir,
    pub(super) picture: PathBuf,
}

impl Faces {
    /// The first box has this label.
    pub(super) fn new(label: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let model = Onnx::new(13)
            .input("image", &[1, 1, 8, 8].map(Some))
            .floats("zero", &[], &[0.0])
            .floats("s", &[1, 2, 3], &[0.05, 0.95, 0.0, 0.2, 0.0, 0.8])
            .floats("b", &[1, 2, 4], &[0.25, 0.5, 0.75, 1.0, 0.0, 0.0, 0.1, 0.2])
            .node("ReduceSum", &["image"], "sum", &[("keepdims", 0)])
            .node("Mul", &["sum", "zero"], "nothing", &[])
            .node("Add", &["nothing", "s"], "scores", &[])
            .node("Add", &["nothing", "b"], "boxes", &[])
            .output("scores", &[1, 2, 3].map(Some))
            .output("boxes", &[1, 2, 4].map(Some));
        std::fs::write(folder.path().join("faces.onnx"), model.bytes()).expect("written");
        std::fs::write(folder.path().join("labels.txt"), format!("nothing\n{label}\nhand\n")).expect("written");
        let picture = folder.path().join("picture.png");
        image::RgbImage::from_pixel(400, 200, image::Rgb([40, 60, 80])).save(&picture).expect("written");
        Self { folder, picture }
    }

    pub(super) fn config(&self) -> String {
        let file = |name: &str| self.folder.path().join(name);
        format!(
            "[models.faces]\nfile = {:?}\n[pipelines.faces]\nmodel = \"faces\"\n\
             [pipelines.faces.preprocess]\nplugin = \"image-preprocess\"\nconfig = {{ width = 8, height = 8, channels = \"gray\" }}\n\
             [pipelines.faces.chips.native]\nplugin = \"infer-native\"\n\
             [pipelines.faces.postprocess]\nplugin = \"detect-postprocess\"\nconfig = {{ labels = \"labels.txt\" }}\n\
             assets = {{ \"labels.txt\" = {:?} }}\n",
            file("faces.onnx"),
            file("labels.txt"),
        )
    }
}
