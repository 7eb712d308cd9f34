//! What a bot asks for of others' cameras, as the page does that shows them.

use std::collections::HashMap;

use serde_json::Value;

use crate::synthetic::SIZES;

/// Tiles of a medium size beside the large one.
const MEDIUM: usize = 2;

/// How the cameras are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum View {
    /// Each as large as it is: nothing is asked for.
    #[default]
    Whole,
    /// One large, [`MEDIUM`] of a medium size, all others small.
    Speaker,
}

/// The `quality` of a tile in the speaker's view, and its size in [`SIMULCAST`](crate::synthetic::SIMULCAST).
fn tile(place: usize) -> (&'static str, u8) {
    match place {
        0 => ("high", 2),
        1..=MEDIUM => ("medium", 1),
        _ => ("low", 0),
    }
}

/// How many of each size, lowest first, come to a receiver of so many cameras in three sizes.
pub(crate) fn sizes(view: View, cameras: usize) -> [usize; SIZES] {
    let mut sizes = [0; SIZES];
    let places = (0..cameras).map(|place| match view {
        View::Whole => SIZES - 1,
        View::Speaker => usize::from(tile(place).1),
    });
    places.for_each(|size| sizes[size] += 1);
    sizes
}

/// A camera of somebody else's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Camera {
    participant: String,
    track: String,
    mid: String,
}

/// What is to be asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wish {
    /// The track's id.
    pub(crate) track: String,
    /// As `subscribe` has it.
    pub(crate) quality: &'static str,
}

/// The speaker's view of one bot.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    /// The bot itself, if it has a camera.
    own: Option<String>,
    /// Whose turn it is to speak.
    turn: usize,
    cameras: Vec<Camera>,
    /// What was asked for, by track.
    asked: HashMap<String, &'static str>,
}

impl Stage {
    /// The view of a bot that has the camera of this participant, or none.
    pub(crate) fn of(own: Option<String>) -> Self {
        Self { own, ..Self::default() }
    }

    /// Takes what an offer's `tracks` say.
    pub(crate) fn offered(&mut self, tracks: &Value) {
        let tracks = tracks.as_object().into_iter().flatten();
        let cameras = tracks.filter(|(_, track)| track["source"] == "camera");
        let named = |(mid, track): (&String, &Value)| {
            Some(Camera {
                participant: track["participant_id"].as_str()?.to_owned(),
                track: track["track"].as_str()?.to_owned(),
                mid: mid.clone(),
            })
        };
        self.cameras = cameras.filter_map(named).collect();
    }

    /// Another speaks.
    pub(crate) fn turn(&mut self, turn: usize) {
        self.turn = turn;
    }

    /// The sizes that the cameras are to have, lowest 0, by their mids.
    pub(crate) fn sizes(&self) -> Vec<(String, u8)> {
        let places = self.places().into_iter().enumerate();
        places
            .map(|(place, camera)| (camera.mid.clone(), tile(place).1))
            .collect()
    }

    /// What is to be asked for now: of the cameras that have another place than before.
    pub(crate) fn ask(&mut self) -> Vec<Wish> {
        let places = self.places().into_iter().enumerate();
        let asked: HashMap<String, &'static str> = places
            .map(|(place, camera)| (camera.track.clone(), tile(place).0))
            .collect();
        let news = asked
            .iter()
            .filter(|(track, quality)| self.asked.get(*track) != Some(quality));
        let wish = |(track, quality): (&String, &&'static str)| Wish {
            track: track.clone(),
            quality,
        };
        let news = news.map(wish).collect();
        self.asked = asked;
        news
    }

    /// The cameras in the order of their places: whose turn it is first, after that one those whose turns come. So all see the same
    /// one large, but for that one.
    fn places(&self) -> Vec<&Camera> {
        let mut all: Vec<(&str, Option<&Camera>)> = self
            .cameras
            .iter()
            .map(|it| (it.participant.as_str(), Some(it)))
            .collect();
        all.extend(self.own.as_deref().map(|own| (own, None)));
        all.sort_unstable();
        let first = self.turn % all.len().max(1);
        all.rotate_left(first);
        all.into_iter().filter_map(|(_, camera)| camera).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn offer(participants: &[&str]) -> Value {
        let camera = |participant: &&str| {
            let track = json!({"participant_id": participant, "track": participant, "source": "camera"});
            (format!("m-{participant}"), track)
        };
        participants
            .iter()
            .map(camera)
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    fn ask(stage: &mut Stage) -> Vec<String> {
        let mut wishes = stage.ask();
        wishes.sort_unstable();
        let said = |wish: Wish| format!("{} {}", wish.track, wish.quality);
        wishes.into_iter().map(said).collect()
    }

    #[test]
    fn one_is_large_two_are_of_a_medium_size_and_the_rest_small() {
        assert_eq!(sizes(View::Speaker, 9), [6, 2, 1]);
        assert_eq!(sizes(View::Speaker, 1), [0, 0, 1]);
        assert_eq!(sizes(View::Whole, 9), [0, 0, 9]);
    }

    #[test]
    fn whoever_speaks_is_large_for_all_but_that_one() {
        let mut stage = Stage::of(Some("c".to_owned()));
        stage.offered(&offer(&["a", "b", "d", "e"]));
        let first = ["a high", "b medium", "d medium", "e low"];
        assert_eq!(ask(&mut stage), first);
        let sized: Vec<_> = stage.sizes();
        let expected = [("m-a", 2), ("m-b", 1), ("m-d", 1), ("m-e", 0)];
        assert_eq!(sized, expected.map(|(mid, size)| (mid.to_owned(), size)));
        stage.turn(1);
        assert_eq!(ask(&mut stage), ["a low", "b high", "e medium"]);
        stage.turn(2);
        assert_eq!(
            ask(&mut stage),
            ["a medium", "b low", "d high"],
            "itself it does not see"
        );
        stage.turn(3);
        assert!(ask(&mut stage).is_empty());
        stage.turn(5);
        assert_eq!(ask(&mut stage), ["a high", "b medium", "d medium", "e low"]);
    }

    #[test]
    fn what_changes_is_asked_for_and_no_more() {
        let mut stage = Stage::default();
        let mut asked = |participants: &[&str]| {
            stage.offered(&offer(participants));
            ask(&mut stage)
        };
        assert_eq!(asked(&["b"]), ["b high"]);
        assert_eq!(asked(&["b", "c", "d", "e"]), ["c medium", "d medium", "e low"]);
        let one_came_before = ["a", "b", "c", "d", "e"];
        assert_eq!(asked(&one_came_before), ["a high", "b medium", "d low"]);
        assert_eq!(asked(&["e"]), ["e high"]);
        let mut stage = Stage::default();
        let voice = json!({"0": {"participant_id": "a", "track": "voice", "source": "microphone"}});
        stage.offered(&voice);
        assert!(ask(&mut stage).is_empty());
    }
}
