//! One store with one instantiated component, and the calls that run in it.
//!
//! A 0.2 instance runs one call at a time ([`Instance::run`]); a 0.3 instance can also take calls
//! from a queue while others run ([`Instance::drive`]). Time limits are not here: whoever polls the
//! future ends a call by dropping it, which ends the instance. The epoch callback sees to it that
//! even a guest that only computes returns to the poller once per tick.

use std::any::Any;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use futures_util::stream::{FuturesUnordered, StreamExt};
use wasmtime::component::{Accessor, Resource};
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::handler::Proxy;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::body::{HostFutureTrailers, HostIncomingBody, HostOutgoingBody};
use wasmtime_wasi_http::p2::types::{
    HostIncomingRequest, HostOutgoingResponse, HostResponseOutparam,
};
use wasmtime_wasi_http::{Error as HttpError, WasiHttpView};

use super::call::{Call, Calls, GuestBody, Link, RequestBody};
use super::limits::{Refused, Seat};
use super::state::{InstanceSpec, State};
use super::{Component, Engine, Error, ticker};
use crate::body::Body;

/// Handles that a reused guest may gather over its first call before it counts as leaking.
const HANDLE_GROWTH: usize = 256;

/// One store and the component in it. Dropping it ends whatever ran there.
pub struct Instance {
    store: Store<State>,
    proxy: Proxy,
    code: Component,
    id: u64,
    revision: Arc<str>,
    ticker: ticker::Handle,
    calls: u32,
    /// Handles in the table after the first call: a guest with a runtime keeps a few for good.
    base_handles: usize,
    reusable: bool,
    /// The last field: the store's places in the pools are free before it is.
    _seat: Seat,
}

impl Engine {
    /// Starts an instance; `id` is its name in logs.
    ///
    /// # Errors
    /// [`Error::Full`] when the pooling allocator has no place, [`Error::Exit`] when the guest ends
    /// its program, [`Error::Start`] when it fails or wants more than its limits while it starts.
    ///
    /// # Cancel safety
    /// Dropping the future drops the half-started instance.
    pub async fn start(
        &self,
        component: &Component,
        spec: &InstanceSpec,
        id: u64,
    ) -> Result<Instance, Error> {
        let seat = self.inner.room.seat().ok_or(Error::Full)?;
        let mut store = Store::new(component.engine(), State::new(spec, id));
        store.limiter(|state| &mut state.meter);
        store.set_hostcall_fuel(spec.limits.host_call_bytes);
        store.set_max_component_handles(spec.limits.handles);
        let (epoch, ticker) = (self.inner.config.tick, self.inner.ticker.handle());
        store.epoch_deadline_callback(move |context| {
            let State { link, cpu, .. } = context.data();
            if let Some(link) = link {
                link.preempt();
            }
            let is_measured = link.as_ref().is_some_and(|link| link.is_measured());
            let pause = (!is_measured).then(|| cpu.sample(epoch, ticker.is_busy()));
            if let Some(pause) = pause.flatten() {
                let pause = Box::pin(tokio::time::sleep(pause));
                return Ok(UpdateDeadline::YieldCustom(1, pause));
            }
            // tokio's own yield lets the I/O driver run first; a plain `Yield` is polled again and
            // again before anything else gets its turn.
            Ok(UpdateDeadline::YieldCustom(
                1,
                Box::pin(tokio::task::yield_now()),
            ))
        });
        store.set_epoch_deadline(1);
        let ticker = self.inner.ticker.handle();
        let proxy = {
            let starting = pin!(component.pre().instantiate_async(&mut store));
            ticker::counted(&ticker, starting).await
        };
        let proxy = proxy.map_err(|error| start_error(&error, spec, id))?;
        Ok(Instance {
            store,
            proxy,
            code: component.clone(),
            id,
            revision: spec.revision.clone(),
            ticker,
            calls: 0,
            base_handles: 0,
            reusable: true,
            _seat: seat,
        })
    }
}

fn start_error(error: &wasmtime::Error, spec: &InstanceSpec, instance: u64) -> Error {
    if error.is::<wasmtime::PoolConcurrencyLimitError>() {
        return Error::Full;
    }
    if let Some(I32Exit(code)) = error.downcast_ref() {
        return Error::Exit(*code);
    }
    tracing::warn!(
        revision = &*spec.revision,
        instance,
        error = format!("{error:?}"),
        "instance does not start"
    );
    Error::Start(summary(error))
}

impl Instance {
    /// Whether the instance may take another call: it neither failed nor left anything behind, and
    /// there is no better code than that which it runs.
    pub fn is_reusable(&self) -> bool {
        self.reusable && !self.code.is_superseded()
    }

    /// What the instance runs.
    pub fn code(&self) -> &Component {
        &self.code
    }

