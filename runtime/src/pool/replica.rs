//! The real [`Launch`]: instances of one revision's component, whose code is loaded when the first
//! one starts and can be let go at zero.

use std::sync::Arc;

use super::{Boxed, Ended, Guest, Launch};
use crate::engine::{Call, Calls, Component, Engine, Error, Instance, InstanceSpec, Link, Slot};
use crate::image::{Digest, Store};

/// Where the bytes of a component are when its code has to be loaded.
#[derive(Clone, Debug)]
pub struct Source {
    /// The component.
    pub digest: Digest,
    /// The store that has it.
    pub store: Store,
}

/// Starts instances of one component as one revision wants them.
pub struct Launcher {
    engine: Engine,
    spec: InstanceSpec,
    source: Source,
    code: Arc<Slot>,
    loading: tokio::sync::Mutex<()>,
}

impl Launcher {
    /// A launcher whose code is loaded when it is needed.
    pub fn new(engine: Engine, spec: InstanceSpec, source: Source) -> Launcher {
        Launcher {
            code: engine.slot(),
            engine,
            spec,
            source,
            loading: tokio::sync::Mutex::default(),
        }
    }

    /// The linked component; one task loads it, others wait for that.
    ///
    /// # Errors
    /// Those of [`Engine::prepare`], and [`Error::Read`].
    pub async fn component(&self) -> Result<Arc<Component>, Error> {
        if let Some(code) = self.loaded() {
            return Ok(code);
        }
        let _loading = self.loading.lock().await;
        if let Some(code) = self.loaded() {
            return Ok(code);
        }
        let Source { digest, store } = self.source.clone();
        let code = Arc::new(self.engine.load(digest, move || store.get(&digest)).await?);
        self.code.fill(code.clone());
        Ok(code)
    }

    /// The best code, if some is loaded.
    fn loaded(&self) -> Option<Arc<Component>> {
        let code = self.code.get()?;
        let Some(better) = code.better() else {
            return Some(code);
        };
        let better = Arc::new(better);
        self.code.fill(better.clone());
        Some(better)
    }
}

impl Launch for Launcher {
    fn launch(&self, id: u64) -> Boxed<'_, Result<Box<dyn Guest>, Error>> {
        Box::pin(async move {
            let component = self.component().await?;
            let instance = self.engine.start(&component, &self.spec, id).await?;
            Ok(Box::new(instance) as Box<dyn Guest>)
        })
    }

    fn load(&self) -> Option<Boxed<'_, Result<(), Error>>> {
        (!self.code.is_filled())
            .then(|| Box::pin(async { self.component().await.map(drop) }) as Boxed<'_, _>)
    }

    fn scaled(&self, replicas: usize) {
        self.spec.cpu.set_replicas(replicas);
    }

    fn unload(&self) {
        // To load it again must not mean to compile it while a request waits.
        if self.engine.keeps_code() {
            self.code.empty();
        }
    }
}

impl Guest for Instance {
    fn run(mut self: Box<Self>, call: Call) -> Boxed<'static, Ended> {
        Box::pin(async move {
            let result = Instance::run(&mut self, call).await;
            let guest = self.is_reusable().then_some(self as Box<dyn Guest>);
            (guest, result)
        })
    }

    fn drive(
        mut self: Box<Self>,
        calls: Calls,
        link: Arc<Link>,
    ) -> Boxed<'static, Result<(), Error>> {
        Box::pin(async move {
            let result = Instance::drive(&mut self, calls, link.clone()).await;
            if result.is_err() {
                // Before the store goes: its drop ends the bodies of its calls.
                link.fail();
            }
            result
        })
    }

    fn memory_bytes(&self) -> usize {
        Instance::memory_bytes(self)
    }

    fn code(&self) -> Option<Component> {
        Some(Instance::code(self).clone())
    }
}
