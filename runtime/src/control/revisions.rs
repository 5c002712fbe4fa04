//! The Revisions that were started, and what has been seen of them.
//!
//! Input: Revision objects and the facts that their tasks report. Output: the facts that the
//! Revision reconciler reads, and running revisions for the route table.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, OnceLock};

use serve_core::api;
use serve_core::autoscale::spec::{Class, HPA_CLASS};
use serve_core::autoscale::to_zero::Activity;
use serve_core::autoscale::{self, Spec};
use serve_core::keys;
use serve_core::kind::Kind;
use serve_core::meta::ObjectKey;
use serve_core::node::Resources;
use serve_core::object::Object;
use serve_core::probe::Probes;
use serve_core::reconcile;
use serve_core::reconcile::revision::{ActiveFact, ExitFact, Facts, ImageFact, StartFact};
use serve_core::replicas::{Count, Replicas};
use serve_core::resources::derived::Stale;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tracing::Instrument;

use super::mirror::{Drain, Members};
use super::observe::{Fact, Reporter, What};
use super::settings::Current;
use crate::autoscaler::{Begin, Scale, Scaler, Subject};
use crate::clock::Clock;
use crate::revision::Revision;
use crate::revision::launch::{self, Launcher};
use crate::revision::sleeper::{News, Serving, Sleeper};
use crate::tasks::Tasks;

/// All Revisions that the controller has seen and that still exist.
pub struct Revisions {
    launcher: Arc<Launcher>,
    tasks: Arc<Tasks>,
    clock: Clock,
    settings: Current,
    seen: HashMap<ObjectKey, Seen>,
    /// Where all sleepers tell theirs.
    news: OnceLock<News>,
}

struct Seen {
    uid: String,
    facts: Facts,
    spec: Arc<Spec>,
    /// What the autoscaler reads, once there is one; dropping it ends the autoscaler.
    specs: Option<watch::Sender<Arc<Spec>>>,
    running: Option<Serving>,
    /// From where its scaler begins.
    begin: Begin,
    members: Members,
    /// What the objects that show it were made from, once they are there.
    shown: Option<Box<(Facts, Replicas)>>,
    /// Those of them that have to be made again whatever they were made from.
    stale: Stale,
    container_concurrency: u32,
    probes: Arc<Probes>,
    port: u16,
    /// What each replica asks of the machine.
    asked: Resources,
    /// It did not start because a ConfigMap or Secret is not there.
    misses_environment: bool,
}

/// A Revision of an earlier run.
pub struct Resumed {
    pub serving: Serving,
    /// Whether it is as its status says.
    pub is_settled: bool,
}

impl Revisions {
    #[must_use]
    pub fn new(launcher: Launcher, tasks: Arc<Tasks>, clock: Clock, settings: Current) -> Self {
        Self {
            launcher: Arc::new(launcher),
            tasks,
            clock,
            settings,
            seen: HashMap::new(),
            news: OnceLock::new(),
        }
    }

    /// Starts a Revision that is seen for the first time; tells the autoscaler of one that changed.
    /// Returns what is known of it.
    pub fn observe(&mut self, object: &api::Revision, sender: &UnboundedSender<Fact>) -> &Facts {
        let key = object.metadata.key();
        let spec = Arc::new(self.spec(object));
        let is_new = self
            .seen
            .get(&key)
            .is_none_or(|seen| seen.uid != object.metadata.uid);
        if is_new {
            self.start(object, sender.clone());
        }
        let seen = match self.seen.entry(key.clone()) {
            Entry::Occupied(entry) if !is_new => entry.into_mut(),
            entry => {
                let seen = entry
                    .insert_entry(Seen::new(object, spec.clone()))
                    .into_mut();
                let count = Count {
                    wanted: spec.first_scale(),
                    ..Count::default()
                };
                seen.members.scale(count, self.clock.now());
                self.launcher.logs.set_writers(&key, seen.members.writers());
                seen
            }
        };
        let mut woken = None;
        if *seen.spec != *spec {
            seen.spec = spec.clone();
            if let Some(specs) = &seen.specs {
                specs.send_replace(spec);
            } else if let Some(Serving::Asleep(sleeper)) = &seen.running
                && !may_sleep(&seen.spec)
            {
                woken = Some(sleeper.clone());
            }
        }
        if let Some(sleeper) = woken {
            self.wake(sleeper);
        }
        &self.seen[&key].facts
    }

