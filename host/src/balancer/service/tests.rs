use std::time::Instant;

use tempfile::TempDir;

use super::*;
use crate::arbiter::{Decision, PolicyName, Why};
use crate::backing::NullBacking;
use crate::clock::Clock;
use crate::control::arbiter::{explain, status};
use crate::notifier::Notifier;
use crate::permissions::FilePermissions;
use crate::polling::Polling;
use crate::sockets::Sockets;
use crate::vssd::Context;

/// The bound after which anything hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// A backend of two vSSDs that hold 128 of 512 blocks each, and have no guests.
fn start() -> (TempDir, Arc<Backend>, Arc<Service>) {
    let folder = tempfile::tempdir().unwrap();
    let backing = Arc::new(NullBacking { len: 512 * 4096 });
    let pool = Arc::new(Pool::volatile(backing, 4096, 1000));
    let context = Context {
        notifier: Arc::new(Notifier::default()),
        clock: Clock::monotonic(),
    };
    let sockets = Sockets {
        control: folder.path().join("control.sock"),
        permissions: FilePermissions::default(),
    };
    let backend = Arc::new(Backend::new(pool, context, Polling::at_most(0), sockets));
    let service = Arc::new(Service::new("policy=equal,period=100ms".parse().unwrap()).unwrap());
    backend.divide_by(service.clone());
    for name in ["vm1", "vm2"] {
        let socket = folder.path().join(name);
        let rest = "size=1MiB,held=512KiB,create=true";
        let spec = format!("name={name},socket={},{rest}", socket.display());
        backend.add(&spec.parse().unwrap()).unwrap();
    }
    (folder, backend, service)
}

fn grow(vssd: &Vssd, to: u32) -> Vec<Order> {
    let decision = Decision {
        id: id(vssd),
        from: 128,
        to,
        action: Action::Grow,
        policy: PolicyName::Equal,
        why: Why::Due,
        other: None,
    };
    let line = decision.to_string();
    vec![Order { decision, line }]
}

#[test]
fn a_busy_vssd_is_not_waited_for() {
    let (_folder, backend, service) = start();
    let vssds = backend.vssds();
    // As while it revokes blocks and the backing does not answer.
    let busy = vssds[0].lock();
    let mut turn = Turn::default();
    service.end_period(&backend, &mut turn);
    service.carry_out(&backend, &vssds, grow(&vssds[0], 200), LivePick::default());
    service.carry_out(&backend, &vssds, grow(&vssds[1], 256), LivePick::default());
    let notifier = backend.context().notifier.clone();
    let until = Instant::now() + PATIENCE;
    let wait = |ready: &dyn Fn() -> bool| loop {
        let generation = notifier.generation();
        if ready() {
            break;
        }
        let left = until.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "it hangs");
        notifier.wait(generation, left);
    };
    wait(&|| !service.pending.lock().contains_key(&id(&vssds[1])));
    assert_eq!(vssds[1].glance().held, 256);
    // The other is still to come, and gets no order beside it.
    let (room, seen) = service.look(backend.pool(), &vssds);
    assert_eq!((seen[0].held, seen[0].resizing), (128, Some(200)));
    assert_eq!((room.blocks, room.free), (512, 512 - 128 - 256));
    service.carry_out(&backend, &vssds, grow(&vssds[0], 150), LivePick::default());
    service.end_period(&backend, &mut turn);
    assert_eq!(turn.moving, BTreeSet::from([id(&vssds[0])]));
    assert_eq!(status(&backend).unwrap().periods, 2);
    drop(busy);
    wait(&|| service.pending.lock().is_empty());
    assert_eq!(vssds[0].glance().held, 200);
}

#[test]
fn another_pick_replaces_what_the_arbiter_tracks_and_not_what_an_operator_does() {
    let (_folder, backend, service) = start();
    let vssds = backend.vssds();
    let tracked = |index: usize| {
        let vssd: &Vssd = &vssds[index];
        vssd.stats().tracker.as_ref().map(Tracker::serves)
    };
    vssds[1].track(Some(HostPick::Fifo)).unwrap();
    let mut turn = Turn::default();
    for (pick, wanted) in [
        ("lru", Some(HostPick::Lru)),
        ("clock", Some(HostPick::Clock)),
        ("guest", None),
        ("uniform", None),
        ("arc", Some(HostPick::Arc)),
    ] {
        let pick = pick.parse().unwrap();
        let spec = service.balancer().spec();
        service.balancer().set(ArbiterSpec { pick, ..spec });
        service.end_period(&backend, &mut turn);
        assert_eq!((tracked(0), tracked(1)), (wanted, Some(HostPick::Fifo)));
    }
    // What an operator replaces is the operator's.
    vssds[0].track(Some(HostPick::Lfu)).unwrap();
    let spec = service.balancer().spec();
    let pick = LivePick::default();
    service.balancer().set(ArbiterSpec { pick, ..spec });
    service.end_period(&backend, &mut turn);
    assert_eq!(tracked(0), Some(HostPick::Lfu));
}

#[test]
fn an_order_that_is_refused_is_explained() {
    let (_folder, backend, service) = start();
    let vssds = backend.vssds();
    let mut turn = Turn::default();
    service.end_period(&backend, &mut turn);
    let beyond = grow(&vssds[0], 300);
    {
        let mut balancer = service.balancer();
        balancer.order(0, vec![beyond[0].decision.clone()]);
    }
    service.carry_out(&backend, &vssds, beyond, LivePick::default());
    let notifier = &backend.context().notifier;
    loop {
        let generation = notifier.generation();
        if service.pending.lock().is_empty() {
            break;
        }
        notifier.wait(generation, PATIENCE);
    }
    let decisions = explain(&backend, "vm1").unwrap();
    let refused = decisions[0].refused.as_deref().unwrap();
    assert!(refused.contains("the vSSD has at most 1MiB"), "{refused}");
    // A backend whose vSSDs are not served any more has nothing to divide.
    backend.remove("vm1", true).unwrap();
    service.end_period(&backend, &mut turn);
    assert_eq!(status(&backend).unwrap().vssds.len(), 1);
}
