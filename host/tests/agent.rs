//! Resizes over the channel of an agent, by a real socket, and what can go wrong there.

mod support;

use support::agent::Agent;
use support::daemon::{Daemon, Site};
use support::frontend::{Frontend, IOERR, OK};
use support::resizing::{BLOCKS, Content, SECTORS, content, own, to};
use vssd_host::control::protocol::{AgentConnection, TransportName};

/// A daemon that serves one vSSD with an agent, and so many request queues.
fn start(queues: u16) -> (Site, Daemon) {
    let site = Site::new();
    let daemon = site.start(&[spec(&site, queues)]);
    (site, daemon)
}

fn spec(site: &Site, queues: u16) -> String {
    let agent = site.path("agent.sock");
    let rest = format!("size=4MiB,agent={},queues={queues}", agent.display());
    site.spec("vm1", &rest)
}

#[test]
fn a_guest_shrinks_and_grows_by_its_agent() {
    let (site, daemon) = start(1);
    let mut disk = Frontend::connect_with(&site.path("vm1.sock"), 1);
    let mut agent = Agent::boot(&site.path("agent.sock"), 1);
    let seen = daemon.wait_until(|v| v.agreed);
    assert_eq!(
        (seen.guest(), seen.transport),
        ("agent", TransportName::Stream)
    );
    assert_eq!(seen.agent.unwrap().connection, AgentConnection::Agent);
    let identity = agent.identity.clone().unwrap();
    assert_eq!(identity.name, "vm1");
    assert_eq!(agent.driver().held().len(), BLOCKS);
    let last = BLOCKS - 1;
    assert_eq!(disk.write_at(u64::from(last) * SECTORS, &own(last)), OK);

    let id = daemon.begin(to(BLOCKS - 100));
    agent.settle_at(BLOCKS - 100);
    let ended = daemon.ended(id);
    assert!(ended.is_complete() && ended.agreed, "{ended:?}");
    assert_eq!((ended.revoked, ended.exchanges), (0, 1));
    assert_eq!(disk.write_at(u64::from(last) * SECTORS, &own(last)), IOERR);

    let id = daemon.begin(to(BLOCKS));
    agent.settle_at(BLOCKS);
    assert!(daemon.ended(id).is_complete());
    assert_eq!(content(&mut disk, last), Content::Zeros);
}
