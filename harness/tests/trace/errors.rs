//! Rejected traces: the error names the position, and the options in its advice work.

use std::fs;
use std::path::Path;

use workloads::trace_disk::Header;

use super::{csv, names, output, printed};

#[test]
fn errors_name_the_position_in_the_trace() {
    let place = tempfile::tempdir().unwrap();
    let here = place.path();
    let write = |name: &str, bytes: &[u8]| fs::write(here.join(name), bytes).unwrap();
    let mut vscsi = [0; 32];
    vscsi[4..8].copy_from_slice(&512u32.to_le_bytes());
    vscsi[12..16].copy_from_slice(&[0x28, 0, 0, 1]);
    write("cut.vscsi", &[&vscsi[..], &vscsi[..20]].concat());
    write("empty", b"");
    write("header.csv", csv("").as_bytes());
    write("nothing.csv", csv("0,r,4096,0\n1,w,0,0\n").as_bytes());
    write("back.csv", csv("7,r,0,1\n3,r,0,1\n").as_bytes());
    write("far.csv", csv("0,r,0,1\n1,r,17592186044415,2\n").as_bytes());
    write("field.csv", csv("0,r,0,1\n1,x,0,1\n").as_bytes());
    write("what", b"\x01\x02\x03");
    write("here", b"precious");
    write("t.zip", b"PK\x03\x04\x14\0\0\0");
    write("cut.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\x03");
    let header = Header { accesses: 2 }.encode();
    write("half.trace", &[&header[..], &[0; 8]].concat());
    write("short.trace", &header[..100]);
    let before = names(here);
    for (arguments, words) in [
        (
            "cut.vscsi",
            "cut.vscsi, byte 32: the file ends after 20 of the 32 bytes",
        ),
        ("empty", "empty: the file is empty: "),
        ("header.csv", "header.csv: has no read and no write request"),
        ("nothing.csv", "nothing.csv: no request accesses a block"),
        ("far.csv --disk 4KiB --beyond skip --limit 0", "--limit"),
        ("back.csv", "back.csv, line 3: the record is 4 ns earlier"),
        (
            "far.csv --disk 1GiB",
            "far.csv, line 3: the request ends at byte 17592186044417 of a disk of 1GiB: ",
        ),
        (
            "nothing.csv --disk 0 --beyond skip",
            "(1 ends past the end of the disk and was skipped)",
        ),
        ("field.csv", "field.csv, line 3: the operation is \"x\""),
        (
            "what",
            "what: neither its name nor its content identifies the format",
        ),
        (
            "back.csv --format vscsi",
            "back.csv: does not start like a trace of format vscsi",
        ),
        (
            "half.trace",
            "half.trace, byte 4104: the file ends after 0 of the 8 bytes",
        ),
        (
            "short.trace",
            "short.trace, byte 0: the file ends after 100 of the 4096 bytes",
        ),
        (
            "nowhere.csv",
            "nowhere.csv: cannot be read: No such file or directory (os error 2)\n",
        ),
        (".", ".: cannot be read: Is a directory (os error 21)\n"),
        ("field.csv --id-unit 0B", "at least 1B"),
        ("field.csv --volume 0B", "at least 1B"),
        ("field.csv --max-request 2GiB", "the limit is 1GiB"),
        (
            "field.csv --ids objects --id-unit 4KiB",
            "--ids objects excludes --id-unit 4KiB",
        ),
        (
            "t.zip",
            "t.zip: is a zip archive, which is not supported: unpack it",
        ),
        ("cut.gz --format csv", "cut.gz: its gzip data ends early: "),
        ("back.csv --beyond skip", "--disk"),
        ("back.csv --times sort:0", "sort:RECORDS"),
        ("back.csv --format vhs", "oracle-general"),
    ] {
        let (file, options) = arguments.split_once(' ').unwrap_or((arguments, ""));
        let lines = [
            format!("trace convert {file} out {options}"),
            format!("trace info {file} {options}"),
        ];
        for line in lines {
            let output = output(here, line.trim());
            let text = String::from_utf8(output.stderr).unwrap();
            let code = output.status.code().unwrap();
            assert!(code == 1 || code == 2, "{line}: {code}");
            assert!(code == 2 || text.lines().count() == 1, "{line}: {text}");
            assert!(text.contains(words), "{line}: {text}");
            assert!(output.stdout.is_empty(), "{line}");
            assert_eq!(names(here), before, "{line} left something");
        }
    }
    // Errors of `convert` only.
    for (arguments, words) in [
        (
            "far.csv out",
            "far.csv, line 3: the request ends at byte 17592186044417 of a disk of 16TiB: `--disk 16TiB --beyond skip` \
             skips 1 of 2 requests (50.0 %)",
        ),
        ("far.csv out --disk 17TiB", "16TiB"),
        ("back.csv here --times clamp", "here already exists"),
        ("back.csv no/where --times clamp", "in no: "),
    ] {
        let output = output(here, &format!("trace convert {arguments}"));
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments}: {text}");
        assert!(text.contains(words), "{arguments}: {text}");
        assert_eq!(names(here), before, "{arguments} left something");
    }
    assert_eq!(fs::read(here.join("here")).unwrap(), b"precious");
}

