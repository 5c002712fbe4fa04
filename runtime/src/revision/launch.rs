//! From a Revision object to a running revision: image, component, environment, first instance.

use std::sync::Arc;

use serve_core::api::podspec::{self, Container};
use serve_core::api::{self, ContainerStatus};
use serve_core::autoscale::spec::KPA_CLASS;
use serve_core::breaker::REVISION_QUEUE_DEPTH;
use serve_core::keys;
use serve_core::node::Resources;
use serve_core::object::Object;
use serve_core::probe::Probes;
use serve_core::quantity::Quantity;

use super::environment::{self, Lookup};
use super::{Revision, Timeouts};
use crate::activator::Activator;
use crate::config;
use crate::engine::{self, Engine, Facts, InstanceSpec, Scratch, Share, Sink};
use crate::image::reference::Reference;
use crate::image::{Digest, Images};
use crate::logs::Logs;
use crate::node::Node;
use crate::pool::{self, Heavy, Isolation, Pool, Pressure, Source};
use crate::progress::{self, Step};

/// Calls at once in one instance of a 0.3 guest whose revision sets no `containerConcurrency`.
const CALLS_PER_INSTANCE: usize = 16;

/// The port of a container that names none.
const DEFAULT_PORT: u16 = 8080;

/// What every launch needs.
#[derive(Clone)]
pub struct Launcher {
    pub engine: Engine,
    pub images: Images,
    pub config: config::Engine,
    /// Threads that requests come from; 0 when all come from the caller's runtime.
    pub cores: usize,
    pub scratch: Arc<Scratch>,
    pub progress: progress::Reporter,
    /// Shared by all pools: idle instances make room for others when the engine is full.
    pub pressure: Pressure,
    /// Shared by all pools: where guests go that compute for long.
    pub heavy: Heavy,
    /// Keeps what guests write.
    pub logs: Logs,
    /// What there is for replicas.
    pub node: Node,
    /// Finds the ConfigMaps and Secrets that environments are made from.
    pub lookup: Lookup,
}

/// Why a Revision does not run. Becomes reason and message of its conditions.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image is not there.
    #[error("image \"{image}\": {message}")]
    Image { image: String, message: String },
    #[error("no container serves: none of several has ports")]
    NoContainer,
    #[error("annotation {key}: \"{value}\" is none of auto, revision and request")]
    Isolation { key: &'static str, value: String },
    #[error(transparent)]
    Environment(#[from] environment::Error),
    /// The guest would start and miss something that its manifest promises it.
    #[error("{field} is not offered: {problem}")]
    NotOffered {
        field: &'static str,
        problem: &'static str,
    },
    /// Nobody here scales by this class.
    #[error(
        "autoscaler class \"{0}\" is not offered: replicas follow requests here, not CPU or memory; \
         use \"{KPA_CLASS}\""
    )]
    Class(String),
    /// Not even one replica fits the machine.
    #[error("{0}")]
    Unschedulable(String),
    #[error(transparent)]
    Engine(#[from] engine::Error),
}

impl Error {
    /// The code with which the guest ended its program, if that is what happened.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Engine(engine::Error::Exit(code)) => Some(*code),
            _ => None,
        }
    }

    /// The reason of the condition that shows the failure.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Image { .. } => "ContainerMissing".to_owned(),
            Self::NoContainer
            | Self::Isolation { .. }
            | Self::Environment(_)
            | Self::Class(_)
            | Self::NotOffered { .. } => "CreateContainerConfigError".to_owned(),
            Self::Unschedulable(_) => "Unschedulable".to_owned(),
            Self::Engine(_) => "CreateContainerError".to_owned(),
        }
    }
}

impl Launcher {
    /// Which component each container names.
    ///
    /// # Errors
    /// [`Error::Image`] when one names none of the content store.
    pub fn container_statuses(
        &self,
        object: &api::Revision,
    ) -> Result<Vec<ContainerStatus>, Error> {
        let status = |container: &Container| {
            let digest = self.digest(container)?;
            let repository = container.image.split('@').next().unwrap_or_default();
            Ok(ContainerStatus {
                name: container.name.clone(),
                image_digest: format!("{repository}@{digest}"),
            })
        };
        object.spec.containers.iter().map(status).collect()
    }

