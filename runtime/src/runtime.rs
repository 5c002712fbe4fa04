//! The whole host in process: for the `serve` program, and for programs that embed it.
//!
//! Input: settings and directories; then objects, which `apply` takes, and requests. Output: the
//! parts of the host, put together, and their tasks, which end with it.

mod apply;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::{Request, Response};
use serve_core::settings::{Domain, Settings};
use serve_core::traffic::Visibility;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};

use crate::body::Body;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::control::controller::Controller;
use crate::control::naming::Naming;
use crate::control::publish::Publisher;
use crate::control::resume::{Restored, Restoring};
use crate::control::revisions::Revisions;
use crate::control::settings::{Current, Live};
use crate::control::snapshot::{self, Snapshot};
use crate::control::store::Store;
use crate::engine::{self, Engine, Scratch};
use crate::image::Images;
use crate::ingress::executor::{Executor, Hooks};
use crate::ingress::headers::Client;
use crate::ingress::{self, Shared, handler};
use crate::logs::Logs;
use crate::node::Node;
use crate::pool::{Heavy, Pressure, lane};
use crate::process;
use crate::progress;
use crate::revision::launch::Launcher;
use crate::source::ko::{self, Ko};
use crate::source::resolve::Resolver;
use crate::tasks::{Stop, Tasks};

pub use self::apply::ApplyError;

/// Why a runtime does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("starting the engine")]
    Engine(#[from] engine::Error),
    #[error(transparent)]
    State(#[from] Arc<snapshot::Error>),
    #[error("using directory \"{}\"", .path.display())]
    Directory { path: PathBuf, source: io::Error },
}

/// One of the data plane's two faces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Serves public hosts.
    Public,
    /// Serves cluster-local hosts too.
    ClusterLocal,
}

impl Listener {
    fn visibility(self) -> Visibility {
        match self {
            Self::Public => Visibility::Public,
            Self::ClusterLocal => Visibility::ClusterLocal,
        }
    }
}

/// Makes a [`Runtime`].
#[derive(Debug, Default)]
pub struct Builder {
    config: Config,
    directory: Option<PathBuf>,
    clock: Clock,
    snapshot: Option<Snapshot>,
}

impl Builder {
    /// Uses these settings. Those of listeners are the caller's to act on, by
    /// [`Runtime::listen`].
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Keeps components, compiled code and what guests write to `/tmp` below this directory.
    /// Without one, components and code live and end with the process.
    #[must_use]
    pub fn cache_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Goes on from the objects in a snapshot, and keeps them there.
    #[must_use]
    pub fn state(mut self, snapshot: Snapshot) -> Self {
        self.snapshot = Some(snapshot);
        self
    }

    /// Takes the time of day from this clock.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Starts the runtime's tasks on the caller's tokio runtime.
    ///
    /// # Errors
    /// As [`Error`] says.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn build(self) -> Result<Runtime, Error> {
        let images = match &self.directory {
            Some(root) => in_directory(&root.join("images"), |path| Images::open(path))?,
            None => Images::in_memory(),
        };
        let engine = Engine::new(&engine_config(
            &self.config.engine,
            self.directory.as_deref(),
        ))?;
        let run = match &self.directory {
            Some(root) => root.join("run"),
            None => std::env::temp_dir().join(format!("serve-{}", std::process::id())),
        };
        let own = in_directory(&run, process::own_directory)?;
        let go_scratch = own.join("go");
        let scratch = Arc::new(in_directory(&own.join("tmp"), |path| Scratch::open(path))?);

