//! The README's tables are what the program itself prints.

use websocket_manager::{config, telemetry};

fn block(name: &str) -> String {
    let readme =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("the README");
    let (begin, end) = (format!("<!-- {name} -->"), format!("<!-- /{name} -->"));
    let start = readme.find(&begin).expect("the block begins") + begin.len();
    let stop = readme[start..].find(&end).expect("the block ends") + start;
    readme[start..stop].trim().to_owned()
}

#[test]
fn the_configuration_table_is_the_settings_table() {
    assert!(
        block("configuration") == config::markdown_table().trim(),
        "render it anew: websocket-manager check --markdown"
    );
}

#[test]
fn the_metrics_table_is_the_catalogue() {
    let rendered = telemetry::markdown_table();
    assert!(block("metrics") == rendered.trim(), "render it anew:\n{rendered}");
}
