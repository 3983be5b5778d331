#!/bin/sh
# Runs every case of the leak laboratory, in Rust, C, C++, Python, JavaScript and the text format, and prints a table: how many
# cases of each language have their true verdict, bytes and holder. It takes about an hour in a debug build.
set -u
cd "$(dirname "$0")/../.." || exit 1
log=$(mktemp)
PLIMSOLL_LEAK=all cargo test --workspace --locked --test it leak -- --include-ignored --nocapture --skip leak_false_alarms >"$log" 2>&1
status=$?
echo "| cases | right | of | wrong |"
echo "| --- | --- | --- | --- |"
# Only these lines are rows; a test prints other lines, too.
grep -ao 'leak-case [^ ]* [^ ]* [0-4] [a-z]*$' "$log" | sort -u | awk '
    { all[$2]++; if ($5 == "right") right[$2]++; else wrong[$2] = wrong[$2] " " $3 }
    END { for (group in all) printf "| %s | %d | %d |%s |\n", group, right[group], all[group], wrong[group] }' | sort
[ "$status" -eq 0 ] || { tail -n 40 "$log"; echo "the log is $log"; exit "$status"; }
rm -f "$log"
