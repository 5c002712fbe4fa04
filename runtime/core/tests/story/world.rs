//! A store, a controller and a data plane, as small as can be.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use serve_core::api::{Configuration, ContainerStatus, Revision, Route, Service};
use serve_core::conditions::{self, Condition, READY};
use serve_core::kind::Kind;
use serve_core::meta::{ObjectKey, ObjectMeta};
use serve_core::object::{Dynamic, Object};
use serve_core::reconcile::revision::{ActiveFact, Facts, ImageFact, StartFact};
use serve_core::reconcile::route::IngressState;
use serve_core::reconcile::{Event, Plan, Write, configuration, revision, route, service};
use serve_core::time::Timestamp;
use serve_core::traffic::hosts::Naming;
use serve_core::traffic::{Ingress, Visibility};

const NAMESPACE: &str = "default";

/// A template whose environment tells it from others.
pub fn template(text: &str) -> Value {
    json!({"spec": {"containers": [{
        "name": "user-container", "image": "x", "env": [{"name": "A", "value": text}],
    }]}})
}

pub struct World {
    objects: BTreeMap<(Kind, String), Object>,
    facts: BTreeMap<String, Facts>,
    ingresses: BTreeMap<String, (Ingress, IngressState)>,
    now: Timestamp,
    version: u64,
    /// What `Ready` of each Service said after each write of its status.
    ready: BTreeMap<String, Vec<String>>,
    events: Vec<String>,
    next_failure: Option<StartFact>,
}

impl World {
    pub fn new() -> Self {
        Self {
            objects: BTreeMap::new(),
            facts: BTreeMap::new(),
            ingresses: BTreeMap::new(),
            now: Timestamp::from_unix_seconds(1_700_000_000),
            version: 0,
            ready: BTreeMap::new(),
            events: Vec::new(),
            next_failure: None,
        }
    }

    pub fn create_service(&mut self, name: &str, spec: &Value) {
        let value = json!({"metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec});
        let service: Service = serde_json::from_value(value).expect("a valid Service");
        self.create(service.into());
    }

    pub fn edit_service(&mut self, name: &str, edit: impl FnOnce(&mut Value)) {
        let mut service = self.get::<Service>(name).clone();
        let mut spec = serde_json::to_value(&service.spec).expect("a spec is JSON");
        edit(&mut spec);
        service.spec = serde_json::from_value(spec).expect("a valid spec");
        self.update(service.into());
    }

    pub fn edit_metadata(&mut self, name: &str, edit: impl FnOnce(&mut ObjectMeta)) {
        let mut service = self.get::<Service>(name).clone();
        edit(&mut service.metadata);
        self.update(service.into());
    }

    pub fn delete(&mut self, kind: Kind, name: &str) {
        let gone = self.objects.remove(&(kind, name.to_owned()));
        assert!(gone.is_some(), "{kind:?} {name} does not exist");
        self.facts.remove(name);
    }

    /// The next Revision that is started fails so.
    pub fn fail_next_start(&mut self, reason: &str, message: &str) {
        self.next_failure = Some(StartFact::Failed {
            reason: reason.to_owned(),
            message: message.to_owned(),
        });
    }

    /// As if the program had been started again.
    pub fn forget_facts(&mut self) {
        for facts in self.facts.values_mut() {
            *facts = Facts::default();
        }
    }

    /// Reconciles and lets the data plane go on until nothing happens any more.
    pub fn settle(&mut self) {
        for _ in 0..500 {
            // At rest means that all reconcilers were asked and none wants anything.
            if !self.reconcile_one() && !self.advance() {
                return;
            }
            self.now = self.now + Duration::from_secs(1);
        }
        panic!("never comes to rest: {:#?}", self.ready);
    }

    /// The states of `Ready` since the last call, each once in a row, without times.
    pub fn ready_messages(&mut self, name: &str) -> Vec<String> {
        self.ready.remove(name).unwrap_or_default()
    }

    pub fn events(&self) -> &[String] {
        &self.events
    }

    pub fn value(&self, kind: Kind, name: &str) -> Value {
        self.objects[&(kind, name.to_owned())].to_value()
    }

    pub fn names(&self, kind: Kind) -> Vec<&str> {
        let of_kind = self.objects.keys().filter(|(k, _)| *k == kind);
        of_kind.map(|(_, name)| name.as_str()).collect()
    }

    pub fn conditions(&self, kind: Kind, name: &str) -> Vec<Condition> {
        let value = self.value(kind, name);
        serde_json::from_value(value["status"]["conditions"].clone()).expect("conditions")
    }

    pub fn routing_state(&self, revision: &str) -> String {
        let metadata = &self.get::<Revision>(revision).metadata;
        let state = metadata.label(serve_core::keys::ROUTING_STATE_LABEL);
        state.unwrap_or_default().to_owned()
    }

    /// `host visibility revision=percent…` of each host.
    pub fn hosts(&self, route: &str) -> Vec<String> {
        let (ingress, _) = &self.ingresses[route];
        let line = |host: &serve_core::traffic::Host| {
            let targets = host
                .targets
                .iter()
                .map(|t| format!(" {}={}", t.revision.name, t.percent));
            format!(
                "{} {:?}{}",
                host.host,
                host.visibility,
                targets.collect::<String>()
            )
        };
        ingress.hosts.iter().map(line).collect()
    }

    pub fn public_hosts(&self, route: &str) -> Vec<String> {
        let public = format!(" {:?}", Visibility::Public);
        self.hosts(route)
            .into_iter()
            .filter(|host| host.contains(&public))
            .collect()
    }

    fn get<'a, T>(&'a self, name: &str) -> &'a T
    where
        &'a T: TryFrom<&'a Object, Error = Kind>,
    {
        self.all()
            .into_iter()
            .find(|(key, _): &(&str, &T)| *key == name)
            .expect("it exists")
            .1
    }

    fn all<'a, T>(&'a self) -> Vec<(&'a str, &'a T)>
    where
        &'a T: TryFrom<&'a Object, Error = Kind>,
    {
        let typed = |((_, name), object): (&'a (Kind, String), &'a Object)| {
            Some((name.as_str(), <&T>::try_from(object).ok()?))
        };
        self.objects.iter().filter_map(typed).collect()
    }

