"""A second verifier of audit exports, written from docs/audit.md and the specifications named
there (RFC 6962, RFC 8032, C2SP signed-note and tlog-checkpoint, minisign, DSSE, in-toto).
Standard library only; it shares no code with the program and reads whole files into memory.

    verify.py FILE.cfa            says what is wrong, exits 1
    verify.py --all FOLDER        prints `good NAME` or `bad NAME` for each file
"""

import base64
import hashlib
import json
import os
import re
import sys

# Ed25519, RFC 8032, section 5.1, in extended coordinates.
P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)


class Refused(Exception):
    pass


def need(true, words):
    if not true:
        raise Refused(words)


def add(a, b):
    x, y, z, t = a
    u, v, w, s = b
    e, f = (y - x) * (v - u) % P, (y + x) * (v + u) % P
    g, h = 2 * t * s * D % P, 2 * z * w % P
    i, j, k, m = f - e, h - g, h + g, f + e
    return (i * j % P, k * m % P, j * k % P, i * m % P)


def times(n, a):
    sum_ = (0, 1, 1, 0)
    while n:
        if n & 1:
            sum_ = add(sum_, a)
        a = add(a, a)
        n >>= 1
    return sum_


def same(a, b):
    return (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0


def point(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    need(y < P, "a point is out of range")
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    need((x * x - square) % P == 0 and (x or not sign), "this is no point")
    if x & 1 != sign:
        x = P - x
    return (x, y, 1, x * y % P)


BASE = point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def ed25519(key, message, signature):
    if len(key) != 32 or len(signature) != 64:
        return False
    s = int.from_bytes(signature[32:], "little")
    if s >= Q:
        return False
    try:
        a, r = point(key), point(signature[:32])
    except Refused:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % Q
    return same(times(s, BASE), add(r, times(k, a)))


def b64(text):
    data = base64.b64decode(text, validate=True)
    need(base64.b64encode(data).decode() == text, "base64 has one spelling")
    return data


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


# The container.
def header(name, size):
    block = bytearray(512)

    def put(at, data):
        block[at : at + len(data)] = data

    put(0, name.encode())
    put(100, b"0000644\0")
    put(108, b"0000000\0")
    put(116, b"0000000\0")
    put(124, b"%011o\0" % size)
    put(136, b"00000000000\0")
    put(148, b" " * 8)
    put(156, b"0")
    put(257, b"ustar\x0000")
    put(148, b"%06o\0 " % sum(block))
    return bytes(block)


def unpack(data):
    files, at = {}, 0
    while True:
        block = data[at : at + 512]
        need(len(block) == 512, "the archive is cut short")
        if block == bytes(512):
            need(data[at:] == bytes(1024), "the archive does not end as it should")
            return files
        name = block[:100].split(b"\0")[0].decode("ascii")
        need(re.fullmatch(r"[A-Za-z0-9._/-]{1,99}", name), "a name is not allowed")
        need(all(p not in ("", ".", "..") for p in name.split("/")), "a name leaves the folder")
        size = int(block[124:136].split(b"\0")[0], 8)
        need(block == header(name, size), "a header is not canonical")
        need(name not in files, "a file is there twice")
        at += 512
        files[name] = data[at : at + size]
        need(len(files[name]) == size, "a file is cut short")
        at += size
        pad = data[at : at + -size % 512]
        need(len(pad) == -size % 512 and not any(pad), "padding is not empty")
        at += -size % 512


# Signatures.
def note(data, name, key):
    text, _, signatures = data.decode().rpartition("\n\n")
    need(text and signatures.endswith("\n"), "this is no note")
    need(not any(c < " " and c != "\n" for c in data.decode()), "a note has control characters")
    hash_ = sha(name.encode() + b"\n\x01" + key)[:4]
    own = []
    for line in signatures[:-1].split("\n"):
        need(line.startswith("\u2014 ") and line.count(" ") == 2, "a signature line is not right")
        _, signer, encoded = line.split(" ")
        raw = b64(encoded)
        if signer == name and raw[:4] == hash_:
            own.append(raw[4:])
    need(own, f"no signature by {name}")
    signed = (text + "\n").encode()
    need(all(ed25519(key, signed, s) for s in own), f"the signature by {name} is wrong")
    return text + "\n"


def minisign(public, signature, message):
    comment, encoded, end = public.decode().split("\n")
    raw = b64(encoded)
    need(comment.startswith("untrusted comment: ") and not end, "minisign.pub is no key")
    need(raw[:2] == b"Ed" and len(raw) == 42, "minisign.pub is no key")
    untrusted, first, trusted, second, end = signature.decode().split("\n")
    need(untrusted == "untrusted comment: signature by an appliance's audit log", "comment")
    need(trusted.startswith("trusted comment: ") and not end, "no trusted comment")
    first, second = b64(first), b64(second)
    need(first[:2] == b"ED" and first[2:10] == raw[2:10], "signed by another key")
    digest = hashlib.blake2b(message).digest()
    need(ed25519(raw[10:], digest, first[10:]), "a minisign signature is wrong")
    said = trusted.removeprefix("trusted comment: ").encode()
    need(ed25519(raw[10:], first[10:] + said, second), "a trusted comment is wrong")


# DSSE and in-toto: the statements of jobs.
def pae(kind, payload):
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


# The test vector of the DSSE specification.
assert (
    pae(b"http://example.com/HelloWorld", b"hello world")
    == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
)

STATEMENT = "https://in-toto.io/Statement/v1"
KINDS = {
    "provenance": "https://slsa.dev/provenance/v1",
    "receipt": "https://cofferdam.invalid/where-it-ran/v1",
}


def pem(text):
    first, key, last, end = text.decode().split("\n")
    need(first == "-----BEGIN PUBLIC KEY-----" and not end, "attest.pub is no key")
    need(last == "-----END PUBLIC KEY-----", "attest.pub is no key")
    raw = b64(key)
    need(len(raw) == 44 and raw.startswith(bytes.fromhex("302a300506032b6570032100")), "attest.pub")
    return raw[12:], sha(raw).hex()


def statement(data, predicate, key, name):
    envelope = json.loads(data)
    need(list(envelope) == ["payload", "payloadType", "signatures"], "an envelope has other fields")
    kind, payload = envelope["payloadType"], b64(envelope["payload"])
    need(kind == "application/vnd.in-toto+json", "an envelope holds no statement")
    own = [s["sig"] for s in envelope["signatures"] if s["keyid"] == name]
    need(own, "an envelope is not signed by attest.pub")
    need(all(ed25519(key, pae(kind.encode(), payload), b64(s)) for s in own), "a bad envelope")
    said = json.loads(payload)
    need(said["_type"] == STATEMENT and said["predicateType"] == predicate, "another statement")
    need(said["subject"] and all(s["digest"] for s in said["subject"]), "a statement of nothing")
    return said


def attested(files, entries, whole):
    lone = {name for name in files if name.endswith(".dsse.json")}
    entries = [e for e in entries if e["act"] == "job.attested"]
    if not lone and (not entries or not whole):
        return
    key, name = pem(files["attest.pub"])
    left = json.loads(files.get("jobs/left-out.json", b'{"before":0}'))["before"]
    for entry in entries:
        job, said = entry["obj"]["id"].split(":")[1], entry["d"]
        folder = f"jobs/{job}" if said["attempt"] == 1 else f"jobs/{job}/attempt-{said['attempt']}"
        for part, predicate in KINDS.items():
            file = f"{folder}/{part}.dsse.json"
            if file not in lone:
                need(not whole or entry["seq"] < left, f"{file} is missing")
                continue
            lone.remove(file)
            need(said["key"] == name, f"{file} is by another key than attest.pub")
            need("sha256:" + sha(files[file]).hex() == said[part], f"{file} was changed")
            told = statement(files[file], predicate, key, name)
            body = told["predicate"]
            if part == "provenance":
                body = body["runDetails"]["metadata"]
            end = f"/jobs/{job}/attempts/{said['attempt']}"
            need(body["invocationId"].endswith(end), f"{file} is of another job")
            logs = [s["digest"]["sha256"] for s in told["subject"] if "sha256" in s["digest"]]
            wanted = [said["log"].removeprefix("sha256:")] if said["log"] else []
            need(logs == wanted, f"{file} is of another log")
    need(not lone, "a statement is named by no entry that is shown")


# The tree: RFC 6962, 2.1, as a stack of whole subtrees.
class Tree:
    def __init__(self):
        self.size, self.stack = 0, []

    def push(self, level, hash_):
        need(self.size % (1 << level) == 0, "a subtree does not begin here")
        self.size += 1 << level
        while self.stack and self.stack[-1][0] == level:
            hash_ = sha(b"\x01", self.stack.pop()[1], hash_)
            level += 1
        need(not self.stack or self.stack[-1][0] > level, "a subtree is too large here")
        self.stack.append((level, hash_))

    def root(self):
        if not self.stack:
            return sha()
        hash_ = self.stack[-1][1]
        for _, left in reversed(self.stack[:-1]):
            hash_ = sha(b"\x01", left, hash_)
        return hash_

    def extend(self, pairs, size):
        for level, text in pairs:
            widest = (size - self.size).bit_length() - 1
            if self.size:
                widest = min(widest, (self.size & -self.size).bit_length() - 1)
            need(level == widest, "range.proof is not minimal")
            self.push(level, bytes.fromhex(text))
        need(self.size == size, "range.proof does not fit")


def verify(data):
    files = unpack(data)
    text = files["log.key"].decode()
    name, hash_, key = text.removesuffix("\n").split("+", 2)
    raw = b64(key)
    need(text.endswith("\n") and raw[:1] == b"\x01" and len(raw) == 33, "log.key is no key")
    key = raw[1:]
    need(sha(name.encode() + b"\n" + raw)[:4].hex() == hash_, "log.key is no key")

    checkpoint = note(files["checkpoint"], name, key)
    origin, size, root, end = checkpoint.split("\n")
    need(origin == name and not end and str(int(size)) == size, "the checkpoint is not right")
    size, root = int(size), b64(root)

    plain = files["MANIFEST.json"]
    said = note(files["MANIFEST.json.note"], name, key)
    need(said == f"cofferdam-audit/1 {name}\n{sha(plain).hex()}\n", "the manifest was changed")
    minisign(files["minisign.pub"], files["MANIFEST.json.minisig"], plain)
    minisign(files["minisign.pub"], files["checkpoint.minisig"], files["checkpoint"])
    manifest = json.loads(plain)
    first, last = manifest["first"], manifest["end"]
    need(manifest["format"] == "cofferdam-audit/1" and manifest["origin"] == name, "format")
    need(manifest["size"] == size and 0 <= first <= last <= size, "the range does not fit")
    own = {"MANIFEST.json", "MANIFEST.json.note", "MANIFEST.json.minisig"}
    need(set(files) - own == set(manifest["files"]), "files are missing or were added")
    for file, facts in manifest["files"].items():
        need(len(files[file]) == facts["size"], f"{file} was changed")
        need(sha(files[file]).hex() == facts["sha256"], f"{file} was changed")

    leaves, around = files["leaves.bin"], json.loads(files["range.proof"])
    need(len(leaves) == 32 * (last - first), "leaves.bin does not fit")
    tree = Tree()
    tree.extend(around["before"], first)
    for at in range(0, len(leaves), 32):
        tree.push(0, leaves[at : at + 32])
    tree.extend(around["after"], size)
    need(tree.root() == root, "the entries are not those under the signed root")

    next_, shown = first, {}
    for file in sorted(f for f in files if f.startswith("events/")):
        need(files[file].endswith(b"\n"), "a line has no end")
        for line in files[file][:-1].split(b"\n"):
            entry = json.loads(line)
            seq = entry["seq"]
            need(next_ <= seq < last, f"entry {seq} is out of order")
            at = 32 * (seq - first)
            need(sha(b"\0", line) == leaves[at : at + 32], f"entry {seq} was changed")
            shown[seq], next_ = entry, seq + 1
    need(len(shown) == manifest["shown"], "bodies are missing or were added")
    whole = manifest["filter"] is None
    need(not whole or len(shown) == last - first, "bodies are hidden by no filter")
    times = [entry["t"] for entry in shown.values() if "t" in entry]
    need(times == sorted(times), "an entry is dated before an earlier one")
    if manifest["since"] and first > 0:
        need(shown[first]["t"] < manifest["since"], "the range may begin too late")
    if manifest["until"] and last < size:
        need(shown[last - 1]["t"] >= manifest["until"], "the range may end too early")
    attested(files, shown.values(), whole)
    for file in (f for f in files if f.startswith("openings/")):
        for line in files[file].splitlines():
            said = json.loads(line)
            value = shown[said["seq"]]
            for part in said["field"].split(".", 1):
                value = value[part]
            opened = sha(bytes.fromhex(said["salt"]), said["value"].encode())
            need(opened.hex() == value, "a value does not open its commitment")


def judge(path):
    try:
        with open(path, "rb") as file:
            verify(file.read())
        return None
    except Refused as error:
        return str(error)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        return f"not of this format: {error!r}"


if sys.argv[1] == "--all":
    for file_name in sorted(os.listdir(sys.argv[2])):
        why = judge(os.path.join(sys.argv[2], file_name))
        print("good" if why is None else "bad", file_name)
else:
    why = judge(sys.argv[1])
    print(why or "good")
    sys.exit(0 if why is None else 1)
