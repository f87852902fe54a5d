use vssd::demand::{ALL_MISS, Demand as Reported, Point};

use super::*;

const SECOND: u64 = 1_000_000_000;

/// A backend whose guests do at once what they are asked for, unless they are stubborn.
struct Site {
    balancer: Balancer,
    blocks: u32,
    vssds: Vec<(Seen, Heard)>,
    stubborn: Vec<VmId>,
    now: u64,
    lines: Vec<String>,
}

impl Site {
    fn new(policy: &str, blocks: u32, vssds: Vec<(Seen, Heard)>) -> Self {
        let spec = format!("policy={policy},period=1s").parse().unwrap();
        Self {
            balancer: Balancer::new(spec).unwrap(),
            blocks,
            vssds,
            stubborn: Vec::new(),
            now: 0,
            lines: Vec::new(),
        }
    }

    fn room(&self) -> Room {
        let held: u32 = self.vssds.iter().map(|(seen, _)| seen.held).sum();
        assert!(held <= self.blocks, "{held} blocks are held");
        Room {
            blocks: self.blocks,
            free: self.blocks - held,
        }
    }

    fn carry_out(&mut self, orders: Vec<Order>) {
        for Order { decision, line } in orders {
            self.lines.push(line);
            let vssd = self.vssds.iter_mut();
            let (seen, _) = vssd
                .map(|(seen, heard)| (seen, heard))
                .find(|(seen, _)| seen.id == decision.id)
                .unwrap();
            assert!(
                decision.action != Action::Grow || seen.resizing.is_none(),
                "two resizes of {}",
                seen.name
            );
            match decision.action {
                Action::Cancel => seen.resizing = None,
                Action::Revoke => (seen.held, seen.resizing) = (decision.to, None),
                _ if self.stubborn.contains(&seen.id) => seen.resizing = Some(decision.to),
                _ => (seen.held, seen.resizing) = (decision.to, None),
            }
        }
    }

    fn period(&mut self) {
        self.now += SECOND;
        let orders = self.balancer.decide(self.now, self.room(), &self.vssds);
        self.carry_out(orders);
        self.resume();
    }

    fn resume(&mut self) -> usize {
        let seen: Vec<Seen> = self.vssds.iter().map(|(seen, _)| seen.clone()).collect();
        let orders = self.balancer.resume(self.now, self.room(), &seen);
        let count = orders.len();
        self.carry_out(orders);
        count
    }

    fn held(&self) -> Vec<u32> {
        self.vssds.iter().map(|(seen, _)| seen.held).collect()
    }

    fn standing(&self, index: usize) -> Standing {
        self.balancer
            .known(self.vssds[index].0.id)
            .unwrap()
            .standing
    }

    fn lines_of(&self, index: usize) -> Vec<&str> {
        let known = self.balancer.known(self.vssds[index].0.id).unwrap();
        let entries = known.history.entries();
        entries.map(|entry| entry.line.as_str()).collect()
    }
}

/// A vSSD whose driver answers, and reports that each block up to `useful` saves as many misses.
fn vssd(number: u32, name: &str, held: u32, useful: u32) -> (Seen, Heard) {
    let points = (1..=10).map(|tenth| Point {
        blocks: (useful * tenth / 10).max(tenth),
        misses: match useful {
            0 => ALL_MISS,
            _ => ALL_MISS - ALL_MISS / 10 * tenth,
        },
    });
    let report = Reported {
        accesses: 100_000,
        hits: 50_000,
        writes: 0,
        curve: points.collect(),
        reads: Vec::new(),
    };
    let seen = Seen {
        id: VmId(number),
        name: name.to_owned(),
        share: Share::default(),
        reservation: 0,
        limit: 1000,
        base: held,
        held,
        resizing: None,
        is_attended: true,
    };
    let heard = Heard {
        report: Some(Some(report)),
        ..Heard::default()
    };
    (seen, heard)
}

