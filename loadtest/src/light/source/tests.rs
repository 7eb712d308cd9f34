use std::collections::HashMap;

use caside_media::parameters::CodecKind;
use caside_media::rtcp::{Packets, RtcpMessage};
use caside_media::rtp::RtpHeader;
use caside_media::rtp::key_frame::starts_key_frame;
use caside_media::rtp::vp8::Vp8Descriptor;

use super::super::thread::now;
use super::*;
use crate::synthetic::SIMULCAST;

/// A publisher and what receives it.
struct Setup {
    source: Source,
    client: SrtpSession,
    server: SrtpSession,
    transport_cc: u16,
}

/// A packet as it came.
struct Came {
    header: RtpHeader,
    extensions: Vec<(u8, Vec<u8>)>,
    payload: Vec<u8>,
    marker: Marker,
}

impl Setup {
    fn of(track: Track) -> Self {
        let material: Vec<u8> = (0..56).collect();
        let profile = caside_media::srtp::SrtpProfile::AeadAes128Gcm;
        let session = |client| SrtpSession::new(profile, &material, client).unwrap();
        let options = SourceOptions {
            track,
            number: 3,
            ssrc: 77,
            payload_type: 96,
            mid: b'1',
        };
        Self {
            source: Source::new(now(), options),
            client: session(true),
            server: session(false),
            transport_cc: 65_535,
        }
    }

    /// The packets of the next frame of each size.
    fn frame(&mut self) -> Vec<Came> {
        let (mut sealed, now) = (Vec::new(), now());
        self.source
            .frame(now, &mut self.client, &mut self.transport_cc, |bytes, len| {
                sealed.extend(bytes.chunks(len).map(<[u8]>::to_vec));
            });
        let open = |mut packet: Vec<u8>| {
            let len = self.server.unprotect_rtp(&mut packet).unwrap();
            packet.truncate(len);
            let header = RtpHeader::parse(&packet).unwrap();
            let extensions = header.extensions(&packet);
            let extensions = extensions.map(|(id, data)| (id, data.to_vec())).collect();
            let payload = header.payload(&packet).to_vec();
            let marker = Marker::find(&payload).unwrap();
            Came {
                header,
                extensions,
                payload,
                marker,
            }
        };
        sealed.into_iter().map(open).collect()
    }

    fn report(&mut self) -> Vec<u8> {
        let mut report = vec![0; 1200];
        let mut writer = RtcpWriter::new(&mut report);
        self.source.report(&mut writer);
        let len = writer.len();
        report.truncate(len);
        report
    }
}

/// The sizes that came, with the packets of each.
fn sizes(frame: &[Came]) -> Vec<(u8, usize)> {
    let mut sizes: Vec<(u8, usize)> = Vec::new();
    for came in frame {
        let encoding = came.marker.encoding.unwrap();
        match sizes.last_mut() {
            Some((last, packets)) if *last == encoding => *packets += 1,
            _ => sizes.push((encoding, 1)),
        }
    }
    sizes
}

#[test]
fn a_frame_is_what_a_browser_would_send() {
    let mut setup = Setup::of(Track::video(30, 3, 1200));
    let frame = setup.frame();
    assert_eq!(frame.len(), 3);
    for (number, came) in frame.iter().enumerate() {
        assert_eq!(came.header.marker, number == 2);
        assert_eq!(starts_key_frame(CodecKind::Vp8, &came.payload), number == 0);
        let marker = came.marker;
        assert_eq!(
            (marker.stream, marker.frame, usize::from(marker.packet), marker.encoding),
            (3, 0, number, None)
        );
        let n = 65_535u16.wrapping_add(number as u16).to_be_bytes().to_vec();
        assert_eq!(came.extensions, [(4, b"1".to_vec()), (3, n)]);
        assert_eq!(came.payload.len(), 1200 - FIXED_HEADER_LEN - EXTENSIONS);
    }
    assert_eq!(setup.transport_cc, 2);
    assert!(!starts_key_frame(CodecKind::Vp8, &setup.frame()[0].payload));
}

