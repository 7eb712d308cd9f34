//! What is deployed fits together: docker-compose.yml, deploy/ and the program's settings.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::process::repository;

fn text(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// A file with one YAML document, its merge keys resolved.
fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&text(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn object<'a>(value: &'a Value, what: &str) -> &'a serde_json::Map<String, Value> {
    value.as_object().unwrap_or_else(|| panic!("{what} is no mapping"))
}

fn list<'a>(value: &'a Value, what: &str) -> &'a [Value] {
    value.as_array().unwrap_or_else(|| panic!("{what} is no list"))
}

fn word<'a>(value: &'a Value, what: &str) -> &'a str {
    value.as_str().unwrap_or_else(|| panic!("{what} is no text"))
}

/// A number, also one that is written as text.
fn number(value: &Value, what: &str) -> u64 {
    let given = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    given.unwrap_or_else(|| panic!("{what} is no number: {value}"))
}

/// Seconds of a span like `60s`.
fn seconds(value: &Value, what: &str) -> u64 {
    let span = word(value, what);
    let digits = span.strip_suffix('s').and_then(|digits| digits.parse().ok());
    digits.unwrap_or_else(|| panic!("{what} is no number of seconds: {span}"))
}

/// The variables of all settings: every literal of the table that is written as variables are.
fn settings() -> BTreeSet<String> {
    let table = text("node/src/config/key.rs");
    let named = table.split('"').skip(1).step_by(2).filter(|literal| {
        literal.contains('_')
            && literal
                .chars()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    });
    let all: BTreeSet<String> = named.map(str::to_owned).collect();
    assert!(all.contains("CASIDE_LISTEN") && all.contains("JWT_SECRET"), "{all:?}");
    all
}

fn assert_known<'a>(names: impl Iterator<Item = &'a String>, place: &str) {
    let known = settings();
    for name in names {
        // OpenTelemetry's variables are its own.
        assert!(
            known.contains(name) || name.starts_with("OTEL_"),
            "{place}: no setting is named {name}"
        );
    }
}

/// The services that are nodes, with their environment.
fn nodes(compose: &Value) -> Vec<(&String, &serde_json::Map<String, Value>)> {
    let services = object(&compose["services"], "services");
    let built = services.iter().filter(|(_, service)| service.get("build").is_some());
    built
        .map(|(name, service)| (name, object(&service["environment"], name)))
        .collect()
}

/// The names in `${NAME}`, `${NAME:-default}` and `${NAME:?message}`.
fn interpolated(text: &str) -> BTreeSet<&str> {
    let rest = text.split("${").skip(1);
    rest.map(|rest| rest.split(['}', ':']).next().unwrap_or_default())
        .collect()
}

#[test]
fn compose_gives_nodes_settings_that_they_have() {
    let compose = yaml("docker-compose.yml");
    let nodes = nodes(&compose);
    assert_eq!(nodes.len(), 3);
    for (name, environment) in nodes {
        assert_known(environment.keys(), name);
        assert_eq!(environment["CASIDE_NODE_ID"], **name);
        assert_eq!(environment["CASIDE_CLUSTER_ADVERTISE"], format!("{name}:7400"));
    }
}

#[test]
fn every_variable_that_compose_takes_is_explained() {
    let example = text(".env.example");
    let explained: BTreeSet<&str> = example
        .lines()
        .filter_map(|line| Some(line.trim_start_matches("# ").split_once('=')?.0))
        .collect();
    let compose = text("docker-compose.yml");
    for name in interpolated(&compose) {
        assert!(explained.contains(name), ".env.example lacks {name}");
    }
}

#[test]
fn compose_has_no_secret_in_it() {
    let compose = yaml("docker-compose.yml");
    for (service, definition) in object(&compose["services"], "services") {
        let Some(environment) = definition.get("environment") else {
            continue;
        };
        for (name, value) in object(environment, service) {
            let secret = ["SECRET", "TOKEN", "PASSWORD", "COOKIE", "KEY", "AUTH"]
                .iter()
                .any(|end| name.ends_with(end));
            let given = value.as_str().unwrap_or_default();
            assert!(!secret || given.starts_with("${"), "{service}: {name} is written out");
        }
    }
}

