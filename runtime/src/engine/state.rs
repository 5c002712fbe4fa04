//! What one store holds, and the linker that offers all of WASI over it.
//!
//! Everything of `wasi:cli`, `clocks`, `random`, `filesystem`, `sockets` and `http` is linked; what
//! a guest may not do is refused when it tries: no directory but its own `/tmp`, no socket, no name
//! lookup, no outgoing request.
//!
//! `/tmp` is made when the guest asks for its directories for the first time, so that an instance
//! that never does costs no system call. Each instance has a directory of its own beneath the
//! [`Scratch`] of its host; it is emptied with the instance, and only then given to another.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemCtxView, WasiFilesystemView};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error as HttpError, ForbiddenHeaderFilter, RequestOptions, WasiBody,
    WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use super::call::Link;
use super::cpu::Share;
use super::limits::{Limits, Meter};
use super::output::{Output, Sink, Stream};
use crate::private;

/// How the instances of one revision are made.
#[derive(Clone, Debug)]
pub struct InstanceSpec {
    /// `namespace/name` of the revision, for logs.
    pub revision: Arc<str>,
    /// Environment, in order; a name that occurs twice is passed twice.
    pub env: Vec<(String, String)>,
    /// Arguments after the program's name.
    pub args: Vec<String>,
    /// Working directory that the guest is told.
    pub cwd: Option<String>,
    /// What an instance may take.
    pub limits: Limits,
    /// CPU time of the revision.
    pub cpu: Arc<Share>,
    /// Where `/tmp` directories are made; without one there is no `/tmp`.
    pub scratch: Option<Arc<Scratch>>,
    /// Where the guest's output goes.
    pub output: Arc<Sink>,
}

impl InstanceSpec {
    /// A revision without environment, with default limits and no `/tmp`.
    pub fn new(revision: impl Into<Arc<str>>) -> InstanceSpec {
        let revision = revision.into();
        InstanceSpec {
            output: Arc::new(Sink::new(revision.clone())),
            revision,
            env: Vec::new(),
            args: Vec::new(),
            cwd: None,
            limits: Limits::default(),
            cpu: Arc::default(),
            scratch: None,
        }
    }
}

/// The data of a store.
pub(super) struct State {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Hooks,
    tmp: Tmp,
    pub(super) meter: Meter,
    /// Who is told when an epoch stops the guest.
    pub(super) link: Option<Arc<Link>>,
    pub(super) cpu: Arc<Share>,
}

impl State {
    pub(super) fn new(spec: &InstanceSpec, instance: u64) -> State {
        let limits = &spec.limits;
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(limits.header_bytes);
        let mut wasi = WasiCtxBuilder::new();
        wasi.stdout(Output::new(spec.output.clone(), instance, Stream::Stdout))
            .stderr(Output::new(spec.output.clone(), instance, Stream::Stderr))
            .envs(&spec.env)
            .args(&spec.args)
            .max_random_size(limits.random_bytes)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false);
        if let Some(cwd) = &spec.cwd {
            wasi.initial_cwd(cwd);
        }
        State {
            table,
            wasi: wasi.build(),
            http,
            hooks: Hooks,
            tmp: spec.scratch.clone().map_or(Tmp::None, Tmp::Unmade),
            meter: Meter::new(limits),
            link: None,
            cpu: spec.cpu.clone(),
        }
    }

    pub(super) fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }

    /// The file system as `preopens.get-directories` sees it: makes `/tmp` the first time.
    fn filesystem_with_tmp(&mut self) -> WasiFilesystemCtxView<'_> {
        if let Tmp::Unmade(scratch) = &self.tmp {
            self.tmp = match scratch.take().and_then(|dir| self.open_tmp(dir)) {
                Ok(dir) => Tmp::Made(dir),
                Err(error) => {
                    tracing::warn!(%error, "no directory for /tmp, the guest runs without");
                    Tmp::None
                }
            };
        }
        self.filesystem()
    }

    fn open_tmp(&mut self, dir: ScratchDir) -> io::Result<ScratchDir> {
        // The directories of a built context cannot be changed, but its whole file system can be.
        let mut with_tmp = WasiCtxBuilder::new();
        with_tmp
            .preopened_dir(&dir.path, "/tmp", FsPerms::ReadWrite)
            .map_err(|error| io::Error::other(error.to_string()))?;
        std::mem::swap(self.wasi.filesystem(), with_tmp.build().filesystem());
        Ok(dir)
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.hooks,
        }
    }
}