#[test]
fn each_size_is_a_stream_of_its_own_with_its_name() {
    let mut setup = Setup::of(Track::simulcast(30));
    let (first, second) = (setup.frame(), setup.frame());
    let mut transport_cc = 65_535u16;
    for (number, frame) in [&first, &second].into_iter().enumerate() {
        assert_eq!(sizes(frame), [(0, 1), (1, 2), (2, 6)]);
        for came in frame {
            let encoding = came.marker.encoding.unwrap();
            let size = SIMULCAST[usize::from(encoding)];
            let rid = size.rid.unwrap().as_bytes().to_vec();
            let n = transport_cc.to_be_bytes().to_vec();
            transport_cc = transport_cc.wrapping_add(1);
            assert_eq!(came.extensions, [(4, b"1".to_vec()), (3, n), (7, rid)]);
            assert_eq!(came.header.ssrc.0, ssrc_of(77, encoding));
            assert_eq!(came.header.marker, came.marker.packet + 1 == came.marker.packets);
            let descriptor = Vp8Descriptor::parse(&came.payload).unwrap();
            let starts = number == 0 && came.marker.packet == 0;
            assert_eq!(starts_key_frame(CodecKind::Vp8, &came.payload), starts);
            if starts {
                assert_eq!(
                    descriptor.key_frame_size(&came.payload),
                    Some((size.width, size.height))
                );
            }
        }
        let last = |encoding: u8| {
            frame
                .iter()
                .rfind(|came| came.marker.encoding == Some(encoding))
                .unwrap()
        };
        let numbers = [0, 1, 2].map(|encoding| last(encoding).header.sequence);
        let number = number as u16;
        assert_eq!(numbers, [number, 10_001 + 2 * number, 20_005 + 6 * number]);
    }
    for encoding in 0..3 {
        let timestamps = [&first, &second].map(|frame| {
            let of_size = frame.iter().filter(|came| came.marker.encoding == Some(encoding));
            let mut timestamps: Vec<u32> = of_size.map(|came| came.header.timestamp).collect();
            timestamps.dedup();
            timestamps
        });
        assert_eq!(timestamps[1], [timestamps[0][0].wrapping_add(3000)]);
    }
}

#[test]
fn a_key_frame_asked_of_one_size_is_made_of_all() {
    let mut setup = Setup::of(Track::simulcast(30));
    setup.frame();
    let now = now();
    assert!(!setup.source.ask_for_key_frame(now, Ssrc(99)));
    assert!(setup.frame().iter().all(|came| !came.marker.key_frame));
    assert!(setup.source.ask_for_key_frame(now, Ssrc(ssrc_of(77, 1))));
    let frame = setup.frame();
    assert!(frame.iter().all(|came| came.marker.key_frame));
    assert_eq!(sizes(&frame).len(), 3);
    assert_eq!(setup.source.asked().map(Vec::len).collect::<Vec<_>>(), [0, 1, 0]);
}

#[test]
fn a_paused_size_ends_and_goes_on_with_a_key_frame() {
    let mut setup = Setup::of(Track::simulcast(30));
    setup.frame();
    setup.source.activate("f", false);
    setup.source.activate("x", false);
    assert_eq!(setup.source.sending(), (2, 3));
    assert!(setup.source.has_ended());
    assert_eq!(sizes(&setup.frame()), [(0, 1), (1, 2)]);
    let ended = |report: &[u8]| {
        Packets::new(report)
            .filter_map(|message| match message {
                RtcpMessage::Goodbye { ssrcs } => Some(ssrcs.to_vec()),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(ended(&setup.report()), [ssrc_of(77, 2).to_be_bytes().to_vec()]);
    assert!(!setup.source.has_ended());
    assert!(ended(&setup.report()).is_empty(), "it is said once");
    setup.source.activate("f", true);
    let frame = setup.frame();
    assert_eq!(sizes(&frame), [(0, 1), (1, 2), (2, 6)]);
    assert!(frame.iter().all(|came| came.marker.key_frame));
    let first = frame.iter().find(|came| came.marker.encoding == Some(2)).unwrap();
    assert_eq!(first.header.sequence, 20_006, "numbers go on where they were");
}

#[test]
fn sender_reports_say_how_the_timestamps_of_all_sizes_belong_together() {
    let mut setup = Setup::of(Track::simulcast(30));
    let of_picture = |frame: &[Came]| -> HashMap<u32, u32> {
        let timestamps = frame.iter().map(|came| (came.header.ssrc.0, came.header.timestamp));
        timestamps.collect()
    };
    assert!(setup.report().is_empty(), "nothing was sent yet");
    setup.frame();
    let report = setup.report();
    let next = of_picture(&setup.frame());
    let mut times = Vec::new();
    for message in Packets::new(&report) {
        if let RtcpMessage::SenderReport { ssrc, ntp, rtp, .. } = message {
            assert_eq!(next[&ssrc.0], rtp);
            times.push(ntp.0);
        }
    }
    times.dedup();
    assert_eq!(times.len(), 1, "one moment");
    assert_eq!(next.len(), 3);
}
