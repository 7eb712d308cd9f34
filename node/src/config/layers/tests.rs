use super::*;

fn configured(
    flags: &[(&'static str, &str)],
    env: &[(&str, &str)],
    dotenv: &str,
    file: &str,
) -> Result<Configuration, String> {
    let mut layers = Layers::default();
    layers.flags(&flags.iter().map(|(n, v)| (*n, (*v).to_owned())).collect::<Vec<_>>());
    let read = |layers: &mut Layers| {
        layers.environment(env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())))?;
        layers.dotenv(Path::new(".env"), dotenv)?;
        layers.file(Path::new("caside.toml"), file)
    };
    read(&mut layers).map_err(|e| e.to_string())?;
    layers.finish().map_err(|e| e.to_string())
}

#[test]
fn the_nearest_source_counts_and_is_remembered() {
    let flag = [("node_id", "by-flag")];
    let env = [("CASIDE_NODE_ID", "by-env"), ("CASIDE_MEDIA_PORT", "5")];
    let dotenv = "CASIDE_MEDIA_PORT=6\nCASIDE_MAX_ROOM_SIZE=7\n";
    let file = "# comment\nmax_room_size = 8\nmax_connections = 9\n";
    let c = configured(&flag, &env, dotenv, file).unwrap();
    assert_eq!(c.settings.node_id.as_str(), "by-flag");
    assert_eq!(c.source("node_id"), Source::Flag);
    assert_eq!(
        (c.settings.media_port.get(), c.source("media_port")),
        (5, Source::Environment)
    );
    assert_eq!(c.settings.max_room_size.get(), 7);
    assert_eq!(c.source("max_room_size"), Source::DotEnv(".env".into(), 2));
    assert_eq!(c.settings.max_connections.get(), 9);
    assert_eq!(c.source("max_connections"), Source::File("caside.toml".into(), 3));
    assert_eq!(c.source("spool_max"), Source::Default);
}

#[test]
fn a_wrong_value_is_one_line_with_name_value_source_and_what_is_allowed() {
    let e = configured(&[], &[("CASIDE_MEDIA_PORT", "99999")], "", "").unwrap_err();
    assert_eq!(
        e,
        "CASIDE_MEDIA_PORT = \"99999\" (environment): out of range; allowed: 0 to 65535"
    );
    let e = configured(&[], &[], "", "node_id = \"n1\"\nmax_connections = 0\n").unwrap_err();
    assert_eq!(
        e,
        "max_connections = 0 (caside.toml:2): out of range; allowed: 1 to 1000000"
    );
    let e = configured(&[("drain_timeout", "30")], &[], "", "").unwrap_err();
    assert_eq!(
        e,
        "--drain-timeout = \"30\" (flag): has no unit; allowed: 0s to 7d, like 500ms, 30s or 5m"
    );
    let e = configured(&[], &[], "\nCASIDE_AUTO_CREATE_ROOMS=maybe", "").unwrap_err();
    assert!(e.starts_with("CASIDE_AUTO_CREATE_ROOMS = \"maybe\" (.env:2): "), "{e}");
    for e in [
        configured(&[], &[], "", "listen = [\"a\nb\"]"),
        configured(&[], &[], "", "listen = 5"),
        configured(&[], &[], "", "listen = \"\"\"\nx\ny\"\"\""),
        configured(&[], &[], "", "ice_servers = [{ urls = \"x\" }]"),
    ] {
        assert_eq!(e.unwrap_err().lines().count(), 1);
    }
}

#[test]
fn secrets_never_show() {
    for e in [
        configured(&[], &[("JWT_SECRET", "hush")], "", ""),
        configured(&[], &[], "", "jwt_secret = \"hush\""),
        configured(&[], &[("AWS_SECRET_ACCESS_KEY", "hush")], "", ""),
        configured(&[], &[("DATABASE_URL", "mysql://root:hush@db")], "", ""),
        configured(
            &[],
            &[("CASIDE_ICE_SERVERS", "[{\"urls\":[\"x\"],\"credential\":\"hush\"}]")],
            "",
            "",
        ),
    ] {
        let line = e.unwrap_err();
        assert!(!line.contains("hush"), "{line}");
    }
    let secret = "hushhushhushhushhushhushhushhush";
    let turn = "[{\"urls\":[\"turn:t\"],\"username\":\"u\",\"credential\":\"hush\"}]";
    let env = [
        ("JWT_SECRET", secret),
        ("DATABASE_URL", "postgres://a:hush@db/c"),
        ("CASIDE_ICE_SERVERS", turn),
    ];
    let c = configured(&[], &env, "", "").unwrap();
    assert!(!super::super::show::print(&c).contains("hush"));
    assert!(!format!("{:?}", c.settings).contains("hush"));
}