/// All of WASI 0.2 and, for an engine that supports it, 0.3.
pub(super) fn linker(engine: &wasmtime::Engine, is_async: bool) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    if is_async {
        wasmtime_wasi::p3::add_to_linker(&mut linker)?;
        wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    }
    linker.allow_shadowing(true);
    wasmtime_wasi::p2::bindings::filesystem::preopens::add_to_linker::<State, WasiFilesystem>(
        &mut linker,
        State::filesystem_with_tmp,
    )?;
    if is_async {
        wasmtime_wasi::p3::bindings::filesystem::preopens::add_to_linker::<State, WasiFilesystem>(
            &mut linker,
            State::filesystem_with_tmp,
        )?;
    }
    linker.allow_shadowing(false);
    Ok(linker)
}

/// The policy of `wasi:http`.
struct Hooks;

impl WasiHttpHooks for Hooks {
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        // Asked for with every set of headers: one filter for all.
        static FILTER: LazyLock<ForbiddenHeaderFilter> =
            LazyLock::new(|| Arc::new(|name| DEFAULT_FORBIDDEN_HEADERS.contains(name)));
        FILTER.clone()
    }

    fn send_request(
        &mut self,
        _request: http::Request<WasiBody>,
        _options: Option<RequestOptions>,
        _sent: Box<dyn Future<Output = Result<(), HttpError>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, HttpError>> + Send> {
        Box::new(async { Err(HttpError::HttpRequestDenied) })
    }
}

type Sent = (
    http::Response<WasiBody>,
    Box<dyn Future<Output = Result<(), HttpError>> + Send>,
);

enum Tmp {
    None,
    Unmade(Arc<Scratch>),
    Made(#[expect(dead_code, reason = "gives the directory back when it is dropped")] ScratchDir),
}

/// A directory of the host under which instances get their `/tmp`.
#[derive(Debug)]
pub struct Scratch {
    root: PathBuf,
    free: Mutex<Vec<PathBuf>>,
    next: AtomicU64,
}

impl Scratch {
    /// Uses `root`, which is made with mode 0700, for this process alone; what an earlier process
    /// left in it is removed.
    ///
    /// # Errors
    /// The error of the file system when the directory cannot be made or emptied.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Scratch> {
        let root = root.into();
        private::directory(&root)?;
        for entry in fs::read_dir(&root)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Scratch {
            root,
            free: Mutex::default(),
            next: AtomicU64::new(0),
        })
    }

    fn take(self: &Arc<Self>) -> io::Result<ScratchDir> {
        let free = self
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let path = if let Some(path) = free {
            path
        } else {
            let path = self
                .root
                .join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
            fs::DirBuilder::new().mode(0o700).create(&path)?;
            path
        };
        Ok(ScratchDir {
            path,
            scratch: self.clone(),
        })
    }
}

/// The `/tmp` of one instance.
struct ScratchDir {
    path: PathBuf,
    scratch: Arc<Scratch>,
}

impl Drop for ScratchDir {
    /// An untouched directory goes to the next instance as it is; one with files in it is removed
    /// away from the threads that serve requests.
    fn drop(&mut self) {
        let path = std::mem::take(&mut self.path);
        if fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_none()) {
            self.scratch
                .free
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(path);
            return;
        }
        let remove = move || {
            if let Err(error) = fs::remove_dir_all(&path) {
                tracing::warn!(%error, "the files of an instance's /tmp could not be removed");
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}