/// The options between backticks in an error, each an advice.
fn advice(folder: &Path, arguments: &str) -> Vec<String> {
    let output = output(folder, arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments}: {text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    let advice: Vec<_> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    assert!(!advice.is_empty(), "{arguments}: {text}");
    assert!(
        advice.iter().all(|option| option.starts_with("--")),
        "{text}"
    );
    advice
}

#[test]
fn advised_options_work() {
    let place = tempfile::tempdir().unwrap();
    let here = place.path();
    let write = |name: &str, text: &str| fs::write(here.join(name), text).unwrap();
    // 24 units of up to 500 GiB. With the default of 1 TiB per volume, 16 fit on a disk.
    let mut units = String::new();
    for at in 0..240u64 {
        let lba = at * 7919 * 131_072 % (500 << 21);
        units += &format!("{},{lba},4096,r,{at}.5\n", at % 24);
    }
    write("units.spc", &units);
    let mut times = String::new();
    for at in 0..500u64 {
        times += &format!("{},r,{},4096\n", 100 + at - at % 7 * (at % 3), at * 4096);
    }
    write("late.csv", &csv(&times));
    write(
        "long.csv",
        &csv("0,r,0,4096\n1,r,0,67108865\n2,w,4096,123456789\n"),
    );
    write(
        "far.csv",
        &csv("0,r,0,4096\n1,r,5368709120,4096\n2,r,7516192768,1\n"),
    );
    write(
        "volumes.msr",
        "1,a,0,Read,0,4096,1\n2,b,0,Read,1500000000000,4096,1\n",
    );
    let ids: Vec<u8> = [(7u64, 4096u32), (9, 4096), (1 << 60, 1)]
        .iter()
        .flat_map(|(id, size)| {
            let size = size.to_le_bytes();
            [&[0; 4], &id.to_le_bytes()[..], &size, &[0xff; 8]].concat()
        })
        .collect();
    fs::write(here.join("keys.oracleGeneral"), ids).unwrap();
    for (arguments, advised) in [
        (
            "units.spc",
            &["--volume 512GiB", "--disk 16TiB --beyond skip"][..],
        ),
        (
            "units.spc --disk 1TiB",
            &["--volume 512GiB --disk 12TiB", "--beyond skip"],
        ),
        ("units.spc --volume 1GiB", &["--volume 512GiB"]),
        (
            "units.spc --volume 1GiB --disk 2TiB",
            &["--volume 512GiB --disk 12TiB"],
        ),
        ("late.csv", &["--times sort:", "--times clamp"]),
        (
            "late.csv --times sort:1",
            &["--times sort:", "--times clamp"],
        ),
        ("long.csv", &["--max-request 118MiB"]),
        ("far.csv --disk 1GiB", &["--disk 7169MiB", "--beyond skip"]),
        ("volumes.msr", &["--volume 2TiB"]),
        (
            "keys.oracleGeneral --ids addresses",
            &["--ids objects", "--overlap allow"],
        ),
        (
            "keys.oracleGeneral --ids addresses --overlap allow",
            &["--ids objects", "--id-unit"],
        ),
    ] {
        let (file, options) = arguments.split_once(' ').unwrap_or((arguments, ""));
        let found = advice(here, format!("trace convert {file} out {options}").trim());
        assert_eq!(found.len(), advised.len(), "{arguments}: {found:?}");
        for (found, advised) in found.iter().zip(advised) {
            assert!(
                found.starts_with(advised),
                "{arguments}: {found}, not {advised}"
            );
            // Only the user knows the unit of the addresses.
            if found == "--id-unit" {
                continue;
            }
            // An advised option replaces the given one.
            let mut kept: Vec<&str> = Vec::new();
            let pairs: Vec<&str> = options.split_whitespace().collect();
            for pair in pairs.chunks(2) {
                let is_of_ids = pair[0] == "--overlap" && found.starts_with("--ids");
                if !found.contains(pair[0]) && !is_of_ids {
                    kept.extend(pair);
                }
            }
            let line = format!("trace convert {file} out {} {found}", kept.join(" "));
            let words: Vec<&str> = line.split_whitespace().collect();
            // Keys that are not addresses in this unit stay invalid if overlaps are allowed.
            if found == "--overlap allow" {
                let error = advice(here, &words.join(" "));
                assert!(error.contains(&"--ids objects".to_owned()), "{error:?}");
                continue;
            }
            let text = printed(here, &words.join(" "));
            let all = fs::read_to_string(here.join(file)).map_or(3, |text| text.lines().count());
            let requests = all - usize::from(file.ends_with(".csv"));
            let skipped = found.contains("skip");
            assert_eq!(
                text.contains(&format!("requests   {requests}:")),
                !skipped,
                "{line}: {text}"
            );
            fs::remove_file(here.join("out")).unwrap();
        }
        // The other commands report the same error, if it is one for them.
        let info = output(here, format!("trace info {arguments}").trim());
        if info.status.code() == Some(1) {
            let info = String::from_utf8(info.stderr).unwrap();
            let sim = output(here, &format!("sim --trace {arguments} --out none"));
            let sim = String::from_utf8(sim.stderr).unwrap();
            assert_eq!(sim, info);
        }
    }
}