    fn create(&mut self, mut object: Object) {
        let key = (object.kind(), object.key().name);
        assert!(!self.objects.contains_key(&key), "{key:?} exists");
        self.version += 1;
        let metadata = object.metadata_mut();
        metadata.uid = format!("uid-{}", self.version);
        metadata.resource_version = self.version.to_string();
        metadata.generation = 1;
        metadata.creation_timestamp = Some(self.now);
        if let (Kind::Revision, name) = &key {
            self.facts.insert(name.clone(), Facts::default());
        }
        self.objects.insert(key, object);
    }

    /// As the store does: the version must be the current one, the generation counts specs.
    fn update(&mut self, mut object: Object) {
        let key = (object.kind(), object.key().name);
        let old = self.objects.get(&key).expect("what is updated exists");
        let version = &old.metadata().resource_version;
        assert_eq!(object.metadata().resource_version, *version, "a conflict");
        let changed = old.to_value()["spec"] != object.to_value()["spec"];
        self.version += 1;
        let metadata = object.metadata_mut();
        metadata.resource_version = self.version.to_string();
        metadata.generation += i64::from(changed);
        self.objects.insert(key, object);
    }

    /// Runs reconcilers until one wants something; whether any did.
    ///
    /// Services come first, so that each state of a child is shown before it changes again.
    fn reconcile_one(&mut self) -> bool {
        let names = |world: &Self, kind| owned(&world.names(kind));
        let of = |world: &mut Self, kind, run: fn(&mut Self, &str) -> bool| {
            names(world, kind).iter().any(|name| {
                let busy = run(world, name);
                let again = busy && run(world, name);
                assert!(!again, "{kind:?} {name} wants more at once");
                busy
            })
        };
        of(self, Kind::Service, Self::reconcile_service)
            || of(self, Kind::Configuration, Self::reconcile_configuration)
            || of(self, Kind::Revision, Self::reconcile_revision)
            || of(self, Kind::Route, Self::reconcile_route)
    }

    fn revisions(&self) -> Vec<&Revision> {
        self.all()
            .into_iter()
            .map(|(_, revision)| revision)
            .collect()
    }

    fn reconcile_service(&mut self, name: &str) -> bool {
        let revisions = self.revisions();
        let children = (self.all::<Configuration>(), self.all::<Route>());
        let view = service::View {
            service: self.get(name),
            configuration: children.0.iter().find(|(n, _)| *n == name).map(|(_, c)| *c),
            route: children.1.iter().find(|(n, _)| *n == name).map(|(_, r)| *r),
            revisions: &revisions,
        };
        let plan = service::service(&view, self.now);
        self.carry_out(Kind::Service, name, plan, |object, status| {
            let Object::Service(service) = object else {
                unreachable!()
            };
            service.status = status;
        })
    }

    fn reconcile_configuration(&mut self, name: &str) -> bool {
        let revisions = self.revisions();
        let view = configuration::View {
            configuration: self.get(name),
            revisions: &revisions,
        };
        let plan = configuration::configuration(&view, self.now);
        self.carry_out(Kind::Configuration, name, plan, |object, status| {
            let Object::Configuration(configuration) = object else {
                unreachable!()
            };
            configuration.status = status;
        })
    }

    fn reconcile_revision(&mut self, name: &str) -> bool {
        let view = revision::View {
            revision: self.get(name),
            facts: &self.facts[name],
            log_url_template: "",
            is_always_schedulable: false,
        };
        let plan = revision::revision(&view, self.now);
        self.carry_out(Kind::Revision, name, plan, |object, status| {
            let Object::Revision(revision) = object else {
                unreachable!()
            };
            revision.status = status;
        })
    }