    /// Takes over a Revision that an earlier run left ready, so that requests find it at once. One
    /// at zero is not started before a request comes, the others are started now. `None` for one
    /// that was not ready or may not run here, which is to be observed as a new one.
    pub fn resume(
        &mut self,
        object: &api::Revision,
        sender: &UnboundedSender<Fact>,
    ) -> Option<Resumed> {
        // One that may not run here any more is told so, and does not serve until then.
        if !reconcile::revision::is_ready(object) || self.check(object).is_err() {
            return None;
        }
        let spec = Arc::new(self.spec(object));
        let asleep =
            Facts::asleep(object).filter(|_| may_sleep(&spec) && self.launcher.has_code(object));
        let key = object.metadata.key();
        let sleeper = self.sleeper(key.clone(), &object.metadata.uid, sender);
        let serving = Serving::Asleep(sleeper.clone());
        let mut seen = Seen::new(object, spec);
        seen.running = Some(serving.clone());
        let is_settled = asleep.is_some();
        if let Some(facts) = asleep {
            (seen.facts, seen.begin) = (facts, Begin::Asleep);
        } else {
            self.wake(sleeper);
        }
        self.seen.insert(key, seen);
        Some(Resumed {
            serving,
            is_settled,
        })
    }

    fn wake(&self, sleeper: Arc<Sleeper>) {
        let span = tracing::info_span!("launch", revision = %sleeper.key);
        let mut stop = self.tasks.stop_signal();
        // What goes wrong is told to those who want its news.
        let wake = async move {
            tokio::select! {
                () = stop.stopped() => {}
                _ = sleeper.wake() => {}
            }
        };
        self.tasks.spawn(wake.instrument(span));
    }

    fn sleeper(&self, key: ObjectKey, uid: &str, sender: &UnboundedSender<Fact>) -> Arc<Sleeper> {
        let news = self.news.get_or_init(|| news_to(sender.clone()));
        let launcher = self.launcher.clone();
        Arc::new(Sleeper::new(key, uid.to_owned(), launcher, news.clone()))
    }

    /// Takes in news. Returns the revision when the news is that it can serve.
    pub fn take(&mut self, fact: Fact) -> Option<Serving> {
        let seen = self.seen.get_mut(&fact.key);
        let Some(seen) = seen.filter(|seen| seen.uid == fact.uid) else {
            if let What::Woken(revision) = fact.what {
                // It was deleted meanwhile. Who found it before is served, and it goes with them.
                let concurrency = revision.container_concurrency;
                let capacity = revision.pool.capacity(1, concurrency);
                revision.activator.set_capacity(capacity);
            }
            return None;
        };
        match fact.what {
            What::Resolved(containers) => {
                seen.facts.image = ImageFact::Resolved {
                    containers,
                    init_containers: Vec::new(),
                };
            }
            What::Started(_)
                if seen.spec.first_scale() == 0
                    && may_sleep(&seen.spec)
                    && keeps_code(&self.launcher, &fact.key) =>
            {
                // It has shown that it starts, and goes at once: nobody asked for it yet.
                seen.facts.start = StartFact::Started;
                show(&mut seen.facts, &Scale::before_the_first_request());
                seen.begin = Begin::Asleep;
                let sleeper = self.sleeper(fact.key.clone(), &fact.uid, &fact.sender);
                let serving = Serving::Asleep(sleeper);
                if let Some(seen) = self.seen.get_mut(&fact.key) {
                    seen.running = Some(serving.clone());
                }
                return Some(serving);
            }
            What::Started(revision) | What::Woken(revision) => {
                return Some(self.scale(revision, fact.sender));
            }
            What::Failed(error) => {
                seen.misses_environment = matches!(error, launch::Error::Environment(_));
                fail(&mut seen.facts, &error, || {
                    self.launcher.logs.tail(&fact.key)
                });
            }
            What::Scaled(scale) => {
                show(&mut seen.facts, &scale);
                let count = Count {
                    ready: scale.actual,
                    running: scale.running,
                    wanted: scale.desired.unwrap_or(scale.running),
                };
                let now = self.clock.now();
                seen.members.scale(count, now);
                seen.members.restarted(scale.restarts, now);
                seen.members.exited(scale.ends, now);
                let log = || self.launcher.logs.tail(&fact.key);
                show_exit(&mut seen.facts, scale.ends, log);
                self.launcher
                    .logs
                    .set_writers(&fact.key, seen.members.writers());
                self.drain(fact.key, fact.sender);
            }
            What::Drained => seen.members.drained(),
        }
        None
    }

