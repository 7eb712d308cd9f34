//! One endpoint: a method, a path template, and the warp filter that answers.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;

use caside_protocol::ErrorCode;
use caside_protocol::error::Refusal;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use percent_encoding::percent_decode_str;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::{Method, Request};
use warp::reject::Rejection;
use warp::reply::{Reply, Response};

use super::problem::Problem;

/// An answer on its way.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// A method and a path, and who answers there.
#[derive(Clone)]
pub(crate) struct Endpoint {
    /// The method.
    pub(crate) method: Method,
    /// The path as OpenAPI writes it: `/rooms/{id}`.
    pub(crate) template: &'static str,
    /// The media type that a POST here takes, told by OPTIONS; `None`: JSON or nothing, as everywhere.
    pub(crate) accepts: Option<&'static str>,
    answer: Arc<dyn Fn(Request<Incoming>) -> Answering + Send + Sync>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.template)
    }
}

impl Endpoint {
    /// Puts a filter at a method and path. What the filter refuses is answered as the [`Problem`] it refused with.
    pub(crate) fn new<F, R>(method: Method, template: &'static str, filter: F) -> Self
    where
        F: Filter<Extract = (Result<R, Refusal>,), Error = Rejection> + Clone + Send + Sync + 'static,
        F::Future: Send,
        R: Reply + 'static,
    {
        let route: BoxedFilter<(Response,)> = filter.map(outcome).recover(refused).unify().boxed();
        let service = TowerToHyperService::new(warp::service(route));
        let answer = move |request: Request<Incoming>| -> Answering {
            let answering = service.call(request);
            Box::pin(async move {
                match answering.await {
                    Ok(response) => response,
                    Err::<_, Infallible>(never) => match never {},
                }
            })
        };
        Self {
            method,
            template,
            accepts: None,
            answer: Arc::new(answer),
        }
    }

    /// The same, with the media type that it takes told by OPTIONS (`Accept-Post`).
    pub(crate) fn accepts(mut self, media_type: &'static str) -> Self {
        self.accepts = Some(media_type);
        self
    }

    /// Answers a request that belongs here.
    pub(crate) fn answer(&self, request: Request<Incoming>) -> Answering {
        (self.answer)(request)
    }

    /// The variable parts of `path`, decoded, if it is one of this template.
    pub(crate) fn matches(&self, path: &str) -> Option<Params> {
        let mut params = Vec::new();
        let mut given = path.split('/');
        for wanted in self.template.split('/') {
            let part = given.next()?;
            if wanted.starts_with('{') {
                let decoded = percent_decode_str(part).decode_utf8().ok()?;
                if decoded.is_empty() {
                    return None;
                }
                params.push(decoded.into_owned());
            } else if wanted != part {
                return None;
            }
        }
        given.next().is_none().then(|| Params(params.into()))
    }
}

fn outcome<R: Reply>(result: Result<R, Refusal>) -> Response {
    match result {
        Ok(reply) => reply.into_response(),
        Err(refusal) => Problem::from(refusal).into_response(),
    }
}

async fn refused(rejection: Rejection) -> Result<Response, Infallible> {
    let problem = match rejection.find::<Problem>() {
        Some(problem) => problem.clone(),
        None => {
            tracing::error!(?rejection, "a filter refused without a reason");
            Problem::from(Refusal::new(ErrorCode::Internal, "the request could not be read"))
        }
    };
    Ok(problem.into_response())
}

/// The variable parts of a path, in order.
#[derive(Debug, Clone)]
pub(crate) struct Params(Arc<[String]>);

impl Params {
    /// The `n`th part, as what it names. What is not even an id of that kind names nothing.
    ///
    /// # Errors
    /// The code given, as for a thing that is not there.
    pub(crate) fn get<T: FromStr>(&self, n: usize, missing: ErrorCode) -> Result<T, Refusal> {
        let text = self.text(n).ok_or_else(|| absent(missing))?;
        text.parse().map_err(|_| absent(missing))
    }

    /// The `n`th part.
    pub(crate) fn text(&self, n: usize) -> Option<&str> {
        self.0.get(n).map(String::as_str)
    }
}

/// There is no such thing.
pub(crate) fn absent(code: ErrorCode) -> Refusal {
    let what = match code {
        ErrorCode::RoomNotFound => "no such room",
        ErrorCode::CallNotFound => "no such call",
        ErrorCode::RecordingNotFound => "no such recording",
        ErrorCode::ParticipantNotFound => "no such participant in this room",
        _ => "nothing is here",
    };
    Refusal::new(code, what)
}