#[test]
fn an_unknown_name_is_refused_with_the_nearest_known_one() {
    let e = configured(&[], &[("CASIDE_MEDIA_PROT", "1")], "", "").unwrap_err();
    assert_eq!(
        e,
        "CASIDE_MEDIA_PROT (environment): no such setting; did you mean CASIDE_MEDIA_PORT?"
    );
    let e = configured(&[], &[("CASIDE_DATABASE_URL", "sqlite:x")], "", "").unwrap_err();
    assert_eq!(
        e,
        "CASIDE_DATABASE_URL (environment): no such setting; did you mean DATABASE_URL?"
    );
    let e = configured(&[], &[], "CASIDE_SERVICE_HOST=10.0.0.1", "").unwrap_err();
    assert!(e.starts_with("CASIDE_SERVICE_HOST (.env:1): no such setting"), "{e}");
    let kubernetes = [
        ("CASIDE_SERVICE_HOST", "10.0.0.1"),
        ("CASIDE_PORT", "tcp://10.0.0.1:8080"),
    ];
    let c = configured(&[], &kubernetes, "", "").unwrap();
    assert_eq!(c.ignored, ["CASIDE_SERVICE_HOST", "CASIDE_PORT"]);
    let e = configured(&[], &[], "", "\nlisten_on = \"x\"\n").unwrap_err();
    assert_eq!(e, "listen_on (caside.toml:2): no such setting; did you mean listen?");
    assert!(configured(&[], &[("UNRELATED", "x")], "OTHER_TOOL=1", "").is_ok());
    let e = configured(&[], &[], "", "listen = [").unwrap_err();
    assert!(e.starts_with("caside.toml: line 1: "), "{e}");
}

#[test]
fn media_addresses_are_refused_in_one_line() {
    for (value, reason) in [
        (
            "203.0.113.5/24",
            "203.0.113.5/24: not an IP address, nor two with a slash between",
        ),
        (
            "10.0.0.5,0.0.0.0",
            "0.0.0.0: not an address that can be offered to clients",
        ),
        (
            "203.0.113.5/fd00::1",
            "203.0.113.5/fd00::1: the public and the private address are of different families",
        ),
    ] {
        let e = configured(&[], &[("CASIDE_MEDIA_IP", value)], "", "").unwrap_err();
        assert_eq!(
            e,
            format!(
                "CASIDE_MEDIA_IP = \"{value}\" (environment): {reason}; allowed: IP addresses, or public/private pairs of them, separated by commas"
            )
        );
    }
    let c = configured(&[], &[("CASIDE_MEDIA_IP", "203.0.113.5/10.0.0.5, 2001:db8::1")], "", "").unwrap();
    assert_eq!(c.settings.media_ip.len(), 2);
    let e = configured(&[], &[("CASIDE_MEDIA_PROTOCOLS", "sctp")], "", "").unwrap_err();
    assert!(e.ends_with("allowed: udp+tcp, udp or tcp"), "{e}");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let public = [("CASIDE_LISTEN", "127.0.0.1:8080,0.0.0.0:8080")];
    let e = configured(&[], &public, "", "").unwrap_err();
    assert!(
        e.starts_with("CASIDE_LISTEN = [\"127.0.0.1:8080\", \"0.0.0.0:8080\"] (environment): "),
        "{e}"
    );
    assert!(e.contains("JWT_SECRET"), "{e}");
    let with_secret = [public[0], ("JWT_SECRET", "0123456789abcdef0123456789abcdef")];
    assert!(configured(&[], &with_secret, "", "").is_ok());
    for env in [
        [("CASIDE_MEDIA_PORT", "65535"), ("CASIDE_MEDIA_WORKERS", "2")],
        [("CASIDE_LISTEN", "127.0.0.1:1,127.0.0.1:1"), ("RUST_LOG", "info")],
        [("S3_ENDPOINT", "http://s3.local"), ("RUST_LOG", "info")],
        [("AWS_ACCESS_KEY_ID", "AK"), ("RUST_LOG", "info")],
        [("CASIDE_LISTEN", ","), ("RUST_LOG", "info")],
        [("CASIDE_TURN_URLS", "turn:t.example"), ("RUST_LOG", "info")],
        [("CASIDE_TURN_SECRET", "0123456789abcdef"), ("RUST_LOG", "info")],
        [
            ("CASIDE_TURN_URLS", "stun:t.example"),
            ("CASIDE_TURN_SECRET", "0123456789abcdef"),
        ],
    ] {
        assert!(configured(&[], &env, "", "").is_err(), "{env:?}");
    }
}

