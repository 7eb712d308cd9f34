//! STUN and TURN servers as `Link` headers (RFC 9725 §4.6).

use caside_protocol::server::IceServer;
use hyper::header::HeaderValue;

/// One header value a URL. A server whose words no header can bear is left out.
pub(crate) fn links(servers: &[IceServer]) -> Vec<HeaderValue> {
    let of = |server: &IceServer| {
        let credential = match (&server.username, &server.credential) {
            (Some(username), Some(credential)) => format!(
                "; username=\"{}\"; credential=\"{}\"; credential-type=\"password\"",
                quoted(username),
                quoted(credential)
            ),
            _ => String::new(),
        };
        let link = |url: &String| HeaderValue::from_str(&format!("<{url}>; rel=\"ice-server\"{credential}")).ok();
        server.urls.iter().filter_map(link).collect::<Vec<_>>()
    };
    servers.iter().flat_map(of).collect()
}

/// The inside of a quoted string (RFC 9110 §5.6.4).
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_url_has_its_link_with_the_credential() {
        let servers = [
            IceServer {
                urls: vec!["stun:stun.example".to_owned()],
                username: None,
                credential: None,
            },
            IceServer {
                urls: vec!["turn:t.example?transport=udp".to_owned(), "turns:t.example".to_owned()],
                username: Some("17:a\"b".to_owned()),
                credential: Some("c\\d=".to_owned()),
            },
        ];
        let tail = "; rel=\"ice-server\"; username=\"17:a\\\"b\"; credential=\"c\\\\d=\"; credential-type=\"password\"";
        assert_eq!(
            links(&servers),
            [
                "<stun:stun.example>; rel=\"ice-server\"".to_owned(),
                format!("<turn:t.example?transport=udp>{tail}"),
                format!("<turns:t.example>{tail}"),
            ]
        );
    }
}
