#!/bin/sh
# Checks an unpacked export with a shell and openssl (1.1.1 or later): no other program is called.
# Exits 0 when all holds, 1 when something does not, 3 when this openssl has no Ed25519, so that
# everything was checked but who signed it. Scratch files are .verify-* in this folder.
set -euf
LC_ALL=C
case $0 in */*) cd "${0%/*}" ;; esac
tmp=./.verify-$$
batch=100
tidy() { ! command -v rm >|"$tmp.err" || { set +f; rm -f "$tmp".*; }; }
trap tidy EXIT
refuse() { echo "REFUSED: $*" >&2; exit 1; }
: >|"$tmp.err"

# Bytes are kept as printf takes them: \253 and so on.
octal() { # HEX: $oct
    oct= rest=$1
    while [ -n "$rest" ]; do
        tail=${rest#??}
        byte=$((0x${rest%"$tail"}))
        oct="$oct\\$((byte / 64))$((byte / 8 % 8))$((byte % 8))" rest=$tail
    done
}
unpack() { # BYTES TEXT FILE [-A]: $hex of so many bytes in base64; an octet string is shown in hex
    { printf '\004\202'; printf "\\$(($1 / 16384))$(($1 / 2048 % 8))$(($1 / 256 % 8))"
      printf "\\$(($1 / 64 % 4))$(($1 / 8 % 8))$(($1 % 8))"; printf '%s\n' "$2" | openssl base64 -d ${4-}
    } | openssl asn1parse -inform DER >|"$tmp.asn1" 2>|"$tmp.err" || refuse "$3 cannot be read"
    read -r hex <"$tmp.asn1"
    hex=${hex##*:}
    [ ${#hex} -eq $(($1 * 2)) ] || refuse "$3 cannot be read"
}
sums() { openssl dgst -sha256 -r "$@" >|"$tmp.sums" 2>|"$tmp.err" || refuse "cannot read $*"; }
verifies() { # KEY SIGNATURE, octal: of the file $tmp.text
    printf "\\060\\052\\060\\005\\006\\003\\053\\145\\160\\003\\041\\000$1" >|"$tmp.key"
    printf "$2" >|"$tmp.sig"
    openssl pkeyutl -verify -pubin -keyform DER -inkey "$tmp.key" -rawin -in "$tmp.text" \
        -sigfile "$tmp.sig" >|"$tmp.out" 2>|"$tmp.err"
}

# Whether this openssl knows Ed25519 is tried on a signature that is good: RFC 8032, 7.1, TEST 2.
printf r >|"$tmp.text"
octal 3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c
public=$oct
octal 92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00
signs=yes
verifies "$public" "$oct" || signs=

# The log's key: name+hash+base64, where a byte for the algorithm comes first.
read -r name <log.key || refuse "log.key is missing"
key=${name#*+}
unpack 33 "${key#*+}" log.key -A
name=${name%%+*}
octal "${hex#??}"
public=$oct
note() { # FILE: its text goes to $tmp.text once the log's signature over it is seen
    text=y signed=
    : >|"$tmp.text"
    while IFS= read -r line; do
        case $text$line in
        y) text= ;;
        y*) printf '%s\n' "$line" >>"$tmp.text" ;;
        "— $name "*) signed=${signed:-${line##* }} ;;
        esac
    done <"$1"
    [ -n "$signed" ] || refuse "$1 is not signed by $name, the key in log.key"
    [ -n "$signs" ] || return 0
    unpack 68 "$signed" "$1" -A
    octal "${hex#????????}"
    verifies "$public" "$oct" || refuse "$1 is not signed by $name, the key in log.key"
}
line() { # NUMBER FILE: $line
    at=0
    while [ "$at" -lt "$1" ]; do IFS= read -r line || return 0; at=$((at + 1)); done <"$2"
}

note MANIFEST.json.note
line 2 "$tmp.text"
said=$line
sums MANIFEST.json
read -r sum line <"$tmp.sums"
[ "$said" = "$sum" ] || refuse "MANIFEST.json was changed"
note checkpoint
line 1 "$tmp.text"
[ "$line" = "$name" ] || refuse "the checkpoint is one of another log"
line 2 "$tmp.text"
size=$line
line 3 "$tmp.text"
unpack 32 "$line" checkpoint -A
octal "$hex"
root=$oct

# Every file has its digest; the manifest has one line for each name, size and digest.
first= end= whole= manifest_size= count=0 names= wanted=
files() { # compares those that are waiting
    set -- $names
    [ $# -gt 0 ] || return 0
    sums "$@"
    set -- $wanted
    while read -r sum file; do
        [ "$sum" = "$1" ] || refuse "${file#???} was changed"
        shift
    done <"$tmp.sums"
    count=0 names= wanted=
}
events=
while IFS= read -r line; do
    value=${line##*: } value=${value%,}
    case $line in
    '    "'*'": {') name_of=${line#*\"} name_of=${name_of%%\"*} ;;
    '      "sha256": '*)
        [ -f "$name_of" ] || refuse "$name_of is missing"
        value=${value#\"}
        names="$names ./$name_of" wanted="$wanted ${value%\"}" count=$((count + 1))
        case $name_of in events/*) events="$events $name_of" ;; esac
        [ "$count" -lt "$batch" ] || files ;;
    '  "filter": null,') whole=yes ;;
    '  "first": '*) first=$value ;;
    '  "end": '*) end=$value ;;
    '  "size": '*) manifest_size=$value ;;
    esac
done <MANIFEST.json
files
[ "$manifest_size" = "$size" ] || refuse "the manifest is one of another checkpoint"

# The leaves, a line each in $tmp.level: 192 of them at a time.
openssl base64 -in leaves.bin >|"$tmp.base64" || refuse "leaves.bin cannot be read"
exec 3<"$tmp.base64" 4>|"$tmp.level"
left=$((end - first))
while [ "$left" -gt 0 ]; do
    some=$((left < 192 ? left : 192)) lines= at=0
    while [ "$at" -lt $(((some * 2 + 2) / 3)) ] && read -r line <&3; do
        lines="$lines$line
" at=$((at + 1))
    done
    unpack $((some * 32)) "$lines" leaves.bin
    while [ -n "$hex" ]; do
        above=${hex#????????????????????????????????????????????????????????????????}
        octal "${hex%"$above"}"
        printf '%s\n' "$oct" >&4
        hex=$above
    done
    left=$((left - some))
done
exec 4>&-
! read -r line <&3 || refuse "leaves.bin has more than the range"

# The statements of a job that the entry in $line names: as it says, and signed by attest.pub.
detail() { value=${line#*\"$1\":} value=${value#\"} value=${value%%[!a-z0-9:]*}; } # NAME: $value
attester= id= statements=0 from=0
if [ -f jobs/left-out.json ]; then
    read -r from <jobs/left-out.json || :
    from=${from##*:} from=${from%%[!0-9]*}
fi
attester() { # the key of all statements: $attester, and its $id
    { read -r pem && read -r pem; } <attest.pub || refuse "attest.pub cannot be read"
    unpack 44 "$pem" attest.pub -A
    case $hex in 302A300506032B6570032100*) ;; *) refuse "attest.pub is no key" ;; esac
    octal "$hex"
    printf "$oct" >|"$tmp.der"
    sums "$tmp.der"
    read -r id pem <"$tmp.sums"
    octal "${hex#302A300506032B6570032100}"
    attester=$oct
}
statement() { # FILE, and its digest by the entry
    [ -f "$1" ] || refuse "$1 is missing: entry $seq names it"
    sums "$1"
    read -r sum pem <"$tmp.sums"
    [ "sha256:$sum" = "$2" ] || refuse "$1 is not the one that entry $seq names"
    statements=$((statements + 1))
    [ -n "$signs" ] || return 0
    read -r pem <"$1"
    text=${pem#'{"payload":"'} text=${text%%\"*} pem=${pem##*'"sig":"'}
    value=$((${#text} / 4 * 3))
    case $text in *==) value=$((value - 2)) ;; *=) value=$((value - 1)) ;; esac
    { printf 'DSSEv1 28 application/vnd.in-toto+json %d ' "$value"
      printf '%s' "$text" | openssl base64 -d -A; } >|"$tmp.text"
    unpack 64 "${pem%%\"*}" "$1" -A
    octal "$hex"
    verifies "$attester" "$oct" || refuse "$1 is not signed by attest.pub"
}
attested() {
    [ -n "$whole" ] && [ "$seq" -ge "$from" ] || return 0
    [ -n "$attester" ] || attester
    detail key
    [ "$value" = "$id" ] || refuse "entry $seq names another key than attest.pub"
    folder=${line#*'"obj":{"id":"job:'} folder=jobs/${folder%%[!0-9]*}
    detail attempt
    [ "$value" -eq 1 ] || folder=$folder/attempt-$value
    detail provenance
    statement "$folder/provenance.dsse.json" "$value"
    detail receipt
    statement "$folder/receipt.dsse.json" "$value"
}

# Every body that is shown has the hash of its leaf.
shown=0 count=0 names= wanted= numbers= next=$first
exec 4<"$tmp.level"
bodies() { # compares those that are waiting
    set -- $names
    [ $# -gt 0 ] || return 0
    sums "$@"
    set -- $wanted
    exec 5<"$tmp.sums"
    for number in $numbers; do
        read -r sum line <&5
        octal "$sum"
        [ "$oct" = "$1" ] || refuse "entry $number was changed"
        shift
    done
    count=0 names= wanted= numbers=
}
for file in $events; do
    while IFS= read -r line || [ -n "$line" ]; do
        seq=${line##*\"seq\":} seq=${seq%%[!0-9]*}
        [ -n "$seq" ] && [ "$seq" -ge "$next" ] && [ "$seq" -lt "$end" ] ||
            refuse "$file: entry ${seq:-?} is out of order or not of the range"
        while [ "$next" -le "$seq" ]; do IFS= read -r leaf <&4; next=$((next + 1)); done
        printf '\000%s' "$line" >|"$tmp.$count"
        names="$names $tmp.$count" wanted="$wanted $leaf" numbers="$numbers $seq"
        count=$((count + 1)) shown=$((shown + 1))
        [ "$count" -lt "$batch" ] || bodies
        case $line in '{"act":"job.attested",'*) attested ;; esac
    done <"$file"
done
bodies
[ -z "$whole" ] || [ "$shown" -eq $((end - first)) ] ||
    refuse "no filter is named, and $((end - first - shown)) bodies are not shown"

# The root, level by level. What stands left of the range is in "before", lowest last; right of it
# "after" has first those that the range's last nodes are joined with, then the log's own end.
around() { # before|after: $list of level:octal
    list= part=
    while IFS= read -r line; do
        case $line in
        *'"before"'*) part=before ;;
        *'"after"'*) part=after ;;
        *\"*) value=${line#*\"}
            octal "${value%%\"*}"
            [ "$part" != "$1" ] || list="$list $level:$oct" ;;
        *[0-9],) level=${line%,} level=${level##* } ;;
        esac
    done <range.proof
}
around before
before=$list
around after
after=$list
above() { # hashes the pairs that are waiting, to the level above
    set -- $names
    [ $# -gt 0 ] || return 0
    sums "$@"
    while read -r sum line; do octal "$sum"; printf '%s\n' "$oct" >&4; done <"$tmp.sums"
    count=0 names=
}
low=$first high=$end level=0 tops=
while [ "$high" -gt 0 ]; do
    exec 3<"$tmp.level" 4>|"$tmp.above"
    one=
    if [ $((low % 2)) -eq 1 ]; then
        one=${before##* } before=${before% *}
        [ "${one%%:*}" = "$level" ] || refuse "range.proof does not lead up to the range"
        one=${one#*:} low=$((low - 1))
    fi
    at=$low end_of=$high
    if [ $((high % 2)) -eq 1 ]; then
        other=${after# } other=${other%% *}
        if [ "${other%%:*}" = "$level" ]; then
            after=${after# } high=$((high + 1))
            case $after in *' '*) after=" ${after#* }" ;; *) after= ;; esac
        else
            other= high=$((high - 1))
        fi
    fi
    while [ "$at" -lt "$end_of" ]; do
        [ -n "$one" ] || read -r one <&3
        at=$((at + 1))
        if [ "$at" -lt "$end_of" ]; then
            read -r two <&3
            at=$((at + 1))
        elif [ -n "$other" ]; then
            two=${other#*:}
        else
            tops="$one $tops"
            break
        fi
        printf "\\001$one$two" >|"$tmp.$count"
        names="$names $tmp.$count" one= count=$((count + 1))
        [ "$count" -lt "$batch" ] || above
    done
    above
    exec 3<"$tmp.above" 4>|"$tmp.level"
    while IFS= read -r line <&3; do printf '%s\n' "$line" >&4; done
    exec 4>&-
    low=$((low / 2)) high=$((high / 2)) level=$((level + 1))
done
got=
for other in $after; do tops="$tops ${other#*:}"; done
set -- $tops
while [ $# -gt 0 ]; do
    tops= one=
    for other; do [ -z "$one" ] || tops="$tops $one"; one=$other; done
    if [ -z "$got" ]; then
        got=$one
    else
        printf "\\001$one$got" >|"$tmp.0"
        sums "$tmp.0"
        read -r sum line <"$tmp.sums"
        octal "$sum"
        got=$oct
    fi
    set -- $tops
done
if [ -z "$got" ]; then
    : >|"$tmp.0"
    sums "$tmp.0"
    read -r sum line <"$tmp.sums"
    octal "$sum"
    got=$oct
fi
[ "$got" = "$root" ] || refuse "the entries are not those under the signed root"

if [ -z "$signs" ]; then
    echo "NOT CHECKED: this openssl has no Ed25519, so the signatures in checkpoint and" >&2
    echo "MANIFEST.json.note were not looked at: who signed this is not known. All else agrees." >&2
    exit 3
fi
echo "good: entries $first to $end of $size, $shown shown, $statements statements of jobs, signed by"
read -r line <log.key
printf '%s\n' "$line"