    /// Lets a revision that was seen be scaled from now on.
    fn scale(&mut self, revision: Arc<Revision>, sender: UnboundedSender<Fact>) -> Serving {
        let serving = Serving::Awake(revision.clone());
        let Some(seen) = self.seen.get_mut(&revision.key) else {
            return serving;
        };
        seen.facts.start = StartFact::Started;
        seen.running = Some(serving.clone());
        let reporter = Reporter {
            key: revision.key.clone(),
            uid: seen.uid.clone(),
            sender,
        };
        let subject = Subject {
            activator: revision.activator.clone(),
            pool: revision.pool.clone(),
            container_concurrency: seen.container_concurrency,
            probes: seen.probes.clone(),
            port: seen.port,
            share: self.launcher.node.share(seen.asked.clone()),
            begin: seen.begin,
        };
        let specs = watch::Sender::new(seen.spec.clone());
        let scaler = Scaler::new(
            subject,
            self.clock.clone(),
            specs.subscribe(),
            Box::new(move |scale| reporter.report(What::Scaled(scale))),
        );
        seen.specs = Some(specs);
        let span = tracing::info_span!("scale", revision = %revision.key);
        self.tasks
            .spawn(scaler.run(self.tasks.stop_signal()).instrument(span));
        serving
    }

    /// Whether a Revision has started, and nothing has gone wrong with it since.
    #[must_use]
    pub fn is_started(&self, key: &ObjectKey) -> bool {
        let seen = self.seen.get(key);
        seen.is_some_and(|seen| seen.facts.start == StartFact::Started)
    }

    /// What is to be shown of a Revision, and by which objects; none when it is shown, or was never
    /// observed.
    #[must_use]
    pub fn to_show(&self, key: &ObjectKey) -> Option<(&Facts, &Replicas, Stale)> {
        let seen = self.seen.get(key)?;
        let (facts, replicas) = (&seen.facts, seen.members.replicas());
        let stale = match seen.shown.as_deref() {
            Some((before, of)) => Stale::by_facts((before, of), (facts, replicas)).or(seen.stale),
            None => Stale::ALL,
        };
        (stale != Stale::default()).then_some((facts, replicas, stale))
    }

    /// All that [`Revisions::to_show`] gave is shown.
    pub fn set_shown(&mut self, key: &ObjectKey) {
        if let Some(seen) = self.seen.get_mut(key) {
            let now = (seen.facts.clone(), seen.members.replicas().clone());
            seen.shown = Some(Box::new(now));
            seen.stale = Stale::default();
        }
    }

    /// What a Revision is shown by changed in another way: some of it is to be made again.
    pub fn show_again(&mut self, key: &ObjectKey, stale: Stale) {
        if let Some(seen) = self.seen.get_mut(key) {
            seen.stale = seen.stale.or(stale);
        }
    }

    /// The same for all.
    pub fn show_all_again(&mut self) {
        for seen in self.seen.values_mut() {
            seen.stale = Stale::ALL;
        }
    }