    /// Bytes of its linear memories.
    pub fn memory_bytes(&self) -> usize {
        self.store.data().meter.memory_bytes()
    }

    /// Runs one call until the guest has returned and all it started has ended.
    ///
    /// # Errors
    /// How the guest failed; a failure before the head of the response is only here, not in
    /// [`Call::respond`].
    ///
    /// # Cancel safety
    /// After a drop in the middle the instance cannot be used: drop it, too.
    pub async fn run(&mut self, call: Call) -> Result<(), Error> {
        self.reusable = false;
        self.calls += 1;
        self.store.set_epoch_deadline(1);
        let link = call.link.clone();
        self.store.data_mut().link = Some(link.clone());
        let (store, ticker) = (&mut self.store, &self.ticker);
        let result = match &self.proxy {
            Proxy::P2(proxy) => handle(store, proxy, ticker, call).await,
            // Several times as large as the other, and a future is moved to where it runs.
            Proxy::P3(service) => Box::pin(serve_one(store, service, ticker, call)).await,
        };
        match result {
            Ok(()) => {
                self.reusable = !self.has_leftovers(&link);
                Ok(())
            }
            Err(error) => {
                link.fail();
                Err(self.failure(&error))
            }
        }
    }

    /// Runs the calls of a queue beside each other until the queue is closed and all have ended.
    ///
    /// # Errors
    /// The failure of one call, which ends all.
    pub async fn drive(&mut self, calls: Calls, link: Arc<Link>) -> Result<(), Error> {
        self.reusable = false;
        self.store.data_mut().link = Some(link);
        self.store.set_epoch_deadline(1);
        let Proxy::P3(service) = &self.proxy else {
            return Err(Error::Gone);
        };
        let result = drive(&mut self.store, service, &self.ticker, calls).await;
        result.map_err(|error| self.failure(&error))
    }

    /// True when the call left something of its own in the table.
    ///
    /// A guest with a runtime keeps a few handles for good (standard streams, clocks, pollables),
    /// so "not empty" is no reason; handles of one request, or a table that grows, are.
    fn has_leftovers(&mut self, link: &Link) -> bool {
        let table = self.store.data_mut().table();
        if table.is_empty() {
            return false;
        }
        let (mut handles, mut of_request) = (0, false);
        for entry in table.iter_mut() {
            handles += 1;
            if entry.is::<HostOutgoingBody>() {
                // It returned without finishing its response: cut it, do not end it cleanly.
                link.fail();
                of_request = true;
            }
            of_request |= entry.is::<HostResponseOutparam>()
                || entry.is::<HostOutgoingResponse>()
                || entry.is::<HostIncomingRequest>()
                || entry.is::<HostIncomingBody>()
                || entry.is::<HostFutureTrailers>();
        }
        if self.calls == 1 {
            self.base_handles = handles;
        }
        of_request || handles > self.base_handles + HANDLE_GROWTH
    }

    /// What a failed call is to its caller; the log gets the backtrace.
    fn failure(&self, error: &wasmtime::Error) -> Error {
        if let Some(I32Exit(code)) = error.downcast_ref() {
            return Error::Exit(*code);
        }
        let limit = match self.store.data().meter.refused() {
            None => "none",
            Some(Refused::Memory) => "memory",
            Some(Refused::Table) => "table",
        };
        let (revision, instance) = (&*self.revision, self.id);
        tracing::warn!(
            revision,
            instance,
            limit,
            error = format!("{error:?}"),
            "guest trapped"
        );
        Error::Trap(summary(error))
    }
}

/// One call of a 0.2 guest.
async fn handle(
    store: &mut Store<State>,
    proxy: &wasmtime_wasi_http::p2::bindings::Proxy,
    ticker: &ticker::Handle,
    call: Call,
) -> wasmtime::Result<()> {
    let Some((request, outparam, _hold)) = take_in(store, call)? else {
        return Ok(());
    };
    let handler = proxy.wasi_http_incoming_handler();
    let call = pin!(handler.call_handle(store, request, outparam));
    ticker::counted(ticker, call).await
}

/// What a 0.2 guest is called with, and what is to be dropped after the call.
type Arguments = (
    Resource<HostIncomingRequest>,
    Resource<HostResponseOutparam>,
    Option<Arc<dyn Any + Send + Sync>>,
);

/// Puts a call into the table of its store; none when it was answered without the guest.
fn take_in(store: &mut Store<State>, call: Call) -> wasmtime::Result<Option<Arguments>> {
    let Call {
        request,
        respond,
        link,
        hold,
        ..
    } = call;
    let request = match with_authority(request) {
        Ok(request) => request.map(|body| RequestBody { body, link }),
        Err(error) => {
            _ = respond.send(Err(error));
            return Ok(None);
        }
    };
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(scheme(&request), request)?;
    let outparam = http.new_response_outparam_from_callback(move |response| {
        let response = response.map(|response| response.map(GuestBody));
        _ = respond.send(response.map_err(|code| Error::ErrorCode(format!("{code:?}"))));
    })?;
    Ok(Some((request, outparam, hold)))
}

