//! `docs/troubleshooting.md` has a row for each cause, with the same words as operators get.

use caside_protocol::explain::CauseCode;

const PAGE: &str = include_str!("../../docs/troubleshooting.md");

#[test]
fn every_cause_has_its_row_and_every_row_its_cause() {
    let (_, rest) = PAGE.split_once("## Causes").unwrap();
    let (table, _) = rest.split_once("\n## ").unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let rows: Vec<Vec<&str>> = rows
        .map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    assert_eq!(rows.len(), CauseCode::ALL.len());
    for (row, code) in rows.iter().zip(CauseCode::ALL) {
        let [name, says, remedy, how] = row[..] else {
            panic!("{code}: a row has four cells, and this one {row:?}");
        };
        assert_eq!(name, format!("`{code}`"));
        assert_eq!((says, remedy), (code.says(), code.remedy()), "{code}");
        assert!(how.ends_with('.'), "{code}: how it is known");
    }
}