    fn digest(&self, container: &Container) -> Result<Digest, Error> {
        let missing = |message: &str| Error::Image {
            image: container.image.clone(),
            message: message.to_owned(),
        };
        let Reference::Content { digest } = Reference::parse(&container.image) else {
            return Err(missing(
                "it names no component of this host's content store",
            ));
        };
        let digest: Digest = digest.parse().map_err(|error: String| missing(&error))?;
        // A request may wait for this: what was loaded before needs no look at the disk.
        if self.engine.has_loaded(&digest) || self.images.store().contains(&digest) {
            Ok(digest)
        } else {
            Err(missing(
                "its bytes are no longer in this host's content store",
            ))
        }
    }

    /// Compiles and links what the template of an object names, without starting it.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn check(&self, object: &Object) -> Result<(), Error> {
        let pod = match object {
            Object::Service(service) => &service.spec.template.spec,
            Object::Configuration(configuration) => &configuration.spec.template.spec,
            _ => return Ok(()),
        };
        let container = pod.serving_container().ok_or(Error::NoContainer)?;
        let digest = self.digest(container)?;
        let source = Source {
            digest,
            store: self.images.store().clone(),
        };
        let spec = InstanceSpec::new("check");
        let _running = self.progress.begin(Step::Compile, &container.image);
        pool::Launcher::new(self.engine.clone(), spec, source)
            .component()
            .await?;
        Ok(())
    }

    /// Whether the machine could bear one replica if nothing else ran.
    ///
    /// # Errors
    /// [`Error::Unschedulable`].
    pub fn fits(&self, object: &api::Revision) -> Result<(), Error> {
        match self.node.never_fits(&asked(object)) {
            Some(shortage) => Err(Error::Unschedulable(shortage)),
            None => Ok(()),
        }
    }

    /// Whether what a Revision runs is there, and was compiled: to start it takes no longer than to
    /// load it.
    #[must_use]
    pub fn has_code(&self, object: &api::Revision) -> bool {
        let container = object.serving_container();
        let digest = container.and_then(|container| self.digest(container).ok());
        digest.is_some_and(|digest| self.engine.has_code(&digest))
    }

    /// Compiles, or finds compiled, what a Revision runs, and starts its first instance.
    ///
    /// # Errors
    /// As [`Error`] says; nothing is left running.
    ///
    /// # Cancel safety
    /// Dropping the future leaves at most a compilation whose result is kept.
    pub async fn launch(&self, object: &api::Revision) -> Result<Arc<Revision>, Error> {
        let revision = self.prepare(object).await?;
        let _starting = self.progress.begin(Step::Start, revision.key.to_string());
        revision.pool.warm().await?;
        Ok(revision)
    }

    /// Compiles, or finds compiled, what a Revision runs, and starts nothing yet.
    ///
    /// # Errors
    /// As [`Error`] says.
    ///
    /// # Cancel safety
    /// Dropping the future leaves at most a compilation whose result is kept.
    pub async fn prepare(&self, object: &api::Revision) -> Result<Arc<Revision>, Error> {
        let container = object.serving_container().ok_or(Error::NoContainer)?;
        if object.spec.containers.len() > 1 {
            let problem = "a Revision runs one component; make the others Services of their own";
            return Err(Error::NotOffered {
                field: "containers[1]",
                problem,
            });
        }
        if !container.volume_mounts.is_empty() {
            let problem = "guests have no files but those of their own /tmp; use env and envFrom";
            return Err(Error::NotOffered {
                field: "volumeMounts",
                problem,
            });
        }
        if let Err(probe) = Probes::of(container) {
            let problem = "a component has no programs to run; use httpGet, tcpSocket or grpc";
            return Err(Error::NotOffered {
                field: probe.field,
                problem,
            });
        }
        let digest = self.digest(container)?;
        let spec = self.instance_spec(object, container)?;
        let source = Source {
            digest,
            store: self.images.store().clone(),
        };
        let cpu = spec.cpu.clone();
        let launcher = Arc::new(pool::Launcher::new(self.engine.clone(), spec, source));
        let revision = object.metadata.key().to_string();
        // What was compiled before is only loaded: by the first request after a restart, for one.
        let is_new = !self.engine.has_loaded(&digest) && !self.engine.has_code(&digest);
        let compiling = is_new.then(|| self.progress.begin(Step::Compile, &revision));
        let component = launcher.component().await?;
        drop(compiling);
        let options = pool::Options {
            cpu,
            ..self.options(object, component.facts())?
        };
        let pool = Pool::new(launcher, options);
        Ok(Arc::new(Revision {
            key: object.metadata.key(),
            uid: object.metadata.uid.clone(),
            activator: Activator::new(REVISION_QUEUE_DEPTH, self.cores),
            pool,
            timeouts: Timeouts::of(&object.spec),
            container_concurrency: container_concurrency(object),
        }))
    }

    fn options(&self, object: &api::Revision, facts: &Facts) -> Result<pool::Options, Error> {
        let isolation = match object.metadata.annotation(keys::ISOLATION_ANNOTATION) {
            None | Some("auto") if facts.auto_reuse() => Isolation::Revision,
            None | Some("auto" | "request") => Isolation::Request,
            Some("revision") => Isolation::Revision,
            Some(other) => {
                let (key, value) = (keys::ISOLATION_ANNOTATION, other.to_owned());
                return Err(Error::Isolation { key, value });
            }
        };
        let concurrency = object.spec.container_concurrency.unwrap_or(0);
        let at_once = match usize::try_from(concurrency) {
            Ok(0) | Err(_) => CALLS_PER_INSTANCE,
            Ok(concurrency) => concurrency,
        };
        let shares = facts.world == engine::World::P3 && isolation == Isolation::Revision;
        Ok(pool::Options {
            revision: object.metadata.key().to_string().into(),
            isolation,
            calls_per_instance: if shares { at_once } else { 1 },
            instances: self.config.max_instances as usize,
            shards: self.cores.max(1),
            pressure: self.pressure.clone(),
            heavy: self.heavy.clone(),
            ..pool::Options::default()
        })
    }

    fn instance_spec(
        &self,
        object: &api::Revision,
        container: &Container,
    ) -> Result<InstanceSpec, Error> {
        let mut spec = InstanceSpec::new(object.metadata.key().to_string());
        let environment = environment::environment(object, container, &self.lookup)?;
        spec.env = environment.variables;
        spec.args = environment.arguments;
        spec.cwd = Some(container.working_dir.clone()).filter(|path| !path.is_empty());
        spec.limits.memory_bytes = memory_limit(container)
            .unwrap_or(usize::try_from(self.config.memory.0).unwrap_or(usize::MAX));
        let requested = asked(object).millicores();
        spec.cpu = Arc::new(Share::new(requested, cpu_limit(container)));
        spec.scratch = Some(self.scratch.clone());
        let log = self.logs.open(&object.metadata.key());
        spec.output = Arc::new(Sink::kept(spec.revision.clone(), log));
        Ok(spec)
    }
}

