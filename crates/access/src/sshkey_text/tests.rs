//! What is taken for a key and what is not. The keys and fingerprints are of `ssh-keygen`.

use super::*;

const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBdk1epCe4N2xMDZa7bA5qG+0s0P878qrr6Us9PbV6vY dev\
    @lab";
const RSA_2048: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQCv1k69depbIf7SQSMAqnbuKNBAwG4KU0YJpfw+egp4iCSb\
    eWat84NjZob1kM6cH0lrrruHwPCrRoRb89aymMVpRzIddG1+9IYCXZKtOKVDd+YCX0i+FP3w58bot27Gyhei\
    zWXQ5tbEndVxlXvHrD+ZPf4CQim7y+Bvhu1lNJSrlzLqZrzyjZ4WHKZeeRHBVhkD/pYqKPAwYz7UGS2SJOI6\
    CFr2ejaGNlaUsK+xeNjiC5mL7E2kyKSgPvDgPdPD+x0cdcvcDheMKYPPXVWQzbngN71E8rGxZwdHERiP7Rt3\
    Io56vEGUKU+e0fj+cva2rx9oGNfTTd1Zd/7+cRrppJxb dev@lab";
const RSA_1024: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDNgH1/YAkSdaIXI5f35xXC81VpaD2/BRtRBTn0M/IjyHqt\
    HSEbeCvS5lJfj70KbJtm5XUSs/zy3u19XxoMbIYBIM5HOLDb/JG02UMkiODSH60qCkp3SqG6iLIgWnDsPbwm\
    UibRjcVwOlCbr2gfwJ7jYL5o7yoSafjcOE7BSuOzIQ== dev@lab";
const P256: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBA+AgwQw787T\
    3dNz2qPsBMCxEhbnyk1pY769/g5K7N814QRzZN3rYf7nWRLLMWWBerY6r6crIHfy/FlxahoNs/o= dev@lab";
const P384: &str = "ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBBsyBzXOqPjW\
    miqZJ+MS3z/g2/dslR6WkGbJfDqETgS/iy8criyLzWFJms1WEcyxz/c0uAn2z2dm9ioigUUWenY1nFJ9B38Z\
    q3PDeVJEj5J0gCBtjBfERrlFvcl/zAE2ZA== dev@lab";
const P521: &str = "ecdsa-sha2-nistp521 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBAC7HQYVkGem\
    DGbNZKPECAovbag1Y8Hi/HwKC3FqukkpTLWfDWEGO1Y7xT5TKKkSTdd3+pEVxbMrBBzWeIt4+MqUPAHbpUH/\
    EiAAWYnlMEjUjpHAv+w1XZ4B/2marSLSufXasT4U1qIuJ0BGsR9SlWUOA8BCHgWlinTwhcIaFlxSwCCRxg=\
    = dev@lab";
const DSA: &str = "ssh-dss AAAAB3NzaC1kc3MAAACBAJJnn6XcRgpcI6cQOigKDaSbJmG3bgS73QaBOmT2EZD97g0tDbzEqI0K\
    C9y7JV9XB1O69EXhEedmmngRlygf19fT5SdAWU9nwymLUF66W6GTSZb3p2f0fmFuDoECPrOqyM/+fc7Y5Vn7\
    dz2ZmGgS9eYjfUlXGTSWj/y/Ue6r+V63AAAAFQDezP0Nb2y5rQh7+QcpNdqU6leXyQAAAIEAhT6vJJlwsg3T\
    +gz5UzLwIcKq1TUB5WmP+3A2jgGhJSm4Xon/nQ2jeHDCSAJU7jH9RcB8nPwZGXtozBekawZso+hU+2P3B5QC\
    dVHpN87yL1iRs9iWWb/9H7VBvIiQOldm/6QCwXVt8ZKaD5hSylvJ3cd2FBJfFyUuEhmQKxscXY8AAACAJ8nF\
    wLtq9QidnjF9LMsfSeuSaKIPajs1gEsFO+VNb/8sU9RxaQgd/GY06/rBWEcWVFmGqN23hxFkdY7fqwNMv9rh\
    wLSt21ZHY6F4HfwbXc9ycT3aT3NI/SZh5tYGGojQIFHXCElqVKBRKyax5NSQNJo64VBDhMNg/bG7Z5Ft/dw\
    = dev@lab";

#[test]
fn every_kind_that_is_taken_has_the_fingerprint_that_ssh_keygen_shows() {
    for (text, print) in [
        (ED25519, "RAC/5wsAFdcsqYYI4Oq0CfWJsyvEcYmecVZ7qV9whf4"),
        (RSA_2048, "AC3VY5tSYxWjSFxtqDRreVnsn4NUBUWzKLmtrVOw+MI"),
        (P256, "umihyYFRWdGwX40UvJqLC34SqivJI4P0FlhiHGWoBoc"),
        (P384, "BjABNi6ccTNBUFxm/zeEBPnekMeTaFIH65jPvsfw9g8"),
        (P521, "aBu14ygmbsdfZbeRbpQKgYDDQk7iVrVbitzTFDG9DUE"),
    ] {
        let key = KeyText::parse(&format!("  {text}\n")).unwrap();
        assert_eq!(key.fingerprint, format!("SHA256:{print}"));
        assert_eq!(key.comment, "dev@lab");
        assert_eq!(format!("{} dev@lab", key.text), text);
    }
}

#[test]
fn weak_and_foreign_keys_are_refused_in_words() {
    let said = |text: &str| KeyText::parse(text).unwrap_err().to_string();
    assert!(said(DSA).contains("DSA keys are too weak"), "{}", said(DSA));
    assert!(
        said(RSA_1024).contains("has 1024 bits"),
        "{}",
        said(RSA_1024)
    );
    assert!(said("-----BEGIN OPENSSH PRIVATE KEY-----\nx").contains("private key"));
    assert!(said("sk-ssh-ed25519@openssh.com AAAA x").contains("security tokens"));
    assert!(said("ssh-ed25519-cert-v01@openssh.com AAAA x").contains("certificates"));
}

#[test]
fn other_texts_are_no_keys() {
    let two_lines = format!("{ED25519}\n{P256}");
    let with_options = format!("no-pty {ED25519}");
    let other_name = ED25519.replacen("ssh-ed25519", "ssh-rsa", 1);
    let cut = &ED25519[..40];
    let long = format!("{ED25519}{}", "x".repeat(TEXT_BYTES));
    for text in [
        "",
        " ",
        "ssh-ed25519",
        "ssh-ed25519 !!!! x",
        &two_lines,
        &with_options,
        &other_name,
        cut,
        &long,
    ] {
        assert!(
            matches!(KeyText::parse(text), Err(KeyTextError::Shape)),
            "{text:?}"
        );
    }
}
