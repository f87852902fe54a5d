//! Whole decisions: by hand, and against a model of a pool with guests that vanish, do not answer,
//! or answer as they like.

mod pool;

use std::collections::BTreeMap;

use proptest::prelude::*;
use strum::IntoEnumIterator;

use self::pool::{Guest, Manner, Pool};
use super::fixtures::{any_vms, curve, sizes, vm};
use super::*;

fn arbiter(policy: PolicyName, damping: Damping) -> Arbiter {
    Arbiter::new(policy, damping, Patience::default()).expect("valid parameters")
}

fn lines(round: &Round) -> Vec<String> {
    round.decisions.iter().map(Decision::to_string).collect()
}

#[test]
fn decisions_say_who_gives_to_whom_and_why() {
    let any = (0, u32::MAX, 1);
    let gains = curve(15_000.0, &[(1500, 0.0)]);
    let spare = curve(9000.0, &[(10, 0.0)]);
    let vms = [vm(1, any, 1000).with(gains), vm(3, any, 1000).with(spare)];
    let mut mrc = arbiter(PolicyName::Mrc, Damping::default());
    let round = mrc.decide(2000, 0, &vms);
    assert_eq!(
        lines(&round),
        ["vm3: 1000 -> 500 blocks (mrc: saves 5,000 misses a period; vm1 gains)"]
    );
    assert_eq!(round.targets, [1500, 500]);
    let mut shares = arbiter(PolicyName::Shares, Damping::default());
    let vms = [vm(1, (0, 9999, 3), 1000), vm(3, any, 1000)];
    assert_eq!(
        lines(&shares.decide(2010, 10, &vms)),
        [
            "vm3: 1000 -> 978 blocks (shares: weight 1 of 4; vm1 gains)",
            "vm1: 1000 -> 1010 blocks (shares: weight 3 of 4; vm3 gives)"
        ]
    );
}

#[test]
fn growths_go_on_when_shrinks_have_ended() {
    let any = (0, u32::MAX, 1);
    let vms = [vm(1, any, 1000), vm(2, any, 0), vm(3, any, 0)];
    let mut equal = arbiter(PolicyName::Equal, Damping::none());
    let round = equal.decide(1200, 200, &vms);
    assert_eq!(
        lines(&round),
        [
            "vm1: 1000 -> 400 blocks (equal: 1 of 3 equal parts; vm2 gains)",
            "vm2: 0 -> 200 blocks (equal: 1 of 3 equal parts; vm1 gives)",
        ]
    );
    // In another order, with a VM that has just come.
    let later = [
        vm(3, any, 0),
        vm(4, any, 0),
        vm(2, any, 200),
        vm(1, any, 400),
    ];
    let more = equal.resume(600, &later, &round);
    let more: Vec<String> = more.iter().map(Decision::to_string).collect();
    assert_eq!(
        more,
        [
            "vm3: 0 -> 400 blocks (equal: 1 of 3 equal parts)",
            "vm2: 200 -> 400 blocks (equal: 1 of 3 equal parts)",
        ]
    );
    assert_eq!(equal.resume(0, &later[1..3], &round), []);
}

#[test]
fn a_vm_below_its_reservation_is_served_first() {
    let any = (0, u32::MAX, 1);
    let vms = [
        vm(1, (500, 900, 1), 100),
        vm(2, any, 900).with(curve(1e6, &[(1000, 0.0)])),
    ];
    let mut arbiter = arbiter(PolicyName::Mrc, Damping::default());
    let round = arbiter.decide(1000, 0, &vms);
    assert_eq!(
        lines(&round)[0],
        "vm2: 900 -> 500 blocks (mrc: others are due blocks; vm1 gains)"
    );
    let vms = [
        vms[0].clone(),
        vm(2, any, 500).with(curve(1e6, &[(1000, 0.0)])),
    ];
    let round = arbiter.decide(1000, 400, &vms);
    assert_eq!(
        lines(&round),
        ["vm1: 100 -> 500 blocks (mrc: below its reservation of 500 blocks)"]
    );
}

#[test]
fn a_vm_above_its_limit_shrinks_and_says_so() {
    let mut arbiter = arbiter(PolicyName::Mrc, Damping::default());
    let round = arbiter.decide(1000, 100, &[vm(1, (0, 300, 1), 900)]);
    assert_eq!(
        lines(&round),
        ["vm1: 900 -> 300 blocks (mrc: above its limit of 300 blocks)"]
    );
}

