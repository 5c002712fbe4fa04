use std::collections::BTreeMap;

use super::*;
use crate::autoscale::spec::{Config, Template};

const NO_TRAFFIC: Activity = Activity::Inactive(InactiveReason::NoTraffic);
const TIMED_OUT: Activity = Activity::Inactive(InactiveReason::TimedOut);

fn at(second: i64) -> Timestamp {
    Timestamp::from_unix_seconds(1_700_000_000 + second)
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn spec() -> Spec {
    let annotations = BTreeMap::new();
    let template = Template {
        annotations: &annotations,
        container_concurrency: 0,
        progress_deadline: seconds(600),
        reachable: true,
    };
    Spec::new(&Config::default(), template)
}

/// One plan, made at 0 s.
struct Case {
    name: &'static str,
    spec: Spec,
    activity: Activity,
    /// Seconds for which that was so.
    age: i64,
    initialized: bool,
    desired: Option<u32>,
    excess_burst_capacity: i32,
    ready: u32,
    /// Seconds for which the activator was in the path.
    proxied: Option<i64>,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            name: "",
            spec: spec(),
            activity: Activity::Active,
            age: 0,
            initialized: true,
            desired: Some(0),
            excess_burst_capacity: 1,
            ready: 1,
            proxied: None,
        }
    }
}

impl Case {
    fn plan(&self) -> Plan {
        let state = State {
            activity: self.activity,
            since: at(-self.age),
            initialized: self.initialized,
        };
        let facts = Facts {
            desired: self.desired,
            excess_burst_capacity: self.excess_burst_capacity,
            ready_replicas: self.ready,
            proxied_since: self.proxied.map(|age| at(-age)),
        };
        plan(&self.spec, state, facts, at(0))
    }

    /// Scale to apply, number wanted, activity and seconds until the next plan.
    #[track_caller]
    fn check(
        &self,
        scale: Option<u32>,
        wanted: Option<u32>,
        activity: Activity,
        check_after: Option<u64>,
    ) {
        let got = self.plan();
        let name = self.name;
        assert_eq!(got.scale, scale, "scale: {name}");
        assert_eq!(got.wanted, wanted, "wanted: {name}");
        assert_eq!(got.state.activity, activity, "activity: {name}");
        assert_eq!(
            got.check_after,
            check_after.map(seconds),
            "check after: {name}"
        );
        let changed = activity.status() != self.activity.status();
        let since = if changed { at(0) } else { at(-self.age) };
        assert_eq!(got.state.since, since, "since: {name}");
    }
}

#[test]
fn what_is_wanted_is_brought_into_bounds() {
    let check = |name, min_scale, max_scale, desired, want| {
        let case = Case {
            name,
            spec: Spec {
                min_scale,
                max_scale,
                ..spec()
            },
            desired: Some(desired),
            ready: 9,
            ..Case::default()
        };
        case.check(Some(want), Some(want), Activity::Active, None);
    };
    check("unbounded", 0, None, 5000, 5000);
    check("at least", 3, None, 1, 3);
    check("not zero", 3, None, 0, 3);
    check("at most", 0, Some(4), 7, 4);
    check("within", 1, Some(4), 2, 2);
    check("a minimum above the maximum", 5, Some(2), 7, 5);
}

#[test]
fn an_initial_scale_is_a_minimum_until_it_was_ready() {
    let spec = Spec {
        initial_scale: 3,
        ..spec()
    };
    let new = Case {
        name: "new",
        spec: spec.clone(),
        activity: Activity::Activating,
        initialized: false,
        desired: None,
        ready: 2,
        ..Case::default()
    };
    new.check(Some(3), Some(3), Activity::Activating, None);
    assert!(!new.plan().state.initialized);

    let ready = Case {
        name: "its replicas are ready",
        ready: 3,
        desired: Some(1),
        ..new
    };
    ready.check(Some(3), Some(3), Activity::Active, None);
    assert!(ready.plan().state.initialized);

    let later = Case {
        name: "once ready, it is forgotten",
        initialized: true,
        activity: Activity::Active,
        ..ready
    };
    later.check(Some(1), Some(1), Activity::Active, None);

    let unreachable = Case {
        name: "an unreachable revision need not reach it",
        spec: Spec {
            reachable: false,
            ..spec
        },
        desired: Some(1),
        ready: 1,
        activity: Activity::Activating,
        initialized: false,
        ..Case::default()
    };
    unreachable.check(Some(1), Some(1), Activity::Activating, None);
}

