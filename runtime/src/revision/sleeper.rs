//! A Revision at zero of which nothing is loaded: the request that finds it starts it.
//!
//! Input: the first request. Output: the running revision, for that request and all that follow, and
//! the news of it for the control plane. Until then it costs its name: no code, no pool, no queue,
//! no task.

use std::sync::Arc;

use serve_core::kind::Kind;
use serve_core::meta::ObjectKey;
use serve_core::object::Object;
use tokio::sync::OnceCell;

use super::Revision;
use super::launch::{self, Launcher};
use crate::engine;

/// Where it is told that one was started, or why not.
pub type News = Arc<dyn Fn(&Sleeper, Result<Arc<Revision>, launch::Error>) + Send + Sync>;

/// A Revision that is not started yet.
pub struct Sleeper {
    pub key: ObjectKey,
    /// Of the Revision object, so that a new one with the same name is told from this one.
    pub uid: String,
    launcher: Arc<Launcher>,
    news: News,
    awake: OnceCell<Arc<Revision>>,
}

impl Sleeper {
    #[must_use]
    pub fn new(key: ObjectKey, uid: String, launcher: Arc<Launcher>, news: News) -> Self {
        Self {
            key,
            uid,
            launcher,
            news,
            awake: OnceCell::new(),
        }
    }

    /// Starts it, or waits for the one who does. What can wait for requests takes the first one
    /// without anybody's help.
    ///
    /// # Errors
    /// It cannot be started; the next request tries again.
    ///
    /// # Cancel safety
    /// When the future is dropped another one goes on.
    pub async fn wake(&self) -> Result<Arc<Revision>, engine::Error> {
        let awake = self.awake.get_or_try_init(|| self.start()).await?;
        Ok(awake.clone())
    }

    async fn start(&self) -> Result<Arc<Revision>, engine::Error> {
        let found = (self.launcher.lookup)(Kind::Revision, &self.key);
        let object = match found.as_deref() {
            Some(Object::Revision(object)) if object.metadata.uid == self.uid => object,
            // Who has just found it in a route is too late.
            _ => return Err(engine::Error::Start("the revision is deleted".to_owned())),
        };
        match self.launcher.prepare(object).await {
            Ok(revision) => {
                if launch::wakes_by_itself(object) {
                    revision.sleep();
                }
                (self.news)(self, Ok(revision.clone()));
                Ok(revision)
            }
            Err(error) => {
                let told = match &error {
                    launch::Error::Engine(error) => error.clone(),
                    other => engine::Error::Start(other.to_string()),
                };
                (self.news)(self, Err(error));
                Err(told)
            }
        }
    }
}

/// A Revision that requests may find.
#[derive(Clone)]
pub enum Serving {
    /// It was started, and may be at zero.
    Awake(Arc<Revision>),
    Asleep(Arc<Sleeper>),
}

impl Serving {
    #[must_use]
    pub fn key(&self) -> &ObjectKey {
        match self {
            Self::Awake(revision) => &revision.key,
            Self::Asleep(sleeper) => &sleeper.key,
        }
    }

    /// The revision, started if it is not.
    ///
    /// # Errors
    /// As [`Sleeper::wake`].
    ///
    /// # Cancel safety
    /// As [`Sleeper::wake`].
    pub async fn revision(self) -> Result<Arc<Revision>, engine::Error> {
        match self {
            Self::Awake(revision) => Ok(revision),
            Self::Asleep(sleeper) => sleeper.wake().await,
        }
    }
}
