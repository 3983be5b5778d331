//! Growth as a table of numbers and as a chart.

use plotters::prelude::*;

use super::error::ReportError;
use crate::corpus::Sample;
use crate::finding::{Measure, Study};
use crate::verdict::Finding;

/// Maximum types that have a column.
const MAX_TYPES: usize = 24;

/// A table with one row for each call of the run over all samples. For a plugin in Python it has a column for each type:
/// the bytes of its objects that the call made and that are in use at the end.
///
/// # Errors
/// No known errors, because the writer is a buffer.
pub(super) fn csv(study: &Study, samples: &[Sample]) -> Result<String, ReportError> {
    let failed = |error: &dyn std::fmt::Display| ReportError::content("growth.csv", error);
    let mut writer = csv::Writer::from_writer(Vec::new());
    let head =
        ["call", "round", "sample", "folder", "outcome", "live_bytes", "live_blocks", "linear_bytes", "host_bytes"];
    let types = &study.types_by_call[..study.types_by_call.len().min(MAX_TYPES)];
    let type_names = types.iter().map(|(name, _)| format!("kept_bytes of {name}"));
    let head: Vec<String> = head.iter().map(|&name| name.to_owned()).chain(type_names).collect();
    writer.write_record(head).map_err(|error| failed(&error))?;
    for (index, call) in study.calls.iter().enumerate() {
        let sample = &samples[call.sample];
        let live = |value: fn(&crate::verdict::Held) -> u64| {
            call.live.as_ref().map_or(String::new(), |held| value(held).to_string())
        };
        let row = [
            (index + 1).to_string(),
            call.round.to_string(),
            sample.name.clone(),
            sample.folder.clone(),
            call.outcome.as_str().to_owned(),
            live(|held| held.bytes),
            live(|held| held.blocks),
            call.linear.to_string(),
            call.host.to_string(),
        ];
        let of_types = types.iter().map(|(_, calls)| calls.get(&index).copied().unwrap_or(0).to_string());
        writer.write_record(row.into_iter().chain(of_types)).map_err(|error| failed(&error))?;
    }
    let bytes = writer.into_inner().map_err(|error| failed(&error))?;
    String::from_utf8(bytes).map_err(|error| failed(&error))
}

/// A chart of the bytes held over requests: for all samples together, and for each class that was run alone.
///
/// # Errors
/// If the chart cannot be drawn.
pub(super) fn svg(study: &Study) -> Result<String, ReportError> {
    let line = |name: String, finding: &Finding, samples: usize| {
        let points = finding.held.iter().enumerate();
        (name, points.map(|(round, held)| ((round * samples) as f64, held.bytes as f64)).collect())
    };
    let has_bytes =
        |class: &&crate::finding::Class| class.measure != Measure::Handles && !class.finding.held.is_empty();
    let alone = study.classes.iter().filter(has_bytes);
    let lines: Vec<(String, Vec<(f64, f64)>)> = std::iter::once(line("(all)".to_owned(), &study.all, study.samples))
        .chain(alone.map(|class| line(class.name(), &class.finding, class.samples)))
        .collect();
    let most = |axis: fn(&(f64, f64)) -> f64| {
        lines.iter().flat_map(|(_, points)| points.iter().map(axis)).fold(1.0, f64::max) * 1.05
    };
    let (right, top) = (most(|point| point.0), most(|point| point.1));
    let mut svg = String::new();
    let drawn = (|| -> Result<(), Box<dyn std::error::Error>> {
        let area = SVGBackend::with_string(&mut svg, (960, 480)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(16)
            .x_label_area_size(40)
            .y_label_area_size(96)
            .build_cartesian_2d(0.0..right, 0.0..top)?;
        chart
            .configure_mesh()
            .x_desc("requests")
            .y_desc("bytes held")
            .y_label_formatter(&|bytes| bytesize::ByteSize::b(*bytes as u64).to_string())
            .draw()?;
        for (index, (name, points)) in lines.iter().enumerate() {
            let color = Palette99::pick(index).to_rgba();
            chart
                .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?
                .label(name.as_str())
                .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], color.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.4))
            .draw()?;
        area.present()?;
        Ok(())
    })();
    drawn.map_err(|error| ReportError::content("growth.svg", error))?;
    Ok(svg)
}
