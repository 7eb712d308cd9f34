use super::*;

#[test]
fn sizes_and_spans_read_back_what_they_show() {
    for (text, bytes) in [("1B", 1), ("512MiB", 512 << 20), ("3GiB", 3 << 30), ("1025B", 1025)] {
        let size: DataSize = text.parse().unwrap();
        assert_eq!((size.0, size.to_string().as_str()), (bytes, text));
    }
    for (text, ms) in [
        ("30s", 30_000),
        ("90s", 90_000),
        ("2m", 120_000),
        ("1d", 86_400_000),
        ("7ms", 7),
        ("0ms", 0),
    ] {
        let span: Span = text.parse().unwrap();
        assert_eq!((span.0.as_millis(), span.to_string().as_str()), (ms, text));
    }
    for wrong in ["", "0", "-1B", "1.5GiB", "99999999TiB"] {
        assert!(wrong.parse::<DataSize>().is_err(), "{wrong}");
    }
    for wrong in ["", "30", "8d", "s", "-1s"] {
        assert!(wrong.parse::<Span>().is_err(), "{wrong}");
    }
}

#[test]
fn a_database_url_is_shown_without_its_password() {
    for (url, shown) in [
        ("postgres://ada:pa@ss@db/caside", "postgres://ada:***@db/caside"),
        (
            "postgres://db/caside?user=a&password=b",
            "postgres://db/caside?user=a&password=***",
        ),
        ("sqlite:data/caside.db", "sqlite:data/caside.db"),
    ] {
        let parsed: DatabaseUrl = url.parse().unwrap();
        assert_eq!(parsed.to_string(), shown);
        assert_eq!(parsed.expose(), url);
    }
    assert!("mysql://db".parse::<DatabaseUrl>().is_err());
}

#[test]
fn ice_servers_are_a_list_of_urls_or_json() {
    let plain: IceServers = "stun:a.example, stun:b.example:3478".parse().unwrap();
    assert_eq!(plain.0.len(), 2);
    let turn: IceServers = r#"[{"urls":["turn:t.example"],"username":"u","credential":"hush"}]"#
        .parse()
        .unwrap();
    assert_eq!(turn.0[0].credential.as_deref(), Some("hush"));
    assert!(!serde_json::to_string(&turn).unwrap().contains("hush"));
    for wrong in ["turn:t.example", "http://x", "[{}]", "[1]"] {
        assert!(wrong.parse::<IceServers>().is_err(), "{wrong}");
    }
}