        let progress = progress::Reporter::default();
        let live = Live::new(settings(&self.config.network));
        let settings = live.subscribe();
        let settings_version = live.version();
        let tasks = Arc::new(Tasks::default());
        let store = Store::in_memory(self.clock.clone());
        let shared = Arc::new(Shared::new(self.config.ingress.clone()));
        let workers = self.config.ingress.workers.count();
        let (url_port, url_ports) = watch::channel(None);
        let log_bytes = usize::try_from(self.config.engine.log_bytes.0).unwrap_or(usize::MAX);
        let logs = Logs::new(self.clock.clone(), log_bytes);
        let launcher = Launcher {
            engine,
            images: images.clone(),
            config: self.config.engine.clone(),
            cores: workers,
            scratch,
            progress: progress.clone(),
            pressure: Pressure::default(),
            heavy: Heavy::default(),
            logs: logs.clone(),
            node: Node::of_machine(),
            lookup: {
                let store = store.clone();
                Arc::new(move |kind, key| store.get(kind, key))
            },
        };
        let mut controller = Controller::new(
            store.clone(),
            self.clock.clone(),
            Naming {
                settings: settings.clone(),
                url_port: url_ports,
            },
            live,
            Publisher::new(shared.clone()),
            Revisions::new(
                launcher.clone(),
                tasks.clone(),
                self.clock.clone(),
                settings.clone(),
            ),
        );
        let restored = watch::Sender::new(Restored::Done(0));
        if let Some(snapshot) = self.snapshot {
            controller = controller.restoring(begin(&snapshot, &shared, &restored)?);
            let (store, stop) = (store.clone(), tasks.stop_signal());
            tasks.spawn(keep(snapshot, store, &restored, stop));
        }
        tasks.spawn(controller.run(tasks.stop_signal()));
        let ko = Ko {
            scratch: go_scratch,
            limits: ko_limits(&self.config.build),
        };
        let resolver = Resolver {
            images,
            ko,
            progress,
            config: self.config.images,
        };
        let network = self.config.network;
        Ok(Runtime {
            store,
            shared,
            executor: Arc::default(),
            workers,
            tasks,
            settings,
            settings_version,
            resolver,
            launcher,
            logs,
            url_port,
            network,
            clock: self.clock,
            restored: restored.subscribe(),
        })
    }
}

/// Begins to read what a snapshot has, if that is anything.
fn begin(
    snapshot: &Snapshot,
    shared: &Arc<Shared>,
    restored: &watch::Sender<Restored>,
) -> Result<Option<Restoring>, Error> {
    let Some(load) = snapshot.load().map_err(Arc::new)? else {
        return Ok(None);
    };
    restored.send_replace(Restored::Reading);
    let restoring = Restoring::begin(load, shared.clone(), restored.clone());
    Ok(Some(restoring))
}

/// Keeps the objects in a snapshot once those that it has are all in the store.
fn keep(
    snapshot: Snapshot,
    store: Store,
    restored: &watch::Sender<Restored>,
    mut stop: Stop,
) -> impl Future<Output = ()> + use<> {
    let mut restored = restored.subscribe();
    async move {
        let known = tokio::select! {
            // What is not all read must not be written.
            () = stop.stopped() => return,
            done = restored.wait_for(|state| matches!(state, Restored::Done(_))) => {
                match done.as_deref() {
                    Ok(Restored::Done(revision)) => *revision,
                    _ => return,
                }
            }
        };
        snapshot.keep(store, known, stop).await;
    }
}

fn in_directory<T>(path: &Path, open: impl FnOnce(&Path) -> io::Result<T>) -> Result<T, Error> {
    open(path).map_err(|source| Error::Directory {
        path: path.to_owned(),
        source,
    })
}

fn engine_config(config: &config::Engine, directory: Option<&Path>) -> engine::Config {
    let default = engine::Config::default();
    engine::Config {
        instances: config.max_instances,
        loaded: process::open_files()
            .map_or(config.max_loaded, |files| config.max_loaded.min(files / 2)),
        parallel_compiles: config.parallel_compiles,
        cache: directory.map(|root| root.join("code")),
        baseline_bytes: default.baseline_bytes.filter(|_| config.baseline),
        ..default
    }
}

fn ko_limits(config: &config::Build) -> ko::Limits {
    ko::Limits {
        time: config.time.0,
        memory_bytes: config.memory.0,
    }
}

fn settings(network: &config::Network) -> Settings {
    Settings {
        domain: Domain::everywhere(&network.domain),
        ..Settings::default()
    }
}

