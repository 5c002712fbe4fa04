//! The answer to one request, from its header to its body.

use std::sync::Arc;

use ::http::header::{
    ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use ::http::{HeaderMap, Method, Request, Response, StatusCode};
use bytes::Bytes;
use futures_util::stream;
use http_body::{Body as HttpBody, Frame};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, StreamBody};
use serde_json::{Value, json};
use serve_core::meta::ObjectKey;
use serve_runtime::tasks::Stop;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::auth::{self, Names, Token};
use crate::codec::{self, Discovery};
use crate::http::{Body, Limits};
use crate::read::Style;
use crate::request::{self, Objects, Query, Target, Verb};
use crate::status::Status;
use crate::table::Include;
use crate::watch::{self, Watch};
use crate::write::{self, Input, Written};
use crate::{Host, discovery, logs, openapi, read};

/// The server behind all connections.
pub struct Server {
    pub host: Host,
    pub token: Token,
    pub names: Names,
    pub limits: Limits,
    pub watches: Arc<Semaphore>,
    pub stop: Stop,
}

/// A whole answer.
struct Answer {
    code: u16,
    content_type: String,
    body: Bytes,
    warnings: Vec<String>,
    retry_after: Option<u64>,
}

impl Answer {
    fn json(code: u16, value: &Value) -> Self {
        Self {
            code,
            content_type: codec::JSON.to_owned(),
            body: value.to_string().into(),
            warnings: Vec::new(),
            retry_after: None,
        }
    }

    fn text(text: &'static str) -> Self {
        Self {
            content_type: "text/plain; charset=utf-8".to_owned(),
            body: Bytes::from_static(text.as_bytes()),
            ..Self::json(200, &Value::Null)
        }
    }
}

impl From<Status> for Answer {
    fn from(status: Status) -> Self {
        Self {
            retry_after: status.retry_after(),
            ..Self::json(status.code, &status.to_value())
        }
    }
}

impl Server {
    /// Answers a request.
    ///
    /// # Cancel safety
    /// A write is done or not, never in part.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let is_head = request.method() == Method::HEAD;
        match self.try_answer(request).await {
            Ok(response) => response,
            Err(status) => whole(Answer::from(status), is_head),
        }
    }

    async fn try_answer<B>(&self, request: Request<B>) -> Result<Response<Body>, Status>
    where
        B: HttpBody<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let query = request::query(head.uri.query().unwrap_or_default());
        let target = match &query {
            Ok(query) => request::target(&head.method, path, query),
            Err(status) => Err(status.clone()),
        };
        let authority = head.uri.authority();
        let known = target.as_ref().ok();
        auth::check(
            &self.token,
            &self.names,
            &head.headers,
            authority,
            path,
            known,
        )?;
        let (target, query) = (target?, query?);
        if let Target::Objects(objects) = &target
            && objects.verb == Verb::Watch
        {
            return self.watch(objects, &query, &head.headers);
        }
        if let Target::Log(key) = &target {
            return self.log(key, head.uri.query().unwrap_or_default());
        }
        let answering = self.whole_answer(target, &query, &head.headers, body);
        match timeout(self.limits.request_time, answering).await {
            Ok(answer) => Ok(whole(answer?, head.method == Method::HEAD)),
            Err(_) => Err(Status::new(
                504,
                "Timeout",
                "Timeout: request did not complete within the allotted time",
            )),
        }
    }

    async fn whole_answer<B>(
        &self,
        target: Target,
        query: &Query,
        headers: &HeaderMap,
        body: B,
    ) -> Result<Answer, Status>
    where
        B: HttpBody<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let ok = |value: Value| Ok(Answer::json(200, &value));
        match target {
            Target::Health(_) => Ok(Answer::text("ok")),
            Target::Version => ok(discovery::version()),
            Target::Paths => ok(discovery::paths()),
            Target::CoreVersions => discovered(headers, true),
            Target::Groups => discovered(headers, false),
            Target::Group(group) => ok(discovery::group(group)),
            Target::Resources(gv) => ok(discovery::resource_list(gv)),
            Target::OpenApi => ok(openapi::index()),
            Target::OpenApiOf(gv) => Ok(Answer {
                body: openapi::document(gv),
                ..Answer::json(200, &Value::Null)
            }),
            Target::Review(review) => {
                self.read_body(body).await?;
                Ok(Answer::json(201, &review.answer()))
            }
            Target::Log(_) => Err(Status::method_not_allowed()),
            Target::Scale(kind, key, is_change) => {
                self.read_body(body).await?;
                let object = read::get(&self.host.store, kind, &key)?;
                if is_change {
                    return Err(write::derived(kind, &key.name));
                }
                ok(read::scale(&object))
            }
            Target::Objects(objects) => {
                let body = self.read_body(body).await?;
                self.objects(&objects, query, headers, &body).await
            }
        }
    }

    async fn objects(
        &self,
        objects: &Objects,
        query: &Query,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Answer, Status> {
        let style = Style {
            form: codec::form(field(headers, &ACCEPT))?,
            include: Include::parse(&query.include_object),
            now: self.host.clock.now(),
        };
        let input = Input {
            objects,
            query,
            content_type: field(headers, &CONTENT_TYPE),
            body,
        };
        let (host, kind) = (&self.host, objects.kind);
        let written = |code, written: Written| Answer {
            warnings: written.warnings,
            ..Answer::json(code, &read::one(kind, &written.object, style))
        };
        let ok = |value: Value| Ok(Answer::json(200, &value));
        match objects.verb {
            Verb::Get | Verb::Watch => {
                let namespace = objects.namespace.as_deref().unwrap_or_default();
                let name = objects.name.as_deref().unwrap_or_default();
                let object = read::get(&host.store, kind, &ObjectKey::new(namespace, name))?;
                ok(read::one(kind, &object, style))
            }
            Verb::List => ok(read::list(&host.store, objects, query, style)?),
            Verb::Create => Ok(written(201, write::create(host, input).await?)),
            Verb::Update => Ok(written(200, write::update(host, input).await?)),
            Verb::Patch => Ok(written(200, write::patch(host, input).await?)),
            Verb::Delete => ok(write::delete(host, input)?),
            Verb::DeleteCollection => {
                let deleted = write::delete_collection(host, input)?;
                let metadata = json!({"resourceVersion": host.store.revision().to_string()});
                let deleted = deleted.iter().map(|object| &**object);
                ok(read::collection(kind, deleted, metadata, style))
            }
        }
    }

    async fn read_body<B>(&self, body: B) -> Result<Bytes, Status>
    where
        B: HttpBody<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let limit = self.limits.body_bytes;
        let limited = Box::pin(Limited::new(body, limit));
        match limited.collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(Status::too_large(limit)),
            Err(_) => Err(Status::bad_request(
                "the body of the request was not received",
            )),
        }
    }

    fn watch(
        &self,
        objects: &Objects,
        query: &Query,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, Status> {
        let form = codec::form(field(headers, &ACCEPT))?;
        let permit = self.watches.clone().try_acquire_owned().map_err(|_| {
            Status::too_many_requests("too many watches are open, please try again later", 5)
        })?;
        let context = watch::Context {
            store: self.host.store.clone(),
            clock: self.host.clock.clone(),
            stop: self.stop.clone(),
            permit,
        };
        let watch = Watch::start(context, objects, query, form)?;
        let lines = stream::unfold(watch, |mut watch| async move {
            let line = watch.next().await?;
            Some((Ok(Frame::data(line)), watch))
        });
        let mut response = Response::new(StreamBody::new(lines).boxed_unsync());
        let content_type = HeaderValue::from_static(codec::JSON);
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        Ok(response)
    }
}