#[test]
fn compose_pins_every_image() {
    let compose = yaml("docker-compose.yml");
    for (service, definition) in object(&compose["services"], "services") {
        let image = word(&definition["image"], service);
        let (_, tag) = image.split_once(':').unwrap_or((image, "latest"));
        assert!(tag != "latest" && !tag.is_empty(), "{service}: {image}");
    }
}

#[test]
fn compose_publishes_a_port_for_every_worker_a_node_may_have() {
    let compose = yaml("docker-compose.yml");
    for (name, environment) in nodes(&compose) {
        let first = number(&environment["CASIDE_MEDIA_PORT"], name);
        let range = format!("{first}-{}", first + 7);
        let ports = list(&compose["services"][name]["ports"], name);
        let wanted = ["udp", "tcp"].map(|protocol| Value::from(format!("{range}:{range}/{protocol}")));
        assert_eq!(ports, wanted, "{name}");
    }
}

#[test]
fn nodes_have_the_time_to_drain() {
    let compose = yaml("docker-compose.yml");
    for (name, environment) in nodes(&compose) {
        let killed = seconds(&compose["services"][name]["stop_grace_period"], name);
        assert!(killed > seconds(&environment["CASIDE_DRAIN_TIMEOUT"], name), "{name}");
    }
    let pod = &yaml("deploy/kubernetes/statefulset.yaml")["spec"]["template"]["spec"];
    let hook = &pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"];
    let drain = &yaml("deploy/kubernetes/configmap.yaml")["data"]["CASIDE_DRAIN_TIMEOUT"];
    let killed = number(&pod["terminationGracePeriodSeconds"], "the grace period");
    assert!(killed > number(&hook[1], "the preStop hook") + seconds(drain, "the drain"));
}

#[test]
fn the_balancer_knows_the_nodes_of_compose() {
    let compose = yaml("docker-compose.yml");
    let wanted: Vec<String> = nodes(&compose)
        .iter()
        .map(|(name, environment)| {
            let listen = word(&environment["CASIDE_LISTEN"], name);
            let (_, port) = listen.rsplit_once(':').expect("an address has a port");
            format!("server {name} \"${{CASIDE_{}-{name}:{port}}}\"", name.to_uppercase())
        })
        .collect();
    let configuration = text("deploy/haproxy.cfg");
    let mut backends = 0;
    for backend in configuration.split("\nbackend ").skip(1) {
        let servers: Vec<&str> = backend
            .lines()
            .map(str::trim)
            .filter(|l| l.starts_with("server "))
            .collect();
        assert_eq!(servers, wanted);
        backends += 1;
    }
    assert_eq!(backends, 2);
}

#[test]
fn prometheus_asks_the_nodes_of_compose() {
    let compose = yaml("docker-compose.yml");
    let wanted: Vec<String> = nodes(&compose).iter().map(|(name, _)| format!("{name}:8080")).collect();
    let prometheus = yaml("deploy/prometheus.yml");
    let job = &prometheus["scrape_configs"][0];
    assert_eq!(job["job_name"], "caside");
    assert_eq!(job["static_configs"][0]["targets"], Value::from(wanted));
}

#[test]
fn kubernetes_gives_nodes_settings_that_they_have() {
    let configuration = yaml("deploy/kubernetes/configmap.yaml");
    assert_known(object(&configuration["data"], "data").keys(), "configmap.yaml");
    let secret = yaml("deploy/kubernetes/secret.example.yaml");
    assert_known(
        object(&secret["stringData"], "stringData").keys(),
        "secret.example.yaml",
    );
    let set = yaml("deploy/kubernetes/statefulset.yaml");
    let environment = list(&set["spec"]["template"]["spec"]["containers"][0]["env"], "env");
    let names: Vec<String> = environment
        .iter()
        .map(|one| word(&one["name"], "a name").to_owned())
        .collect();
    assert_known(names.iter(), "statefulset.yaml");
}

