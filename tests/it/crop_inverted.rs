//! `crop-transform` with `invert = true`: the picture is inverted, and `pad` is not, inside of the crop as at its border.

use crate::crop::{given, items, part, rows, server};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_outside_of_the_picture_has_the_value_pad_with_invert() {
    let inverted = "detector = \"end-to-end\", width = 6, height = 6, margin = 0.25, invert = true";
    let point = "detector = \"points\", scores = \"\", width = 6, height = 6, pad = 9, invert = true";
    let configs = [
        inverted.to_owned(),
        format!("{inverted}, pad = 9"),
        format!("{inverted}, pad = 9, resize = \"letterbox\"").replace("width = 6", "width = 8"),
        point.to_owned(),
    ];
    let server = server(&configs.each_ref().map(String::as_str)).await;
    // From -1, 1 to 5, 7: the first column is outside of the picture.
    let crop = |pad: u8| -> Vec<u8> {
        let inside = |(place, value): (usize, &u8)| if place % 18 < 3 { pad } else { 255 - value };
        part([-1, 1, 5, 7]).iter().enumerate().map(inside).collect()
    };
    let (shape, values) = rows(&[[0.0, 2.0, 4.0, 6.0, 0.5, 0.0]]);
    for (pipeline, pad) in [("p0", 0), ("p1", 9)] {
        let found = items(&server.infer(pipeline, "", given(&[("rows", &shape, &values)], 1.0)).await);
        assert_eq!(found[0].0, crop(pad), "{pipeline}");
    }
    // The border of `letterbox` has the same value.
    let found = items(&server.infer("p2", "", given(&[("rows", &shape, &values)], 1.0)).await);
    let bordered: Vec<u8> = crop(9).chunks(18).flat_map(|row| [&[9_u8; 3][..], row, &[9; 3]].concat()).collect();
    assert_eq!(found[0].0, bordered);
    let corners = [-1.0, 1.0, 5.0, 1.0, 5.0, 7.0, -1.0, 7.0];
    let found = items(&server.infer("p3", "", given(&[("points", &[1, 1, 8], &corners)], 1.0)).await);
    assert_eq!(found[0].0, crop(9));
}
