use super::*;
use crate::traffic::Host;

use Visibility::{ClusterLocal, Public};

fn target(name: &str, percent: u8) -> Target {
    Target {
        revision: ObjectKey::new("ns", name),
        percent,
    }
}

fn host(host: &str, visibility: Visibility, tag: &str, targets: &[Target]) -> Host {
    Host {
        host: host.to_owned(),
        visibility,
        tag: (!tag.is_empty()).then(|| tag.to_owned()),
        targets: targets.to_vec(),
    }
}

/// A Route with a public and a local host, 20 % to `-1` and 80 % to `-2`, and tag `old` for `-1`.
fn ingress(name: &str, created: i64) -> Ingress {
    let (one, two) = (format!("{name}-1"), format!("{name}-2"));
    let split = [target(&one, 20), target(&two, 80)];
    let old = [target(&one, 100)];
    Ingress {
        route: ObjectKey::new("ns", name),
        uid: format!("uid-of-{name}"),
        generation: 1,
        created: Some(Timestamp::from_unix_seconds(created)),
        hosts: vec![
            host(&format!("{name}.ns.svc"), ClusterLocal, "", &split),
            host(&format!("{name}.ns.localhost"), Public, "", &split),
            host(&format!("old-{name}.ns.svc"), ClusterLocal, "old", &old),
            host(&format!("old-{name}.ns.localhost"), Public, "old", &old),
        ],
        rollout: None,
    }
}

/// `route/first target`, with the tag where it is of one.
fn found(table: &RouteTable, host: &str, listener: Visibility, tag: Option<&str>) -> String {
    table.lookup(host, listener, tag).map_or_else(
        || "404".to_owned(),
        |entry| {
            let tag = entry.tag().map(|tag| format!(" {tag}")).unwrap_or_default();
            let first = &entry.targets()[0].revision.name;
            format!("{}/{first}{tag}", entry.route().name)
        },
    )
}

struct Case {
    name: &'static str,
    given: (&'static str, Visibility, Option<&'static str>),
    want: &'static str,
}

#[track_caller]
fn check(table: &RouteTable, case: &Case) {
    let (host, listener, tag) = case.given;
    assert_eq!(
        found(table, host, listener, tag),
        case.want,
        "{}",
        case.name
    );
}

#[test]
fn a_host_is_found_as_clients_write_it() {
    let table = RouteTable::build(&[ingress("a", 1), ingress("b", 2)]);
    assert_eq!(table.len(), 8);
    for (name, host, want) in [
        ("as it is", "a.ns.localhost", "a/a-1"),
        ("another route", "b.ns.localhost", "b/b-1"),
        ("with a port", "a.ns.localhost:8080", "a/a-1"),
        ("with an empty port", "a.ns.localhost:", "a/a-1"),
        ("in upper case", "A.Ns.LocalHost", "a/a-1"),
        ("in upper case with a port", "A.NS.LOCALHOST:80", "a/a-1"),
        ("with a dot at the end", "a.ns.localhost.", "a/a-1"),
        ("with a dot and a port", "a.ns.localhost.:8080", "a/a-1"),
        ("with two dots at the end", "a.ns.localhost..", "404"),
        ("a part of it", "ns.localhost", "404"),
        ("more than it", "x.a.ns.localhost", "404"),
        ("nothing", "", "404"),
        ("only a port", ":8080", "404"),
        ("an address", "127.0.0.1:8080", "404"),
        ("an address of version 6", "[::1]:8080", "404"),
        ("what is no port", "a.ns.localhost:http", "404"),
        ("not ASCII", "ä.ns.localhost", "404"),
    ] {
        let case = Case {
            name,
            given: (host, Public, None),
            want,
        };
        check(&table, &case);
    }
    let long = "A".repeat(254);
    assert!(table.lookup(&long, Public, None).is_none());
}

#[test]
fn local_hosts_are_only_for_the_local_listener() {
    let table = RouteTable::build(&[ingress("a", 1)]);
    for case in [
        Case {
            name: "local from outside",
            given: ("a.ns.svc", Public, None),
            want: "404",
        },
        Case {
            name: "local from inside",
            given: ("a.ns.svc", ClusterLocal, None),
            want: "a/a-1",
        },
        Case {
            name: "public from inside",
            given: ("a.ns.localhost", ClusterLocal, None),
            want: "a/a-1",
        },
        Case {
            name: "a tag's local from outside",
            given: ("old-a.ns.svc", Public, None),
            want: "404",
        },
        Case {
            name: "a tag's local from inside",
            given: ("old-a.ns.svc", ClusterLocal, None),
            want: "a/a-1 old",
        },
    ] {
        check(&table, &case);
    }
}

