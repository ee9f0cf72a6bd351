//! The authority and its certificates, over years of a set clock.

use super::*;

const NOW: u64 = 1_800_000_000;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|n| (*n).to_owned()).collect()
}

fn served(data: &Path) -> Vec<u8> {
    fs::read(folder(data).join("server.pem")).unwrap()
}

#[test]
fn it_is_made_once_and_again_when_a_name_is_new_or_the_end_is_near() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path();
    assert!(ensure(data, &names(&["forge.lab"]), at(NOW)).unwrap());
    let authority_at_first = authority(data).unwrap();
    let first = served(data);
    assert!(!ensure(data, &names(&["forge.lab"]), at(NOW)).unwrap());
    assert_eq!(served(data), first);

    assert!(ensure(data, &names(&["10.0.0.7"]), at(NOW)).unwrap());
    assert_eq!(
        show(data, at(NOW)).unwrap().names,
        ["forge.lab", "10.0.0.7"]
    );

    let later = at(NOW) + DAY * (SERVER_DAYS - 50);
    let second = served(data);
    assert!(ensure(data, &[], later).unwrap());
    assert_ne!(served(data), second);
    assert_eq!(authority(data).unwrap(), authority_at_first);
    certified_is_sound(data);
}

fn certified_is_sound(data: &Path) {
    serving::certified(&served(data)).unwrap();
}

#[test]
fn a_clock_of_1970_makes_a_certificate_that_is_good_when_the_clock_is_set() {
    let data = tempfile::tempdir().unwrap();
    ensure(data.path(), &names(&["forge.lab"]), at(60)).unwrap();
    let left = show(data.path(), at(FLOOR)).unwrap().left_s.unwrap();
    assert!(left > 700 * 24 * 3600, "{left}");
}

#[test]
fn a_key_of_another_certificate_is_refused_and_the_old_one_stays() {
    let data = tempfile::tempdir().unwrap();
    ensure(data.path(), &names(&["forge.lab"]), at(NOW)).unwrap();
    let before = served(data.path());
    let other = tempfile::tempdir().unwrap();
    ensure(other.path(), &names(&["forge.lab"]), at(NOW)).unwrap();
    let key = other.path().join("alien.key");
    fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let chain = folder(other.path()).join("server.pem");
    let refused = check(&chain, &key).unwrap_err();
    assert!(
        format!("{refused:#}").contains("do not match"),
        "{refused:#}"
    );
    let mixed = fs::read_to_string(&key).unwrap() + &fs::read_to_string(&chain).unwrap();
    assert!(bring(data.path(), &mixed).is_err());
    assert_eq!(served(data.path()), before);

    // With its own key it is taken, and renewing is the site's own work from then on.
    bring(data.path(), &check(&chain, &chain).unwrap()).unwrap();
    assert!(!ensure(data.path(), &names(&["new.lab"]), at(NOW)).unwrap());
    assert!(renew(data.path(), &[], at(NOW)).is_err());
    assert!(authority(data.path()).is_none());
}

#[test]
fn addresses_are_read_from_the_kernels_lists() {
    let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.1\n        /32 host LOCAL\n     \
                |-- 10.0.0.7\n        /32 host LOCAL\n     |-- 10.0.0.0\n        /24 link UNICAST\n";
    let six = "00000000000000000000000000000001 01 80 10 80       lo\n\
               fe800000000000000000000000000001 02 40 20 80     eth0\n";
    assert_eq!(addresses(trie, six), ["127.0.0.1", "10.0.0.7", "::1"]);
    assert!(is_name("forge.lab") && !is_name("forge lab") && !is_name("-x") && !is_name(""));
}

#[test]
fn bytes_that_are_no_certificate_tell_no_end() {
    let data = tempfile::tempdir().unwrap();
    ensure(data.path(), &names(&["forge.lab"]), at(NOW)).unwrap();
    let (chain, _) = parts(&served(data.path())).unwrap();
    let whole = chain[0].as_ref();
    assert!(dates::not_after(whole).is_some());
    for cut in 0..150 {
        assert!(dates::not_after(&whole[..cut]).is_none(), "{cut}");
    }
}
