use super::*;

fn key_file(bytes: &[u8], mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("k");
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    (dir, path)
}

#[test]
fn what_is_sealed_opens_again_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret.key");
    let first = Sealer::from_file_or_new(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let sealed = first.seal(b"id-1", b"token").unwrap();
    assert_ne!(sealed, first.seal(b"id-1", b"token").unwrap(), "a fresh nonce each time");
    assert!(!sealed.windows(5).any(|w| w == b"token"));
    let second = Sealer::from_file_or_new(&path).unwrap();
    assert_eq!(second.open(b"id-1", &sealed).unwrap(), b"token");
    assert!(second.open(b"id-2", &sealed).is_err(), "bound to its connection");
}

#[test]
fn damage_is_an_error_at_every_byte_and_length() {
    let (_dir, path) = key_file(&[7; 32], 0o600);
    let sealer = Sealer::from_file(&path).unwrap();
    let sealed = sealer.seal(b"a", b"secret").unwrap();
    for at in 0..sealed.len() {
        let mut bent = sealed.clone();
        bent[at] ^= 1;
        assert!(sealer.open(b"a", &bent).is_err());
        assert!(sealer.open(b"a", &sealed[..at]).is_err());
    }
    assert_eq!(sealer.open(b"a", &sealer.seal(b"a", b"").unwrap()).unwrap(), b"");
}

#[test]
fn another_key_is_named() {
    let (_a, one) = key_file(&[1; 32], 0o600);
    let (_b, two) = key_file("02".repeat(32).as_bytes(), 0o640);
    let sealed = Sealer::from_file(&one).unwrap().seal(b"a", b"x").unwrap();
    let error = Sealer::from_file(&two).unwrap().open(b"a", &sealed).unwrap_err();
    assert!(error.message.contains("another key"), "{error}");
    let mut newer = sealed;
    newer[0] = 9;
    assert!(Sealer::from_file(&one).unwrap().open(b"a", &newer).unwrap_err().message.contains("version 9"));
}

#[test]
fn bad_key_files_are_clear_errors() {
    for (bytes, mode, says) in [
        (&[1u8; 32][..], 0o644, "chmod 600"),
        (&[1u8; 32][..], 0o660, "chmod 600"),
        (&[1u8; 31][..], 0o600, "31 bytes"),
        (&b"zz".repeat(32)[..], 0o600, "hexadecimal"),
        (&b""[..], 0o600, "0 bytes"),
    ] {
        let (_dir, path) = key_file(bytes, mode);
        let Err(error) = Sealer::from_file(&path) else { panic!("taken: {says}") };
        assert!(error.message.contains(says) && error.message.contains(path.to_str().unwrap()), "{error}");
    }
    assert!(Sealer::from_file(Path::new("/nonexistent/key")).is_err());
}
