//! What the compiler says to a wrong use of the macros.

#[test]
fn messages_say_what_to_write() {
    if let Err(why) = ui::pinned_toolchain() {
        assert!(std::env::var_os("CI").is_none(), "{why}");
        eprintln!("SKIPPED: {why}");
        return;
    }
    trybuild::TestCases::new().compile_fail("tests/fail/*.rs");
}