#[test]
fn blocks_move_to_the_vssd_that_gains_within_one_period() {
    let vssds = vec![vssd(7, "idle", 500, 0), vssd(9, "busy", 500, 1000)];
    let mut site = Site::new("mrc", 1000, vssds);
    site.vssds[0].0.reservation = 100;
    site.period();
    assert_eq!(site.held(), [100, 900]);
    assert_eq!(site.lines.len(), 2, "{:?}", site.lines);
    let (shrink, grow) = (&site.lines[0], &site.lines[1]);
    assert!(
        shrink.starts_with("idle: 500 -> 100 blocks (mrc: saves"),
        "{shrink}"
    );
    assert!(shrink.ends_with("; busy gains)"), "{shrink}");
    assert!(
        grow.starts_with("busy: 500 -> 900 blocks (mrc: saves"),
        "{grow}"
    );
    let busy = site.balancer.known(VmId(9)).unwrap();
    assert_eq!(
        (busy.wanted, busy.has_curve(), busy.hit_ratio()),
        (Some(900), true, Some(0.5))
    );
    assert_eq!(
        busy.history.counts(),
        Counts {
            grow: 1,
            ..Counts::default()
        }
    );
    let before = site.lines.len();
    (0..10).for_each(|_| site.period());
    assert_eq!(site.lines.len(), before, "{:?}", site.lines);
}

#[test]
fn a_vssd_without_a_driver_keeps_what_it_holds() {
    let vssds = vec![
        vssd(1, "plain", 400, 0),
        vssd(2, "a", 300, 1000),
        vssd(3, "b", 300, 1000),
    ];
    let mut site = Site::new("shares", 1000, vssds);
    site.vssds[0].0.is_attended = false;
    site.vssds[1].0.share = Share::new(Some(3), None).unwrap();
    (0..5).for_each(|_| site.period());
    assert_eq!(site.held(), [400, 450, 150]);
    assert_eq!(
        (site.standing(0), site.standing(1)),
        (Standing::NoDriver, Standing::Active)
    );
    assert_eq!(site.lines_of(0), [""; 0]);
    // A reservation waits for a guest that is away.
    site.vssds[0].0.held = 0;
    site.vssds[0].0.reservation = 200;
    (0..5).for_each(|_| site.period());
    assert_eq!(site.held(), [0, 600, 200]);
    // So does what it was offered before its guest left.
    site.vssds[0].0.resizing = Some(300);
    (0..5).for_each(|_| site.period());
    assert_eq!(site.held(), [0, 525, 175]);
}

