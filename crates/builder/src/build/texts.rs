//! What lies beside a manifest for people: how to check it all by hand, in words and as a script.

use bundle::Manifest;
use vocab::Digest;

use super::Program;
use crate::trust::Chain;

/// Checks signature, sums and every blob with a shell and minisign or openssl.
pub(super) const VERIFY_SH: &str = include_str!("verify.sh");

/// The text of `VERIFY.txt`.
pub(super) fn verify(
    manifest: &Manifest,
    digest: &Digest,
    trust: &Chain,
    program: Program,
) -> String {
    let statement = trust.newest().statement();
    let keys: Vec<String> = statement
        .release
        .keys
        .iter()
        .map(|key| format!("  {}  {}\n  {}", key.name, key.id, key.key))
        .collect();
    let program = match program {
        Program::Beside(digest) => format!(
            "The program to install from, cofferdam-linux-x86_64, has SHA-256\n\n  {}\n\n\
             Compare it with the paper that came with the stick, digit by digit, before it runs.\n\n",
            digest.hex()
        ),
        Program::LeftOut(digest) => format!(
            "A delta, for an appliance that has the rest. The program is not among these files;\n\
             to install from, take a bundle that was built without --have. The program has SHA-256\n\n  \
             {}\n\n",
            digest.hex()
        ),
        Program::None => String::new(),
    };
    format!(
        "Bundle {product} {channel}, number {seq}, content {content}\n\
         made {created}, to be imported until {not_after}\n\n\
         Its manifest, MANIFEST.json, has SHA-256\n\n  {digest}\n\n\
         {program}\
         Who may sign, by root statement {root} ({threshold} must):\n\n{keys}\n\n\
         A stick could say anything here. Take the keys from your own copy of the root statement\n\
         or from paper, save one as release.pub (its base64 line is enough), and run\n\n  \
         sh verify.sh release.pub\n\n\
         It needs a shell with coreutils and tar, and minisign or openssl 3. By hand:\n\n  \
         minisign -V -p release.pub -m MANIFEST.json -x MANIFEST.json.<key id>.minisig\n  \
         sha256sum SHA256SUMS      (the manifest says it as \"sums_sha256\")\n  \
         sha256sum -c SHA256SUMS\n  \
         tar -xf vol-0001-of-....tar, then each file of blobs/sha256 must have its name as SHA-256;\n  \
         a blob above 1 GiB is in parts .0000, .0001 and so on: put them together first\n\n\
         The importer of an appliance checks all of this itself, and more.\n",
        product = manifest.product,
        channel = manifest.channel,
        seq = manifest.seq,
        content = manifest.content,
        created = manifest.created,
        not_after = manifest.not_after,
        digest = digest.hex(),
        root = manifest.root,
        threshold = statement.release.threshold,
        keys = keys.join("\n"),
    )
}
