#!/bin/sh
# Checks an unpacked export with a shell and openssl (1.1.1 or later). Exits 0 when all holds.
set -eu
cd "$(dirname "$0")"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
refuse() { echo "REFUSED: $*" >&2; exit 1; }
sha() { openssl dgst -sha256 -binary; }
hex() { od -An -v -tx1 | tr -d ' \n'; }
unhex() { printf "$(echo "$1" | fold -w 2 | while read -r h; do printf '\\%03o' "0x$h"; done)"; }

# The log's key, as openssl takes it.
name=$(cut -d+ -f1 log.key)
{ printf '\060\052\060\005\006\003\053\145\160\003\041\000'
  cut -d+ -f3- log.key | tr -d '\n' | openssl base64 -d -A | tail -c +2; } >"$tmp/key"
note() { # FILE: its text goes to $tmp/text once the log's signature over it is seen
    sed '/^$/,$d' "$1" >"$tmp/text"
    sed -n "s/^— $name //p" "$1" | head -n 1 | tr -d '\n' | openssl base64 -d -A | tail -c +5 >"$tmp/sig"
    openssl pkeyutl -verify -pubin -keyform DER -inkey "$tmp/key" -rawin -in "$tmp/text" \
        -sigfile "$tmp/sig" >/dev/null 2>&1 || refuse "$1 is not signed by $name"
}

note MANIFEST.json.note
[ "$(sed -n 2p "$tmp/text")" = "$(sha <MANIFEST.json | hex)" ] || refuse "MANIFEST.json was changed"
note checkpoint
[ "$(sed -n 1p "$tmp/text")" = "$name" ] || refuse "the checkpoint is one of another log"
size=$(sed -n 2p "$tmp/text")
sed -n 3p "$tmp/text" | tr -d '\n' | openssl base64 -d -A >"$tmp/root"

# Every file has its digest; the manifest has one line for each name, size and digest.
sed -n 's/^    "\(.*\)": {$/\1/p' MANIFEST.json >"$tmp/names"
sed -n 's/^      "sha256": "\(.*\)"$/\1/p' MANIFEST.json >"$tmp/sums"
while read -r file && read -r sum <&3; do
    [ -f "$file" ] || refuse "$file is missing"
    [ "$(sha <"$file" | hex)" = "$sum" ] || refuse "$file was changed"
done <"$tmp/names" 3<"$tmp/sums"
field() { sed -n "s/^  \"$1\": \([0-9]*\),*\$/\1/p" MANIFEST.json; }
first=$(field first) end=$(field end)
[ "$(field size)" = "$size" ] || refuse "the manifest is one of another checkpoint"

# The root, from the subtrees before the range, its leaves and the subtrees after it. The stack
# holds roots of whole subtrees: $tmp/0, $tmp/1, …, with their levels in $levels.
depth=0 levels=
push() { # LEVEL, the hash on standard input
    level=$1
    cat >"$tmp/new"
    while [ "$depth" -gt 0 ] && [ "${levels##* }" = "$level" ]; do
        depth=$((depth - 1)) levels=${levels% *} level=$((level + 1))
        { printf '\001'; cat "$tmp/$depth" "$tmp/new"; } | sha >"$tmp/up"
        mv "$tmp/up" "$tmp/new"
    done
    mv "$tmp/new" "$tmp/$depth"
    depth=$((depth + 1)) levels="$levels $level"
}
around() { # before|after: its pairs of level and hash
    tr -d ' \n' <range.proof | sed "s/.*\"$1\":\[\(\(\[[^]]*\],*\)*\)\].*/\1/;s/\],*/\n/g" |
        sed 's/\[//;s/"//g;s/,/ /' | sed '/^$/d' >"$tmp/around"
    while read -r level hash; do unhex "$hash" >"$tmp/node"; push "$level" <"$tmp/node"; done <"$tmp/around"
}
around before
at=$first
while [ "$at" -lt "$end" ]; do
    dd if=leaves.bin bs=32 skip=$((at - first)) count=1 2>/dev/null >"$tmp/leaf"
    push 0 <"$tmp/leaf"
    at=$((at + 1))
done
around after
if [ "$depth" -eq 0 ]; then sha </dev/null >"$tmp/0"; depth=1; fi
while [ "$depth" -gt 1 ]; do
    depth=$((depth - 1)) below=$((depth - 1))
    { printf '\001'; cat "$tmp/$below" "$tmp/$depth"; } | sha >"$tmp/up"
    mv "$tmp/up" "$tmp/$below"
done
cmp -s "$tmp/0" "$tmp/root" || refuse "the entries are not those under the signed root"

# Every body that is shown has the hash of its leaf.
shown=0
for file in events/*.jsonl; do
    [ -f "$file" ] || continue
    while IFS= read -r line; do
        seq=$(printf %s "$line" | sed 's/.*"seq":\([0-9]*\).*/\1/')
        dd if=leaves.bin bs=32 skip=$((seq - first)) count=1 2>/dev/null >"$tmp/leaf"
        { printf '\000'; printf %s "$line"; } | sha | cmp -s - "$tmp/leaf" || refuse "entry $seq was changed"
        shown=$((shown + 1))
    done <"$file"
done
echo "good: entries $first to $end of $size, $shown shown, signed by"
cat log.key
