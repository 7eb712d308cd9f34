//! WHIP by its HTTP: what a publishing program sends and gets, without the media itself.

use serde_json::Value;

use crate::support::Node;
use crate::support::http::Answer;

/// An offer of Chromium's, as captured.
const OFFER: &str = include_str!("../../../media/tests/fixtures/sdp/chromium_camera.sdp");
const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

async fn post(node: &Node, token: &str, room: &str, offer: &str) -> Answer {
    let request = node.request("POST", &format!("/whip/{room}")).bearer(token);
    request.header("content-type", SDP).body(offer.to_owned()).send().await
}

async fn patch(node: &Node, token: &str, session: &str, if_match: &str, fragment: &str) -> Answer {
    let request = node
        .request("PATCH", session)
        .bearer(token)
        .header("if-match", if_match);
    request
        .header("content-type", FRAGMENT)
        .body(fragment.to_owned())
        .send()
        .await
}

async fn participants(node: &Node, token: &str, room: &str) -> Vec<Value> {
    let path = format!("/rooms/{room}/participants");
    let answer = node.request("GET", &path).bearer(token).send().await;
    answer
        .json()
        .get("items")
        .map(|items| items.as_array().unwrap().clone())
        .unwrap_or_default()
}

/// Waits until a room has so many participants.
async fn until_participants(node: &Node, token: &str, room: &str, count: usize) -> Vec<Value> {
    let waiting = async {
        loop {
            let there = participants(node, token, room).await;
            if there.len() == count {
                return there;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("never {count} participants"))
}

#[tokio::test]
async fn a_publisher_is_a_participant_until_it_deletes_its_session() {
    let node = Node::with(&[
        ("CASIDE_ICE_SERVERS", "stun:stun.example"),
        ("CASIDE_TURN_URLS", "turn:turn.example?transport=udp"),
        ("CASIDE_TURN_SECRET", "0123456789abcdef"),
    ])
    .await;
    let token = node.admin().await;
    let options = node.request("OPTIONS", "/whip/studio").send().await;
    assert_eq!((options.status, options.header("accept-post")), (204, SDP));
    assert_eq!(node.request("GET", "/whip/studio").send().await.refusal().0, 405);

    let opened = post(&node, &token, "studio", OFFER).await;
    assert_eq!(opened.status, 201, "{:?}", opened.body);
    assert_eq!(opened.header("content-type"), SDP);
    assert_eq!(opened.header("accept-patch"), FRAGMENT);
    let answer = String::from_utf8(opened.body.to_vec()).unwrap();
    assert!(answer.contains("a=recvonly") && answer.contains("a=setup:passive"));
    let session = opened.header("location").to_owned();
    assert!(session.starts_with("/whip/studio/"), "{session}");
    let etag = opened.header("etag").to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"'));
    let links: Vec<_> = opened
        .headers
        .get_all("link")
        .iter()
        .map(|l| l.to_str().unwrap())
        .collect();
    assert_eq!(links.len(), 2);
    assert_eq!(links[0], "<stun:stun.example>; rel=\"ice-server\"");
    assert!(links[1].starts_with("<turn:turn.example?transport=udp>; rel=\"ice-server\"; username=\""));

    let there = participants(&node, &token, "studio").await;
    assert_eq!(there.len(), 1);
    let tracks = there[0]["tracks"].as_array().unwrap();
    let mut kinds: Vec<_> = tracks.iter().map(|t| t["kind"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["audio", "video"]);

    let guest = node.mint(&token, "guest", "studio", "participant").await;
    let foreign = node.request("DELETE", &session).bearer(&guest).send().await;
    assert_eq!(foreign.refusal(), (403, "forbidden".to_owned()));
    let ended = node.request("DELETE", &session).bearer(&token).send().await;
    assert_eq!(ended.status, 200);
    until_participants(&node, &token, "studio", 0).await;
    let again = node.request("DELETE", &session).bearer(&token).send().await;
    assert_eq!(again.refusal(), (404, "not_found".to_owned()));
}

#[tokio::test]
async fn ice_is_trickled_and_restarted_by_patch() {
    let node = Node::start().await;
    let token = node.admin().await;
    let opened = post(&node, &token, "studio", OFFER).await;
    let (session, etag) = (opened.header("location").to_owned(), opened.header("etag").to_owned());

    let candidate = "a=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 5000 typ host\r\n";
    let unconditional = node.request("PATCH", &session).bearer(&token);
    let unconditional = unconditional
        .header("content-type", FRAGMENT)
        .body(candidate)
        .send()
        .await;
    assert_eq!(unconditional.refusal().0, 428);
    assert_eq!(patch(&node, &token, &session, &etag, candidate).await.status, 204);
    assert_eq!(
        patch(&node, &token, &session, "\"other\"", candidate).await.refusal().0,
        412
    );
    assert_eq!(
        patch(&node, &token, &session, &etag, "candidate!").await.refusal(),
        (400, "bad_sdp".to_owned())
    );
    let json = node.request("PATCH", &session).bearer(&token).header("if-match", &etag);
    let json = json.header("content-type", "application/json").body("{}").send().await;
    assert_eq!(json.refusal().0, 415);

    let restart = "a=ice-ufrag:newufrag\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n";
    let restarted = patch(&node, &token, &session, "*", restart).await;
    assert_eq!((restarted.status, restarted.header("content-type")), (200, FRAGMENT));
    let fragment = String::from_utf8(restarted.body.to_vec()).unwrap();
    let new = restarted.header("etag").to_owned();
    assert_ne!(new, etag);
    assert!(
        fragment.contains(&format!("a=ice-ufrag:{}\r\n", new.trim_matches('"'))),
        "{fragment}"
    );
    assert!(fragment.contains("a=candidate:") && fragment.contains("a=ice-pwd:"));
    assert_eq!(patch(&node, &token, &session, &etag, candidate).await.refusal().0, 412);
    assert_eq!(patch(&node, &token, &session, &new, candidate).await.status, 204);
    // The same credentials again restart nothing.
    assert_eq!(patch(&node, &token, &session, &new, restart).await.status, 204);
    assert_eq!(participants(&node, &token, "studio").await.len(), 1);
}

#[tokio::test]
async fn what_cannot_be_published_is_refused_and_leaves_nobody_behind() {
    let node = Node::start().await;
    let admin = node.admin().await;
    let body = serde_json::json!({"id": "studio"});
    assert_eq!(
        node.request("POST", "/rooms")
            .bearer(&admin)
            .json(&body)
            .send()
            .await
            .status,
        201
    );
    let viewer = node.mint(&admin, "eve", "studio", "viewer").await;
    let guest = node.mint(&admin, "bob", "studio", "participant").await;
    let unauthorized = node
        .request("POST", "/whip/studio")
        .header("content-type", SDP)
        .body(OFFER);
    assert_eq!(unauthorized.send().await.refusal().0, 401);
    let typed = node.request("POST", "/whip/studio").bearer(&admin);
    let typed = typed.header("content-type", "text/plain").body(OFFER).send().await;
    assert_eq!(typed.refusal().0, 415);
    let too_large = OFFER.to_owned() + &"a=x\r\n".repeat(20_000);
    let h261 = OFFER
        .replace("VP8/", "H261/")
        .replace("VP9/", "H261/")
        .replace("H264/", "H261/")
        .replace("AV1/", "H261/");
    let h261 = h261.replace("opus/", "G722/");
    for (token, room, offer, refusal) in [
        (&viewer, "studio", OFFER, (403, "forbidden")),
        (&guest, "elsewhere", OFFER, (403, "forbidden")),
        (&guest, "studio", "", (400, "bad_sdp")),
        (&guest, "studio", "v=0\r\n", (400, "bad_sdp")),
        (&guest, "studio", &h261, (406, "no_common_codec")),
        (&guest, "studio", &too_large, (413, "too_large")),
    ] {
        let (status, code) = post(&node, token, room, offer).await.refusal();
        assert_eq!((status, code.as_str()), refusal, "{room} {}", offer.len());
    }
    until_participants(&node, &admin, "studio", 0).await;

    let direct = serde_json::json!({"id": "direct", "mode": "p2p"});
    assert_eq!(
        node.request("POST", "/rooms")
            .bearer(&admin)
            .json(&direct)
            .send()
            .await
            .status,
        201
    );
    let refused = post(&node, &admin, "direct", OFFER).await;
    assert_eq!(refused.refusal(), (400, "target_required".to_owned()));
    until_participants(&node, &admin, "direct", 0).await;
}

#[tokio::test]
async fn a_publisher_who_is_removed_has_no_session_any_more() {
    let node = Node::start().await;
    let token = node.admin().await;
    let guest = node.mint(&token, "bob", "studio", "participant").await;
    let body = serde_json::json!({"id": "studio"});
    node.request("POST", "/rooms").bearer(&token).json(&body).send().await;
    let opened = post(&node, &guest, "studio", OFFER).await;
    let session = opened.header("location").to_owned();
    let there = participants(&node, &token, "studio").await;
    let kick = format!(
        "/rooms/studio/participants/{}/kick",
        there[0]["participant_id"].as_str().unwrap()
    );
    assert_eq!(node.request("POST", &kick).bearer(&token).send().await.status, 200);
    until_participants(&node, &token, "studio", 0).await;
    let waiting = async {
        while node.request("DELETE", &session).bearer(&guest).send().await.status != 404 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, waiting)
        .await
        .expect("the session is gone");
}

/// A viewer's offer of Chromium's, as captured.
const VIEW: &str = include_str!("../../../media/tests/fixtures/sdp/chromium_recvonly.sdp");

async fn view(node: &Node, token: &str, path: &str, offer: &str) -> Answer {
    let request = node.request("POST", path).bearer(token).header("content-type", SDP);
    request.body(offer.to_owned()).send().await
}

#[tokio::test]
async fn a_viewer_sees_one_participant_and_ends_with_them() {
    let node = Node::start().await;
    let token = node.admin().await;
    let none = view(&node, &token, "/whep/studio", VIEW).await;
    assert_eq!(none.refusal(), (404, "room_not_found".to_owned()));
    let body = serde_json::json!({"id": "studio"});
    node.request("POST", "/rooms").bearer(&token).json(&body).send().await;
    let none = view(&node, &token, "/whep/studio", VIEW).await;
    assert_eq!(none.refusal(), (404, "nothing_published".to_owned()));

    let published = post(&node, &token, "studio", OFFER).await;
    let publisher = participants(&node, &token, "studio").await[0]["participant_id"]
        .as_str()
        .unwrap()
        .to_owned();
    for (query, refusal) in [
        ("?participant=nobody", (404, "participant_not_found")),
        (
            "?participant=01980000-0000-7000-8000-000000000000",
            (404, "participant_not_found"),
        ),
    ] {
        let (status, code) = view(&node, &token, &format!("/whep/studio{query}"), VIEW)
            .await
            .refusal();
        assert_eq!((status, code.as_str()), refusal);
    }
    let guest = node.mint(&token, "eve", "studio", "viewer").await;
    for query in [String::new(), format!("?participant={publisher}")] {
        let opened = view(&node, &guest, &format!("/whep/studio{query}"), VIEW).await;
        assert_eq!(opened.status, 201, "{:?}", opened.body);
        let answer = String::from_utf8(opened.body.to_vec()).unwrap();
        assert!(answer.contains("a=sendonly") && answer.contains(&format!("a=msid:{publisher} ")));
        let session = opened.header("location").to_owned();
        assert!(session.starts_with("/whep/studio/"), "{session}");
        let there = until_participants(&node, &token, "studio", 2).await;
        assert!(there.iter().any(|p| p["role"] == "viewer"), "{there:?}");
        let restart = "a=ice-ufrag:newufrag\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n";
        assert_eq!(patch(&node, &guest, &session, "*", restart).await.status, 200);
        let elsewhere = session.replace("/whep/", "/whip/");
        assert_eq!(
            node.request("DELETE", &elsewhere)
                .bearer(&guest)
                .send()
                .await
                .refusal()
                .0,
            404
        );
        assert_eq!(node.request("DELETE", &session).bearer(&guest).send().await.status, 200);
        until_participants(&node, &token, "studio", 1).await;
    }
    view(&node, &guest, "/whep/studio", VIEW).await;
    until_participants(&node, &token, "studio", 2).await;
    node.request("DELETE", published.header("location"))
        .bearer(&token)
        .send()
        .await;
    until_participants(&node, &token, "studio", 0).await;
}
