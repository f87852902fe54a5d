//! Commands as text and back.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::pattern::PhaseChange;

fn workload() -> impl Strategy<Value = Workload> {
    let pattern = prop_oneof![
        Just(Pattern::Uniform),
        Just(Pattern::Sequential),
        (-1e9f64..1e9, 1e-3f64..1e6).prop_map(|(mean, sd)| Pattern::Gaussian { mean, sd }),
        (0f64..1e300).prop_map(|exponent| Pattern::Zipf { exponent }),
        (any::<u32>(), 0f64..1.0, 0f64..1e9).prop_map(|(blocks, share, speed)| {
            Pattern::Hotspot {
                blocks,
                share,
                speed,
            }
        }),
        (0f64..1.0, any::<u32>()).prop_map(|(share, lifetime)| Pattern::Files { share, lifetime }),
    ];
    let phase = prop_oneof![
        Just(None),
        (any::<u64>(), any::<u32>()).prop_map(|(at, offset)| Some(PhaseChange { at, offset })),
    ];
    (pattern, phase).prop_map(|(pattern, phase)| Workload { pattern, phase })
}

fn command() -> impl Strategy<Value = Command> {
    let pick = proptest::sample::select(GuestPick::all().collect::<Vec<_>>());
    let enforce = prop_oneof![Just(Enforce::Driver), Just(Enforce::Device)];
    let discard = prop_oneof![
        Just(Discard::None),
        Just(Discard::Cache),
        Just(Discard::Device)
    ];
    let advice = prop_oneof![
        Just(Advice::Normal),
        Just(Advice::Needed),
        Just(Advice::Done)
    ];
    prop_oneof![
        Just(Command::Info),
        Just(Command::Flush),
        Just(Command::Exit),
        (pick, any::<u64>()).prop_map(|(pick, seed)| Command::Policy(Policy { pick, seed })),
        (workload(), any::<u64>(), any::<u64>(), any::<u64>()).prop_map(
            |(workload, seed, start, count)| Command::Hint(Hint {
                workload,
                seed,
                start,
                count,
            })
        ),
        any::<u64>().prop_map(|seed| Command::Fill(Fill { seed })),
        enforce.prop_map(|enforce| Command::Verify(Verify { enforce })),
        (
            workload(),
            any::<[u64; 3]>(),
            any::<u32>(),
            any::<[bool; 2]>()
        )
            .prop_map(
                |(workload, [seed, start, count], depth, [per_block, check])| {
                    Command::Read(Read {
                        workload,
                        seed,
                        start,
                        count,
                        depth,
                        per_block,
                        check,
                    })
                }
            ),
        (
            any::<u64>(),
            any::<u64>(),
            any::<u32>(),
            any::<u32>(),
            any::<bool>()
        )
            .prop_map(
                |(count, seed, depth, writes, latency)| Command::Stress(Stress {
                    count,
                    seed,
                    depth,
                    writes,
                    latency
                })
            ),
        any::<u32>().prop_map(|held| Command::Wait(Wait { held })),
        (
            ["[a-z0-9-]{1,16}", "[a-z0-9-]{1,16}", "[a-z0-9-]{1,16}"],
            any::<[u8; 2]>(),
            any::<[u32; 3]>(),
            any::<[bool; 2]>()
        )
            .prop_map(
                |(names, [promote, dirty], [bypass, memory, sample], [clean_first, fresh])| {
                    let [evict, write, share] = names.map(|name| Name::of(&name));
                    Command::Cache(Cache {
                        evict,
                        write,
                        promote,
                        bypass,
                        dirty,
                        clean_first,
                        fresh,
                        memory,
                        share,
                        sample,
                    })
                }
            ),
        (
            proptest::option::of(workload()),
            any::<[u64; 4]>(),
            any::<[u32; 5]>(),
            discard,
            any::<bool>()
        )
            .prop_map(
                |(
                    workload,
                    [seed, start, count, every],
                    [depth, first, span, writes, flush],
                    discard,
                    check,
                )| {
                    Command::Replay(Replay {
                        workload,
                        seed,
                        start,
                        count,
                        depth,
                        first,
                        span,
                        writes,
                        discard,
                        flush,
                        every,
                        check,
                    })
                }
            ),
        any::<u32>().prop_map(|span| Command::Stamps(Stamps { span })),
        (advice, any::<[u32; 2]>()).prop_map(|(advice, [first, count])| {
            Command::Advise(Advise {
                advice,
                first,
                count,
            })
        }),
        (any::<[u32; 2]>(), any::<bool>()).prop_map(|([first, count], device)| {
            Command::DiscardBlocks(DiscardBlocks {
                first,
                count,
                device,
            })
        }),
        (workload(), any::<u64>(), any::<[u32; 3]>()).prop_map(
            |(workload, seed, [span, sample, count])| {
                Command::TimeSampler(TimeSampler {
                    workload,
                    seed,
                    span,
                    sample,
                    count,
                })
            }
        ),
        Just(Command::WriteBack),
        Just(Command::Close),
    ]
}

proptest! {
    #[test]
    fn text_parses_to_itself(command in command()) {
        prop_assert_eq!(command.to_string().parse::<Command>(), Ok(command));
    }

    #[test]
    fn any_line_is_a_command_or_an_error(line in ".*") {
        let _ = line.parse::<Command>();
    }
}

#[test]
fn defaults_are_written_out() {
    let texts = [
        "info",
        "policy pick=sample seed=1",
        "hint workload=gaussian:20000,8192 seed=1 start=0 count=100000",
        "fill seed=1",
        "verify enforce=driver",
        "read workload=gaussian:20000,8192 seed=1 start=0 count=100000 depth=32 per-block=false \
         check=true",
        "stress count=0 seed=1 depth=32 writes=50 latency=false",
        "cache evict=lru write=write-back promote=1 bypass=0 dirty=50 clean-first=false \
         fresh=false memory=0 share=nothing sample=0",
        "replay workload=gaussian:20000,8192 seed=1 start=0 count=0 depth=32 first=0 span=0 \
         writes=0 discard=none flush=0 every=0 check=true",
        "advise advice=normal first=0 count=0",
        "discard first=0 count=0 device=false",
        "stamps span=0",
        "time-sampler workload=gaussian:20000,8192 seed=1 span=65536 sample=2048 count=1000000",
        "write-back",
        "close",
        "flush",
        "wait held=0",
        "exit",
    ];
    let verbs = Command::VERBS.iter();
    let written = verbs.map(|verb| verb.parse::<Command>().unwrap().to_string());
    assert_eq!(written.collect::<Vec<_>>(), texts);
    let trace = "replay trace=true".parse::<Command>().unwrap().to_string();
    assert!(trace.starts_with("replay trace=true seed=1 "), "{trace}");
    assert!(
        "replay trace=true workload=uniform"
            .parse::<Command>()
            .is_err()
    );
}

#[test]
fn errors_name_the_word() {
    let error = |line: &str| line.parse::<Command>().unwrap_err().to_string();
    assert!(error("fly").contains("`fly`"));
    assert!(error("fill size=3").contains("`size`"));
    assert!(error("fill seed=x").contains("`x`"));
    assert!(error("fill seed").contains("`seed`"));
}
