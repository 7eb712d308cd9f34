//! H.264 profiles by `profile-level-id` (RFC 6184 §8.1).

/// A profile that passes through. Others (Extended, High 10, 4:2:2, 4:4:4) are nothing that browsers send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// What every WebRTC endpoint has to handle (RFC 7742 §6.2).
    ConstrainedBaseline,
    /// With the error resilience tools that nobody uses.
    Baseline,
    /// Adds B frames and CABAC.
    Main,
    /// Adds 8×8 transforms.
    High,
    /// High without interlacing and B frames.
    ConstrainedHigh,
}

/// A `profile-level-id`: three bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProfileLevelId {
    /// The profile that the first two bytes mean.
    pub profile: Profile,
    /// The bytes themselves: `profile_idc`, `profile-iop`, `level_idc`.
    pub bytes: [u8; 3],
}

impl ProfileLevelId {
    /// Constrained Baseline at level 3.1: 1280×720 at 30 fps.
    pub const CONSTRAINED_BASELINE_3_1: Self = Self {
        profile: Profile::ConstrainedBaseline,
        bytes: [0x42, 0xE0, 0x1F],
    };

    /// Reads the parameter: six hexadecimal digits. `None` for profiles that do not pass through.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 6 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let [_, idc, iop, level] = u32::from_str_radix(text, 16).ok()?.to_be_bytes();
        Some(Self {
            profile: profile(idc, iop)?,
            bytes: [idc, iop, level],
        })
    }
}

/// RFC 6184 §8.1, table 5; the rows for High from H.264 A.2.4.
fn profile(idc: u8, iop: u8) -> Option<Profile> {
    match (idc, iop) {
        (0x42, iop) if iop & 0x4F == 0x40 => Some(Profile::ConstrainedBaseline),
        (0x4D, iop) if iop & 0x8F == 0x80 => Some(Profile::ConstrainedBaseline),
        (0x58, iop) if iop & 0xCF == 0xC0 => Some(Profile::ConstrainedBaseline),
        (0x42, iop) if iop & 0x4F == 0x00 => Some(Profile::Baseline),
        (0x58, iop) if iop & 0xCF == 0x80 => Some(Profile::Baseline),
        (0x4D, iop) if iop & 0x8F == 0x00 => Some(Profile::Main),
        (0x64, 0x00) => Some(Profile::High),
        (0x64, 0x0C) => Some(Profile::ConstrainedHigh),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_recognized_by_idc_and_constraints() {
        for (text, profile) in [
            ("42e01f", Some(Profile::ConstrainedBaseline)),
            ("42C015", Some(Profile::ConstrainedBaseline)),
            ("4d801f", Some(Profile::ConstrainedBaseline)),
            ("58c01f", Some(Profile::ConstrainedBaseline)),
            ("42001f", Some(Profile::Baseline)),
            ("58801f", Some(Profile::Baseline)),
            ("4d001f", Some(Profile::Main)),
            ("4D401F", Some(Profile::Main)),
            ("640028", Some(Profile::High)),
            ("640c1f", Some(Profile::ConstrainedHigh)),
            ("f4001f", None),
            ("58001f", None),
            ("6e001f", None),
            ("42e01", None),
            ("+2e01f", None),
            ("", None),
        ] {
            assert_eq!(ProfileLevelId::parse(text).map(|id| id.profile), profile, "{text}");
        }
    }
}
