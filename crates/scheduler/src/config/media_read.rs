//! Reads how images and videos are estimated.

use super::fields::{Fields, Report};
use super::media::{Estimate, FACTOR, Frames, Image, PerPicture, RESOLUTION, Resolution, Video};

pub(super) fn estimate(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Estimate {
    let mut image = fields.mapping("image", report);
    let mut video = fields.mapping("video", report);
    let estimate = Estimate {
        image: Image {
            tokens: per_picture(&mut image, "staticToken", report),
            resolution: resolution(&mut image, report),
        },
        video: self::video(&mut video, report),
    };
    image.finish(report);
    video.finish(report);
    estimate
}

fn resolution(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Resolution {
    let mut size = fields.mapping("defaultResolution", report);
    let mut side = |field, default: u32| {
        let value = size.at_least(field, u64::from(default), 1, report);
        u32::try_from(value).unwrap_or(u32::MAX)
    };
    let resolution = Resolution {
        width: side("width", RESOLUTION.width),
        height: side("height", RESOLUTION.height),
    };
    size.finish(report);
    resolution
}

fn per_picture(
    fields: &mut Fields<'_>,
    tokens_field: &'static str,
    report: &mut Report<'_>,
) -> PerPicture {
    let mut fixed = fields.mapping("static", report);
    let mut dynamic = fields.mapping("dynamic", report);
    let tokens = fixed.at_least(tokens_field, 0, 0, report);
    let factor = dynamic.float_where("factor", FACTOR, "at least 1", |v| v >= 1.0, report);
    fixed.finish(report);
    dynamic.finish(report);
    match fields.string("mode", report) {
        None | Some("" | "dynamic") => PerPicture::Pixels(factor),
        Some("static") => {
            if tokens == 0 {
                report.error(
                    &fields.at("static"),
                    format!("needs `{tokens_field}` above 0"),
                );
            }
            PerPicture::Tokens(tokens)
        }
        Some(other) => {
            report.error(
                &fields.at("mode"),
                format!("must be dynamic or static, got {other:?}"),
            );
            PerPicture::Pixels(factor)
        }
    }
}

fn video(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Video {
    let default = Video::default();
    let mut per_frame = fields.mapping("tokensPerFrame", report);
    let tokens = per_picture(&mut per_frame, "numTokensPerFrame", report);
    per_frame.finish(report);
    let mut frames = fields.mapping("frames", report);
    let optional = |frames: &mut Fields<'_>, field, report: &mut Report<'_>| {
        frames
            .has(field)
            .then(|| frames.at_least(field, 0, 0, report))
            .filter(|value| *value > 0)
    };
    let min_frames = optional(&mut frames, "minFrames", report);
    let max_frames = optional(&mut frames, "maxFrames", report);
    let mut sampled = frames.mapping("sampled", report);
    let mut strided = frames.mapping("strided", report);
    let positive = |fields: &mut Fields<'_>, field, default, report: &mut Report<'_>| {
        fields.float_where(field, default, "above 0", |v| v > 0.0, report)
    };
    let by_sample = Frames::Sampled {
        fps: positive(&mut sampled, "sampleFPS", 2.0, report),
        merge: positive(&mut sampled, "temporalPatchSize", 1.0, report),
    };
    let by_stride = Frames::Strided {
        source_fps: positive(&mut strided, "defaultSourceFPS", 24.0, report),
        stride: positive(&mut strided, "frameStride", 1.0, report),
    };
    sampled.finish(report);
    strided.finish(report);
    let mode = match frames.string("mode", report) {
        None | Some("" | "sampled") => by_sample,
        Some("strided") => by_stride,
        Some(other) => {
            report.error(
                &frames.at("mode"),
                format!("must be sampled or strided, got {other:?}"),
            );
            by_sample
        }
    };
    frames.finish(report);
    // Seconds, or a duration in words.
    let pointer = fields.at("defaultDuration");
    let duration = match fields.take("defaultDuration") {
        None => default.duration,
        Some(value) => match value.as_f64() {
            Some(seconds) if seconds > 0.0 => seconds,
            _ => match value.as_str().map(super::units::duration) {
                Some(Ok(duration)) if !duration.is_zero() => duration.as_secs_f64(),
                _ => {
                    report.error(
                        &pointer,
                        "must be seconds above 0 or a duration such as \"10s\"",
                    );
                    default.duration
                }
            },
        },
    };
    Video {
        tokens,
        resolution: resolution(fields, report),
        duration,
        max_tokens: optional(fields, "maxVideoTokens", report),
        frames: mode,
        min_frames,
        max_frames,
    }
}