/// A running host. Dropping it ends its tasks at once; [`Runtime::shutdown`] lets requests end.
///
/// # Examples
///
/// ```
/// use std::path::Path;
/// use std::time::Duration;
///
/// use serve_core::kind::Kind;
/// use serve_core::object::Object;
/// use serve_runtime::Runtime;
/// use serve_runtime::body::Body;
/// use serve_runtime::source::resolve::Origin;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let runtime = Runtime::builder().build()?;
/// let service = Object::from_value(serde_json::json!({
///     "apiVersion": "serving.knative.dev/v1",
///     "kind": "Service",
///     "metadata": {"name": "hello"},
///     "spec": {"template": {"spec": {"containers": [{"image": "./hello.wat"}]}}},
/// }))?;
/// let origin = Origin { directory: Path::new("../examples"), may_build: false };
/// let key = runtime.apply(service, origin).await?.key();
///
/// let is_ready = |object: Option<&Object>| object.is_some_and(Object::is_ready);
/// runtime.store().wait_for(Kind::Service, &key, is_ready).await;
///
/// let request = http::Request::get("http://hello.default/").body(Body::empty())?;
/// assert_eq!(runtime.call(request).await.status(), 200);
/// runtime.shutdown(Duration::from_secs(5)).await;
/// # Ok(()) }
/// ```
pub struct Runtime {
    store: Store,
    shared: Arc<Shared>,
    executor: Arc<Executor>,
    /// Threads that serve connections once there is a listener.
    workers: usize,
    tasks: Arc<Tasks>,
    settings: Current,
    settings_version: watch::Receiver<u64>,
    resolver: Resolver,
    launcher: Launcher,
    logs: Logs,
    url_port: watch::Sender<Option<u16>>,
    network: config::Network,
    clock: Clock,
    restored: watch::Receiver<Restored>,
}

impl Runtime {
    /// Starts with default settings.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The objects, to read and to watch.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Knative's settings as they are now, for others who admit objects.
    #[must_use]
    pub fn settings(&self) -> &Current {
        &self.settings
    }

    /// What guests wrote.
    #[must_use]
    pub fn logs(&self) -> &Logs {
        &self.logs
    }

    /// Finds the images of objects.
    #[must_use]
    pub fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// The domain that public hosts end in where no ConfigMap says otherwise.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.network.domain
    }

    /// The tasks of this host, for those of others that are to end with it.
    #[must_use]
    pub fn tasks(&self) -> &Arc<Tasks> {
        &self.tasks
    }

    /// Where this host gets the time of day from.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Waits until the objects of an earlier run are all there. Requests are answered before; for
    /// everything else it is as if this had happened in [`Builder::build`].
    ///
    /// # Errors
    /// [`Error::State`]: nothing is reconciled or kept then, and the file stays as it is.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn restored(&self) -> Result<(), Error> {
        let mut restored = self.restored.clone();
        let state = restored.wait_for(|state| !matches!(state, Restored::Reading));
        match state.await.as_deref() {
            Ok(Restored::Failed(error)) => Err(error.clone().into()),
            // The host ends when nobody restores any more.
            _ => Ok(()),
        }
    }

    /// Waits until no component runs on code that is not optimised yet.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn optimized(&self) {
        self.launcher.engine.optimized().await;
    }

    /// Tells of builds, compilations and starts from now on.
    #[must_use]
    pub fn progress(&self) -> broadcast::Receiver<progress::Progress> {
        self.resolver.progress.subscribe()
    }

    /// Answers a request in process, as a client of the cluster-local listener.
    ///
    /// # Cancel safety
    /// Dropping the future, or the response's body, is the client going away.
    pub async fn call(&self, request: Request<Body>) -> Response<Body> {
        static ORIGIN: LazyLock<ingress::Origin> = LazyLock::new(|| ingress::Origin {
            listener: Visibility::ClusterLocal,
            client: Client::new(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            core: 0,
        });
        handler::handle(&self.shared, &ORIGIN, request).await
    }

    /// Serves on an address until the runtime ends; port 0 picks a free one. Returns the address.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn listen(&self, listener: Listener, address: SocketAddr) -> io::Result<SocketAddr> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        if listener == Listener::Public && self.network.url_port == config::UrlPort::Auto {
            self.url_port
                .send_replace(Some(address.port()).filter(|port| *port != 80));
        }
        let hooks = Hooks {
            rests: lane::rests,
            goes_on: lane::goes_on,
        };
        self.executor.start(self.workers, hooks)?;
        if self.launcher.heavy.start(self.workers)? {
            let heavy = &self.launcher.heavy;
            self.executor.on_each(|| {
                let heavy = heavy.clone();
                async move { heavy.leave_room().await }
            });
            self.executor.on_each(lane::run);
        }
        let serving = ingress::serve(
            self.shared.clone(),
            self.executor.clone(),
            socket,
            listener.visibility(),
            self.tasks.clone(),
        );
        self.tasks.spawn(serving);
        Ok(address)
    }

    /// Stops accepting, lets running requests end for up to `grace`, then ends everything.
    pub async fn shutdown(&self, grace: Duration) {
        let aborted = self.tasks.shutdown(grace).await;
        self.launcher.heavy.stop();
        self.executor.stop().await;
        if aborted > 0 {
            tracing::warn!(aborted, "tasks were ended before they were done");
        }
    }
}