#[test]
fn every_field_has_a_key_and_every_key_a_field() {
    let full = Settings {
        database_url: Some("sqlite:x".parse().unwrap()),
        redis_url: Some("redis://r".parse().unwrap()),
        tls_cert: Some("c".parse().unwrap()),
        tls_key: Some("k".parse().unwrap()),
        cluster_advertise: Some("h:1".parse().unwrap()),
        cluster_cookie: Some("0123456789abcdef".parse().unwrap()),
        cluster_cert: Some("c".parse().unwrap()),
        cluster_key: Some("k".parse().unwrap()),
        cluster_ca: Some("a".parse().unwrap()),
        s3_bucket: Some("b".parse().unwrap()),
        s3_endpoint: Some("http://s3".parse().unwrap()),
        aws_access_key_id: Some("a".parse().unwrap()),
        aws_secret_access_key: Some("s".parse().unwrap()),
        aws_session_token: Some("t".parse().unwrap()),
        metrics_token: Some("0123456789abcdef".parse().unwrap()),
        turn_secret: Some("0123456789abcdef".parse().unwrap()),
        jwt_secret: Some("0123456789abcdef0123456789abcdef".parse().unwrap()),
        ..Settings::default()
    };
    let mut fields: Vec<_> = Table::try_from(&full).unwrap().keys().cloned().collect();
    let mut keys: Vec<_> = KEYS.iter().map(|key| key.name.to_owned()).collect();
    fields.sort();
    keys.sort();
    assert_eq!(fields, keys);
}

#[test]
fn the_printed_configuration_can_be_read_again() {
    let c = configured(&[], &[("CASIDE_ICE_SERVERS", "stun:a.example")], "", "").unwrap();
    let again = configured(&[], &[], "", &super::super::show::print(&c)).unwrap();
    assert_eq!(again.settings, c.settings);
}

const EXAMPLE_FILE: &str = include_str!("../../../../caside.example.toml");
const EXAMPLE_ENV: &str = include_str!("../../../../.env.example");

#[test]
fn the_examples_can_be_used_as_they_are_and_with_every_line_uncommented() {
    let c = configured(&[], &[], EXAMPLE_ENV, EXAMPLE_FILE).unwrap();
    assert_eq!(c.settings, Settings::default());
    let uncommented = |text: &str, assigns: fn(&str) -> bool| {
        let lines = text
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|rest| assigns(rest)).unwrap_or(line));
        lines.collect::<Vec<_>>().join("\n")
    };
    let setting = |line: &str| {
        line.split_once(" = ")
            .is_some_and(|(name, _)| key::by_name(name).is_some())
    };
    let variable = |line: &str| {
        line.split_once('=')
            .is_some_and(|(name, _)| key::by_variable(name).is_some())
    };
    let file = configured(&[], &[], "", &uncommented(EXAMPLE_FILE, setting)).unwrap();
    let env = configured(&[], &[], &uncommented(EXAMPLE_ENV, variable), "").unwrap();
    for key in KEYS {
        assert!(
            matches!(file.source(key.name), Source::File(..)),
            "caside.example.toml lacks {}",
            key.name
        );
        assert!(
            matches!(env.source(key.name), Source::DotEnv(..)),
            ".env.example lacks {}",
            key.variable
        );
    }
}