#[test]
fn a_revision_is_active_when_its_minimum_is_ready() {
    let spec = Spec {
        min_scale: 2,
        ..spec()
    };
    let case = |name, activity, ready| Case {
        name,
        spec: spec.clone(),
        activity,
        ready,
        desired: Some(4),
        ..Case::default()
    };
    for before in [
        Activity::Activating,
        Activity::Active,
        NO_TRAFFIC,
        TIMED_OUT,
    ] {
        let few = case("one is ready", before, 1);
        few.check(Some(4), Some(4), Activity::Activating, None);
        let enough = case("two are ready", before, 2);
        enough.check(Some(4), Some(4), Activity::Active, None);
    }
}

#[test]
fn before_the_first_decision_activity_follows_the_replicas() {
    let unknown = |activity, ready| Case {
        name: "unknown",
        activity,
        ready,
        desired: None,
        ..Case::default()
    };
    let deadline = Some(630);
    unknown(Activity::Activating, 0).check(None, None, Activity::Activating, deadline);
    unknown(Activity::Activating, 1).check(None, None, Activity::Active, deadline);
    unknown(Activity::Active, 0).check(None, None, Activity::Activating, None);
    unknown(Activity::Active, 1).check(None, None, Activity::Active, None);
    unknown(NO_TRAFFIC, 0).check(None, None, NO_TRAFFIC, None);
    unknown(TIMED_OUT, 1).check(None, None, TIMED_OUT, None);
}

#[test]
fn an_initial_scale_of_zero_begins_inactive() {
    let new = Case {
        name: "new",
        spec: Spec {
            initial_scale: 0,
            ..spec()
        },
        activity: Activity::Activating,
        initialized: false,
        desired: None,
        ready: 0,
        ..Case::default()
    };
    new.check(None, None, NO_TRAFFIC, Some(630));
    assert!(new.plan().state.initialized);
    let later = Case {
        name: "later",
        activity: NO_TRAFFIC,
        initialized: true,
        ..new
    };
    later.check(None, None, NO_TRAFFIC, None);
    assert_eq!(later.plan().mode, Mode::Proxy);
}

#[test]
fn zero_becomes_one_where_scale_to_zero_is_off() {
    let case = Case {
        name: "off",
        spec: Spec {
            enable_scale_to_zero: false,
            ..spec()
        },
        age: 1_000,
        proxied: Some(1_000),
        ..Case::default()
    };
    case.check(Some(1), Some(1), Activity::Active, None);
}

#[test]
fn an_activating_revision_has_until_the_deadline() {
    let case = |name, age, progress_deadline| Case {
        name,
        spec: Spec {
            progress_deadline: seconds(progress_deadline),
            ..spec()
        },
        activity: Activity::Activating,
        age,
        ready: 0,
        ..Case::default()
    };
    case("in time", 629, 600).check(None, None, Activity::Activating, Some(1));
    case("too late", 630, 600).check(Some(0), Some(0), TIMED_OUT, None);
    case("its own deadline", 40, 10).check(Some(0), Some(0), TIMED_OUT, None);
    let no_data = Case {
        desired: None,
        ..case("too late, and nothing was measured", 630, 600)
    };
    no_data.check(Some(0), Some(0), TIMED_OUT, None);
    let wanted = Case {
        desired: Some(1),
        ..case("late but wanted", 10_000, 600)
    };
    wanted.check(Some(1), Some(1), Activity::Activating, None);
}

