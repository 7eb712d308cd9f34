//! A room that is larger than a media worker, with light clients on two of them. Runs the `caside` beside `caside-bots`, or the
//! one that `CASIDE_BIN` names.

use std::process::Command;

use serde_json::Value;

#[test]
fn clients_on_two_workers_receive_everything_once_and_in_order() {
    let output = Command::new(env!("CARGO_BIN_EXE_caside-bots"))
        .arg("media")
        .args(["--publishers", "5", "--subscribers", "3"])
        .args(["--audio", "true", "--packets", "2"])
        .args(["--workers", "2", "--worker-participants", "4", "--seconds", "3"])
        .args(["--strict", "--json"])
        .output()
        .unwrap();
    let (report, problems) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{problems}\n{report}");
    let report: Value = serde_json::from_str(&report).unwrap();
    let of_workers = |what: &str| -> Vec<u64> {
        let workers = report["workers"].as_array().unwrap().iter();
        workers.map(|worker| worker[what].as_u64().unwrap()).collect()
    };
    assert_eq!(of_workers("participants"), [4, 4], "{report:#}");
    assert!(of_workers("packets_piped").iter().all(|piped| *piped > 0), "{report:#}");
    assert!(report["packets"].as_u64() > Some(1000), "{report:#}");
}
