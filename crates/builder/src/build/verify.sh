#!/bin/sh
# Checks a bundle by hand: signature, sums, every blob. Needs a shell, coreutils, tar and
# minisign or openssl 3; asks nothing of the program that the bundle brings.
#
#   sh verify.sh release.pub [folder of the bundle]
#
# release.pub is a key that you trust from elsewhere: a minisign .pub file or its base64 line.
set -eu

die() { echo "verify: $*" >&2; exit 1; }

[ $# -ge 1 ] || die "usage: sh verify.sh release.pub [folder]"
key=$(grep -v '^untrusted comment:' "$1" | head -n 1)
[ -n "$key" ] || die "$1 holds no key"
cd "${2:-$(dirname "$0")}"
work=$(mktemp -d "${TMPDIR:-/tmp}/verify.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM

# The key id: bytes 3 to 10 of the key, last first, as signatures are named.
id=$(printf '%s' "$key" | base64 -d | od -An -v -tx1 | tr -d ' \n' | cut -c5-20 |
    sed 's/\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)/\8\7\6\5\4\3\2\1/' |
    tr 'abcdef' 'ABCDEF')
sig="MANIFEST.json.$id.minisig"
[ -f "$sig" ] || die "no signature of key $id is here"

if command -v minisign >/dev/null 2>&1; then
    minisign -V -q -P "$key" -m MANIFEST.json -x "$sig" || die "the signature of key $id is bad"
elif command -v openssl >/dev/null 2>&1; then
    { printf '\060\052\060\005\006\003\053\145\160\003\041\000'
      printf '%s' "$key" | base64 -d | tail -c 32; } >"$work/key.der"
    sed -n 2p "$sig" | base64 -d >"$work/packed"
    [ "$(head -c 2 "$work/packed")" = ED ] || die "the signature is not of the prehashed kind"
    tail -c 64 "$work/packed" >"$work/sig"
    openssl dgst -blake2b512 -binary MANIFEST.json >"$work/hash"
    openssl pkeyutl -verify -pubin -keyform DER -inkey "$work/key.der" -rawin \
        -in "$work/hash" -sigfile "$work/sig" >/dev/null || die "the signature of key $id is bad"
    { cat "$work/sig"; sed -n 3p "$sig" | sed 's/^trusted comment: //' | tr -d '\n'; } >"$work/all"
    sed -n 4p "$sig" | base64 -d >"$work/global"
    openssl pkeyutl -verify -pubin -keyform DER -inkey "$work/key.der" -rawin \
        -in "$work/all" -sigfile "$work/global" >/dev/null || die "the signed comment is bad"
else
    die "neither minisign nor openssl is here"
fi
echo "signed by key $id:"
sed -n 3p "$sig" | sed 's/^trusted comment: /  /'

sum=$(sha256sum <MANIFEST.json | cut -c1-64)
sed -n 3p "$sig" | grep -q " manifest_sha256=$sum\$" || die "the signed comment is of another manifest"
sums=$(sha256sum <SHA256SUMS | cut -c1-64)
grep -q "\"sums_sha256\": *\"sha256:$sums\"" MANIFEST.json || die "SHA256SUMS is not the manifest's"
sha256sum --quiet -c SHA256SUMS || die "a volume is damaged or missing"
echo "volumes: all as signed"

# Every blob. GNU tar hands each entry to a command in one pass; other tars are asked for each.
cat >"$work/check" <<'EOF'
case $TAR_FILENAME in
COFFERDAM-VOLUME | *.[0-9][0-9][0-9][0-9]) cat >/dev/null ;;
*)  if [ "blobs/sha256/$(sha256sum | cut -c1-64)" = "$TAR_FILENAME" ]; then
        echo good >>"$TALLY"
    else
        echo "$TAR_FILENAME" >>"$TALLY.bad"
    fi ;;
esac
EOF
TALLY=$work/tally
export TALLY
: >"$TALLY"
for volume in vol-*.tar; do
    tar -tf "$volume" >"$work/names"
    if grep -vE '^(COFFERDAM-VOLUME|blobs/sha256/[0-9a-f]{64}(\.[0-9]{4})?)$' "$work/names"; then
        die "$volume holds what belongs to no bundle"
    fi
    sed "s|^|$volume |" "$work/names" >>"$work/all"
    if tar --version | grep -q 'GNU tar'; then
        tar -xf "$volume" --to-command="sh '$work/check'" || die "$volume cannot be read"
    else
        while read -r TAR_FILENAME; do
            export TAR_FILENAME
            tar -xOf "$volume" "$TAR_FILENAME" | sh "$work/check"
        done <"$work/names"
    fi
done
# Blobs above 1 GiB lie in parts, in order, maybe in several volumes.
sed -n 's|^.* blobs/sha256/\(.*\)\.0000$|\1|p' "$work/all" >"$work/large"
while read -r blob; do
    got=$(grep " blobs/sha256/$blob\." "$work/all" | while read -r volume name; do
        tar -xOf "$volume" "$name"
    done | sha256sum | cut -c1-64)
    if [ "$got" = "$blob" ]; then echo good >>"$TALLY"; else echo "$blob" >>"$TALLY.bad"; fi
done <"$work/large"
[ ! -f "$TALLY.bad" ] || die "damaged: $(tr '\n' ' ' <"$TALLY.bad")"
echo "blobs: $(wc -l <"$TALLY" | tr -d ' '), each what its name says"