    /// Lets one replica of a Revision end and another take its place. Returns whether there was
    /// such a one.
    pub fn replace(&mut self, key: &ObjectKey, id: &str, sender: &UnboundedSender<Fact>) -> bool {
        let Some(seen) = self.seen.get_mut(key) else {
            return false;
        };
        if !seen.members.replace(id, self.clock.now()) {
            return false;
        }
        if let Some(Serving::Awake(revision)) = &seen.running {
            revision.pool.restart();
        }
        self.launcher.logs.set_writers(key, seen.members.writers());
        self.drain(key.clone(), sender.clone());
        true
    }

    /// Waits for the requests of replicas that leave, in a task.
    fn drain(&mut self, key: ObjectKey, sender: UnboundedSender<Fact>) {
        let Some(seen) = self.seen.get_mut(&key) else {
            return;
        };
        let Some(Serving::Awake(revision)) = seen.running.clone() else {
            return;
        };
        let Some(drain) = seen.members.begin_drain(seen.container_concurrency) else {
            return;
        };
        let uid = seen.uid.clone();
        let reporter = Reporter { key, uid, sender };
        let mut stop = self.tasks.stop_signal();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.stopped() => {}
                () = drain.wait(|| revision.activator.load().running) => {
                    reporter.report(What::Drained);
                }
            }
        });
    }

    /// Lets the Revisions of a namespace that missed a ConfigMap or Secret start again. Returns
    /// their keys, to be observed anew.
    pub fn retry(&mut self, namespace: &str) -> Vec<ObjectKey> {
        let missed = |(key, seen): &(&ObjectKey, &Seen)| {
            key.namespace == namespace && seen.misses_environment
        };
        let keys: Vec<_> = self
            .seen
            .iter()
            .filter(missed)
            .map(|(key, _)| key.clone())
            .collect();
        for key in &keys {
            self.seen.remove(key);
        }
        keys
    }

    /// Forgets a Revision that was deleted: its scaler serves who waits and takes it out of service.
    /// Returns what runs of it, and its replicas.
    pub fn forget(&mut self, key: &ObjectKey, uid: &str) -> Option<(Option<Serving>, Members)> {
        if self.seen.get(key)?.uid != uid {
            return None;
        }
        self.launcher.logs.remove(key);
        let seen = self.seen.remove(key)?;
        Some((seen.running, seen.members))
    }

    /// Does something when the requests of a retired revision are done.
    pub fn after_requests(&self, running: Option<Serving>, then: impl FnOnce() + Send + 'static) {
        let Some(Serving::Awake(revision)) = running else {
            return then();
        };
        let mut stop = self.tasks.stop_signal();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.stopped() => {}
                () = Drain::of_all().wait(|| revision.activator.load().requests()) => then(),
            }
        });
    }

    fn spec(&self, object: &api::Revision) -> Spec {
        let settings = self.settings.borrow().clone();
        Spec::new(
            &settings.autoscaler,
            autoscale::Template {
                annotations: &object.metadata.annotations,
                container_concurrency: launch::container_concurrency(object),
                progress_deadline: settings.deployment.progress_deadline,
                reachable: object.metadata.label(keys::ROUTING_STATE_LABEL)
                    != Some(keys::ROUTING_STATE_RESERVE),
            },
        )
    }

    /// Whether a Revision may run here, as the settings are now.
    fn check(&self, object: &api::Revision) -> Result<(), launch::Error> {
        match self.spec(object).class {
            Class::Kpa => {}
            Class::Hpa => return Err(launch::Error::Class(HPA_CLASS.to_owned())),
            Class::Other(name) => return Err(launch::Error::Class(name)),
        }
        let waits_for_room = self.settings.borrow().deployment.pod_is_always_schedulable;
        if waits_for_room {
            return Ok(());
        }
        self.launcher.fits(object)
    }

    fn start(&self, object: &api::Revision, sender: UnboundedSender<Fact>) {
        let checked = self.check(object);
        let (launcher, object) = (self.launcher.clone(), object.clone());
        let (key, uid) = (object.metadata.key(), object.metadata.uid.clone());
        let span = tracing::info_span!("launch", revision = %key);
        let reporter = Reporter { key, uid, sender };
        let mut stop = self.tasks.stop_signal();
        let launch = async move {
            match launcher.container_statuses(&object) {
                Ok(statuses) => reporter.report(What::Resolved(statuses)),
                Err(error) => return reporter.report(What::Failed(error)),
            }
            if let Err(error) = checked {
                return reporter.report(What::Failed(error));
            }
            tokio::select! {
                () = stop.stopped() => {}
                launched = launcher.launch(&object) => reporter.report(match launched {
                    Ok(revision) => What::Started(revision),
                    Err(error) => What::Failed(error),
                }),
            }
        };
        self.tasks.spawn(launch.instrument(span));
    }
}