/// What each replica of a Revision asks of the machine, over all its containers.
#[must_use]
pub fn asked(object: &api::Revision) -> Resources {
    let mut asked = Resources::default();
    for container in &object.spec.containers {
        asked.add(&Resources::asked(&container.resources), 1);
    }
    asked
}

/// `containerConcurrency`: requests at once in a replica; 0 is no bound.
#[must_use]
pub fn container_concurrency(object: &api::Revision) -> u32 {
    object
        .spec
        .container_concurrency
        .and_then(|c| u32::try_from(c).ok())
        .unwrap_or(0)
}

/// The probes of the container that serves. One that is not offered keeps the launch from coming
/// to its end, so nothing asks for it here.
#[must_use]
pub fn probes(object: &api::Revision) -> Probes {
    let probes = object.serving_container().map(Probes::of);
    probes.and_then(Result::ok).unwrap_or_default()
}

/// The port that the probes of a Revision name.
#[must_use]
pub fn port(object: &api::Revision) -> u16 {
    let container = object.serving_container();
    let port = container.and_then(|container| container.ports.first()?.container_port);
    port.and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0)
        .unwrap_or(DEFAULT_PORT)
}

/// Whether the first request to a Revision at zero may start it: nothing has to be asked of it
/// first, and nothing of the machine has to be found for it.
#[must_use]
pub fn wakes_by_itself(object: &api::Revision) -> bool {
    probes(object).pass_at_start() && asked(object).is_nothing()
}

/// `resources.limits.memory` in bytes; none when it is not set.
fn memory_limit(container: &Container) -> Option<usize> {
    usize::try_from(limit(container, "memory")?.units()).ok()
}

/// `resources.limits.cpu` in thousandths of a core; none when it is not set.
fn cpu_limit(container: &Container) -> Option<u64> {
    Some(limit(container, "cpu")?.thousandths())
}

fn limit(container: &Container, name: &str) -> Option<Quantity> {
    match container.resources.limits.as_ref()?.get(name)? {
        podspec::Quantity::Text(text) => text.parse().ok(),
        podspec::Quantity::Integer(number) => number.to_string().parse().ok(),
    }
}