/// One call of a 0.3 guest, and all that it leaves running.
async fn serve_one(
    store: &mut Store<State>,
    service: &wasmtime_wasi_http::p3::bindings::Service,
    ticker: &ticker::Handle,
    call: Call,
) -> wasmtime::Result<()> {
    let concurrent = pin!(store.run_concurrent(async |accessor| {
        serve(accessor, service, call).await?;
        poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
        Ok(())
    }));
    ticker::counted(ticker, concurrent)
        .await
        .and_then(|result| result)
}

/// One call of a 0.3 guest, up to the end of its response body.
async fn serve(
    accessor: &Accessor<State>,
    service: &wasmtime_wasi_http::p3::bindings::Service,
    call: Call,
) -> wasmtime::Result<()> {
    let Call {
        request,
        respond,
        read,
        link,
        hold: _hold,
    } = call;
    let request = match with_authority(request) {
        Ok(request) => request.map(|body| RequestBody { body, link }),
        Err(error) => {
            _ = respond.send(Err(error));
            return Ok(());
        }
    };
    let (request, sent) = accessor.with(|mut store| {
        let (request, sent) =
            wasmtime_wasi_http::p3::Request::from_http(store.get().http().hooks, request);
        let sent: Pin<Box<dyn Future<Output = Result<(), HttpError>> + Send>> = Box::pin(sent);
        (request, sent)
    });
    match service.handle(accessor, request).await? {
        Ok(response) => {
            let response = accessor.with(|store| response.into_http(store, sent))?;
            _ = respond.send(Ok(response.map(GuestBody)));
        }
        Err(code) => {
            _ = respond.send(Err(Error::ErrorCode(format!("{code:?}"))));
        }
    }
    // A body that the host forwards needs the event loop after the guest's own task has ended.
    _ = read.await;
    Ok(())
}

/// The calls of a queue beside each other, until it is closed.
async fn drive(
    store: &mut Store<State>,
    service: &wasmtime_wasi_http::p3::bindings::Service,
    ticker: &ticker::Handle,
    mut calls: Calls,
) -> wasmtime::Result<()> {
    let handle = *service.wasi_http_handler().func_handle().func();
    // One more call only when the instance waits: after its event loop had nothing left to do,
    // and while the guest does not ask for back-pressure.
    let waits = AtomicBool::new(true);
    let work = store.run_concurrent(async |accessor| {
        let mut running = FuturesUnordered::new();
        let mut open = true;
        let ended = poll_fn(|cx| -> Poll<wasmtime::Result<()>> {
            loop {
                match running.poll_next_unpin(cx) {
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                    Poll::Ready(Some(Ok(()))) => continue,
                    Poll::Ready(None) if !open => return Poll::Ready(Ok(())),
                    Poll::Ready(None) | Poll::Pending => {}
                }
                let ready = running.is_empty() || waits.load(Ordering::Relaxed);
                if !open
                    || !ready
                    || accessor
                        .poll_ready_for_concurrent_call(handle, cx)
                        .is_pending()
                {
                    return Poll::Pending;
                }
                match calls.poll_recv(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(None) => open = false,
                    Poll::Ready(Some(call)) => {
                        waits.store(false, Ordering::Relaxed);
                        running.push(Box::pin(serve(accessor, service, call)));
                    }
                }
            }
        });
        ended.await?;
        poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
        Ok(())
    });
    let mut work = pin!(work);
    let work = pin!(poll_fn(|cx| {
        let polled = work.as_mut().poll(cx);
        if polled.is_pending() && !waits.swap(true, Ordering::Relaxed) {
            return work.as_mut().poll(cx);
        }
        polled
    }));
    ticker::counted(ticker, work)
        .await
        .and_then(|result| result)
}

/// `wasi:http` requests always name their host.
fn with_authority(mut request: http::Request<Body>) -> Result<http::Request<Body>, Error> {
    if request.uri().authority().is_some() {
        return Ok(request);
    }
    match request.headers().get(http::header::HOST) {
        Some(host) if host.to_str().is_ok() => {}
        Some(_) => return Err(Error::Request("its Host header is not text".into())),
        None => {
            let host = http::HeaderValue::from_static("localhost");
            request.headers_mut().insert(http::header::HOST, host);
        }
    }
    Ok(request)
}

fn scheme<B>(request: &http::Request<B>) -> Scheme {
    match request.uri().scheme_str() {
        Some("https") => Scheme::Https,
        _ => Scheme::Http,
    }
}

/// The innermost message: what trapped, without the backtrace around it.
fn summary(error: &wasmtime::Error) -> String {
    error.root_cause().to_string()
}