#[test]
fn an_active_revision_stays_so_for_a_stable_window() {
    let case = |name, age, proxied| Case {
        name,
        age,
        proxied,
        ..Case::default()
    };
    case("too early", 59, None).check(Some(1), Some(1), Activity::Active, Some(1));
    case("long enough", 60, None).check(None, Some(0), NO_TRAFFIC, Some(0));
    case("proxied already", 60, Some(99)).check(None, Some(0), NO_TRAFFIC, Some(0));
}

#[test]
fn the_last_replica_goes_when_the_activator_has_taken_over() {
    let case = |name, age, proxied| Case {
        name,
        activity: NO_TRAFFIC,
        age,
        proxied,
        ..Case::default()
    };
    case("not in the path", 100, None).check(None, Some(0), NO_TRAFFIC, Some(1));
    case("in the path since then", 10, Some(10)).check(None, Some(0), NO_TRAFFIC, Some(20));
    case("in the path for the grace period", 0, Some(30)).check(Some(0), Some(0), NO_TRAFFIC, None);
    case("inactive for the grace period", 30, Some(1)).check(Some(0), Some(0), NO_TRAFFIC, None);
    let timed_out = Case {
        name: "a time-out is remembered",
        activity: TIMED_OUT,
        ..case("", 90, Some(90))
    };
    timed_out.check(Some(0), Some(0), TIMED_OUT, None);
    let always = Case {
        name: "always in the path, seen or not",
        spec: Spec {
            target_burst_capacity: BurstCapacity::Unlimited,
            ..spec()
        },
        ..case("", 20, None)
    };
    always.check(None, Some(0), NO_TRAFFIC, Some(10));
}

#[test]
fn retention_is_a_hard_minimum() {
    let case = |name, retention, age, proxied| Case {
        name,
        spec: Spec {
            scale_to_zero_pod_retention_period: seconds(retention),
            ..spec()
        },
        activity: NO_TRAFFIC,
        age,
        proxied: Some(proxied),
        ..Case::default()
    };
    case("proxied for long", 10, 4, 90).check(None, Some(0), NO_TRAFFIC, Some(6));
    case("retention over", 10, 10, 90).check(Some(0), Some(0), NO_TRAFFIC, None);
    case("grace not over", 10, 10, 10).check(None, Some(0), NO_TRAFFIC, Some(20));
    case("longer than grace", 60, 40, 40).check(None, Some(0), NO_TRAFFIC, Some(20));
    case("longer and over", 60, 60, 60).check(Some(0), Some(0), NO_TRAFFIC, None);
}

#[test]
fn the_activator_is_in_the_path_at_zero_and_without_spare_capacity() {
    let case = |name, activity, desired, excess_burst_capacity, want| {
        let case = Case {
            name,
            activity,
            desired,
            excess_burst_capacity,
            age: 90,
            ..Case::default()
        };
        assert_eq!(case.plan().mode, want, "{name}");
    };
    case("spare capacity", Activity::Active, Some(3), 0, Mode::Serve);
    case("none to spare", Activity::Active, Some(3), -1, Mode::Proxy);
    case("going to zero", Activity::Active, Some(0), 5, Mode::Proxy);
    case("unknown, active", Activity::Active, None, 5, Mode::Serve);
    case("unknown, at zero", NO_TRAFFIC, None, 5, Mode::Proxy);
    case("woken", NO_TRAFFIC, Some(1), 5, Mode::Serve);
}

#[test]
fn an_activity_is_a_condition_of_knative() {
    let cases = [
        (Activity::Activating, ConditionStatus::Unknown, "Queued"),
        (Activity::Active, ConditionStatus::True, ""),
        (NO_TRAFFIC, ConditionStatus::False, "NoTraffic"),
        (TIMED_OUT, ConditionStatus::False, "TimedOut"),
    ];
    for (activity, status, reason) in cases {
        assert_eq!((activity.status(), activity.reason()), (status, reason));
        assert_eq!(activity.message().is_empty(), reason.is_empty());
    }
}