#[test]
fn kubernetes_opens_a_port_for_every_worker() {
    let configuration = &yaml("deploy/kubernetes/configmap.yaml")["data"];
    let first = number(&configuration["CASIDE_MEDIA_PORT"], "the first port");
    let workers = number(&configuration["CASIDE_MEDIA_WORKERS"], "the workers");
    let set = yaml("deploy/kubernetes/statefulset.yaml");
    let ports = list(&set["spec"]["template"]["spec"]["containers"][0]["ports"], "ports");
    let policy = yaml("deploy/kubernetes/networkpolicy.yaml");
    let allowed = list(&policy["spec"]["ingress"][1]["ports"], "ports");
    for protocol in ["UDP", "TCP"] {
        let opened: Vec<(u64, u64)> = ports
            .iter()
            .filter(|port| port["protocol"] == protocol && port.get("hostPort").is_some())
            .map(|port| {
                (
                    number(&port["containerPort"], "a port"),
                    number(&port["hostPort"], "a port"),
                )
            })
            .collect();
        let wanted: Vec<(u64, u64)> = (first..first + workers).map(|port| (port, port)).collect();
        assert_eq!(opened, wanted, "{protocol}");
        let passes = allowed.iter().any(|range| {
            range["protocol"] == protocol && range["port"] == first && range["endPort"] == first + workers - 1
        });
        assert!(passes, "networkpolicy.yaml: {protocol}");
    }
}

#[test]
fn every_file_of_the_kustomization_is_there() {
    let folder = "deploy/kubernetes";
    let kustomization = yaml(&format!("{folder}/kustomization.yaml"));
    let listed: BTreeSet<String> = list(&kustomization["resources"], "resources")
        .iter()
        .map(|name| word(name, "a resource").to_owned())
        .collect();
    let there: BTreeSet<String> = fs::read_dir(repository().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !matches!(name.as_str(), "kustomization.yaml" | "secret.example.yaml"))
        .collect();
    assert_eq!(listed, there);
}

#[test]
fn the_other_files_can_be_read() {
    for path in ["otel-collector.yaml", "tempo.yaml", "loki.yaml"] {
        assert!(yaml(&format!("deploy/{path}")).is_object(), "{path}");
    }
    for folder in ["datasources", "dashboards"] {
        assert_eq!(
            yaml(&format!("deploy/grafana/provisioning/{folder}/caside.yaml"))["apiVersion"],
            1
        );
    }
}

/// Where families of metrics are made.
fn metric_sources() -> Vec<String> {
    let parts = ["actors", "media", "node", "process", "recordings"].map(|part| format!("node/src/metrics/{part}.rs"));
    let traffic = "node/src/http/traffic.rs".to_owned();
    parts.into_iter().chain([traffic]).map(|path| text(&path)).collect()
}

/// Every metric of ours in an expression is one that nodes have; `node/tests/it/inspect.rs` asks a running one.
fn assert_metrics(expression: &str, place: &str) -> usize {
    let sources = metric_sources();
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named: BTreeSet<&str> = words.filter(|word| word.starts_with("caside_")).collect();
    for name in &named {
        // A histogram's series are its name with an ending.
        let ends = ["_bucket", "_sum", "_count"];
        let family = ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let is_in = |name: &str| sources.iter().any(|source| source.contains(&format!("\"{name}\"")));
        let known = is_in(name) || is_in(family);
        assert!(known, "{place}: no metric is named {name}");
    }
    named.len()
}

#[test]
fn dashboards_ask_for_metrics_that_nodes_have() {
    let folder = "deploy/grafana/dashboards";
    let mut uids = BTreeSet::new();
    for entry in fs::read_dir(repository().join(folder)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let dashboard: Value = serde_json::from_str(&text(&format!("{folder}/{name}"))).unwrap();
        assert!(
            uids.insert(word(&dashboard["uid"], "a uid").to_owned()),
            "{name}: another has its uid"
        );
        let mut ids = BTreeSet::new();
        for panel in list(&dashboard["panels"], "panels") {
            assert!(
                ids.insert(number(&panel["id"], "a panel's id")),
                "{name}: two panels of one id"
            );
            assert_eq!(panel["datasource"]["uid"], "prometheus", "{name}");
            for target in list(&panel["targets"], "targets") {
                assert_metrics(word(&target["expr"], "an expression"), &name);
            }
        }
    }
    assert_eq!(uids.len(), 4);
}