#[test]
fn a_tag_header_selects_a_tag_on_the_main_host_only() {
    let mut both = ingress("a", 1);
    both.hosts.push(host(
        "new-a.ns.svc",
        ClusterLocal,
        "new",
        &[target("a-2", 100)],
    ));
    let table = RouteTable::build(&[both]);
    for case in [
        Case {
            name: "known",
            given: ("a.ns.localhost", Public, Some("old")),
            want: "a/a-1 old",
        },
        Case {
            name: "of a local tag",
            given: ("a.ns.localhost", Public, Some("new")),
            want: "a/a-2 new",
        },
        Case {
            name: "unknown",
            given: ("a.ns.localhost", Public, Some("x")),
            want: "a/a-1",
        },
        Case {
            name: "another on a tag's host",
            given: ("old-a.ns.localhost", Public, Some("new")),
            want: "a/a-1 old",
        },
    ] {
        check(&table, &case);
    }
}

#[test]
fn a_host_with_two_claims_is_the_oldest_routes_in_any_order() {
    // The tag `old` of Route `a` makes the host of a Route `old-a`.
    let (tagged, plain) = (ingress("a", 5), ingress("old-a", 9));
    for order in [[&tagged, &plain], [&plain, &tagged]] {
        let table = RouteTable::build(order);
        assert_eq!(
            found(&table, "old-a.ns.localhost", Public, None),
            "a/a-1 old"
        );
        assert_eq!(
            found(&table, "old-old-a.ns.localhost", Public, None),
            "old-a/old-a-1 old"
        );

        let without = table.replace(Some(&tagged), None);
        assert_eq!(
            found(&without, "old-a.ns.localhost", Public, None),
            "old-a/old-a-1"
        );
        let again = without.replace(None, Some(&tagged));
        assert_eq!(
            found(&again, "old-a.ns.localhost", Public, None),
            "a/a-1 old"
        );
        let loser_gone = table.replace(Some(&plain), None);
        assert_eq!(
            found(&loser_gone, "old-a.ns.localhost", Public, None),
            "a/a-1 old"
        );
    }
}

#[test]
fn of_two_routes_of_the_same_second_the_first_by_name_has_the_host() {
    let mut other = ingress("b", 1);
    other.hosts = ingress("a", 1).hosts;
    for order in [[&ingress("a", 1), &other], [&other, &ingress("a", 1)]] {
        let table = RouteTable::build(order);
        let entry = table
            .lookup("a.ns.localhost", Public, None)
            .expect("a host");
        assert_eq!(entry.route().name, "a");
    }
    let mut timeless = ingress("0", 0);
    timeless.created = None;
    timeless.hosts.clone_from(&other.hosts);
    let table = RouteTable::build(&[timeless, other]);
    let entry = table
        .lookup("a.ns.localhost", Public, None)
        .expect("a host");
    assert_eq!(entry.route().name, "b");
}

#[test]
fn a_new_table_leaves_the_old_one_as_it_was() {
    let before = ingress("a", 1);
    let mut after = before.clone();
    after.hosts.truncate(2);
    for host in &mut after.hosts {
        host.targets = vec![target("a-3", 100)];
    }
    let old = RouteTable::build(&[before.clone(), ingress("b", 2)]);
    let new = old.replace(Some(&before), Some(&after));
    assert_eq!(found(&old, "a.ns.localhost", Public, None), "a/a-1");
    assert_eq!(found(&new, "a.ns.localhost", Public, None), "a/a-3");
    assert_eq!(found(&old, "old-a.ns.localhost", Public, None), "a/a-1 old");
    assert_eq!(found(&new, "old-a.ns.localhost", Public, None), "404");
    assert_eq!(found(&new, "b.ns.localhost", Public, None), "b/b-1");
    assert_eq!((old.len(), new.len()), (8, 6));
    assert!(!new.is_empty());
    assert!(
        new.replace(Some(&after), None)
            .replace(Some(&ingress("b", 2)), None)
            .is_empty()
    );
}

#[test]
fn a_host_without_targets_is_not_served() {
    let mut empty = ingress("a", 1);
    for host in &mut empty.hosts {
        host.targets.clear();
    }
    assert!(RouteTable::build(&[empty]).is_empty());
}

#[test]
fn an_entry_picks_from_its_split() {
    let table = RouteTable::build(&[ingress("a", 1)]);
    let entry = table
        .lookup("a.ns.localhost", Public, None)
        .expect("a host");
    assert_eq!(entry.pick(0).revision.name, "a-1");
    assert_eq!(entry.pick(u64::MAX).revision.name, "a-2");
}

