//! The web app: files that were put into the binary when it was built.

use std::collections::HashMap;
use std::sync::LazyLock;

use aws_lc_rs::digest;
use caside_protocol::ErrorCode;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH,
};
use hyper::{Method, Request, StatusCode};
use warp::reply::{Reply, Response};

use super::endpoint::absent;
use super::problem::Problem;
use super::security::RESOURCE_POLICY;
use crate::auth::hex;

static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// The page that documents the REST API, and what it needs.
static DOCS: &[(&str, &[u8])] = &[
    ("/docs", include_bytes!("docs/docs.html")),
    ("/docs/docs.css", include_bytes!("docs/docs.css")),
    ("/docs/docs.js", include_bytes!("docs/docs.js")),
];

/// What pages may load and reach: us alone, but for recordings, which play from the object store's own address.
const CONTENT_POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; media-src 'self' blob: https: http:; \
    img-src 'self' data: blob:; style-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'none'";

struct Asset {
    bytes: &'static [u8],
    content_type: HeaderValue,
    etag: HeaderValue,
}

static ASSETS: LazyLock<HashMap<&'static str, Asset>> = LazyLock::new(|| {
    let files = FILES.iter().chain(DOCS);
    files.map(|(path, bytes)| (*path, asset(path, bytes))).collect()
});

fn asset(path: &str, bytes: &'static [u8]) -> Asset {
    let digest = digest::digest(&digest::SHA256, bytes);
    let tag = hex::encode(digest.as_ref().get(..16).unwrap_or_default());
    Asset {
        bytes,
        content_type: HeaderValue::from_static(content_type(path)),
        etag: HeaderValue::from_str(&format!("\"{tag}\"")).expect("hexadecimal is header text"),
    }
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, kind)| kind) {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("webmanifest") => "application/manifest+json",
        Some("woff2") => "font/woff2",
        _ => "text/html; charset=utf-8",
    }
}

/// The file at a request's path; 404 when it has none, 405 for a method that changes something.
pub(crate) fn answer<B>(request: &Request<B>) -> Response {
    let path = match request.uri().path() {
        "/" => "/index.html",
        "/docs/" => "/docs",
        "/dashboard" | "/dashboard/" => "/dashboard/index.html",
        path => path,
    };
    let Some(asset) = ASSETS.get(path) else {
        return Problem::from(absent(ErrorCode::NotFound)).into_response();
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Problem::method_not_allowed(&[Method::GET, Method::HEAD]).into_response();
    }
    let unchanged = has_tag(request.headers(), &asset.etag);
    let mut response = Response::new(if unchanged {
        Vec::new().into()
    } else {
        asset.bytes.into()
    });
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, asset.content_type.clone());
    headers.insert(ETAG, asset.etag.clone());
    // Kept, but asked about each time: a new binary is seen at the next load.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_POLICY));
    // Anybody's page may load the client, which is no secret.
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
    response
}

/// Whether `If-None-Match` names this tag; compared weakly (RFC 9110 §13.1.2).
pub(crate) fn has_tag(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let Some(listed) = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let own = etag.to_str().unwrap_or_default();
    listed
        .split(',')
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str, tag: Option<&HeaderValue>) -> Response {
        let mut request = Request::get(path).body(()).unwrap();
        if let Some(tag) = tag {
            request.headers_mut().insert(IF_NONE_MATCH, tag.clone());
        }
        answer(&request)
    }

    #[test]
    fn pages_and_all_that_they_name_are_there() {
        for page in ["/", "/dashboard"] {
            assert_eq!(get(page, None).status(), StatusCode::OK);
        }
        for page in ["/index.html", "/dashboard/index.html"] {
            assert_names_what_is_there(page);
        }
        assert!(ASSETS.keys().all(|path| !path.contains("test")));
    }

    fn assert_names_what_is_there(page: &str) {
        let page = String::from_utf8(ASSETS[page].bytes.to_vec()).unwrap();
        let mut named = 0;
        for attribute in ["href=\"", "src=\""] {
            for part in page.split(attribute).skip(1) {
                let target = part.split('"').next().unwrap();
                if target.contains('.') && !target.contains(':') && !target.starts_with("./") {
                    named += 1;
                    let path = format!("/{}", target.trim_start_matches('/'));
                    assert_eq!(get(&path, None).status(), StatusCode::OK, "{path}");
                }
            }
        }
        assert!(named >= 3, "the page names its script, its style and its icon");
    }

    #[test]
    fn a_file_that_is_known_already_is_not_sent_again() {
        let first = get("/", None);
        assert_eq!(first.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
        assert!(first.headers().contains_key(CONTENT_SECURITY_POLICY));
        let again = get("/", Some(&first.headers()[ETAG]));
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(get("/nothing.js", None).status(), StatusCode::NOT_FOUND);
        let post = Request::post("/").body(()).unwrap();
        assert_eq!(answer(&post).status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
