//! New migrations and a new page must reach the binary that embeds them.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
    println!("cargo:rerun-if-changed=../web/dist/index.html");
}
