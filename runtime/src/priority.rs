//! Which threads go first where cores are scarce: those that serve requests, then the control plane,
//! then what nobody waits for; last guests that compute for long.
//!
//! Of one thread on Linux; elsewhere a niceness is the whole process's, and all threads are alike.

/// How much less important the threads of the control plane are, in steps of `nice`: a third of a
/// core's time where requests want all of it.
const CONTROL: i32 = 5;

/// The same for what nobody waits for: a tenth of a core's time.
const BACKGROUND: i32 = 10;

/// Lets the threads that serve requests go before this one: a request then interrupts what follows
/// from the one before. Threads that this one starts are like it.
pub fn yield_to_requests() {
    be_nice(CONTROL);
}

/// Lets the threads of the control plane, too, go before this one.
pub fn yield_to_control() {
    be_nice(BACKGROUND);
}

/// Has the thread run when no other wants to: it is stopped the moment one does, and not at the next
/// tick of the kernel, as one that is only nice.
pub fn yield_to_all() {
    #[cfg(target_os = "linux")]
    {
        use thread_priority::{
            NormalThreadSchedulePolicy::Idle, ThreadPriority, ThreadSchedulePolicy::Normal,
            set_thread_priority_and_policy, thread_native_id,
        };
        let (thread, lowest) = (thread_native_id(), ThreadPriority::Min);
        if let Err(error) = set_thread_priority_and_policy(thread, lowest, Normal(Idle)) {
            tracing::debug!(%error, "a thread for guests that compute has the priority of others");
        }
    }
}

fn be_nice(steps: i32) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, steps) {
        tracing::debug!(%error, "a thread has the priority of those that serve requests");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = steps;
}
