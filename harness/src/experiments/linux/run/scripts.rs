//! What the guest's shell runs.

use crate::experiments::linux::file_system::MOUNT;

/// While this file is there, jobs go on.
const GO: &str = "/run/go";

/// Lets jobs start.
pub(super) fn go() -> String {
    format!("touch {GO} && mkdir -p {MOUNT}/fio {MOUNT}/churn {MOUNT}/kept")
}

/// Has jobs end after what they are doing.
pub(super) fn halt() -> String {
    format!("rm -f {GO}")
}

/// Writes a file at random, reads it back and checks checksums, round after round. Ends with
/// `rounds failures`.
pub(super) fn fio(seed: u64) -> String {
    format!(
        "rounds=0 failures=0\n\
         while [ -e {GO} ]; do\n\
         rounds=$((rounds + 1))\n\
         if ! fio --name=verify --filename={MOUNT}/fio/file --size=24m --rw=randwrite --bsrange=4k-64k \
         --direct=1 --ioengine=libaio --iodepth=8 --verify=crc32c --verify_fatal=1 \
         --randseed=$(({seed} + rounds)) >/run/fio.log 2>&1; then\n\
         failures=$((failures + 1)); tail -n 20 /run/fio.log\n\
         fi\n\
         done\n\
         echo $rounds $failures"
    )
}

/// The function `content NUMBER BYTES`, which writes what a file of that number has.
const CONTENT: &str = "content() { yes \"file $1 of the churn\" | head -c \"$2\"; }\n";

/// Creates, renames, compares and deletes files named `SLOT.NUMBER.BYTES`. What it reads comes
/// from the disk: the page cache is dropped now and then. Ends with `checked bad`.
pub(super) fn churn(seed: u64) -> String {
    format!(
        "{CONTENT}cd {MOUNT}/churn || exit 1\n\
         checked=0 bad=0 number=0 RANDOM={seed}\n\
         while [ -e {GO} ]; do\n\
         number=$((number + 1)); slot=$((RANDOM % 48))\n\
         [ $((number % 32)) != 0 ] || echo 3 >/proc/sys/vm/drop_caches\n\
         set -- $slot.*\n\
         if [ -e \"$1\" ]; then\n\
         rest=${{1#*.}}\n\
         checked=$((checked + 1))\n\
         content ${{rest%.*}} ${{rest#*.}} | cmp -s - $1 || {{ bad=$((bad + 1)); echo \"bad: $1\"; }}\n\
         if [ $((RANDOM % 3)) = 0 ]; then mv $1 $((slot + 100)).$rest; else rm $1; fi\n\
         else\n\
         bytes=$((RANDOM * 8 + 1))\n\
         if content $number $bytes >new; then mv new $slot.$number.$bytes; else rm -f new; fi\n\
         fi\n\
         set -- 1[0-9][0-9].*\n\
         [ $# -lt 48 ] || rm -f 1[0-9][0-9].*\n\
         done\n\
         echo $checked $bad"
    )
}

/// Writes a file that must be there from now on, whatever happens.
pub(super) fn keep(number: u32) -> String {
    let bytes = 4096 * (1 + number % 16) + number % 1000;
    format!(
        "{CONTENT}cd {MOUNT}/kept && content {number} {bytes} >new && mv new {number}.{bytes} && sync"
    )
}

/// Compares all files of [`keep`], read from the disk; prints `compared bad`.
pub(super) fn compare_kept() -> String {
    format!(
        "{CONTENT}cd {MOUNT}/kept || exit 1\n\
         echo 3 >/proc/sys/vm/drop_caches\n\
         compared=0 bad=0\n\
         for file in *.*; do\n\
         compared=$((compared + 1))\n\
         content ${{file%.*}} ${{file#*.}} | cmp -s - $file || bad=$((bad + 1))\n\
         done\n\
         echo $compared $bad"
    )
}

/// Prints how many extents the balloon files have, and blocks of so many bytes in them. Lines of
/// `filefrag` are `0:  0..  99:  2048..  2147:  100:` and more.
pub(super) fn balloon(block_size: u64) -> String {
    format!(
        "for file in $(find {MOUNT}/.vssd-balloon -type f); do filefrag -v -b{block_size} $file; done | \
         awk -F '[:.]+' '/^ *[0-9]+:/ {{ extents++; blocks += $6 }} END {{ print extents + 0, blocks + 0 }}'"
    )
}

/// Writes files of 4 MiB until there is no space left.
pub(super) fn fill() -> String {
    format!(
        "mkdir -p {MOUNT}/fill && cd {MOUNT}/fill || exit 1\n\
         number=0\n\
         while dd if=/dev/zero of=$number bs=4M count=1 2>/dev/null; do number=$((number + 1)); done\n\
         sync"
    )
}

/// Deletes every other file of [`fill`].
pub(super) fn thin_out() -> String {
    format!("cd {MOUNT}/fill && ls | awk 'NR % 2' | xargs rm && sync")
}

/// Allocates 32 files on `percent` of the file system, and writes the first 64 KiB of each.
pub(super) fn allocate(percent: u32) -> String {
    format!(
        "mkdir -p {MOUNT}/fill && cd {MOUNT}/fill || exit 1\n\
         len=$(($(stat -f -c %b .) * $(stat -f -c %S .) / 100 * {percent} / 32))\n\
         for number in $(seq 32); do\n\
         fallocate -l $len $number && dd if=/dev/zero of=$number bs=64k count=1 conv=notrunc 2>/dev/null || exit 1\n\
         done\n\
         sync"
    )
}

/// Allocates a file on nine tenths of the file system, and frees every other 16 KiB of it.
pub(super) fn fragment() -> String {
    format!(
        "mkdir -p {MOUNT}/fill && cd {MOUNT}/fill || exit 1\n\
         len=$(($(stat -f -c %a .) * $(stat -f -c %S .) / 100 * 90 / 32768 * 32768))\n\
         fallocate -l $len file && \
         awk -v len=$len 'BEGIN {{ for (at = 0; at < len; at += 32768) printf \"fpunch %.0f 16384\\n\", at }}' | \
         xfs_io file >/dev/null && sync"
    )
}

/// Loads what a script prints as numbers.
pub(super) fn numbers<const N: usize>(text: &str) -> Option<[u64; N]> {
    let last = text.trim().lines().last()?;
    let numbers: Option<Vec<u64>> = last.split(' ').map(|word| word.parse().ok()).collect();
    numbers?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_has_the_numbers() {
        assert_eq!(numbers("bad: 7.1.9\n12 1\n"), Some([12, 1]));
        assert_eq!(numbers::<2>("12"), None);
        assert_eq!(numbers::<2>("12 one"), None);
        assert_eq!(numbers::<2>(""), None);
    }
}
