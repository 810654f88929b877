//! Instances of two versions speak with one another during an upgrade: what they say only grows.

use prost_reflect::DescriptorPool;
use std::{collections::BTreeSet, fs, path::Path};

const FILE: &str = "tests/it/golden/peers.txt";
const COMMAND: &str = "WSM_RECORD=1 cargo test --lib api::peers::tests::golden";

fn described() -> BTreeSet<String> {
    let pool = DescriptorPool::decode(crate::proto::fleet::DESCRIPTOR).unwrap();
    let mut lines = BTreeSet::new();
    for file in pool.files().filter(|file| file.package_name() == "virtufin.fleet") {
        for message in file.messages() {
            for field in message.fields() {
                let (name, number) = (field.name(), field.number());
                lines.insert(format!("{}.{name} = {number} {:?}", message.full_name(), field.kind()));
            }
        }
        for method in file.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            let (takes, gives) = (method.input(), method.output());
            lines.insert(format!("{} {} {}", method.full_name(), takes.full_name(), gives.full_name()));
        }
    }
    lines
}

#[test]
fn what_instances_say_to_one_another_only_grows() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let now = described();
    assert!(now.len() > 50, "{now:?}");
    if std::env::var_os("WSM_RECORD").is_some() {
        fs::write(&path, now.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    }
    let recorded: BTreeSet<_> =
        fs::read_to_string(&path).unwrap_or_default().lines().map(str::to_owned).collect();
    assert_eq!(recorded, now, "a member of the version before relies on it; what is new: {COMMAND}");
}

#[test]
fn the_public_descriptor_does_not_name_it() {
    let pool = DescriptorPool::decode(crate::proto::DESCRIPTOR).unwrap();
    assert!(pool.files().all(|file| file.package_name() != "virtufin.fleet"));
    assert!(pool.get_service_by_name("virtufin.fleet.Peers").is_none());
}