#[test]
fn alerts_are_of_metrics_that_nodes_have_and_prometheus_reads_them() {
    let rules = yaml("deploy/prometheus/alerts.yml");
    let mut named = 0;
    for group in list(&rules["groups"], "groups") {
        for rule in list(&group["rules"], "rules") {
            let name = word(&rule["alert"], "an alert");
            named += assert_metrics(word(&rule["expr"], name), name);
            let severity = word(&rule["labels"]["severity"], name);
            assert!(["page", "ticket"].contains(&severity), "{name}: {severity}");
            for said in ["summary", "description"] {
                assert!(!word(&rule["annotations"][said], name).is_empty(), "{name}");
            }
        }
    }
    assert!(named >= 10, "{named}");
    let read = &yaml("deploy/prometheus.yml")["rule_files"][0];
    let mounted = list(
        &yaml("docker-compose.yml")["services"]["prometheus"]["volumes"],
        "volumes",
    )
    .to_vec();
    let wanted = format!("./deploy/prometheus/alerts.yml:{}:ro", word(read, "a file of rules"));
    assert!(mounted.contains(&Value::from(wanted)));
}

// ---- packages ------------------------------------------------------------------------------------------------------

/// The lines `name=value` of a unit's section.
fn unit(section: &str) -> Vec<(String, String)> {
    let unit = text("deploy/systemd/caside.service");
    let (_, rest) = unit.split_once(&format!("[{section}]\n")).expect("the section");
    let lines = rest.lines().take_while(|line| !line.starts_with('['));
    lines
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn the_unit_gives_settings_that_there_are_and_time_to_drain() {
    let service = unit("Service");
    let all = |name: &str| -> Vec<&str> {
        let lines = service.iter().filter(|(key, _)| key == name);
        lines.map(|(_, value)| value.as_str()).collect()
    };
    let given: Vec<String> = all("Environment")
        .iter()
        .filter_map(|line| Some(line.split_once('=')?.0.to_owned()))
        .collect();
    assert_known(given.iter(), "caside.service");
    let seconds = |name: &str| seconds(&Value::from(all(name)[0]), name);
    let defaults = text("node/src/config.rs");
    let default = |field: &str| -> u64 {
        let (_, rest) = defaults
            .split_once(&format!("{field}: Span(Duration::from_secs("))
            .expect("a default");
        rest.split(')')
            .next()
            .and_then(|digits| digits.parse().ok())
            .expect("seconds")
    };
    assert!(seconds("TimeoutStopSec") > default("drain_timeout"));
    assert!(seconds("TimeoutStartSec") > default("database_wait"));
    assert_eq!(all("Type"), ["notify"]);
    assert_eq!(all("ExecReload"), ["/bin/kill -HUP $MAINPID"]);
    // A wrong configuration ends with 2.
    assert_eq!(all("RestartPreventExitStatus"), ["2"]);
    for hardened in [
        "NoNewPrivileges",
        "ProtectHome",
        "PrivateTmp",
        "PrivateDevices",
        "ProtectKernelModules",
        "RestrictNamespaces",
        "RestrictSUIDSGID",
        "MemoryDenyWriteExecute",
        "LockPersonality",
    ] {
        assert_eq!(all(hardened), ["yes"], "{hardened}");
    }
    assert_eq!(all("ProtectSystem"), ["strict"]);
    assert_ne!(all("User"), ["root"]);
    let descriptors: u64 = all("LimitNOFILE")[0].parse().unwrap();
    assert!(
        descriptors >= 10_000 + 5_000,
        "docs/operations.md says how many it takes"
    );
}

#[test]
fn systemd_takes_the_unit() {
    let unit = repository().join("deploy/systemd/caside.service");
    let verify = std::process::Command::new("systemd-analyze")
        .arg("verify")
        .arg(&unit)
        .output();
    let Ok(verify) = verify else {
        eprintln!("systemd-analyze is not there; only the lines were checked");
        return;
    };
    let said = String::from_utf8_lossy(&verify.stderr);
    // That nothing is installed here is no fault of the unit.
    let wrong: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("caside.service"))
        .filter(|line| !line.contains("/usr/bin/caside is not executable"))
        .collect();
    assert_eq!(wrong, Vec::<&str>::new());
}

