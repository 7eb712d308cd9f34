//! What operators look at, by REST and by the command line.

use serde_json::{Value, json};

use crate::support::ws::JSON;
use crate::support::{Node, Ws, run};

async fn get(node: &Node, token: &str, path: &str) -> Value {
    let answer = node.request("GET", path).bearer(token).send().await;
    assert_eq!(answer.status, 200, "{path}");
    answer.json()
}

fn kinds(actors: &Value) -> Vec<&str> {
    let items = actors["items"].as_array().unwrap();
    items.iter().map(|actor| actor["kind"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn admins_see_every_actor_and_a_room_in_full() {
    let node = Node::start().await;
    let admin = node.admin().await;
    let (ada, bob) = (
        node.mint(&admin, "ada", "standup", "host").await,
        node.mint(&admin, "bob", "standup", "participant").await,
    );
    let (_ada, first) = Ws::joined(&node, &ada, "standup", JSON).await;
    let (bob, _) = Ws::joined(&node, &bob, "standup", JSON).await;

    let all = get(&node, &admin, "/admin/actors").await;
    let want = [
        "node",
        "rooms",
        "invites",
        "peers",
        "recordings",
        "room",
        "peer",
        "peer",
    ];
    assert_eq!(kinds(&all), want);
    assert_eq!(
        (&all["total"], &all["truncated"], &all["silent"]),
        (&json!(8), &json!(false), &json!([]))
    );
    let room = &all["items"][5];
    assert_eq!(
        (&room["name"], &room["answers"], &room["restarts"]),
        (&json!("standup"), &json!(true), &json!(0))
    );
    assert_eq!(room["state"]["named"][0]["user"], "ada");
    assert!(room["mailbox"]["handled"].as_u64() >= Some(2) && room["mailbox"]["bound"] == 8192);
    assert!(room["started_at"].is_string() && room["mailbox"]["last_message_at"].is_string());
    assert_eq!(
        kinds(&get(&node, &admin, "/admin/actors?room=standup").await),
        ["room", "peer", "peer"]
    );
    assert_eq!(kinds(&get(&node, &admin, "/admin/actors?room=other").await), [""; 0]);
    assert_eq!(
        kinds(&get(&node, &admin, "/admin/actors?kind=peer&limit=1").await),
        ["peer"]
    );
    let nowhere = get(&node, &admin, "/admin/actors?node=n9").await;
    assert_eq!((&nowhere["items"], &nowhere["silent"]), (&json!([]), &json!(["n9"])));

    let seen = get(&node, &admin, "/admin/rooms/standup").await;
    assert_eq!(
        (&seen["mode"], &seen["sfu"], &seen["standby"]),
        (&json!("sfu"), &json!("absent"), &Value::Null)
    );
    assert_eq!(
        seen["room"]["participants"][0]["participant_id"],
        first["participant_id"]
    );
    let member = &seen["members"][0];
    assert_eq!(member["participant_id"], first["participant_id"]);
    assert_eq!((&member["quality"], &member["node"]), (&json!("good"), &seen["node"]));

    // What nobody else may see, and what is not there.
    let stranger = node.user("stranger").await;
    for path in ["/admin/actors", "/admin/rooms/standup"] {
        assert_eq!(node.request("GET", path).send().await.refusal().0, 401);
        let refused = node.request("GET", path).bearer(&stranger).send().await.refusal();
        assert_eq!(refused, (403, "forbidden".to_owned()));
    }
    let refused = async |path: &str| node.request("GET", path).bearer(&admin).send().await.refusal();
    for wrong in ["limit=0", "limit=1001", "limit=x", "room=a%20b", "node=%20"] {
        let (status, code) = refused(&format!("/admin/actors?{wrong}")).await;
        assert_eq!((status, code.as_str()), (400, "invalid_payload"), "{wrong}");
    }
    assert_eq!(
        refused("/admin/rooms/nowhere").await,
        (404, "room_not_found".to_owned())
    );

    // By the command line.
    let listen = [("CASIDE_LISTEN", node.address.as_str())];
    let inspect = async |args: &[&str]| {
        let output = run(node.dir.path(), &[&["inspect"], args].concat(), &listen).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let tree = inspect(&["actors"]).await;
    let lines: Vec<&str> = tree.lines().collect();
    assert!(
        lines[0].starts_with("ACTOR") && lines[2].starts_with("  node "),
        "{tree}"
    );
    let room = lines
        .iter()
        .find(|line| line.starts_with("      room standup "))
        .unwrap();
    assert!(
        room.contains("0/8192") && room.contains("mode=sfu") && room.contains("participants=2"),
        "{room}"
    );
    let few: Value =
        serde_json::from_str(&inspect(&["actors", "--json", "--kind", "room", "--node", "node-1"]).await).unwrap();
    assert!(few["items"].as_array().is_some(), "{few}");
    let one = inspect(&["rooms", "standup"]).await;
    assert!(
        one.starts_with("standup on ") && one.contains("\nada ") && one.contains("\nbob "),
        "{one}"
    );
    assert!(inspect(&["rooms"]).await.contains("standup"));
    let missing = run(node.dir.path(), &["inspect", "rooms", "nowhere"], &listen).await;
    assert!(!missing.status.success());
    assert!(String::from_utf8_lossy(&missing.stderr).contains("room_not_found"));
    let wrong = run(node.dir.path(), &["inspect", "actors", "--limit", "0"], &listen).await;
    assert!(!wrong.status.success());

    // A stuck or slow client is none: it is asked like the others, and goes.
    bob.close().await;
    loop {
        if kinds(&get(&node, &admin, "/admin/actors?room=standup").await) == ["room", "peer"] {
            break;
        }
    }
}

#[tokio::test]
async fn every_metric_that_dashboards_and_alerts_name_is_there() {
    let node = Node::start().await;
    let admin = node.admin().await;
    let token = node.mint(&admin, "ada", "standup", "host").await;
    let _ada = Ws::joined(&node, &token, "standup", JSON).await;
    let page = node.request("GET", "/metrics").bearer(&admin).send().await;
    let page = String::from_utf8(page.body.to_vec()).unwrap();
    let families: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let documented = include_str!("../../../docs/operations.md");
    for family in &families {
        assert!(
            documented.contains(&format!("`{family}`")),
            "docs/operations.md: {family}"
        );
    }
    let deploy = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy");
    let mut files: Vec<std::path::PathBuf> = std::fs::read_dir(format!("{deploy}/grafana/dashboards"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.push(format!("{deploy}/prometheus/alerts.yml").into());
    let mut named = 0;
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for word in words.filter(|word| word.starts_with("caside_")) {
            // A histogram's series are the family's name with an ending.
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| word.strip_suffix(end));
            let known = |name: &str| families.contains(&name);
            assert!(known(word) || family.is_some_and(known), "{}: {word}", file.display());
            named += 1;
        }
    }
    assert!(named > 40, "{named}");
}