impl Seen {
    /// A Revision of which nothing is known yet.
    fn new(object: &api::Revision, spec: Arc<Spec>) -> Self {
        Self {
            uid: object.metadata.uid.clone(),
            facts: Facts::default(),
            spec,
            specs: None,
            running: None,
            begin: Begin::New,
            members: Members::default(),
            shown: None,
            stale: Stale::default(),
            container_concurrency: launch::container_concurrency(object),
            probes: Arc::new(launch::probes(object)),
            port: launch::port(object),
            asked: launch::asked(object),
            misses_environment: false,
        }
    }
}

/// Whether a revision at zero needs nobody who watches over it.
fn may_sleep(spec: &Spec) -> bool {
    spec.min_scale == 0 && spec.enable_scale_to_zero
}

/// Whether the code of a Revision can be let go: to start it again does not mean to compile it while
/// a request waits.
fn keeps_code(launcher: &Launcher, key: &ObjectKey) -> bool {
    let found = (launcher.lookup)(Kind::Revision, key);
    matches!(found.as_deref(), Some(Object::Revision(object)) if launcher.has_code(object))
}

fn news_to(sender: UnboundedSender<Fact>) -> News {
    Arc::new(move |sleeper, news| {
        let reporter = Reporter {
            key: sleeper.key.clone(),
            uid: sleeper.uid.clone(),
            sender: sender.clone(),
        };
        reporter.report(match news {
            Ok(revision) => What::Woken(revision),
            Err(error) => What::Failed(error),
        });
    })
}

/// Shows how code last ended; `log` is its last output.
fn show_exit(facts: &mut Facts, (times, code): (u32, i32), log: impl FnOnce() -> String) {
    let is_known = facts.exit.as_ref().is_some_and(|exit| exit.code == code);
    if times == 0 {
        facts.exit = None;
    } else if !is_known {
        let message = log();
        facts.exit = Some(ExitFact { code, message });
    }
}

fn fail(facts: &mut Facts, error: &launch::Error, log: impl FnOnce() -> String) {
    tracing::warn!(%error, "a revision does not start");
    match error {
        launch::Error::Image { image, message } => {
            facts.image = ImageFact::Failed {
                image: image.clone(),
                message: message.clone(),
            };
        }
        other => {
            facts.start = match other.exit_code() {
                Some(code) => StartFact::exited(code, &log()),
                None => StartFact::Failed {
                    reason: other.reason(),
                    message: other.to_string(),
                },
            };
        }
    }
}

fn show(facts: &mut Facts, scale: &Scale) {
    let count = |replicas| i32::try_from(replicas).unwrap_or(i32::MAX);
    facts.actual_replicas = Some(count(scale.actual));
    facts.desired_replicas = scale.desired.map(count);
    facts.running_replicas = scale.running;
    facts.restarts = scale.restarts;
    facts.is_initialized = scale.initialized;
    facts.is_late = scale.is_late;
    facts.shortage.clone_from(&scale.shortage);
    facts.active = Some(match scale.activity {
        Activity::Active => ActiveFact::active(),
        other => ActiveFact {
            status: other.status(),
            reason: other.reason().to_owned(),
            message: other.message().to_owned(),
        },
    });
}
