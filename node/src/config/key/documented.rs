//! `docs/operations.md` has the table of settings as it follows from [`KEYS`] and the defaults.

use super::KEYS;
use crate::config::{Settings, show};

const PAGE: &str = include_str!("../../../../docs/operations.md");
const HEADING: &str = "| `caside.toml` | environment | default | what | allowed |\n|---|---|---|---|---|\n";

fn table() -> String {
    let defaults = Settings::default();
    let row = |key: &super::Key| {
        let default = show::value(&defaults, key).map_or_else(|| "–".to_owned(), |value| format!("`{value}`"));
        format!(
            "| `{}` | `{}` | {default} | {} | {} |\n",
            key.name, key.variable, key.purpose, key.allowed
        )
    };
    KEYS.iter().map(row).collect()
}

#[test]
fn the_page_has_every_setting_as_it_is() {
    let (_, rest) = PAGE.split_once(HEADING).expect("the page has a table of settings");
    let (shown, _) = rest.split_once("\n\n").expect("the table has an end");
    let shown = format!("{shown}\n");
    assert_eq!(shown.trim_start(), table(), "the table must be:\n{}", table());
}
