//! Types of messages, as a user gets them: the real binary on a real folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/types").join(name)
}

/// Exit code, standard output, standard error.
fn types(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_websocket-manager"));
    command.env_clear().arg("types").args(arguments).stdin(Stdio::null());
    let output = command.output().expect("the binary runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn folder(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

#[test]
fn both_languages_are_written_where_they_are_wanted() {
    let schemas = golden("schemas");
    let out = tempfile::tempdir().expect("a folder");
    for (language, name) in [("typescript", "messages.ts"), ("python", "messages.py")] {
        let wanted = fs::read_to_string(golden(name)).expect("a golden file");
        let arguments = ["--schemas", folder(&schemas), "--lang", language];
        assert_eq!(types(&arguments), (Some(0), wanted.clone(), String::new()));
        let file = out.path().join(name);
        let more = [&arguments[..], &["--out", folder(&file)]].concat();
        assert_eq!(types(&more), (Some(0), String::new(), String::new()));
        assert_eq!(fs::read_to_string(file).expect("written"), wanted);
    }
}

#[test]
fn what_cannot_be_generated_from_says_so() {
    let empty = tempfile::tempdir().expect("a folder");
    let broken = tempfile::tempdir().expect("a folder");
    fs::write(broken.path().join("a.json"), "{").expect("written");
    fs::write(broken.path().join("b.json"), "7").expect("written");
    let python = ["--lang", "python", "--schemas"];
    for (arguments, code, parts) in [
        (vec!["--lang", "python"], 64, vec!["--schemas DIR"]),
        (vec!["--schemas", folder(empty.path())], 64, vec!["give --lang typescript or --lang python"]),
        ([&python[..], &[folder(empty.path())]].concat(), 64, vec!["holds no schema"]),
        ([&python[..], &["/not/there"]].concat(), 64, vec!["/not/there cannot be read"]),
        (
            [&python[..], &[folder(broken.path())]].concat(),
            64,
            vec!["a.json: is not JSON", "b.json: is no JSON Schema"],
        ),
        (
            [&python[..], &[folder(&golden("schemas")), "--out", "/not/there/x.py"]].concat(),
            1,
            vec!["/not/there/x.py cannot be written"],
        ),
    ] {
        let (ended, out, told) = types(&arguments);
        assert!(ended == Some(code) && out.is_empty(), "{arguments:?}: {ended:?} {told}");
        assert!(parts.iter().all(|part| told.contains(part)), "{arguments:?}: {told}");
    }
}