#[test]
fn the_package_has_what_its_list_names() {
    let manifest = text("node/Cargo.toml");
    let (_, deb) = manifest.split_once("[package.metadata.deb]\n").expect("the package");
    let mut installed = BTreeSet::new();
    for line in deb.lines().filter(|line| line.trim_start().starts_with("[\"")) {
        let parts: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
        let [from, to, mode] = parts[..] else {
            panic!("an asset has three parts: {line}")
        };
        // The one that is built first.
        if from != "target/release/caside" {
            assert!(repository().join("node").join(from).exists(), "{from}");
        }
        let secret = to.starts_with("etc/");
        assert!(!secret || mode.ends_with('0'), "{to}: everybody may read it");
        let name = if to.ends_with('/') {
            format!("{to}{}", from.rsplit('/').next().unwrap())
        } else {
            to.to_owned()
        };
        installed.insert(name);
    }
    // What the unit starts and reads.
    for needed in ["usr/bin/caside", "etc/caside/caside.toml", "etc/caside/caside.env"] {
        assert!(installed.contains(needed), "{needed}");
    }
    let unit = text("deploy/systemd/caside.service");
    for path in ["/usr/bin/caside", "/etc/caside/caside.toml", "/etc/caside/caside.env"] {
        assert!(unit.contains(path), "{path}");
    }
    for script in ["postinst", "postrm"] {
        let script = repository().join("deploy/debian").join(script);
        let checked = std::process::Command::new("sh")
            .arg("-n")
            .arg(&script)
            .status()
            .unwrap();
        assert!(checked.success(), "{}", script.display());
        assert!(fs::read_to_string(&script).unwrap().contains("#DEBHELPER#"));
    }
}

#[test]
fn the_image_is_small_and_runs_as_nobody_special() {
    let dockerfile = text("Dockerfile");
    let logical = dockerfile.replace("\\\n", " ");
    let steps: Vec<(&str, &str)> = logical
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .filter_map(|line| line.split_once(' '))
        .collect();
    let of = |name: &str| -> Vec<&str> { steps.iter().filter(|step| step.0 == name).map(|step| step.1).collect() };
    let from = of("FROM");
    assert_eq!(from.len(), 2, "built in one image, shipped in another");
    assert!(
        from.iter()
            .all(|image| image.contains(':') && !image.contains(":latest")),
        "{from:?}"
    );
    assert!(from[1].contains("slim"));
    // Rust's version is the one that the project is built with elsewhere.
    let toolchain = text("rust-toolchain.toml");
    let version = toolchain.split('"').nth(1).expect("a version");
    let version: Vec<&str> = version.split('.').take(2).collect();
    assert!(from[0].contains(&version.join(".")), "{} {version:?}", from[0]);
    assert_eq!(of("USER"), ["caside"]);
    assert_eq!(of("HEALTHCHECK").len(), 1);
    assert!(of("HEALTHCHECK")[0].ends_with("CMD [\"caside\", \"health\"]"));
    let variables = of("ENV").join(" ");
    let names: Vec<String> = variables
        .split_whitespace()
        .filter_map(|part| Some(part.split_once('=')?.0.to_owned()))
        .collect();
    assert!(!names.is_empty());
    assert_known(names.iter(), "Dockerfile");
    // What is copied into the build has no secrets and no data.
    let ignored = text(".dockerignore");
    for name in ["target", "data", ".env", ".git"] {
        assert!(ignored.lines().any(|line| line == name), ".dockerignore lacks {name}");
    }
}

#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let page = text("docs/security.md");
    let mut named = 0;
    for link in page.split("[`").skip(1) {
        let (name, rest) = link.split_once("`](").expect("a link around code");
        let (path, _) = rest.split_once(')').expect("an end of the link");
        let path = path.strip_prefix("../").expect("a path in the repository");
        let source = text(path);
        // A whole file is its own proof.
        if path.ends_with(&format!("/{name}")) || path == name {
            continue;
        }
        named += 1;
        let there = source.contains(&format!("fn {name}(")) || source.contains(&format!("test('{name}'"));
        assert!(there, "docs/security.md names {name}, which {path} does not have");
    }
    assert!(named > 20, "{named}");
    // And what proves attacks has a threat.
    let attacks = text("node/tests/it/attacks.rs");
    for test in attacks.split("#[tokio::test]").skip(1) {
        let name = test
            .split("fn ")
            .nth(1)
            .and_then(|rest| rest.split('(').next())
            .expect("a name");
        assert!(page.contains(name), "docs/security.md does not name {name}");
    }
}
