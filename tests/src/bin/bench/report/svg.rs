//! Plots.

use anyhow::Result;
use plotters::{
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::{
    number,
    section::{Chart, ChartKind, Line},
};

const FONT: &str = "sans-serif";
const WIDTH: u32 = 900;
/// Of a plot of lines.
const HEIGHT: u32 = 480;
/// Of a bar, and of what is above and below all bars.
const BAR_HEIGHT: u32 = 26;
const BARS_FRAME: u32 = 120;
/// What a letter of a label takes, about.
const LETTER_WIDTH: u32 = 7;
/// Told apart by most people who do not see all colours (Okabe and Ito, "Color Universal Design", 2008).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// What a plot's file is called.
pub(super) fn file_name(chart: &Chart) -> String {
    format!("{}.svg", chart.name)
}

/// The plot as text of an SVG file.
pub(super) fn plot(chart: &Chart) -> Result<String> {
    let mut text = String::new();
    match &chart.kind {
        ChartKind::Bars(bars) => self::bars(chart, bars, &mut text)?,
        ChartKind::Lines { over, lines } => self::lines(chart, over, lines, &mut text)?,
    }
    Ok(text)
}

/// Bars lie, so that long names can be read.
fn bars(chart: &Chart, bars: &[(String, f64)], to: &mut String) -> Result<()> {
    let count = bars.len() as i32;
    let height = BARS_FRAME + BAR_HEIGHT * bars.len() as u32;
    let longest = bars.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let most = bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let area = SVGBackend::with_string(to, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut context = ChartBuilder::on(&area)
        .caption(&chart.title, (FONT, 20))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(longest as u32 * LETTER_WIDTH)
        // Room for the last figure.
        .build_cartesian_2d(0.0..most * 1.15, (0..count - 1).into_segmented())?;
    // The first bar is the topmost.
    let place = |index: usize| count - 1 - index as i32;
    let name = |at: &SegmentValue<i32>| match at {
        SegmentValue::CenterOf(at) => {
            bars.get((count - 1 - at) as usize).map_or(String::new(), |(name, _)| name.clone())
        }
        _ => String::new(),
    };
    context
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(bars.len())
        .y_label_formatter(&name)
        .x_label_formatter(&|value| number::figure(*value))
        .x_desc(&chart.value)
        .light_line_style(TRANSPARENT)
        .label_style((FONT, 14))
        .axis_desc_style((FONT, 15))
        .draw()?;
    context.draw_series(bars.iter().enumerate().map(|(index, (_, value))| {
        let place = place(index);
        let corners = [(0.0, SegmentValue::Exact(place)), (*value, SegmentValue::Exact(place + 1))];
        let mut bar = Rectangle::new(corners, COLOURS[0].filled());
        bar.set_margin(4, 4, 0, 0);
        bar
    }))?;
    let style = (FONT, 13).into_text_style(&area).pos(Pos::new(HPos::Left, VPos::Center));
    context.draw_series(bars.iter().enumerate().map(|(index, (_, value))| {
        let at = (*value + most * 0.01, SegmentValue::CenterOf(place(index)));
        Text::new(number::figure(*value), at, style.clone())
    }))?;
    Ok(area.present()?)
}

fn lines(chart: &Chart, over: &str, lines: &[Line], to: &mut String) -> Result<()> {
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    let (mut from, mut till) = (f64::MAX, f64::MIN_POSITIVE);
    for (x, _) in points() {
        (from, till) = (from.min(x), till.max(x));
    }
    let most = points().map(|(_, y)| y).fold(f64::MIN_POSITIVE, f64::max);
    // The legend stands above all lines.
    let room = 1.1 + 0.08 * lines.len() as f64;
    let area = SVGBackend::with_string(to, (WIDTH, HEIGHT)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut context = ChartBuilder::on(&area)
        .caption(&chart.title, (FONT, 20))
        .margin(16)
        .margin_right(40)
        .x_label_area_size(48)
        .y_label_area_size(80)
        .build_cartesian_2d((from..till.max(from * 10.0)).log_scale(), 0.0..most * room)?;
    context
        .configure_mesh()
        .x_label_formatter(&|value| number::figure(*value))
        .y_label_formatter(&|value| number::figure(*value))
        .x_desc(over)
        .y_desc(&chart.value)
        .label_style((FONT, 14))
        .axis_desc_style((FONT, 15))
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        context
            .draw_series(LineSeries::new(line.points.iter().copied(), colour.stroke_width(2)))?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
        context.draw_series(line.points.iter().map(|&at| Circle::new(at, 3, colour.filled())))?;
    }
    context
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.filled())
        .label_font((FONT, 14))
        .draw()?;
    Ok(area.present()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(kind: ChartKind) -> String {
        let chart = Chart {
            name: "some".into(),
            title: "Cost & more".into(),
            value: "ns a packet".into(),
            kind,
        };
        plot(&chart).unwrap()
    }

    /// Each text of a plot on a line of its own.
    fn texts(svg: &str) -> Vec<&str> {
        svg.split("<text")
            .skip(1)
            .filter_map(|text| {
                let (_, rest) = text.split_once('>')?;
                rest.split_once('<').map(|(text, _)| text.trim())
            })
            .collect()
    }

    #[test]
    fn every_bar_has_its_name_and_its_figure() {
        let bars = vec![("parse".to_owned(), 7.25), ("all of it".to_owned(), 1_480.0)];
        let svg = chart(ChartKind::Bars(bars));
        for text in ["Cost &amp; more", "ns a packet", "parse", "7.25", "all of it", "1,480"] {
            assert!(texts(&svg).contains(&text), "{text} in {:?}", texts(&svg));
        }
        // The ground and a bar each.
        assert_eq!(svg.matches("<rect").count(), 3);
    }

    #[test]
    fn every_line_has_its_name_and_its_points() {
        let line = |name: &str, y: f64| Line {
            name: name.to_owned(),
            points: vec![(1_000.0, y), (10_000.0, y * 2.0), (4_000_000.0, y * 3.0)],
        };
        let lines = vec![line("XDP", 40.0), line("TC", 50.0)];
        let svg = chart(ChartKind::Lines { over: "flows".into(), lines });
        for text in ["Cost &amp; more", "ns a packet", "flows", "XDP", "TC", "1,000", "1,000,000"] {
            assert!(texts(&svg).contains(&text), "{text} in {:?}", texts(&svg));
        }
        assert_eq!(svg.matches("<circle").count(), 6);
        // Each line and its sample in the legend.
        let of =
            |colour: &str| svg.matches(&format!("stroke=\"{colour}\" stroke-width=\"2\"")).count();
        assert_eq!([of("#0072B2"), of("#D55E00")], [2, 2]);
    }

    #[test]
    fn a_plot_of_one_point_can_be_drawn() {
        let line = Line { name: "alone".into(), points: vec![(1_000.0, 0.0)] };
        chart(ChartKind::Lines { over: "flows".into(), lines: vec![line] });
        chart(ChartKind::Bars(vec![("nothing".into(), 0.0)]));
    }
}