    fn reconcile_route(&mut self, name: &str) -> bool {
        let revisions = self.revisions();
        let configurations: Vec<_> = self.all().into_iter().map(|(_, c)| c).collect();
        let applied = self.ingresses.get(name);
        let services: Vec<&Dynamic> = self
            .objects
            .values()
            .filter_map(|object| match object {
                Object::Dynamic(service) => Some(&**service),
                _ => None,
            })
            .collect();
        let tag_name = |route: &str, tag: &str| Ok(format!("{tag}-{route}"));
        let public_host = |name: &str| Ok(format!("{name}.{NAMESPACE}.localhost"));
        let view = route::View {
            route: self.get(name),
            configurations: &configurations,
            revisions: &revisions,
            ingress: applied.map(|(ingress, _)| ingress),
            ingress_state: applied.map(|(_, state)| *state).unwrap_or_default(),
            services: &services,
            naming: Naming {
                tag_name: &tag_name,
                public_host: &public_host,
                local_domain: false,
                scheme: "http",
                url_port: Some(8080),
            },
            rollout_duration: Duration::ZERO,
        };
        let (plan, ingress) = route::route(&view, self.now);
        let is_new = ingress.is_some() && ingress.as_ref() != view.ingress;
        if let Some(ingress) = ingress.filter(|_| is_new) {
            let entry = (ingress, IngressState::NotConfigured);
            self.ingresses.insert(name.to_owned(), entry);
        }
        let busy = self.carry_out(Kind::Route, name, plan, |object, status| {
            let Object::Route(route) = object else {
                unreachable!()
            };
            route.status = status;
        });
        busy || is_new
    }

    fn carry_out<S>(
        &mut self,
        kind: Kind,
        name: &str,
        plan: Plan<S>,
        set_status: impl FnOnce(&mut Object, S),
    ) -> bool {
        let busy = !plan.is_empty();
        for write in plan.writes {
            match write {
                Write::Create(object) => self.create(object),
                Write::Update(object) => self.update(object),
                Write::Delete(kind, ObjectKey { name, .. }) => self.delete(kind, &name),
            }
        }
        if let Some(status) = plan.status {
            let mut object = self.objects[&(kind, name.to_owned())].clone();
            set_status(&mut object, status);
            // Through JSON, as clients and the store see it.
            let again = read(&object);
            assert_eq!(again.to_value(), object.to_value());
            self.update(again);
            if kind == Kind::Service {
                self.note_ready(name);
            }
        }
        for Event {
            severity,
            reason,
            message,
        } in plan.events
        {
            let kind = kind.names().kind;
            let line = format!("{kind} {name}: {} {reason} {message}", severity.as_str());
            self.events.push(line);
        }
        busy
    }

    fn note_ready(&mut self, name: &str) {
        let conditions = &self.get::<Service>(name).status.conditions;
        let ready = conditions::find(conditions, READY).expect("Ready is always there");
        let line = format!("{:?} {}: {}", ready.status, ready.reason, ready.message);
        let is_first = !self.ready.contains_key(name);
        let before = self.ready.entry(name.to_owned()).or_default();
        // A Service that was settled and is written again says what it said.
        let settled_before = is_first && line.starts_with("True");
        if before.last() != Some(&line) && !settled_before {
            before.push(line);
        }
        if before.is_empty() {
            self.ready.remove(name);
        }
    }

    /// One step of the data plane; whether there was one to take.
    fn advance(&mut self) -> bool {
        for facts in self.facts.values_mut() {
            let next = match (&facts.image, &facts.start) {
                (ImageFact::Resolving, _) => Facts {
                    image: ImageFact::Resolved {
                        containers: vec![ContainerStatus {
                            name: "user-container".to_owned(),
                            image_digest: "x@sha256:00".to_owned(),
                        }],
                        init_containers: Vec::new(),
                    },
                    active: Some(ActiveFact::activating()),
                    ..facts.clone()
                },
                (_, StartFact::Pending) => match self.next_failure.take() {
                    Some(failure) => Facts {
                        start: failure,
                        ..facts.clone()
                    },
                    None => Facts {
                        start: StartFact::Started,
                        active: Some(ActiveFact::active()),
                        is_initialized: true,
                        actual_replicas: Some(1),
                        desired_replicas: Some(1),
                        ..facts.clone()
                    },
                },
                _ => continue,
            };
            *facts = next;
            return true;
        }
        for (_, state) in self.ingresses.values_mut() {
            *state = match state {
                IngressState::NotConfigured => IngressState::Programming,
                IngressState::Programming => IngressState::Ready,
                IngressState::Ready | IngressState::Restored => continue,
            };
            return true;
        }
        false
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn read(object: &Object) -> Object {
    let value = object.to_value();
    let valid = "what was written can be read";
    match object.kind() {
        Kind::Service => serde_json::from_value::<Service>(value)
            .expect(valid)
            .into(),
        Kind::Configuration => serde_json::from_value::<Configuration>(value)
            .expect(valid)
            .into(),
        Kind::Revision => serde_json::from_value::<Revision>(value)
            .expect(valid)
            .into(),
        Kind::Route => serde_json::from_value::<Route>(value).expect(valid).into(),
        kind => panic!("no {kind:?} is written"),
    }
}
