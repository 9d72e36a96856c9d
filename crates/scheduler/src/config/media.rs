//! How many tokens an image or a video is taken for: parameters of the estimating token producer.

/// Parameters of the estimate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Estimate {
    /// Images.
    pub image: Image,
    /// Videos.
    pub video: Video,
}

/// Width and height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

/// Tokens of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PerPicture {
    /// One token for this many pixels.
    Pixels(f64),
    /// Always as many.
    Tokens(u64),
}

/// Tokens of images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Image {
    /// How they are counted.
    pub tokens: PerPicture,
    /// Size where it is not known.
    pub resolution: Resolution,
}

/// Which frames of a video are looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Frames {
    /// So many a second, several of them merged.
    Sampled {
        /// Frames a second.
        fps: f64,
        /// Frames that become one.
        merge: f64,
    },
    /// Every so many-th.
    Strided {
        /// Frames a second of the source.
        source_fps: f64,
        /// Of how many one is taken.
        stride: f64,
    },
}

/// Tokens of videos.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Video {
    /// Tokens of a frame.
    pub tokens: PerPicture,
    /// Size where it is not known.
    pub resolution: Resolution,
    /// Seconds where they are not known.
    pub duration: f64,
    /// Most tokens of a video.
    pub max_tokens: Option<u64>,
    /// Which frames count.
    pub frames: Frames,
    /// Fewest frames.
    pub min_frames: Option<u64>,
    /// Most frames.
    pub max_frames: Option<u64>,
}

/// Pixels of a token.
pub(super) const FACTOR: f64 = 1024.0;

/// Size of a picture about which nothing is known.
pub(super) const RESOLUTION: Resolution = Resolution {
    width: 640,
    height: 360,
};

impl Default for Image {
    fn default() -> Self {
        Self {
            tokens: PerPicture::Pixels(FACTOR),
            resolution: RESOLUTION,
        }
    }
}

impl Default for Video {
    fn default() -> Self {
        Self {
            tokens: PerPicture::Pixels(FACTOR),
            resolution: RESOLUTION,
            duration: 10.0,
            max_tokens: None,
            frames: Frames::Sampled {
                fps: 2.0,
                merge: 1.0,
            },
            min_frames: None,
            max_frames: None,
        }
    }
}

impl PerPicture {
    /// Tokens of a picture of this size; at least 1.
    #[must_use]
    pub fn count(self, size: Resolution) -> u64 {
        match self {
            Self::Tokens(tokens) => tokens.max(1),
            Self::Pixels(factor) => {
                let pixels = f64::from(size.width) * f64::from(size.height);
                whole(pixels / factor.max(1.0)).max(1)
            }
        }
    }
}

impl Video {
    /// Tokens of a video, by what is known of it.
    #[must_use]
    pub fn count(&self, seconds: Option<f64>, fps: Option<f64>, size: Option<Resolution>) -> u64 {
        let seconds = seconds.unwrap_or(self.duration).max(0.0);
        let clamp = |frames: u64| {
            let frames = frames.max(self.min_frames.unwrap_or(1).max(1));
            self.max_frames
                .map_or(frames, |most| frames.min(most.max(1)))
        };
        let frames = match self.frames {
            Frames::Sampled { fps, merge } => {
                #[expect(clippy::cast_precision_loss, reason = "frame counts are small")]
                let merged = clamp(whole(seconds * fps)) as f64 / merge.max(1.0);
                whole(merged.ceil()).max(1)
            }
            Frames::Strided { source_fps, stride } => {
                clamp(whole(seconds * fps.unwrap_or(source_fps) / stride.max(1.0)))
            }
        };
        let each = self.tokens.count(size.unwrap_or(self.resolution));
        let tokens = frames.saturating_mul(each);
        self.max_tokens.map_or(tokens, |most| tokens.min(most))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float turned into an integer saturates"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_and_videos_become_tokens() {
        let size = |width, height| Resolution { width, height };
        assert_eq!(Image::default().tokens.count(RESOLUTION), 225);
        assert_eq!(Image::default().tokens.count(size(10, 10)), 1);
        assert_eq!(PerPicture::Tokens(576).count(size(10, 10)), 576);
        // 10 s at 2 frames a second, 225 tokens each
        assert_eq!(Video::default().count(None, None, None), 4500);
        assert_eq!(
            Video::default().count(Some(2.0), None, Some(size(1024, 2))),
            8
        );
        let strided = Video {
            frames: Frames::Strided {
                source_fps: 24.0,
                stride: 12.0,
            },
            max_frames: Some(16),
            max_tokens: Some(3000),
            ..Video::default()
        };
        assert_eq!(strided.count(None, None, None), 3000);
        assert_eq!(strided.count(Some(5.0), None, None), 10 * 225);
        assert_eq!(strided.count(Some(5.0), Some(12.0), None), 5 * 225);
    }
}
