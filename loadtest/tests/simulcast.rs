//! A room whose cameras have three sizes, and in which another is shown large by turns. Runs the `caside` beside `caside-bots`, or
//! the one that `CASIDE_BIN` names.

use std::process::Command;

use serde_json::{Value, json};

#[test]
fn all_get_the_sizes_they_ask_for_and_see_no_seam_between_them() {
    let output = Command::new(env!("CARGO_BIN_EXE_caside-bots"))
        .args(["media", "--simulcast", "--publishers", "4", "--subscribers", "2"])
        .args(["--turns", "2", "--seconds", "5", "--json"])
        .output()
        .unwrap();
    let (report, problems) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    // It fails of itself when sizes are mixed, begin without a key frame, or are numbered wrong.
    assert!(output.status.success(), "{problems}\n{report}");
    let report: Value = serde_json::from_str(&report).unwrap();
    let layers = &report["layers"];
    // One large, two of a medium size, the rest small: of three cameras for each publisher, of four for each subscriber.
    assert_eq!(layers["asked"], json!([2, 12, 6]), "{report:#}");
    assert!(layers["as_asked_after_ms"].is_f64(), "{report:#}");
    let turns = layers["turns_as_asked_after_ms"].as_array().unwrap();
    assert_eq!(turns.len(), 2, "{report:#}");
    // Each turn changes the size of some picture for everybody.
    assert!(layers["switches"].as_u64() >= Some(6), "{report:#}");
}
