//! Where connections are served: on the caller's runtime, or on threads of their own.
//!
//! ```text
//!            accept (caller's runtime) ─ the thread with the fewest connections
//!                                          ├ thread 0: a single-threaded runtime, shard 0 of pools
//!                                          └ thread 1: …
//! ```
//! A connection stays on the thread that got it, and so do its requests and the instances that they
//! use: nothing is handed from core to core on the way of a request. One listener gives connections
//! out, instead of one for each thread, so that a second process cannot share the port unnoticed and
//! so that no thread takes more than its part.
//!
//! Invariants: a thread's tasks are the host's tasks, which end them; threads end after them.

use std::io;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// Serves one connection; called on the thread that keeps it.
type Job = Box<dyn FnOnce() + Send>;

/// The threads of the data plane, or none.
#[derive(Default)]
pub struct Executor {
    threads: Mutex<Vec<Thread>>,
}

struct Thread {
    jobs: UnboundedSender<Job>,
    connections: Arc<AtomicUsize>,
    handle: JoinHandle<()>,
}

/// What each thread calls of its own accord, so that it can be known whether it keeps up.
#[derive(Clone, Copy)]
pub struct Hooks {
    /// It has nothing to do.
    pub rests: fn(),
    /// It has again.
    pub goes_on: fn(),
}

/// A connection's place on a thread; dropping it makes the thread look less busy.
pub struct Place {
    /// Number of the thread, and of its shard of each pool.
    pub core: usize,
    connections: Arc<AtomicUsize>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, Relaxed);
    }
}

impl Executor {
    /// Starts threads until there are `count`. Without any, connections stay on the runtime that
    /// accepts them.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be started.
    pub fn start(&self, count: usize, hooks: Hooks) -> io::Result<()> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        while threads.len() < count {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .on_thread_park(hooks.rests)
                .on_thread_unpark(hooks.goes_on)
                .build()?;
            let (jobs, mut received) = unbounded_channel::<Job>();
            let handle = std::thread::Builder::new()
                .name(format!("serve-data-{}", threads.len()))
                .spawn(move || {
                    runtime.block_on(async {
                        while let Some(job) = received.recv().await {
                            job();
                        }
                    });
                })?;
            threads.push(Thread {
                jobs,
                connections: Arc::default(),
                handle,
            });
        }
        Ok(())
    }

    /// Runs `task` on each thread, beside what it serves; it ends with the thread.
    pub fn on_each<F>(&self, task: impl Fn() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.iter() {
            let task = task();
            let job = move || drop(tokio::spawn(task));
            let _ = thread.jobs.send(Box::new(job));
        }
    }

    /// Gives `stream` to the thread with the fewest connections, which calls `serve` with it; to the
    /// caller if there are no threads.
    pub fn give(
        &self,
        stream: tokio::net::TcpStream,
        serve: impl FnOnce(io::Result<tokio::net::TcpStream>, Place) + Send + 'static,
    ) {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let fewest = threads
            .iter()
            .enumerate()
            // Of equals any one: clients that come in turn do not have a thread each.
            .min_by_key(|(_, thread)| (thread.connections.load(Relaxed), fastrand::u32(..)));
        let Some((core, thread)) = fewest else {
            drop(threads);
            let place = Place {
                core: 0,
                connections: Arc::new(AtomicUsize::new(1)),
            };
            return serve(Ok(stream), place);
        };
        thread.connections.fetch_add(1, Relaxed);
        let place = Place {
            core,
            connections: thread.connections.clone(),
        };
        // The stream leaves the caller's reactor here and enters the thread's there.
        let stream = stream.into_std();
        let job = move || {
            let stream = stream.and_then(|stream: TcpStream| stream.try_into());
            serve(stream, place);
        };
        // A thread that is gone leaves only when the host does: the connection ends with it.
        let _ = thread.jobs.send(Box::new(job));
    }

    /// Ends the threads, whose tasks must have ended or been aborted before.
    pub async fn stop(&self) {
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let handles: Vec<_> = threads.into_iter().map(|thread| thread.handle).collect();
        // The senders are gone: each thread ends after the jobs that it has.
        let joined = tokio::task::spawn_blocking(move || {
            handles.into_iter().all(|handle| handle.join().is_ok())
        });
        if !joined.await.unwrap_or(false) {
            tracing::error!("a thread of the data plane panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;

    const HOOKS: Hooks = Hooks {
        rests: || {},
        goes_on: || {},
    };

    async fn connection(listener: &TcpListener) -> tokio::net::TcpStream {
        let address = listener.local_addr().expect("bound");
        let (client, accepted) =
            tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
        // The other end is of no interest, and a closed one changes nothing.
        drop(client.expect("connected"));
        accepted.expect("accepted").0
    }

    #[tokio::test]
    async fn connections_are_spread_and_places_are_given_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let executor = Executor::default();
        executor.start(2, HOOKS).expect("started");
        let (sender, mut places) = mpsc::unbounded_channel();
        let mut held = Vec::new();
        for _ in 0..6 {
            let sender = sender.clone();
            executor.give(connection(&listener).await, move |stream, place| {
                assert!(stream.is_ok());
                let name = std::thread::current().name().map(str::to_owned);
                let _ = sender.send((place, name));
            });
            held.push(places.recv().await.expect("served"));
        }
        let on = |core: usize| held.iter().filter(|(place, _)| place.core == core).count();
        assert_eq!((on(0), on(1)), (3, 3));
        for (place, name) in &held {
            assert_eq!(
                name.as_deref(),
                Some(format!("serve-data-{}", place.core).as_str())
            );
        }
        // Only thread 1 has a free place now.
        held.retain(|(place, _)| place.core == 0);
        executor.give(connection(&listener).await, move |_, place| {
            let _ = sender.send((place, None));
        });
        assert_eq!(places.recv().await.expect("served").0.core, 1);
        executor.stop().await;
    }

    #[tokio::test]
    async fn without_threads_the_caller_serves() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let executor = Executor::default();
        let caller = std::thread::current().id();
        let (sender, mut served) = mpsc::unbounded_channel();
        executor.give(connection(&listener).await, move |_, _| {
            let _ = sender.send(std::thread::current().id());
        });
        assert_eq!(served.recv().await, Some(caller));
    }
}
