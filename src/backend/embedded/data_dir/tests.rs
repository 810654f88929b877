use super::*;

#[test]
fn it_is_made_private_and_held_by_one() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a/data");
    let held = DataDir::open(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    let error = DataDir::open(&path).unwrap_err();
    for part in [path.join("LOCK").to_str().unwrap(), &std::process::id().to_string(), "--data-dir"] {
        assert!(error.message.contains(part), "{error}");
    }
    drop(held);
    DataDir::open(&path).unwrap();
}

#[test]
fn another_format_is_refused_by_name_and_left_alone() {
    let root = tempfile::tempdir().unwrap();
    drop(DataDir::open(root.path()).unwrap());
    let format = root.path().join("FORMAT");
    assert_eq!(fs::read_to_string(&format).unwrap(), "websocket-manager-data 1\n");
    for (text, says) in [("websocket-manager-data 2\n", "format 2"), ("", "not a format file")] {
        fs::write(&format, text).unwrap();
        let error = DataDir::open(root.path()).unwrap_err();
        assert!(error.message.contains(says) && error.message.contains("FORMAT"), "{error}");
        assert_eq!(fs::read_to_string(&format).unwrap(), text);
    }
}

#[test]
fn a_place_that_cannot_be_a_folder_is_named() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(DataDir::open(&file).unwrap_err().message.contains(file.to_str().unwrap()));
}