#[test]
fn advice_is_remembered_and_explained_until_the_policy_gives_other() {
    let vssds = vec![vssd(1, "a", 500, 100), vssd(2, "b", 500, 0)];
    let mut site = Site::new("endurance", 1000, vssds);
    if let Some(Some(report)) = &mut site.vssds[0].1.report {
        report.writes = 80_000;
    }
    let advice = |site: &Site, id| {
        let Advice {
            bypass_writes,
            admit_reused,
        } = site.balancer.known(VmId(id)).unwrap().advice;
        (bypass_writes, admit_reused)
    };
    (0..3).for_each(|_| site.period());
    // Of the second no read hits at any size.
    assert_eq!(advice(&site, 1), (true, false));
    assert_eq!(advice(&site, 2), (false, true));
    let advised = |site: &Site, index: usize| {
        let lines = site.lines_of(index).into_iter();
        let lines = lines.filter(|line| line.contains(": advice: "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let line = "a: advice: bypass writes (endurance: 80 % of accesses write)";
    assert_eq!(advised(&site, 0), [line]);
    let line = "b: advice: admit reused blocks only (endurance: 0 % of accesses write)";
    assert_eq!(advised(&site, 1), [line]);
    let spec = site.balancer.spec();
    site.balancer.set(ArbiterSpec {
        policy: "mrc".parse().unwrap(),
        ..spec
    });
    site.period();
    assert_eq!([1, 2].map(|id| advice(&site, id)), [(false, false); 2]);
    let line = "a: advice: none (mrc: 80 % of accesses write)";
    assert_eq!(advised(&site, 0)[0], line);
}

#[test]
fn weights_and_policies_count_from_the_next_period_on() {
    let vssds = vec![vssd(1, "a", 500, 1000), vssd(2, "b", 500, 0)];
    let mut site = Site::new("shares", 1000, vssds);
    site.period();
    assert_eq!(site.held(), [500, 500]);
    site.vssds[1].0.share = site.vssds[1].0.share.weighing(4).unwrap();
    site.period();
    assert_eq!(site.held(), [200, 800]);
    let (policy, period) = ("mrc".parse().unwrap(), "2s".parse().unwrap());
    site.balancer.set(ArbiterSpec {
        policy,
        period,
        ..site.balancer.spec()
    });
    site.period();
    assert_eq!(site.held(), [1000, 0]);
    assert_eq!(site.balancer.spec().period, period);
    assert_eq!(site.balancer.periods(), 3);
    assert!(site.lines_of(0)[0].contains("(mrc: "));
}

#[test]
fn a_silent_guest_is_revoked_and_one_that_takes_nothing_set_aside() {
    let vssds = vec![
        vssd(1, "silent", 500, 0),
        vssd(2, "idle", 0, 1000),
        vssd(3, "busy", 500, 900),
    ];
    let mut site = Site::new("equal", 900 + 100, vssds);
    site.stubborn = vec![VmId(1), VmId(2)];
    for _ in 0..12 {
        site.period();
    }
    let revoked = "silent: 500 -> 334 blocks, revoked (equal: the guest is past its deadline)";
    assert!(site.lines.iter().any(|l| l == revoked), "{:?}", site.lines);
    assert_eq!(site.standing(1), Standing::SetAside);
    let held = site.held();
    assert!(held[2] >= 500, "{held:?}");
}

#[test]
fn a_guest_that_declines_is_not_offered_blocks_for_ever() {
    let vssds = vec![vssd(1, "a", 0, 1000), vssd(2, "b", 0, 1000)];
    let mut site = Site::new("equal", 1000, vssds);
    let mut offers = 0;
    site.now += SECOND;
    let orders = site.balancer.decide(site.now, site.room(), &site.vssds);
    offers += orders.len();
    for _ in 0..100 {
        offers += {
            let seen: Vec<Seen> = site.vssds.iter().map(|(seen, _)| seen.clone()).collect();
            site.balancer.resume(site.now, site.room(), &seen).len()
        };
    }
    assert!(offers <= 2 * GROWTHS_PER_PERIOD as usize, "{offers} offers");
    // It has another chance in the next period, unless its order is refused.
    let orders = site.balancer.decide(site.now, site.room(), &site.vssds);
    assert_eq!(orders.len(), 2);
    site.balancer.refused(VmId(1), "the pool is full");
    site.vssds[1].0.held = 500;
    assert_eq!(site.resume(), 0);
    let known = site.balancer.known(VmId(1)).unwrap();
    let newest = known.history.entries().next().unwrap();
    assert_eq!(newest.refused.as_deref(), Some("the pool is full"));
}

#[test]
fn a_restarted_backend_drives_on_and_converges() {
    let vssds = vec![vssd(1, "idle", 500, 0), vssd(2, "busy", 500, 1000)];
    let mut site = Site::new("mrc", 1000, vssds);
    site.stubborn = vec![VmId(1), VmId(2)];
    site.period();
    assert_eq!(site.held(), [500, 500]);
    for is_panic in [true, false] {
        if is_panic {
            site.balancer.restart().unwrap();
        } else {
            site.balancer = Balancer::new(site.balancer.spec()).unwrap();
        }
        site.period();
    }
    site.stubborn.clear();
    (0..10).for_each(|_| site.period());
    assert_eq!(site.held(), [0, 1000]);
}

#[test]
fn one_that_is_gone_is_forgotten_and_decisions_are_bounded() {
    let vssds = vec![vssd(1, "a", 500, 0), vssd(2, "b", 500, 0)];
    let mut site = Site::new("shares", 1000, vssds);
    for turn in 0..50 {
        site.vssds[0].0.share = Share::new(Some(1 + 3 * (turn % 2)), None).unwrap();
        site.period();
    }
    assert_eq!(site.lines_of(0).len(), 20);
    assert_eq!(
        site.lines_of(0)[0],
        *site.lines.iter().rfind(|l| l.starts_with("a:")).unwrap()
    );
    let recent = site.balancer.recent(2);
    let lines: Vec<_> = recent.iter().map(|entry| entry.line.as_str()).collect();
    // Of one time, that of the vSSD with the lower number comes first.
    assert_eq!(lines, [site.lines_of(0)[0], site.lines_of(1)[0]]);
    assert_eq!(recent[0].at_ns, site.now);
    assert_eq!(site.balancer.recent(100).len(), 40);
    site.vssds.remove(0);
    site.period();
    assert!(site.balancer.known(VmId(1)).is_none());
    assert_eq!(site.held(), [1000]);
}