impl Server {
    /// The log of a pod: what there is, or what comes too.
    fn log(&self, key: &ObjectKey, query: &str) -> Result<Response<Body>, Status> {
        let permit = self.watches.clone().try_acquire_owned().map_err(|_| {
            Status::too_many_requests("too many watches are open, please try again later", 5)
        })?;
        let reading = logs::Reading::start(&self.host, key, query, self.stop.clone(), permit)?;
        let lines = stream::unfold(reading, |mut reading| async move {
            let lines = reading.next().await?;
            Some((Ok(Frame::data(lines)), reading))
        });
        let mut response = Response::new(StreamBody::new(lines).boxed_unsync());
        let content_type = HeaderValue::from_static("text/plain");
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        Ok(response)
    }
}

fn discovered(headers: &HeaderMap, is_core: bool) -> Result<Answer, Status> {
    Ok(match codec::discovery(field(headers, &ACCEPT))? {
        Discovery::Plain if is_core => Answer::json(200, &discovery::core_versions()),
        Discovery::Plain => Answer::json(200, &discovery::group_list()),
        Discovery::Aggregated(version) => Answer {
            content_type: discovery::aggregated_type(version),
            ..Answer::json(200, &discovery::aggregated(is_core, version))
        },
    })
}

fn field<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

fn whole(answer: Answer, is_head: bool) -> Response<Body> {
    let body = if is_head { Bytes::new() } else { answer.body };
    let mut response = Response::new(Full::new(body).boxed_unsync());
    let code = StatusCode::from_u16(answer.code);
    *response.status_mut() = code.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&answer.content_type) {
        headers.insert(CONTENT_TYPE, value);
    }
    headers.insert(
        "cache-control",
        HeaderValue::from_static("no-cache, private"),
    );
    if answer.code == 401 {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(seconds) = answer.retry_after {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    for warning in &answer.warnings {
        if let Some(value) = warning_field(warning) {
            headers.append("warning", value);
        }
    }
    response
}

/// `299 - "text"`, with what the text must not have escaped or left out.
fn warning_field(text: &str) -> Option<HeaderValue> {
    let mut quoted = String::from("299 - \"");
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    HeaderValue::from_bytes(quoted.as_bytes()).ok()
}

#[cfg(test)]
pub(crate) mod tests;
