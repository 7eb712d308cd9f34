//! How a start and a running node meet what they depend on.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{Node, run};

/// A listener of this machine, and its port.
async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn lines(output: &std::process::Output) -> Vec<String> {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    text.lines().map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn a_start_waits_for_a_database_that_is_away_and_not_forever() {
    let dir = tempfile::tempdir().unwrap();
    let (closed, port) = listener().await;
    drop(closed);
    let url = format!("postgres://caside:hunter2@127.0.0.1:{port}/caside");
    let env = [
        ("DATABASE_URL", url.as_str()),
        // One try takes three seconds.
        ("CASIDE_DATABASE_WAIT", "4s"),
        ("CASIDE_LISTEN", "127.0.0.1:0"),
        ("CASIDE_MEDIA_PORT", "0"),
    ];
    let output = run(dir.path(), &[], &env).await;
    assert_eq!(output.status.code(), Some(1));
    let lines = lines(&output);
    assert!(
        lines
            .iter()
            .any(|line| line.contains("the database is away; trying again")),
        "{lines:?}"
    );
    assert!(lines.last().unwrap().contains("cannot open the database"), "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains("hunter2")), "{lines:?}");
    // Commands are run by somebody who waits.
    let output = run(dir.path(), &["user", "list"], &[("DATABASE_URL", &url)]).await;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(self::lines(&output).len(), 1);
}

#[tokio::test]
async fn a_wrong_password_fails_a_start_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (server, port) = listener().await;
    // A server that has no TLS and refuses whoever comes (PostgreSQL's protocol 3.0, ErrorResponse).
    tokio::spawn(async move {
        loop {
            let (mut client, _) = server.accept().await.unwrap();
            tokio::spawn(async move {
                let mut buffer = [0; 1024];
                while let Ok(read @ 1..) = client.read(&mut buffer).await {
                    let ssl_request = buffer[..read].ends_with(&80_877_103_u32.to_be_bytes());
                    let fields = b"SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed\0\0";
                    let mut answer = vec![b'E'];
                    answer.extend(u32::try_from(fields.len() + 4).unwrap().to_be_bytes());
                    answer.extend(fields);
                    let answer = if ssl_request { vec![b'N'] } else { answer };
                    if client.write_all(&answer).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    let url = format!("postgres://caside:hunter2@127.0.0.1:{port}/caside");
    let env = [
        ("DATABASE_URL", url.as_str()),
        ("CASIDE_DATABASE_WAIT", "1d"),
        ("CASIDE_LISTEN", "127.0.0.1:0"),
    ];
    let output = run(dir.path(), &[], &env).await;
    assert_eq!(output.status.code(), Some(1));
    let lines = lines(&output);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("password authentication failed") && !lines[0].contains("hunter2"),
        "{lines:?}"
    );
}

#[tokio::test]
async fn temporary_keys_for_s3_are_used_with_their_token() {
    let (server, port) = listener().await;
    let endpoint = format!("http://127.0.0.1:{port}");
    let node = Node::with(&[
        ("S3_BUCKET", "recordings"),
        ("S3_ENDPOINT", &endpoint),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_SESSION_TOKEN", "t0k3n"),
    ])
    .await;
    let ready = node.request("GET", "/health/ready").send();
    let asked = async {
        let (mut client, _) = server.accept().await.unwrap();
        let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            let read = client.read(&mut buffer).await.unwrap();
            head.extend(&buffer[..read]);
        }
        String::from_utf8(head).unwrap()
    };
    let (_, head) = tokio::join!(ready, asked);
    assert!(
        head.to_ascii_lowercase().contains("x-amz-security-token: t0k3n"),
        "{head}"
    );
}