#[test]
#[should_panic(expected = "two VMs of one id")]
fn an_id_names_one_vm() {
    let twice = [vm(1, (0, 9, 1), 0), vm(1, (0, 9, 1), 0)];
    arbiter(PolicyName::Equal, Damping::default()).decide(9, 9, &twice);
}

#[test]
fn parameters_out_of_range_are_refused() {
    let bad = Damping {
        smallest_change: -1.0,
        ..Damping::default()
    };
    assert!(Arbiter::new(PolicyName::Equal, bad, Patience::default()).is_err());
}

#[test]
fn a_silent_guest_does_not_keep_others_waiting() {
    let mut pool = Pool::new(1000, Patience::default());
    pool.join(1, Guest::new((0, 1000, 1), 800, Manner::Unforced));
    pool.join(2, Guest::new((0, 1000, 1), 150, Manner::Answers));
    pool.join(3, Guest::new((0, 1000, 1), 0, Manner::Answers));
    let mut arbiter = arbiter(PolicyName::Equal, Damping::none());
    for _ in 0..20 {
        pool.period(&mut arbiter);
    }
    // 200 are left for two, of which one had more.
    assert_eq!(pool.held(), [800, 100, 100]);
    // Once the guest answers again, it takes part.
    pool.guests.get_mut(&VmId(1)).expect("a guest").manner = Manner::Answers;
    for _ in 0..20 {
        pool.period(&mut arbiter);
    }
    assert_eq!(pool.held(), [334, 333, 333]);
}

#[test]
fn blocks_offered_in_vain_go_to_others() {
    let mut pool = Pool::new(1000, Patience::default());
    pool.join(1, Guest::new((100, 1000, 9), 0, Manner::Silent));
    pool.join(2, Guest::new((0, 1000, 1), 0, Manner::Answers));
    let mut arbiter = arbiter(PolicyName::Shares, Damping::none());
    for _ in 0..10 {
        pool.period(&mut arbiter);
    }
    // All but the reservation, which waits for it.
    assert_eq!(pool.held(), [0, 900]);
}

#[test]
fn damped_moves_do_not_go_back_and_forth() {
    let any = (0, u32::MAX, 1);
    let mut arbiter = arbiter(PolicyName::Mrc, Damping::default());
    // Two equal VMs whose curves change by 2 % from period to period, in turns.
    for period in 0..20 {
        let of = |id: u32| {
            let noise = [1.02, 0.98][((period + id) % 2) as usize];
            let points = (1..=10).map(|part| (part * 100, 1e4 * noise * 0.7_f64.powi(part as i32)));
            let points: Vec<(u32, f64)> = points.collect();
            vm(id, any, 500).with(curve(1e4 * noise, &points))
        };
        assert_eq!(lines(&arbiter.decide(1000, 0, &[of(0), of(1)])), [""; 0]);
    }
}

#[test]
fn damped_moves_reach_the_fewest_misses_across_a_cliff() {
    let any = (0, u32::MAX, 1);
    let curves = [
        curve(50_000.0, &[(4999, 50_000.0), (5000, 2000.0)]),
        curve(40_000.0, &[(500, 4000.0), (6000, 1000.0)]),
        curve(9000.0, &[(6000, 0.0)]),
    ];
    for policy in [PolicyName::Mrc, PolicyName::Hull] {
        let mut arbiter = arbiter(policy, Damping::default());
        let mut held = [2000; 3];
        let mut moved = [0; 2];
        for period in 0..80 {
            let vms = (0..).zip(&held).zip(&curves);
            let vms: Vec<Vm> = vms
                .map(|((id, &held), curve)| vm(id, any, held).with(curve.clone()))
                .collect();
            let free = 6000 - held.iter().sum::<u32>();
            for decision in arbiter.decide(6000, free, &vms).decisions {
                held[decision.id.0 as usize] = decision.to;
                moved[usize::from(period >= 40)] += decision.from.abs_diff(decision.to);
            }
        }
        // The cliff, and 1000 more where they save most, but for what is too small to move.
        assert!(held[0] >= 5000 && held[1] >= 490, "{policy}: {held:?}");
        assert!(
            moved[0] > 0 && moved[1] == 0,
            "{policy}: {moved:?} blocks moved"
        );
    }
}