/// Random changes, compared with a table built at once. The seed is in the message.
#[test]
fn many_changes_make_the_same_table_as_one_build() {
    for seed in 1..=20_u64 {
        let mut state = seed;
        let mut random = move |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let names = ["a", "old-a", "old-old-a", "b"];
        let mut current: Vec<Option<Ingress>> = vec![None; names.len()];
        let mut table = RouteTable::default();
        for _ in 0..60 {
            let index = usize::try_from(random(4)).expect("below four");
            let new = (random(4) > 0).then(|| {
                let created = i64::try_from(random(5)).expect("below five");
                let mut new = ingress(names[index], created);
                let length = usize::try_from(random(5)).expect("below five");
                new.hosts.truncate(length);
                new
            });
            table = table.replace(current[index].as_ref(), new.as_ref());
            current[index] = new;
            let built = RouteTable::build(current.iter().flatten());
            assert_eq!(table.len(), built.len(), "seed {seed}");
            for name in names {
                for host in [format!("{name}.ns.localhost"), format!("{name}.ns.svc")] {
                    assert_eq!(
                        found(&table, &host, ClusterLocal, None),
                        found(&built, &host, ClusterLocal, None),
                        "seed {seed}, host {host}"
                    );
                }
            }
        }
    }
}

fn mapping(domain: &str, host: &str, created: i64) -> Mapping {
    Mapping {
        key: ObjectKey::new("ns", domain),
        created: Some(Timestamp::from_unix_seconds(created)),
        has_lost_claim: false,
        domain: domain.to_owned(),
        host: host.to_owned(),
    }
}

#[test]
fn a_mapped_domain_leads_to_where_its_host_leads_now() {
    let one = ingress("a", 1);
    let shop = mapping("shop.example", "a.ns.svc", 2);
    let table = RouteTable::default().remap(None, Some(&shop));
    assert_eq!(
        found(&table, "shop.example", Public, None),
        "404",
        "no Route yet"
    );
    let table = table.replace(None, Some(&one));
    // The host is cluster-local, the domain is not.
    assert_eq!(found(&table, "a.ns.svc", Public, None), "404");
    assert_eq!(found(&table, "Shop.Example:80", Public, None), "a/a-1");
    assert_eq!(
        found(&table, "shop.example", Public, Some("old")),
        "a/a-1 old"
    );

    let tagged = mapping("shop.example", "old-a.ns.svc", 2);
    let table = table.remap(Some(&shop), Some(&tagged));
    assert_eq!(
        found(&table, "shop.example", ClusterLocal, None),
        "a/a-1 old"
    );
    let table = table.remap(Some(&tagged), None);
    assert_eq!(found(&table, "shop.example", Public, None), "404");
    assert_eq!(table.len(), 4, "the Route's hosts stay");
}

#[test]
fn domains_lead_one_step_and_the_oldest_has_them() {
    let route = ingress("a", 10);
    let first = mapping("x.example", "y.example", 1);
    let second = mapping("y.example", "x.example", 1);
    let table = RouteTable::build([&route])
        .remap(None, Some(&first))
        .remap(None, Some(&second));
    assert_eq!(found(&table, "x.example", Public, None), "404", "a circle");

    let other = ingress("b", 5);
    let taken = "a.ns.localhost";
    for (created, want) in [(11, "a/a-1"), (9, "b/b-1")] {
        let table = RouteTable::build([&route, &other])
            .remap(None, Some(&mapping(taken, "b.ns.svc", created)));
        assert_eq!(
            found(&table, taken, Public, None),
            want,
            "made at {created}"
        );
    }
}

#[test]
fn a_domain_whose_claim_is_lost_goes_to_who_has_it() {
    let (a, b) = (ingress("a", 1), ingress("b", 1));
    let old = mapping("shop.example", "a.ns.svc", 1);
    let lost = Mapping {
        has_lost_claim: true,
        ..old.clone()
    };
    let mut new = mapping("shop.example", "b.ns.svc", 2);
    new.key.namespace = "other".to_owned();
    let table = RouteTable::build([&a, &b])
        .remap(None, Some(&old))
        .remap(Some(&old), Some(&lost));
    assert_eq!(found(&table, "shop.example", Public, None), "a/a-1");
    let table = table.remap(None, Some(&new));
    assert_eq!(found(&table, "shop.example", Public, None), "b/b-1");
    let table = table.remap(Some(&new), None);
    assert_eq!(found(&table, "shop.example", Public, None), "a/a-1");
}