/// What happens to a pool in a period.
#[derive(Clone, Debug)]
enum Event {
    Nothing,
    Join(Guest),
    Vanish(usize),
    Weigh(usize, u32),
    Turn(usize, Manner),
    Restart,
}

fn manners() -> impl Strategy<Value = Manner> {
    prop_oneof![
        6 => Just(Manner::Answers),
        1 => Just(Manner::Slow),
        1 => Just(Manner::Silent),
        1 => Just(Manner::Unforced),
    ]
}

fn guests() -> impl Strategy<Value = Guest> {
    (0..150_u32, 0..900_u32, 1..9_u32, manners()).prop_map(
        |(reservation, extra, weight, manner)| {
            Guest::new((reservation, reservation + extra, weight), 0, manner)
        },
    )
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => Just(Event::Nothing),
        3 => guests().prop_map(Event::Join),
        2 => any::<usize>().prop_map(Event::Vanish),
        2 => (any::<usize>(), 1..9_u32).prop_map(|(at, weight)| Event::Weigh(at, weight)),
        2 => (any::<usize>(), manners()).prop_map(|(at, manner)| Event::Turn(at, manner)),
        1 => Just(Event::Restart),
    ]
}

fn dampings() -> impl Strategy<Value = Damping> {
    prop_oneof![Just(Damping::none()), Just(Damping::default())]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_pool_is_never_exceeded_and_converges(
        events in prop::collection::vec(events(), 0..60),
        policy in prop::sample::select(PolicyName::iter().collect::<Vec<_>>()),
        damping in dampings(),
    ) {
        let patience = Patience { deadline_periods: 2, aside_periods: 5 };
        let new = || Arbiter::new(policy, damping, patience).expect("valid parameters");
        let mut arbiter = new();
        let mut pool = Pool::new(1000, patience);
        for (period, event) in (0..).zip(events) {
            match event {
                Event::Nothing => {}
                Event::Join(guest) => pool.join(period, guest),
                Event::Vanish(at) => pool.vanish(at),
                Event::Weigh(at, weight) => pool.change(at, |guest| guest.weigh(weight)),
                Event::Turn(at, manner) => pool.change(at, |guest| guest.manner = manner),
                Event::Restart => arbiter = new(),
            }
            pool.period(&mut arbiter);
        }
        // From here on nothing happens. A curve that is estimated follows what is held, so only
        // policies that do not look at it stop moving.
        for _ in 0..120 {
            pool.period(&mut arbiter);
        }
        let round = pool.period(&mut arbiter);
        let aside = &round.aside;
        for ((id, guest), &target) in pool.guests.iter().zip(&round.targets) {
            let answers = guest.manner == Manner::Answers;
            prop_assert!(!answers || !aside.contains(id), "{} is set aside", id);
            prop_assert!(!answers || guest.held >= guest.floor(&pool, aside), "{} has {}", id, guest.held);
            let exact = matches!(policy, PolicyName::Equal | PolicyName::Shares | PolicyName::Static);
            if exact && answers && damping == Damping::none() && pool.all_answer() {
                prop_assert_eq!(guest.held, target, "{}", id);
            }
        }
    }

    #[test]
    fn decisions_never_promise_more_than_is_free(
        vms in any_vms(10),
        blocks in sizes(),
        free in sizes(),
        periods in 1..6_usize,
    ) {
        for policy in PolicyName::iter() {
            let mut arbiter = arbiter(policy, Damping::default());
            let promised = |resizing: &BTreeMap<VmId, u32>| -> u64 {
                let vms = vms.iter();
                vms.map(|vm| u64::from(resizing.get(&vm.id).map_or(0, |to| to.saturating_sub(vm.held)))).sum()
            };
            let mut resizing: BTreeMap<VmId, u32> = vms
                .iter()
                .filter_map(|vm| vm.resizing.map(|to| (vm.id, to)))
                .collect();
            let before = promised(&resizing);
            for _ in 0..periods {
                let now: Vec<Vm> = vms
                    .iter()
                    .map(|vm| Vm { resizing: resizing.get(&vm.id).copied(), ..vm.clone() })
                    .collect();
                for decision in arbiter.decide(blocks, free, &now).decisions {
                    prop_assert!(!decision.to_string().contains('\n'));
                    resizing.insert(decision.id, decision.to);
                }
                prop_assert!(promised(&resizing) <= before.max(free.into()), "{policy}");
            }
        }
    }
}
